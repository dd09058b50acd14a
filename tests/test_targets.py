"""Every kind of soft targets: held to plain loops in value and gradient, and to the laws of merging symbols."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from targets_by_hand import by_hand, merged, slope
from torch import Tensor

from limbeck.divergences import (
    AdaptiveKL,
    Divergence,
    JensenShannon,
    SkewKL,
    is_monotone,
    kl,
    reverse_kl,
    tempered,
    total_variation,
)
from limbeck.errors import TeacherError
from limbeck.targets.dense import DenseTargets
from limbeck.targets.distance import distances
from limbeck.targets.hidden import HiddenTargets
from limbeck.targets.protocol import SoftTargets
from limbeck.targets.topk import TopKTargets

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
MERGING = [divergence for divergence in EVERY if is_monotone(divergence)]
TEMPERATURES = (1.0, 2.0, 4.0, 20.0)
ROWS, SYMBOLS, WIDTH, KEPT = 3, 7, 5, 3


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


HIDDEN, HEAD, BIAS = normal(ROWS, WIDTH, seed=1), normal(SYMBOLS, WIDTH, seed=2), normal(SYMBOLS, seed=3)
LOGITS = {
    "dense": 2 * normal(ROWS, SYMBOLS, seed=4),
    "top 3": 2 * normal(ROWS, SYMBOLS, seed=4),
    "top 7": 2 * normal(ROWS, SYMBOLS, seed=4),
    "hidden": HIDDEN @ HEAD.T,
    "hidden with a bias": HIDDEN @ HEAD.T + BIAS,
}
KINDS: dict[str, Callable[[], SoftTargets]] = {
    "dense": lambda: DenseTargets(LOGITS["dense"]),
    "top 3": lambda: TopKTargets.of(LOGITS["top 3"], KEPT, TEMPERATURES),
    "top 7": lambda: TopKTargets.of(LOGITS["top 7"], 64, (3.0,)),
    "hidden": lambda: HiddenTargets(HIDDEN, HEAD),
    "hidden with a bias": lambda: HiddenTargets(HIDDEN, HEAD, BIAS),
}
every_temperature = pytest.mark.parametrize("temperature", TEMPERATURES)
every_divergence = pytest.mark.parametrize("divergence", EVERY, ids=lambda divergence: divergence.__name__)
merging = pytest.mark.parametrize("divergence", MERGING, ids=lambda divergence: divergence.__name__)


def largest(row: list[float], count: int) -> list[int]:
    return sorted(range(len(row)), key=lambda symbol: -row[symbol])[:count]


def expected(
    divergence: Divergence, theirs: list[float], ours: list[float], symbols: list[int], temperature: float
) -> tuple[float, list[float]]:
    """The divergence of the distributions over these symbols and the others as one, and its gradient in `ours`."""
    p, q = merged(theirs, symbols, temperature), merged(ours, symbols, temperature)

    def value(logits: Sequence[float]) -> float:
        return by_hand(divergence, p, merged(logits, symbols, temperature), held=q)

    return value(ours), slope(value, ours)


@every_temperature
@every_divergence
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_are_the_definitions(kind: str, divergence: Divergence, temperature: float) -> None:
    targets, kept = KINDS[kind](), KEPT if kind == "top 3" else SYMBOLS
    assert isinstance(targets, SoftTargets)
    student = (2 * normal(ROWS, SYMBOLS, seed=5)).requires_grad_()
    if kept < SYMBOLS and not is_monotone(divergence):
        with pytest.raises(TeacherError, match="merging symbols can raise it"):
            targets.divergence(divergence, student, temperature)
        return
    weights = torch.arange(1, ROWS + 1, dtype=torch.float64)
    values = targets.divergence(divergence, student, temperature)
    (gradients,) = torch.autograd.grad((weights * values).sum(), student)
    for row, (theirs, ours) in enumerate(zip(LOGITS[kind].tolist(), student.tolist(), strict=True)):
        value, gradient = expected(divergence, theirs, ours, largest(theirs, kept), temperature)
        assert values[row].item() == pytest.approx(value, rel=1e-11, abs=1e-15)
        assert (gradients[row] / weights[row]).tolist() == pytest.approx(gradient, rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_positions_answer_for_themselves(kind: str) -> None:
    targets, student = KINDS[kind](), normal(ROWS, SYMBOLS, seed=6)
    whole = targets.divergence(kl, student, 2.0)
    for index in (slice(1, 3), torch.tensor([2, 0, 1]), torch.tensor([True, False, True])):
        some = targets.rows(index).divergence(kl, student[index], 2.0)
        assert torch.allclose(some, whole[index], rtol=1e-12, atol=0)
    assert torch.equal(targets.to(torch.device("cpu")).divergence(kl, student, 2.0), whole)


# The largest logits


@dataclass(frozen=True)
class Pair:
    """Logits of two models, how many are kept, and a temperature; `rounding` bounds a log-probability's error."""

    teacher: Tensor
    student: Tensor
    k: int
    temperature: float

    @property
    def targets(self) -> TopKTargets:
        return TopKTargets.of(self.teacher, self.k, (self.temperature,))

    @property
    def rounding(self) -> float:
        eps = torch.finfo(torch.promote_types(self.teacher.dtype, torch.float32)).eps
        finite = [logits[logits.isfinite()].double().abs().max().item() for logits in (self.teacher, self.student)]
        return 16 * eps * (1 + max(finite) / self.temperature)


@st.composite
def pairs(draw: st.DrawFn, ruled_out: bool = True) -> Pair:
    size, rows = draw(st.integers(2, 9)), draw(st.sampled_from([(3,), (2, 2), (1,)]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
    sides, ruled_out = [], ruled_out and draw(st.booleans())
    # What is infinite because one model rules out what the other says is so only as long as the other can say it: at
    # larger scales a probability would be 0 in float32.
    scales = [1e-3, 1.0, 10.0] if ruled_out else [1e-3, 1.0, 30.0, 1e3]
    for _ in range(2):
        logits = draw(st.sampled_from(scales)) * torch.randn(*rows, size, generator=generator)
        if ruled_out and draw(st.booleans()):
            # The first symbol stays: a model that rules out everything says nothing.
            logits[..., 1:] = torch.where(
                torch.rand(*rows, size - 1, generator=generator) < 0.5, -math.inf, logits[..., 1:]
            )
        sides.append(logits.to(dtype))
    return Pair(*sides, draw(st.integers(1, size)), draw(st.sampled_from(TEMPERATURES)))


laws = settings(max_examples=30, deadline=None, derandomize=True)


@merging
@laws
@given(pair=pairs())
def test_of_any_logits_it_is_the_divergence_over_k_symbols_and_the_others_as_one(
    divergence: Divergence, pair: Pair
) -> None:
    values = pair.targets.divergence(divergence, pair.student, pair.temperature)
    assert values.shape == pair.teacher.shape[:-1]
    assert values.dtype == torch.promote_types(pair.teacher.dtype, torch.float32)
    sides = (side.double().flatten(0, -2).tolist() for side in (pair.teacher, pair.student))
    symbols = pair.targets.symbols.flatten(0, -2).tolist()
    for found, theirs, ours, kept in zip(values.flatten().tolist(), *sides, symbols, strict=True):
        p, q = merged(theirs, kept, pair.temperature), merged(ours, kept, pair.temperature)
        assert found == pytest.approx(by_hand(divergence, p, q), rel=pair.rounding, abs=pair.rounding)


@merging
@laws
@given(pair=pairs())
def test_it_is_never_above_dense(divergence: Divergence, pair: Pair) -> None:
    merged = pair.targets.divergence(divergence, pair.student.double(), pair.temperature)
    dense = DenseTargets(pair.teacher.double()).divergence(divergence, pair.student.double(), pair.temperature)
    assert (merged <= dense + 4 * pair.rounding * (1 + dense)).all()
    assert (merged >= -pair.rounding).all()


@merging
@laws
@given(pair=pairs())
def test_of_equal_models_it_is_zero(divergence: Divergence, pair: Pair) -> None:
    said = pair.teacher.clone().requires_grad_()
    value = pair.targets.divergence(divergence, said, pair.temperature)
    assert value.abs().max() == 0 if divergence in (kl, reverse_kl) else value.abs().max() <= pair.rounding
    value.sum().backward()
    if divergence is not total_variation:  # which has a corner there
        assert said.grad is not None and said.grad.abs().max() <= 2 * pair.rounding


@every_divergence
@laws
@given(pair=pairs())
def test_with_every_symbol_kept_it_is_dense_at_any_temperature(divergence: Divergence, pair: Pair) -> None:
    targets = TopKTargets.of(pair.teacher, pair.teacher.shape[-1], (3.0,))
    assert targets.tails.isneginf().all()
    assert targets.refuses(divergence, pair.temperature) is None
    found = []
    for each in (targets, DenseTargets(pair.teacher)):
        said = pair.student.clone().requires_grad_()
        value = each.divergence(divergence, said, pair.temperature)
        found.append((value, torch.autograd.grad(value.sum(), said)[0][value.isfinite()]))
    for ours, dense in zip(*found, strict=True):
        assert torch.equal(ours, dense)


@merging
@laws
@given(pair=pairs(ruled_out=False), shift=st.floats(-50, 50))
def test_neither_the_order_of_symbols_nor_a_constant_in_a_row_counts(
    divergence: Divergence, pair: Pair, shift: float
) -> None:
    kept, student = TopKTargets.of(pair.teacher.double(), pair.k, (pair.temperature,)), pair.student.double()
    turned = TopKTargets(
        kept.symbols.flip(-1).int(),
        kept.logits.flip(-1) - shift,
        kept.tails - shift / pair.temperature,
        kept.temperatures,
        kept.size,
    )
    first, second = (each.divergence(divergence, student, pair.temperature) for each in (kept, turned))
    bound = pair.rounding + 1e-13 * (1 + abs(shift))
    assert torch.allclose(first, second, rtol=bound, atol=bound)


@merging
@laws
@given(pair=pairs())
def test_gradients_of_finite_values_are_finite_and_sum_to_zero(divergence: Divergence, pair: Pair) -> None:
    """A constant added to all logits of a row changes nothing; an infinite value has no gradient."""
    said = pair.student.clone().requires_grad_()
    value = pair.targets.divergence(divergence, said, pair.temperature)
    gradient = torch.autograd.grad(value.sum(), said)[0][value.isfinite()]
    assert not value.isnan().any()
    assert gradient.isfinite().all() and gradient.dtype == said.dtype
    off, size = gradient.double().sum(dim=-1).abs(), gradient.double().abs().sum(dim=-1)
    assert (off <= 16 * torch.finfo(said.dtype).eps * (1 + size) + pair.rounding).all()


@merging
def test_the_gradient_of_a_student_in_half_precision_is_that_of_the_numbers_it_stands_for(
    divergence: Divergence,
) -> None:
    teacher, student = normal(4, 40, seed=7), (3 * normal(4, 40, seed=8)).bfloat16()
    targets, found = TopKTargets.of(teacher, 5, (2.0,)), []
    for said in (student.requires_grad_(), student.detach().double().requires_grad_()):
        found += torch.autograd.grad(targets.divergence(divergence, said, 2.0).sum(), said)
    assert torch.allclose(found[0].double(), found[1], rtol=2**-7, atol=1e-7)


def test_a_symbol_of_a_bundled_tail_pulls_as_much_as_its_share() -> None:
    """d KL / d student = (q − p') / T, where p' spreads the teacher's tail as the student spreads its own."""
    teacher, student = normal(2, 9, seed=9), normal(2, 9, seed=10).requires_grad_()
    targets = TopKTargets.of(teacher, 4, (2.0,))
    (gradient,) = torch.autograd.grad(targets.divergence(kl, student, 2.0).sum(), student)
    p, q = (tempered(side.detach(), 2.0).exp() for side in (teacher, student))
    inside = torch.zeros_like(p, dtype=torch.bool).scatter(-1, targets.symbols, True)
    tails = [side.masked_fill(inside, 0.0).sum(dim=-1, keepdim=True) for side in (p, q)]
    spread = torch.where(inside, p, q * tails[0] / tails[1])
    assert torch.allclose(gradient, (q - spread) / 2, rtol=1e-12, atol=1e-15)


def test_a_tail_far_below_rounding_keeps_its_value() -> None:
    """Of 1 minus the sum of the kept nothing would be left: the tail is e^-60."""
    teacher = torch.tensor([0.0, -61.0, -61.0, -61.0])
    student = torch.tensor([0.0, -50.0, -50.0, -52.0], requires_grad=True)
    value = TopKTargets.of(teacher, 1, (1.0,)).divergence(reverse_kl, student, 1.0)
    (gradient,) = torch.autograd.grad(value, student)
    found, slopes = expected(reverse_kl, teacher.tolist(), student.tolist(), [0], 1.0)
    # What the kept symbol adds is a tenth, and below the rounding of 1.
    assert value.item() == pytest.approx(found, rel=0.2, abs=0)
    assert gradient.tolist()[1:] == pytest.approx(slopes[1:], rel=0.2, abs=0)


def test_a_tail_softened_as_one_symbol_is_wrong_and_ours_is_not() -> None:
    """DistillKit 1.0.0 softens the teacher's tail as one symbol and the student's symbol by symbol.

    At T=1 that is the same. At T=2 equal models with a flat tail are then about 2 nats apart.
    """
    size, k = 49_152, 64
    logits = torch.cat([torch.linspace(9.0, 5.0, k, dtype=torch.float64), torch.zeros(size - k).double()])
    right = TopKTargets.of(logits, k, (1.0, 2.0))
    as_one = torch.stack([right.tails[0], right.tails[0] / 2])
    wrong = TopKTargets(right.symbols, right.logits, as_one, right.temperatures, size)
    assert wrong.divergence(kl, logits, 1.0).item() == 0
    assert 1.8 < wrong.divergence(kl, logits, 2.0).item() < 3
    assert right.divergence(kl, logits, 2.0).item() == 0


def test_probability_outside_of_the_kept_symbols_costs_the_student_in_reverse() -> None:
    """Without a tail the reverse KL falls when the student moves its probability out of the kept symbols' reach."""
    teacher = torch.tensor([0.6, 0.3, 0.06, 0.04], dtype=torch.float64).log()
    targets = TopKTargets.of(teacher[None], 2, (1.0,))
    ours, renormalised = [], []
    for outside in (0.1, 0.5, 0.9, 0.99):
        inside = (1 - outside) * torch.tensor([0.5, 0.5], dtype=torch.float64)
        student = torch.cat([inside, torch.full((2,), outside / 2, dtype=torch.float64)]).log()
        ours.append(float(targets.divergence(reverse_kl, student[None], 1.0)))
        # What is minimised where the sum goes over the kept symbols alone, of the student's own probabilities.
        renormalised.append(float((student[:2].exp() * (student[:2] - teacher[:2])).sum()))
    assert ours == sorted(ours) and ours[-1] > 1
    assert renormalised[-1] < 0 < ours[0] and renormalised[-1] < renormalised[0] + 0.1
    rest = torch.tensor([0.45, 0.45, 0.1], dtype=torch.float64).log()
    merged = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log()
    assert ours[0] == pytest.approx(float(reverse_kl(merged, rest)), rel=1e-12)


def test_what_it_refuses_it_refuses_by_name_and_says_what_to_record() -> None:
    targets, student = TopKTargets.of(normal(2, 9, seed=1), 4, (1.0, 4.0)), normal(2, 9, seed=2)
    assert targets.refuses(kl, 4.0) is None
    with pytest.raises(
        TeacherError, match=r"cannot answer kl at T=2: the tails were stored at T=1, 4 alone.*T=2 among"
    ):
        targets.divergence(kl, student, 2.0)
    with pytest.raises(TeacherError, match=r"adaptive_kl\(head=0.5\).*the 4 largest of 9 logits.*record all logits"):
        targets.divergence(AdaptiveKL(0.5), student, 1.0)

    def outsiders(teacher: Tensor, student: Tensor) -> Tensor:
        return kl(teacher, student)

    assert "does not declare itself monotone" in (targets.refuses(outsiders, 1.0) or "")


def test_merging_symbols_can_raise_adaptive_kl() -> None:
    """Why it is refused. The head of all four symbols is the first, which is right: the reverse KL alone, 0.57.

    With the last two in one, which is then the likeliest, that one is the head, and half of the error is there: half of
    each KL. They are as they were, since merging symbols that are off by the same factor changes neither.
    """
    teacher, student = (
        torch.tensor(side, dtype=torch.float64).log() for side in ([0.35, 0.25, 0.2, 0.2], [0.35, 0.64, 0.005, 0.005])
    )
    divergence = AdaptiveKL(0.5)
    both = [torch.cat([side[:2], side[2:].logsumexp(0, keepdim=True)]) for side in (teacher, student)]
    assert kl(*both).item() == pytest.approx(kl(teacher, student).item(), rel=1e-12)
    assert divergence(teacher, student).item() == pytest.approx(reverse_kl(teacher, student).item(), rel=1e-12)
    assert divergence(*both).item() > 1.5 * divergence(teacher, student).item()
    assert [each for each in EVERY if not is_monotone(each)] == [divergence]


# How far from dense


def test_the_distance_from_dense_is_that_of_value_and_gradient() -> None:
    teacher, student = normal(2, 6, seed=1), normal(2, 6, seed=2)
    found = distances(TopKTargets.of(teacher, 2, (1.0, 4.0)), teacher, student, kl, (1.0, 4.0))
    assert [each.temperature for each in found] == [1.0, 4.0]
    for each in found:
        sides = [list(zip(teacher.tolist(), student.tolist(), strict=True))] * 2
        dense, kept = (
            [expected(kl, p, q, largest(p, count), each.temperature) for p, q in side]
            for side, count in zip(sides, (6, 2), strict=True)
        )
        assert each.dense == pytest.approx(sum(value for value, _ in dense) / 2, rel=1e-11)
        assert each.kept == pytest.approx(sum(value for value, _ in kept) / 2, rel=1e-11)
        whole, part = ([number for _, slope in side for number in slope] for side in (dense, kept))
        length = math.dist(whole, [0.0] * 12)
        assert each.gradient == pytest.approx(math.dist(whole, part) / length, rel=1e-6)
        cosine = sum(a * b for a, b in zip(whole, part, strict=True)) / length / math.dist(part, [0.0] * 12)
        assert each.cosine == pytest.approx(cosine, rel=1e-6)


def test_dense_is_at_no_distance_from_dense_and_equal_models_are_at_none() -> None:
    teacher = normal(2, 6, seed=1)
    (same,) = distances(DenseTargets(teacher), teacher, normal(2, 6, seed=2), kl, (2.0,))
    assert (same.gradient, same.dense - same.kept) == (0.0, 0.0)
    assert same.cosine == pytest.approx(1.0)
    flat = torch.zeros(2, 4, dtype=torch.float64)
    (none,) = distances(TopKTargets.of(flat, 2, (1.0,)), flat, flat, kl, (1.0,))
    assert (none.dense, none.kept) == (0.0, 0.0)
