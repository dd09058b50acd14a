"""Draws from the teacher: what they estimate, that it is right on average, and that they can be drawn again.

The statistical tests have fixed draws. A mean of 20,000 independent estimates that are right on average is further than
5 standard errors from what it estimates in one of 1.7 million; there are about 100 such numbers here, once and for all.
"""

import math

import pytest
import torch
from targets_by_hand import forward, slope, softmax
from torch import Tensor

from limbeck.divergences import JensenShannon, kl, reverse_kl, tempered
from limbeck.errors import TeacherError
from limbeck.replay import Draw
from limbeck.targets.dense import DenseTargets
from limbeck.targets.protocol import SoftTargets
from limbeck.targets.sampled import SampledTargets

TIMES, BOUND = 20_000, 5.0


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


TEACHER, STUDENT = 3 * normal(6, seed=1), 1.5 * normal(6, seed=2)


def uniforms(rows: int, *shape: int, seed: int = 0, view: int = 0) -> Tensor:
    return Draw.of(torch.arange(rows), seed, view, "targets").uniforms(*shape)


def drawn(draws: int, temperature: float = 1.0, proposal: float = 1.0, seed: int = 0) -> SampledTargets:
    """The same row, drawn for many times over."""
    return SampledTargets.of(TEACHER.expand(TIMES, -1), uniforms(TIMES, draws, seed=seed), temperature, proposal)


def estimates(targets: SampledTargets, temperature: float) -> Tensor:
    """Value and gradient of each time, side by side."""
    said = STUDENT.expand(TIMES, -1).clone().requires_grad_()
    value = targets.divergence(kl, said, temperature)
    (gradient,) = torch.autograd.grad(value.sum(), said)
    return torch.cat([value.detach()[:, None], gradient], dim=1)


def dense(temperature: float) -> Tensor:
    said = STUDENT.clone().requires_grad_()
    value = DenseTargets(TEACHER).divergence(kl, said, temperature)
    return torch.cat([value.detach()[None], *torch.autograd.grad(value, said)])


def standard_errors_away(found: Tensor, expected: Tensor) -> Tensor:
    """How far the mean of independent estimates is from what they should estimate."""
    return (found.mean(dim=0) - expected) / (found.std(dim=0) / math.sqrt(len(found)))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0, 20.0])
@pytest.mark.parametrize(("draws", "proposal"), [(1, 1.0), (5, 1.0), (2, 0.6), (2, 1.3)])
def test_value_and_gradient_are_right_on_average(draws: int, proposal: float, temperature: float) -> None:
    found = estimates(drawn(draws, temperature, proposal), temperature)
    assert standard_errors_away(found, dense(temperature)).abs().max() < BOUND
    # And not because the estimates were too noisy to tell: the mean is right to a twentieth of the value.
    assert found[:, 0].std() / math.sqrt(TIMES) < 0.05 * dense(1.0)[0]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_the_likeliest_symbols_renormalised_are_not_right_on_average(count: int) -> None:
    """The same measure sees the bias of what DistillKit calls a missing tail of `zero`, in value and gradient."""
    found = estimates(drawn(count), 1.0)
    kept = torch.full_like(TEACHER, -math.inf).index_copy(0, *reversed(TEACHER.topk(count)))
    said = STUDENT.clone().requires_grad_()
    value = DenseTargets(kept).divergence(kl, said, 1.0)
    renormalised = torch.cat([value.detach()[None], *torch.autograd.grad(value, said)])
    away = standard_errors_away(found, renormalised).abs()
    assert away[0] > 4 * BOUND and away[1:].max() > 4 * BOUND


def test_weights_of_a_proposal_that_are_renormalised_are_not_right_on_average() -> None:
    targets = drawn(2, proposal=0.6)
    assert targets.ratios is not None
    weights = targets.counts / 2 * targets.ratios
    renormalised = weights / weights.sum(dim=1, keepdim=True)
    # With weights that sum to 1 the gradient is the student's probabilities less what the teacher is taken to say.
    taken = torch.zeros(TIMES, 6).double().scatter_add(1, targets.symbols, renormalised)
    gradient = tempered(STUDENT, 1.0).exp() - taken
    assert standard_errors_away(gradient, dense(1.0)[1:]).abs().max() > 2 * BOUND


def test_one_estimate_is_the_mean_surprise_of_the_draws_less_the_entropy() -> None:
    """Written out for each row, value and gradient, with a symbol that the teacher never says."""
    teacher = torch.cat([normal(4, 2, 5, seed=3), torch.full((4, 2, 1), -math.inf, dtype=torch.float64)], dim=-1)
    student, numbers = normal(4, 2, 6, seed=4).requires_grad_(), uniforms(4, 2, 7)
    targets = SampledTargets.of(teacher, numbers, 2.0)
    assert isinstance(targets, SoftTargets)
    values = targets.divergence(kl, student, 2.0)
    (gradients,) = torch.autograd.grad(values.sum(), student)
    assert values.shape == (4, 2)
    assert not (targets.symbols == 5).any() and (targets.counts.sum(dim=-1) == 7).all()
    for row in range(4):
        for position in range(2):
            p = softmax(teacher[row, position].tolist(), 2.0)
            negative_entropy = forward(p, [0.0] * 6)
            symbols = [
                next(place for place in range(6) if math.fsum(map(math.exp, p[: place + 1])) > number)
                for number in numbers[row, position].tolist()
            ]

            def estimate(logits: list[float], symbols: list[int] = symbols, less: float = negative_entropy) -> float:
                q = softmax(logits, 2.0)
                return less - math.fsum(q[symbol] for symbol in symbols) / 7

            ours = student[row, position].tolist()
            assert values[row, position].item() == pytest.approx(estimate(ours), rel=1e-11, abs=1e-14)
            assert gradients[row, position].tolist() == pytest.approx(slope(estimate, ours), rel=1e-7, abs=1e-10)


def test_a_student_that_rules_out_a_symbol_pays_for_it_only_where_it_was_drawn() -> None:
    teacher = torch.tensor([0.0, 0.0, -math.inf, 1.0])
    numbers = torch.tensor([[0.99, 0.99], [0.99, 0.01]], dtype=torch.float64)
    targets = SampledTargets.of(teacher.expand(2, -1), numbers)
    assert targets.symbols.tolist() == [[3, 0], [0, 3]] and targets.counts.tolist() == [[2, 0], [1, 1]]
    student = torch.tensor([[-math.inf, 0.0, 0.0, 0.0]]).expand(2, -1).clone().requires_grad_()
    value = targets.divergence(kl, student, 1.0)
    entropy = math.log(2 + math.e) - math.e / (2 + math.e)
    assert value.tolist() == pytest.approx([math.log(3) - entropy, math.inf])
    gradient = torch.autograd.grad(value[0], student)[0][0]
    assert gradient.tolist() == pytest.approx([0.0, 1 / 3, 1 / 3, -2 / 3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_logits_answer_as_what_they_stand_for(dtype: torch.dtype) -> None:
    teacher, student = (3 * normal(5, 40, seed=seed).to(dtype) for seed in (5, 6))
    targets, found = SampledTargets.of(teacher, uniforms(5, 12), 2.0), []
    for said in (student.requires_grad_(), student.detach().double().requires_grad_()):
        value = targets.divergence(kl, said, 2.0)
        found.append((value, *torch.autograd.grad(value.sum(), said)))
    assert found[0][0].dtype == torch.float32 and found[0][1].dtype == dtype
    assert torch.allclose(found[0][0].double(), found[1][0], rtol=1e-5, atol=1e-5)
    assert torch.allclose(found[0][1].double(), found[1][1], rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_draws_follow_from_seed_id_view_and_position_alone() -> None:
    """However rows are put together, in whatever order, and however many positions follow."""
    teacher = normal(8, 5, 30, seed=7)

    def of(ids: Tensor, positions: int, seed: int = 3, view: int = 1) -> SampledTargets:
        return SampledTargets.of(teacher[ids, :positions], Draw.of(ids, seed, view, "targets").uniforms(positions, 12))

    whole, some = of(torch.arange(8), 5), of(torch.tensor([6, 2]), 3)
    width = some.symbols.shape[-1]
    for field in ("symbols", "counts"):
        assert torch.equal(getattr(some, field), getattr(whole, field)[[6, 2], :3, :width])
    assert torch.equal(some.entropy, whole.entropy[[6, 2], :3])
    for other in (of(torch.arange(8), 5, seed=4), of(torch.arange(8), 5, view=2)):
        assert (other.counts.shape != whole.counts.shape) or not torch.equal(other.symbols, whole.symbols)


def test_uniforms_are_uniform_and_each_of_its_own() -> None:
    found = uniforms(200, 5, 20)
    assert found.shape == (200, 5, 20) and found.dtype == torch.float64
    assert found.min() >= 0 and found.max() < 1
    assert len(found.unique()) == found.numel()
    counts = torch.histc(found, 20, 0, 1)
    # Chi-squared with 19 degrees of freedom is above 52 in one of 15,000.
    assert ((counts - 1000).square() / 1000).sum() < 52
    assert abs(torch.corrcoef(found.reshape(-1, 20).T).fill_diagonal_(0)).max() < 5 / math.sqrt(1000)


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([4, 0]), torch.tensor([True, False, False, True, True])])
@pytest.mark.parametrize("proposal", [1.0, 0.5])
def test_rows_of_draws_answer_for_those_rows(index: slice | Tensor, proposal: float) -> None:
    teacher, student = normal(5, 6, seed=8), normal(5, 6, seed=9)
    targets = SampledTargets.of(teacher, uniforms(5, 4), 2.0, proposal).to(torch.device("cpu"))
    whole = targets.divergence(kl, student, 2.0)
    assert torch.equal(targets.rows(index).divergence(kl, student[index], 2.0), whole[index])


def test_draws_answer_forward_kl_at_their_temperature_and_refuse_the_rest_by_name() -> None:
    targets, student = SampledTargets.of(TEACHER[None], uniforms(1, 4), 2.0), STUDENT[None]
    assert targets.refuses(kl, 2.0) is None
    for divergence in (reverse_kl, JensenShannon(0.5)):
        with pytest.raises(TeacherError, match=r"the forward kl alone; record the largest logits"):
            targets.divergence(divergence, student, 2.0)
    with pytest.raises(TeacherError, match=r"cannot answer kl at T=1: the draws are from the distribution at T=2"):
        targets.divergence(kl, student, 1.0)
    assert targets.kept == "draws from 6 symbols at T=2"
