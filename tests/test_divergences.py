"""Divergences and dense targets: closed forms, limits, and symbols without probability."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from limbeck.divergences import (
    AdaptiveKL,
    Divergence,
    JensenShannon,
    SkewKL,
    kl,
    reverse_kl,
    standardised,
    tempered,
    total_variation,
)
from limbeck.targets.dense import DenseTargets
from limbeck.targets.protocol import SoftTargets

EVERY: list[Divergence] = [
    kl,
    reverse_kl,
    total_variation,
    JensenShannon(0.5),
    JensenShannon(0.1),
    SkewKL(0.1),
    SkewKL(0.1, reverse=True),
    AdaptiveKL(0.5),
]
every_divergence = pytest.mark.parametrize("divergence", EVERY, ids=lambda divergence: divergence.__name__)


def logs(*probabilities: float) -> Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_two_classes_by_hand() -> None:
    forward = kl(logs(0.8, 0.2), logs(0.6, 0.4))
    assert forward.item() == pytest.approx(0.8 * math.log(0.8 / 0.6) + 0.2 * math.log(0.2 / 0.4), rel=1e-14)
    backward = kl(logs(0.6, 0.4), logs(0.8, 0.2))
    assert backward.item() == pytest.approx(0.6 * math.log(0.6 / 0.8) + 0.4 * math.log(0.4 / 0.2), rel=1e-14)
    assert abs(forward - backward) > 0.01


def test_one_hot_teacher_gives_cross_entropy() -> None:
    student = tempered(normal(5), 1.0)
    assert kl(logs(0.0, 0.0, 1.0, 0.0, 0.0), student).item() == pytest.approx(-student[2].item(), rel=1e-14)


def test_tempered_by_hand_and_never_narrower_than_float32() -> None:
    logits = torch.tensor([0.0, 2 * math.log(3)], dtype=torch.float64)
    assert tempered(logits, 2.0).exp().tolist() == pytest.approx([0.25, 0.75])
    assert tempered(logits.bfloat16(), 2.0).dtype == torch.float32
    assert tempered(logits.float(), 2.0).dtype == torch.float32
    assert tempered(logits, 2.0).dtype == torch.float64


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_squared_temperature_times_kl_tends_to_half_the_mean_squared_centred_difference(classes: int) -> None:
    # softmax(z / T) = (1 + centred z / T) / N + O(1 / T²), and KL(p || q) = ½ Σ (p - q)² / q + O(|p - q|³), so that
    # T² KL -> ½ · N · Σ (difference / N)² = ½ · mean(difference²), the differences being of centred logits.
    teacher, student = normal(3, classes, seed=1), normal(3, classes, seed=2)
    centred = (teacher - teacher.mean(-1, keepdim=True)) - (student - student.mean(-1, keepdim=True))
    limit = centred.square().mean(dim=-1) / 2
    errors = []
    for temperature in (1e2, 1e3):
        value = temperature**2 * DenseTargets(teacher).divergence(kl, student, temperature)
        errors.append(((value - limit).abs() / limit).max().item())
    assert errors[1] < 5e-3
    assert errors[1] < errors[0] / 8  # the next order is 1 / T, for two classes 1 / T²


def test_gradient_of_squared_temperature_times_kl_is_hintons() -> None:
    """Section 2: the gradient of the soft cross-entropy in a logit is (q - p) / T; the factor T² makes it T (q - p)."""
    teacher, student = normal(3, 4, seed=1), normal(3, 4, seed=2).requires_grad_()
    (9 * DenseTargets(teacher).divergence(kl, student, 3.0)).sum().backward()
    expected = 3 * ((student / 3).softmax(-1) - (teacher / 3).softmax(-1))
    assert student.grad is not None
    assert torch.allclose(student.grad, expected.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("student", [[1.0, 2.0, 3.0], [1.0, 2.0, -math.inf]])
def test_symbols_without_teacher_probability_add_nothing(student: list[float]) -> None:
    teacher = torch.tensor([0.5, -0.5, -math.inf], dtype=torch.float64)
    said = torch.tensor(student, dtype=torch.float64, requires_grad=True)
    value = DenseTargets(teacher).divergence(kl, said, 2.0)
    p, q = (teacher / 2).softmax(-1), (said.detach() / 2).softmax(-1)
    assert value.item() == pytest.approx(sum((p[i] * (p[i] / q[i]).log()).item() for i in range(2)), rel=1e-12)
    value.backward()
    assert said.grad is not None
    assert torch.allclose(said.grad, (q - p) / 2, rtol=1e-12, atol=1e-14)


def test_a_student_that_rules_out_what_the_teacher_says_is_infinitely_far_without_nan() -> None:
    said = torch.tensor([0.0, -math.inf], dtype=torch.float64, requires_grad=True)
    value = DenseTargets(torch.zeros(2, dtype=torch.float64)).divergence(kl, said, 1.0)
    value.backward()
    assert value.item() == math.inf
    assert said.grad is not None
    assert not said.grad.isnan().any()


def test_underflow_of_very_sure_models_gives_no_nan() -> None:
    teacher = torch.tensor([[0.0, 500.0, -500.0]])
    said = torch.tensor([[800.0, -800.0, 0.0]], requires_grad=True)
    value = DenseTargets(teacher).divergence(kl, said, 1.0)
    value.sum().backward()
    assert value.item() == pytest.approx(1600.0)
    assert said.grad is not None
    assert said.grad.tolist() == [[1.0, -1.0, 0.0]]


def test_equal_models_and_shifted_logits_are_zero_apart() -> None:
    teacher = normal(6, 5)
    assert DenseTargets(teacher).divergence(kl, teacher, 4.0).abs().max() == 0
    assert DenseTargets(teacher).divergence(kl, teacher + 7.0, 4.0).abs().max() < 1e-14


def test_dense_targets_answer_any_divergence_and_give_the_teacher_no_gradient() -> None:
    teacher, student = normal(4, 3, seed=1).requires_grad_(), normal(4, 3, seed=2).requires_grad_()
    targets = DenseTargets(teacher)
    assert isinstance(targets, SoftTargets)
    assert targets.refuses(kl, 1e-3) is None
    value = targets.divergence(total_variation, student, 1.0)
    assert value.shape == (4,)
    assert ((value >= 0) & (value <= 1)).all()
    value.sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([4, 0]), torch.tensor([True, False, False, True, True])])
def test_rows_of_dense_targets_answer_for_those_rows(index: slice | Tensor) -> None:
    teacher, student = normal(5, 3, seed=1), normal(5, 3, seed=2)
    targets = DenseTargets(teacher)
    some = targets.rows(index).divergence(kl, student[index], 2.0)
    assert torch.equal(some, targets.divergence(kl, student, 2.0)[index])


def test_positions_are_rows_of_more_dimensions() -> None:
    teacher, student = normal(2, 3, 4, seed=1), normal(2, 3, 4, seed=2)
    value = DenseTargets(teacher).divergence(kl, student, 2.0)
    flat = DenseTargets(teacher.flatten(0, 1)).divergence(kl, student.flatten(0, 1), 2.0)
    assert torch.equal(value.flatten(), flat)


# Other divergences than KL


two_models = st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30)), min_size=2, max_size=6).map(
    lambda pairs: tuple(tempered(torch.tensor(side, dtype=torch.float64), 1.0) for side in zip(*pairs, strict=True))
)
laws = settings(max_examples=15, deadline=None, derandomize=True)


def test_two_classes_by_hand_in_every_divergence() -> None:
    teacher, student = logs(0.8, 0.2), logs(0.6, 0.4)
    assert reverse_kl(teacher, student).item() == pytest.approx(0.6 * math.log(0.75) + 0.4 * math.log(2), rel=1e-14)
    assert total_variation(teacher, student).item() == pytest.approx(0.2, rel=1e-14)
    # A quarter of the teacher: m = (0.65, 0.35).
    ours, theirs = (p * math.log(p / 0.65) + (1 - p) * math.log((1 - p) / 0.35) for p in (0.6, 0.8))
    assert JensenShannon(0.25)(teacher, student).item() == pytest.approx(0.25 * theirs + 0.75 * ours, rel=1e-13)
    assert SkewKL(0.25)(teacher, student).item() == pytest.approx(theirs, rel=1e-13)
    assert SkewKL(0.75, reverse=True)(teacher, student).item() == pytest.approx(ours, rel=1e-13)


def test_divergences_with_equal_parameters_are_equal_and_named_by_them() -> None:
    assert len({JensenShannon(0.5), JensenShannon(0.5), JensenShannon(0.1), SkewKL(0.1), SkewKL(0.1, True)}) == 4
    assert len({divergence.__name__ for divergence in EVERY}) == len(EVERY)
    assert all(isinstance(divergence, Divergence) for divergence in EVERY)


@every_divergence
def test_infinite_logits_give_no_nan(divergence: Divergence) -> None:
    """What both rule out adds nothing; what one of them rules out may cost infinitely much, which has no gradient."""
    for first, second in ((0.0, -math.inf), (-math.inf, 0.0), (-math.inf, -math.inf)):
        teacher = torch.tensor([0.5, -0.5, first], dtype=torch.float64)
        said = torch.tensor([-0.5, 0.5, second], dtype=torch.float64, requires_grad=True)
        value = divergence(tempered(teacher, 1.0), tempered(said, 1.0))
        value.backward()
        assert not value.isnan()
        assert said.grad is not None
        assert value.isinf() or said.grad.isfinite().all()
        if first == second:
            assert value.item() == pytest.approx(divergence(tempered(teacher[:2], 1), tempered(said[:2], 1)).item())


@laws
@given(models=two_models)
def test_jensen_shannon_is_symmetric_at_a_half_and_bounded(models: tuple[Tensor, Tensor]) -> None:
    teacher, student = models
    value = JensenShannon(0.5)(teacher, student).item()
    assert value == pytest.approx(JensenShannon(0.5)(student, teacher).item(), rel=1e-12, abs=1e-15)
    assert -1e-15 <= value <= math.log(2) * (1 + 1e-12)
    swapped = JensenShannon(0.9)(student, teacher).item()
    assert JensenShannon(0.1)(teacher, student).item() == pytest.approx(swapped, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("small", [1e-3, 1e-5])
def test_jensen_shannon_tends_to_either_kl_at_its_ends(small: float) -> None:
    teacher, student = tempered(normal(3, 4, seed=1), 1.0), tempered(normal(3, 4, seed=2), 1.0)
    forward = JensenShannon(small)(teacher, student) / small
    backward = JensenShannon(1 - small)(teacher, student) / small
    assert torch.allclose(forward, kl(teacher, student), rtol=10 * small)
    assert torch.allclose(backward, reverse_kl(teacher, student), rtol=10 * small)


def test_jensen_shannon_mixes_probabilities_and_not_logarithms() -> None:
    """Of models that have no class in common it is log 2; by a geometric mixture it would be without bound."""
    teacher, student = tempered(torch.tensor([0.0, 1e3]), 1.0), tempered(torch.tensor([1e3, 0.0]), 1.0)
    assert JensenShannon(0.5)(teacher, student).item() == pytest.approx(math.log(2))


@laws
@given(models=two_models, skew=st.floats(1e-3, 0.999))
def test_skew_kl_is_bounded_and_below_kl(models: tuple[Tensor, Tensor], skew: float) -> None:
    teacher, student = models
    forward, backward = SkewKL(skew)(teacher, student).item(), SkewKL(skew, reverse=True)(teacher, student).item()
    assert -1e-14 <= forward <= min(-math.log(skew), (1 - skew) * kl(teacher, student).item()) + 1e-12
    assert backward == pytest.approx(SkewKL(skew)(student, teacher).item(), rel=1e-14)


def test_without_skew_it_is_kl() -> None:
    teacher, student = tempered(normal(3, 4, seed=1), 1.0), tempered(normal(3, 4, seed=2), 1.0)
    assert torch.allclose(SkewKL(0.0)(teacher, student), kl(teacher, student), rtol=1e-13)
    assert torch.allclose(SkewKL(0.0, reverse=True)(teacher, student), reverse_kl(teacher, student), rtol=1e-13)


@laws
@given(models=two_models)
def test_total_variation_is_a_distance_below_one_and_below_pinskers_bound(models: tuple[Tensor, Tensor]) -> None:
    teacher, student = models
    value = total_variation(teacher, student).item()
    assert value == total_variation(student, teacher).item()
    assert 0 <= value <= 1 + 1e-12
    assert value <= math.sqrt(max(kl(teacher, student).item(), 0) / 2) + 1e-12
    third = tempered(torch.zeros_like(teacher), 1.0)
    assert value <= total_variation(teacher, third).item() + total_variation(third, student).item() + 1e-12


def test_temperature_times_total_variation_tends_to_half_the_mean_centred_difference() -> None:
    """softmax(z / T) = (1 + centred z / T) / N + O(1 / T²), whence the factor T, and not T²."""
    teacher, student = normal(3, 5, seed=1), normal(3, 5, seed=2)
    centred = (teacher - teacher.mean(-1, keepdim=True)) - (student - student.mean(-1, keepdim=True))
    value = 1e4 * DenseTargets(teacher).divergence(total_variation, student, 1e4)
    assert torch.allclose(value, centred.abs().mean(dim=-1) / 2, rtol=1e-3)


@pytest.mark.parametrize(
    ("divergence", "share"),
    [
        (reverse_kl, 1.0),
        (JensenShannon(0.3), 0.21),
        (SkewKL(0.3), 0.49),
        (SkewKL(0.3, True), 0.49),
        (AdaptiveKL(0.5), 1.0),
    ],
)
def test_squared_temperature_times_any_of_them_tends_to_a_share_of_kl(divergence: Divergence, share: float) -> None:
    teacher, student, hot = normal(3, 5, seed=1), normal(3, 5, seed=2), 1e4
    targets = DenseTargets(teacher)
    value = targets.divergence(divergence, student, hot) / targets.divergence(kl, student, hot)
    assert torch.allclose(value, torch.full_like(value, share), rtol=1e-3)


@pytest.mark.parametrize(
    ("student", "share"),
    [
        ((0.3, 0.2, 0.3, 0.2), 0.5),  # off by 0.1, 0.1, 0.1, 0.1, and the head is the first two
        ((0.4, 0.3, 0.1, 0.2), 0.0),  # right in the head
        ((0.3, 0.4, 0.2, 0.1), 1.0),  # right in the tail
        ((0.1, 0.3, 0.2, 0.4), 0.5),
    ],
)
def test_adaptive_kl_weighs_by_where_the_error_is(student: tuple[float, ...], share: float) -> None:
    teacher, said = logs(0.4, 0.3, 0.2, 0.1), logs(*student).requires_grad_()
    value = AdaptiveKL(0.75)(teacher, said)
    both = kl(teacher, said), reverse_kl(teacher, said)
    assert value.item() == pytest.approx(share * both[0].item() + (1 - share) * both[1].item(), rel=1e-12)
    found, expected = (
        torch.autograd.grad(total, said)[0] for total in (value, share * both[0] + (1 - share) * both[1])
    )
    assert torch.allclose(found, expected, rtol=1e-12), "the share has no gradient"


def test_the_likeliest_symbol_is_in_the_head_and_the_one_that_exceeds_it_is_not() -> None:
    """Head 0.5: of (0.7, 0.3) the first, although it is more; of (0.4, 0.35, 0.25) the first alone."""
    for probabilities, student, share in (
        ((0.7, 0.3), (0.6, 0.4), 0.5),
        ((0.4, 0.35, 0.25), (0.4, 0.25, 0.35), 0.0),
        ((0.25, 0.35, 0.4), (0.35, 0.35, 0.3), 0.5),
    ):
        teacher, said = logs(*probabilities), logs(*student)
        expected = share * kl(teacher, said) + (1 - share) * reverse_kl(teacher, said)
        assert AdaptiveKL(0.5)(teacher, said).item() == pytest.approx(expected.item(), rel=1e-9)


# Standardised logits


@laws
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=6, unique=True), st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_standardised_logits_know_neither_level_nor_spread(values: list[float], scale: float, shift: float) -> None:
    logits = torch.tensor(values, dtype=torch.float64).round(decimals=2)
    if logits.max() - logits.min() < 0.1:
        return
    found = standardised(logits)
    assert found.mean().item() == pytest.approx(0, abs=1e-10)
    assert found.square().mean().item() == pytest.approx(1, rel=1e-12)
    assert found.abs().max().item() <= math.sqrt(len(values) - 1) * (1 + 1e-9)
    assert torch.allclose(standardised(scale * logits + shift), found, atol=1e-6)


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1.0, 1e20, 1e38])
def test_standardised_logits_at_any_size(size: float) -> None:
    logits = (torch.tensor([[1.0, 2.0, -1.0]]) * size).requires_grad_()
    found = standardised(logits)
    assert torch.allclose(found, standardised(torch.tensor([[1.0, 2.0, -1.0]])), rtol=1e-4)
    found[0, 0].backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_logits_that_are_all_alike_are_standardised_to_zeros_without_gradient(value: float) -> None:
    logits = torch.full((2, 7), value).requires_grad_()
    found = standardised(logits)
    (found * torch.arange(7.0)).sum().backward()
    assert (found == 0).all()
    assert logits.grad is not None
    assert (logits.grad == 0).all()
    assert standardised(logits.detach().bfloat16()).dtype == torch.float32
