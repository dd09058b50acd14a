"""A student that says hidden states is taught as one that says logits: the same loss and gradients, slice by slice."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_cases import built, cases_where, gradients, same, tensors_of
from reference import Case
from torch import Tensor

from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task
from limbeck.divergences import kl
from limbeck.errors import ObjectiveError
from limbeck.objective import Objective
from limbeck.signals import Batch, Signals
from limbeck.targets import hidden
from limbeck.targets.sampled import SampledTargets
from limbeck.targets.topk import TopKTargets

ROWS, STEPS, WIDTH, CLASSES = 3, 5, 4, 11


def wide(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Pair:
    """Two networks that end in heads, and a batch with padding, prompts and whole rows of which nothing counts."""

    def __init__(self, seed: int = 0) -> None:
        self.hidden, self.weight, self.bias = (
            wide(*shape, seed=seed + place).requires_grad_()
            for place, shape in enumerate([(ROWS, STEPS, WIDTH), (CLASSES, WIDTH), (CLASSES,)])
        )
        self.uniforms = wide(ROWS, STEPS, 6, seed=seed + 5).sigmoid()
        self.theirs, self.head = wide(ROWS, STEPS, 6, seed=seed + 3), wide(CLASSES, 6, seed=seed + 4)
        known = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 0, 1, 1]], dtype=torch.bool)
        labels = torch.where(known, torch.arange(ROWS * STEPS).view(ROWS, STEPS) % CLASSES, -1)
        ids = torch.arange(ROWS)
        self.batch = Batch(ids, labels, known, known, ids, torch.zeros_like(ids), task("sequence"))

    @property
    def leaves(self) -> list[Tensor]:
        return [self.hidden, self.weight, self.bias]

    def dense(self) -> Signals:
        return Signals.dense(self.hidden @ self.weight.T + self.bias)

    def headed(self) -> Signals:
        return Signals.hidden(self.hidden, self.weight, self.bias)

    def teachers(self) -> Mapping[str, Signals]:
        logits = self.theirs @ self.head.T
        return {
            "dense": Signals.dense(logits),
            "hidden": Signals.hidden(self.theirs, self.head),
            "top 3": Signals(targets=TopKTargets.of(logits, 3, (1.0, 2.0, 4.0))),
            "drawn": Signals(targets=SampledTargets.of(logits, self.uniforms)),
        }


def learnt(made: Objective, student: Signals, teacher: Signals, batch: Batch, leaves: list[Tensor], **counts: object):
    loss = made.loss(student, teacher, batch, **counts)
    return loss, torch.autograd.grad(loss.total, leaves)


SIZES = {
    "one by one": (1, 1),
    "three, two of them at once": (3, 2),
    "all, two at once": (1 << 20, 2),
    "all": (1 << 20,) * 2,
}


@pytest.fixture(params=list(SIZES))
def sliced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many positions are multiplied with the head together, and about how many methods are asked at once."""
    together, at_once = SIZES[request.param]
    monkeypatch.setattr(hidden, "_LOGITS", together * CLASSES)
    monkeypatch.setattr(hidden, "_AT_ONCE", at_once * CLASSES)


@pytest.mark.usefixtures("sliced")
@pytest.mark.parametrize(
    ("teacher", "temperature"),
    [*((kind, value) for kind in ("dense", "hidden", "top 3") for value in (1.0, 2.0, 4.0)), ("drawn", 1.0)],
)
def test_loss_and_gradients_through_the_head_are_those_of_all_logits(teacher: str, temperature: float) -> None:
    pair = Pair()
    made = objective(f"0.9 * kd(temperature={temperature}) + 0.1 * labels")
    says = pair.teachers()[teacher]
    expected, slopes = learnt(made, pair.dense(), says, pair.batch, pair.leaves)
    found, others = learnt(made, pair.headed(), says, pair.batch, pair.leaves)
    same(found.total, expected.total)
    assert list(found.terms) == list(expected.terms)
    for name, value in expected.terms.items():
        same(found.terms[name], value)
    for mine, theirs in zip(others, slopes, strict=True):
        same(mine, theirs)


def _per_row(name: str, case: Case) -> bool:
    made = built(name, case)
    needs = made.needs()
    return made.per_row and not needs.student_layers and case.batch.mask.ndim == 1 and not needs.members


@pytest.mark.usefixtures("sliced")
@cases_where(_per_row)
def test_every_method_that_reads_logits_row_by_row_serves_a_student_that_says_hidden_states(
    name: str, case: Case
) -> None:
    made = built(name, case)
    logits = tensors_of(case.student)["logits"].detach()
    results = []
    for through in (False, True):
        made.zero_grad()
        leaf = logits.clone().requires_grad_()
        identity = torch.eye(leaf.shape[-1], dtype=leaf.dtype)
        said = Signals.hidden(leaf, identity) if through else Signals.dense(leaf)
        total = made.loss(said, replace(case.teacher, features={}), case.batch).total
        if total.requires_grad:
            total.backward()
        own = {key: value for key, value in gradients(made, Signals.dense(leaf)).items() if key != "logits"}
        results.append((total.detach(), leaf.grad if leaf.grad is not None else torch.zeros_like(leaf), own))
    (expected, slope, theirs), (found, through_slope, own) = results
    same(found, expected, 1e-10)
    same(through_slope, slope, 1e-10)
    for key, value in theirs.items():
        same(own[key], value, 1e-10)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_slices_of_a_batch_sum_to_the_whole(seed: int) -> None:
    pair = Pair(seed)
    made, teacher = objective("0.5 * kd(temperature=2) + 0.5 * labels"), pair.teachers()["top 3"]
    whole, slopes = learnt(made, pair.headed(), teacher, pair.batch, pair.leaves)
    counts = made.counts(pair.batch)
    total, summed = torch.zeros((), dtype=torch.float64), [torch.zeros_like(leaf) for leaf in pair.leaves]
    for rows in (slice(0, 1), slice(1, 3)):
        part = Signals.hidden(pair.hidden[rows], pair.weight, pair.bias)
        loss, found = learnt(made, part, teacher.rows(rows), pair.batch.rows(rows), pair.leaves, counts=counts)
        total = total + loss.total
        summed = [one + other for one, other in zip(summed, found, strict=True)]
    same(total.detach(), whole.total.detach())
    for mine, theirs in zip(summed, slopes, strict=True):
        same(mine, theirs)


def test_the_gradient_goes_with_the_upstream_one_and_may_be_asked_for_twice() -> None:
    pair = Pair()
    loss = objective("kd(temperature=2) + labels").loss(pair.headed(), pair.teachers()["hidden"], pair.batch)
    once = torch.autograd.grad(loss.total, pair.leaves, retain_graph=True)
    thrice = torch.autograd.grad(3 * loss.total, pair.leaves)
    for one, three in zip(once, thrice, strict=True):
        same(three, 3 * one)


def test_a_batch_in_which_nothing_counts_has_the_loss_zero_and_no_gradient() -> None:
    pair = Pair()
    nothing = replace(pair.batch, mask=torch.zeros_like(pair.batch.mask), known=torch.zeros_like(pair.batch.known))
    loss, slopes = learnt(objective("kd + labels"), pair.headed(), pair.teachers()["dense"], nothing, pair.leaves)
    assert float(loss.total.detach()) == 0
    assert not any(bool(slope.any()) for slope in slopes)


def test_a_frozen_head_asks_for_no_gradient_and_layers_are_heard_beside_it() -> None:
    pair = Pair()
    features = {"block": wide(ROWS, STEPS, 3, seed=9).requires_grad_()}
    theirs = {"block": wide(ROWS, STEPS, 3, seed=10)}
    student = Signals.hidden(pair.hidden, pair.weight.detach(), pair.bias.detach(), features)
    teacher = replace(pair.teachers()["hidden"], features=theirs)
    made = objective("kd(temperature=2) + cosine('block', 'block')")
    made.setup(student, teacher, pair.batch)
    loss, slopes = learnt(made, student, teacher, pair.batch, [pair.hidden, features["block"]])
    apart = [
        learnt(objective("kd(temperature=2)"), student, teacher, pair.batch, [pair.hidden]),
        learnt(made.second, student, teacher, pair.batch, [features["block"]]),
    ]
    same(loss.total.detach(), (apart[0][0].total + apart[1][0].total).detach())
    for mine, (_, (theirs_slope,)) in zip(slopes, apart, strict=True):
        same(mine, theirs_slope)


def test_a_silent_row_is_left_out_as_it_is_of_logits() -> None:
    pair = Pair()
    said = torch.tensor([True, True, False])
    teacher = replace(pair.teachers()["dense"], said=said)
    made = objective("kd(temperature=1) + labels")
    expected, slopes = learnt(made, pair.dense(), teacher, pair.batch, pair.leaves)
    found, others = learnt(made, pair.headed(), teacher, pair.batch, pair.leaves)
    same(found.total, expected.total)
    same(found.terms[repr(objective("kd(temperature=1)"))], kl_of(pair, said))
    for mine, theirs in zip(others, slopes, strict=True):
        same(mine, theirs)


def kl_of(pair: Pair, said: Tensor) -> Tensor:
    counted = pair.batch.mask & said[:, None]
    logits, theirs = (pair.dense().logits, pair.theirs @ pair.head.T)
    assert logits is not None
    return kl(theirs.log_softmax(-1), logits.log_softmax(-1))[counted].mean().detach()


def test_a_method_that_compares_rows_of_logits_is_refused() -> None:
    pair = Pair()
    with pytest.raises(ObjectiveError, match=r"dist.*compares rows of logits with each other.*hidden states"):
        objective("dist").loss(pair.headed(), pair.teachers()["dense"], pair.batch)


def test_bfloat16_hidden_states_are_multiplied_as_they_are_and_compared_in_float32() -> None:
    pair = Pair()
    low = [leaf.detach().to(torch.bfloat16).requires_grad_() for leaf in pair.leaves]
    master = pair.weight.detach().float().requires_grad_()
    made, teacher = objective("kd(temperature=2)"), pair.teachers()["hidden"]
    exact, (slope, head_slope) = learnt(
        made, Signals.hidden(low[0].double(), low[1].double()), teacher, pair.batch, low[:2]
    )
    loss, (mine, of_head) = learnt(made, Signals.hidden(low[0], master), teacher, pair.batch, [low[0], master])
    assert loss.total.dtype == torch.float32
    assert mine.dtype == torch.bfloat16
    assert of_head.dtype == torch.float32
    with torch.no_grad():
        logits = torch.nn.functional.linear(low[0], master.to(torch.bfloat16)).float()
    same(loss.total.detach(), made.loss(Signals.dense(logits), teacher, pair.batch).total.float(), 1e-6)
    # Logits and their gradient are rounded once each to 8 bits.
    assert abs(float(loss.total.detach() - exact.total.detach())) < 0.02 * float(exact.total.detach())
    for found, expected in ((mine, slope), (of_head, head_slope)):
        assert float((found.double() - expected.double()).norm() / expected.double().norm()) < 0.02


def test_products_in_low_precision_are_summed_up_in_the_precision_of_the_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twenty slices: sums of eight products in bfloat16, carried over, are as near as each product is by itself."""
    monkeypatch.setattr(hidden, "_LOGITS", CLASSES)
    rows, made = 20, objective("labels")
    ids, labels = torch.arange(rows), torch.arange(rows) % CLASSES
    known = torch.ones(rows, dtype=torch.bool)
    batch = Batch(ids, labels, known, known, ids, torch.zeros_like(ids), task("classification"))
    low = wide(rows, WIDTH, seed=1).bfloat16().requires_grad_()
    weight = wide(CLASSES, WIDTH, seed=2).bfloat16()
    found, whole = weight.float().requires_grad_(), weight.double().requires_grad_()
    made.loss(Signals.hidden(low, found), Signals(), batch).total.backward()
    exact = low.detach().double().requires_grad_()
    made.loss(Signals.dense(exact @ whole.T), Signals(), batch).total.backward()
    assert low.grad is not None and found.grad is not None and whole.grad is not None and exact.grad is not None
    assert found.grad.dtype == torch.float32 and low.grad.dtype == torch.bfloat16
    for ours, right in ((found.grad, whole.grad), (low.grad, exact.grad)):
        assert float((ours.double() - right).norm() / right.norm()) < 0.01


def test_the_gradient_of_the_head_is_handed_over_and_not_copied() -> None:
    pair = Pair()
    loss = objective("labels").loss(pair.headed(), Signals(), pair.batch).total
    made = loss.grad_fn.next_functions[0][0] if loss.grad_fn.name() == "AddBackward0" else loss.grad_fn
    places = {each.data_ptr() for each in made.saved_tensors if each is not None}
    loss.backward()
    assert pair.weight.grad is not None and pair.weight.grad.data_ptr() in places
