"""Divergences and dense targets: closed forms, limits, and symbols without probability."""

import math

import pytest
import torch
from torch import Tensor

from limbeck.divergences import kl, tempered
from limbeck.targets import DenseTargets, SoftTargets


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

    def total_variation(teacher: Tensor, student: Tensor) -> Tensor:
        return (teacher.exp() - student.exp()).abs().sum(dim=-1) / 2

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
