"""Every method in objectives/: its value and gradient against its reference, and the laws that all methods keep.

A new method needs no test here: this file finds `objectives/NAME.py` and `reference/NAME.py` by name.
"""

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from reference import Case, Said
from torch import Tensor

import limbeck.objectives
from limbeck.catalog.objectives import method, objective
from limbeck.errors import ObjectiveError
from limbeck.objective import Objective
from limbeck.signals import Batch, Partner, Signals

METHODS = sorted(path.stem for path in Path(limbeck.objectives.__path__[0]).glob("*.py") if path.stem != "__init__")
REFERENCES = sorted(path.stem for path in (Path(__file__).parent / "reference").glob("*.py") if path.stem != "__init__")
MASK = torch.tensor([True, False, True, True, False, True])


def reference_of(name: str) -> ModuleType:
    return importlib.import_module(f"reference.{name}")


CASES = [
    pytest.param(name, case, id=f"{name} {case}".strip())
    for name in METHODS
    if name in REFERENCES
    for case in reference_of(name).cases()
]
every_case = pytest.mark.parametrize(("name", "case"), CASES)


def cases_where(holds: Callable[[str, Case], bool]) -> pytest.MarkDecorator:
    """The cases for which a law is promised."""
    return pytest.mark.parametrize(("name", "case"), [each for each in CASES if holds(*each.values)])


def only_rows(case: Case) -> bool:
    """Whether everything that was said has one vector for each row."""
    return all(tensor.ndim == 2 for said in (case.student, case.teacher) for tensor in tensors_of(said).values())


def built(name: str, case: Case) -> Objective:
    made = method(name)(**case.arguments)
    made.setup(case.student, case.teacher, case.batch)
    return made


def changed(signals: Signals, change: Callable[[Tensor], Tensor]) -> Signals:
    """The same change to everything a network said."""
    assert signals.logits is not None
    return Signals.dense(change(signals.logits), {name: change(tensor) for name, tensor in signals.features.items()})


def leaves(signals: Signals) -> Signals:
    """A copy whose numbers can be asked for their gradient."""
    return changed(signals, lambda tensor: tensor.detach().clone().requires_grad_())


def tensors_of(signals: Signals) -> dict[str, Tensor]:
    assert signals.logits is not None
    return {"logits": signals.logits, **signals.features}


def gradients(made: Objective, signals: Signals) -> dict[str, Tensor]:
    """Gradients after `backward`: zero where none arrived; the method's own parameters among them."""
    wanted = tensors_of(signals) | dict(made.named_parameters())
    return {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in wanted.items()}


def loss_and_gradients(
    made: Objective, student: Signals, teacher: Signals, batch: Batch, counts: Mapping[str, float] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    made.zero_grad()
    student = leaves(student)
    total = made.loss(student, teacher, batch, counts=counts).total
    if total.requires_grad:
        total.backward()
    return total.detach(), {name: gradient.clone() for name, gradient in gradients(made, student).items()}


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    # numpy's, because torch.testing takes seconds to import.
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=tolerance, atol=tolerance)


# Value and gradient


def test_every_method_has_a_reference_and_every_reference_a_method() -> None:
    assert METHODS == REFERENCES


def reference_loss(
    name: str, case: Case, batch: Batch, numbers: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> float:
    """The reference's value, averaged over the rows that it counts."""
    reference = reference_of(name)
    said = {layer: tensor.tolist() for layer, tensor in numbers.items()}
    student = Said(said.pop("logits"), said)
    plain = {key: tensor.tolist() for key, tensor in weights.items()}
    value = reference.value(student, Said.of(case.teacher), batch, plain, **case.arguments)
    if isinstance(value, float):
        return value
    counted = reference.counted(batch) if hasattr(reference, "counted") else batch.mask.tolist()
    return sum(row for row, counts in zip(value, counted, strict=True) if counts) / max(sum(counted), 1)


@every_case
def test_values_are_the_reference(name: str, case: Case) -> None:
    made = built(name, case)
    weights = {key: tensor.tolist() for key, tensor in made.state_dict().items()}
    expected = reference_of(name).value(
        Said.of(case.student), Said.of(case.teacher), case.batch, weights, **case.arguments
    )
    value = made(case.student, case.teacher, case.batch)
    same(value, torch.tensor(expected, dtype=torch.float64), 1e-10)


@every_case
def test_loss_and_gradient_are_the_reference(name: str, case: Case) -> None:
    made, batch, step = built(name, case), replace(case.batch, mask=MASK), 1e-5
    numbers = {layer: tensor.clone() for layer, tensor in tensors_of(case.student).items()}
    weights = {key: tensor.detach().clone() for key, tensor in made.named_parameters()}
    total, found = loss_and_gradients(made, case.student, case.teacher, batch)
    assert total.item() == pytest.approx(reference_loss(name, case, batch, numbers, weights), rel=1e-10)
    for key, tensor in [*numbers.items(), *weights.items()]:
        expected, flat = torch.zeros(tensor.numel(), dtype=torch.float64), tensor.view(-1)
        for place, number in enumerate(flat.tolist()):
            flat[place] = number + step
            above = reference_loss(name, case, batch, numbers, weights)
            flat[place] = number - step
            expected[place] = (above - reference_loss(name, case, batch, numbers, weights)) / (2 * step)
            flat[place] = number
        same(found[key], expected.view_as(tensor), 1e-6)


# Laws of all methods


@every_case
def test_one_value_for_each_row_or_one_for_the_batch(name: str, case: Case) -> None:
    made = built(name, case)
    value = made(case.student, case.teacher, case.batch)
    assert value.shape == (case.batch.mask.shape if made.per_row else ())


@every_case
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(ours=st.floats(-3, 3), theirs=st.floats(-3, 3), precision=st.sampled_from([torch.float32, torch.bfloat16]))
def test_finite_at_every_scale(name: str, case: Case, ours: float, theirs: float, precision: torch.dtype) -> None:
    student = changed(case.student, lambda tensor: (tensor * 10**ours).to(precision))
    teacher = changed(case.teacher, lambda tensor: (tensor * 10**theirs).to(precision))
    made = method(name)(**case.arguments)
    made.setup(student, teacher, case.batch)
    total, found = loss_and_gradients(made, student, teacher, case.batch)
    assert total.isfinite()
    assert total.dtype == torch.float32
    assert all(gradient.isfinite().all() for gradient in found.values())


@every_case
def test_bfloat16_is_near_float64(name: str, case: Case) -> None:
    made = built(name, case)
    student, teacher = (changed(said, lambda tensor: tensor.bfloat16()) for said in (case.student, case.teacher))
    wide = [changed(said, lambda tensor: tensor.double()) for said in (student, teacher)]
    same(made.loss(student, teacher, case.batch).total.double(), made.loss(*wide, case.batch).total, 1e-5)


@every_case
def test_finite_where_all_rows_are_alike(name: str, case: Case) -> None:
    alike = [changed(said, lambda tensor: tensor[:1].expand_as(tensor)) for said in (case.student, case.teacher)]
    for student, teacher in ((alike[0], case.teacher), (case.student, alike[1]), alike):
        total, found = loss_and_gradients(built(name, case), student, teacher, case.batch)
        assert total.isfinite()
        assert all(gradient.isfinite().all() for gradient in found.values())


@cases_where(lambda name, case: reference_of(name).PROMISES.non_negative)
def test_never_negative_where_promised(name: str, case: Case) -> None:
    assert (built(name, case)(case.student, case.teacher, case.batch) >= 0).all()


@cases_where(lambda name, case: reference_of(name).PROMISES.zero_when_equal)
def test_zero_without_gradient_for_equal_models_where_promised(name: str, case: Case) -> None:
    shared = dict(zip(case.student.features, case.teacher.features.values(), strict=True))
    equal = Signals.dense(tensors_of(case.teacher)["logits"], shared)
    total, found = loss_and_gradients(built(name, case), equal, case.teacher, case.batch)
    same(total, torch.zeros_like(total))
    for gradient in found.values():
        same(gradient, torch.zeros_like(gradient))


@every_case
def test_order_of_rows_does_not_matter(name: str, case: Case) -> None:
    made, order = built(name, case), torch.tensor([3, 0, 5, 1, 4, 2])
    batch = replace(case.batch, mask=MASK)
    moved = (case.student.rows(order), case.teacher.rows(order), batch.rows(order))
    value, value_moved = made(case.student, case.teacher, batch), made(*moved)
    same(value_moved, value[order] if made.per_row else value)
    same(made.loss(*moved).total, made.loss(case.student, case.teacher, batch).total)


def rubbish(case: Case, masked: Tensor, size: float) -> tuple[Signals, Signals, Batch]:
    """The case with other numbers in the masked rows: huge, tiny or of the wrong sign; labels no class has."""

    def spoilt(tensor: Tensor) -> Tensor:
        where = masked.view(-1, *[1] * (tensor.ndim - 1))
        return torch.where(
            where, size * torch.linspace(-1, 1, tensor.numel(), dtype=tensor.dtype).view_as(tensor), tensor
        )

    labels, partner = case.batch.labels, case.batch.partner
    assert labels is not None
    if partner is not None:
        partner = Partner(
            torch.where(masked, -100, partner.labels), partner.known | masked, torch.where(masked, 7.0, partner.share)
        )
    batch = replace(case.batch, mask=~masked, labels=torch.where(masked, -100, labels), partner=partner)
    return changed(case.student, spoilt), changed(case.teacher, spoilt), batch


@every_case
@pytest.mark.parametrize("size", [0.0, 1e4, 1e30])
def test_masked_rows_change_nothing(name: str, case: Case, size: float) -> None:
    made, counts = built(name, case), MASK.nonzero().squeeze(1)
    kept = (case.student.rows(counts), case.teacher.rows(counts), case.batch.rows(counts))
    total, found = loss_and_gradients(made, *kept)
    total_masked, found_masked = loss_and_gradients(made, *rubbish(case, ~MASK, size))
    same(total_masked, total)
    for key, gradient in found_masked.items():
        if key in tensors_of(case.student):
            assert (gradient[~MASK] == 0).all()
            gradient = gradient[MASK]
        same(gradient, found[key])


@every_case
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_or_no_counted_rows_give_no_nan(name: str, case: Case, rows: int) -> None:
    batch = replace(case.batch, mask=torch.arange(6) < rows)
    total, found = loss_and_gradients(built(name, case), case.student, case.teacher, batch)
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in found.values())
    if rows == 0:
        assert total == 0
        assert all((gradient == 0).all() for gradient in found.values())


@every_case
def test_gradient_reaches_the_student_and_never_the_teacher(name: str, case: Case) -> None:
    made, student, teacher = built(name, case), leaves(case.student), leaves(case.teacher)
    made.loss(student, teacher, case.batch).total.backward()
    assert all(tensor.grad is None for tensor in tensors_of(teacher).values())
    assert any(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors_of(student).values())
    assert all(parameter.grad is not None for parameter in made.parameters())


@cases_where(lambda name, case: method(name).per_row)
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_slices_sum_to_the_whole(name: str, case: Case, cut: int) -> None:
    made, batch = built(name, case), replace(case.batch, mask=MASK)
    total, whole = loss_and_gradients(made, case.student, case.teacher, batch)
    parts = [
        loss_and_gradients(made, case.student.rows(part), case.teacher.rows(part), batch.rows(part), made.counts(batch))
        for part in (slice(None, cut), slice(cut, None))
    ]
    same(torch.stack([value for value, _ in parts]).sum(), total)
    for key, gradient in whole.items():
        pieces = [found[key] for _, found in parts]
        same(torch.cat(pieces) if key in tensors_of(case.student) else sum(pieces), gradient)


@cases_where(lambda name, case: only_rows(case))
def test_positions_are_as_good_as_rows(name: str, case: Case) -> None:
    made, batch = built(name, case), replace(case.batch, mask=MASK)
    assert batch.labels is not None
    if batch.partner is not None:  # its share is one number for a row, whatever the positions
        batch = replace(batch, partner=replace(batch.partner, share=batch.partner.share[[0, 0, 2, 2, 4, 4]]))
    pairs = replace(
        batch.rows(slice(0, 6, 2)),
        labels=batch.labels.view(3, 2),
        mask=batch.mask.view(3, 2),
        known=batch.known.view(3, 2),
        partner=batch.partner
        and Partner(batch.partner.labels.view(3, 2), batch.partner.known.view(3, 2), batch.partner.share[::2]),
    )
    student, teacher = (changed(said, lambda tensor: tensor.view(3, 2, -1)) for said in (case.student, case.teacher))
    same(made.loss(student, teacher, pairs).total, made.loss(case.student, case.teacher, batch).total)


@every_case
def test_what_it_writes_reads_back(name: str, case: Case) -> None:
    made = method(name)(**case.arguments)
    again = objective(repr(made))
    assert type(again) is type(made)
    assert repr(again) == repr(made)
    for argument in inspect.signature(type(made)).parameters:
        assert getattr(again, argument) == getattr(made, argument)


@every_case
def test_it_needs_what_it_reads_and_no_more(name: str, case: Case) -> None:
    """A method that is given only what its needs name gives the same value."""
    made = built(name, case)
    needs = made.needs()
    student = replace(case.student, features={layer: case.student.features[layer] for layer in needs.student_layers})
    teacher = Signals(
        case.teacher.logits if needs.logits else None,
        {layer: case.teacher.features[layer] for layer in needs.teacher_layers},
        case.teacher.targets if needs.soft else None,
    )
    batch = case.batch if needs.labels else replace(case.batch, labels=None, known=torch.zeros(6, dtype=torch.bool))
    same(made.loss(student, teacher, batch).total, made.loss(case.student, case.teacher, case.batch).total, 0)


@every_case
def test_parameters_are_saved_and_restored_and_seeded(name: str, case: Case) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    made = built(name, case)
    assert torch.equal(torch.get_rng_state(), before), "setup moved the global generator"
    saved, twin = copy.deepcopy(made.state_dict()), built(name, case)
    assert all(torch.equal(twin.state_dict()[key], tensor) for key, tensor in saved.items())
    torch.manual_seed(12)
    other = built(name, case)
    assert not saved or any(not torch.equal(other.state_dict()[key], tensor) for key, tensor in saved.items())
    other.load_state_dict(saved)
    again = other.loss(case.student, case.teacher, case.batch).total
    same(again, made.loss(case.student, case.teacher, case.batch).total, 0)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name: str) -> None:
    kind = method(name)
    paper = inspect.getdoc(inspect.getmodule(kind)) or ""
    assert kind.family
    assert kind.formula
    assert any(f"Read: {source}" in paper for source in ("memory", "copy", "paper"))
    assert inspect.getdoc(kind) != inspect.getdoc(Objective)


# Sums, weights and what single methods do besides


def said(
    rows: int = 6, classes: int = 4, seed: int = 0, features: Mapping[str, tuple[int, ...]] | None = None
) -> Signals:
    generator = torch.Generator().manual_seed(seed)
    layers = {name: torch.randn(rows, *shape, generator=generator) for name, shape in (features or {}).items()}
    return Signals.dense(torch.randn(rows, classes, generator=generator), layers)


def test_sum_is_the_weighted_mean_of_each_term_over_its_own_rows() -> None:
    _, case = CASES[[parameter.values[0] for parameter in CASES].index("labels")].values
    batch = replace(case.batch, mask=MASK)
    whole = objective("0.25 * kd(temperature=2) + 3 * labels + kd(temperature=2)")
    loss = whole.loss(case.student, case.teacher, batch)
    assert list(loss.terms) == ["kd(temperature=2)", "labels", "kd(temperature=2) #2"]
    assert whole.counts(batch) == {"kd(temperature=2)": 4, "labels": 3, "kd(temperature=2) #2": 4}
    kd = objective("kd(temperature=2)")(case.student, case.teacher, batch)[MASK].mean()
    labels = objective("labels")(case.student, case.teacher, batch)[MASK & batch.known].mean()
    same(loss.total, 1.25 * kd + 3 * labels)
    same(loss.terms["labels"], labels)


def test_a_sum_with_a_relation_is_a_relation() -> None:
    student, teacher = said(seed=1), said(seed=2)
    batch = Batch.of(torch.zeros(6, 1), None, CASES[0].values[1].batch.task)
    whole = objective("2 * (rkd + 0.5 * kd)")
    assert not whole.per_row
    assert whole.needs().rows == 3
    parts = [objective(part).loss(student, teacher, batch).total for part in ("rkd", "kd")]
    same(whole.loss(student, teacher, batch).total, 2 * parts[0] + parts[1], 1e-6)
    same(whole(student, teacher, batch), whole.loss(student, teacher, batch).total, 1e-6)


class Averaged(Objective):
    """Says one number although it promised one for each row."""

    family, formula = "test", "mean"

    def needs(self) -> Any:
        raise NotImplementedError

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        assert student.logits is not None
        return student.logits.mean()


def test_a_method_that_averages_in_secret_is_refused() -> None:
    case = CASES[0].values[1]
    with pytest.raises(ObjectiveError, match=r"must declare per_row = False"):
        Averaged().loss(case.student, case.teacher, case.batch)


def test_labels_of_a_batch_without_labels() -> None:
    student = said()
    task = CASES[0].values[1].batch.task
    nothing = objective("labels").loss(student, Signals(), Batch.of(torch.zeros(6, 1), None, task))
    assert nothing.total == 0
    lying = replace(Batch.of(torch.zeros(6, 1), None, task), known=torch.ones(6, dtype=torch.bool))
    with pytest.raises(ObjectiveError, match="has no labels"):
        objective("labels").loss(student, Signals(), lying)


def test_hint_without_setup_and_with_layers_that_do_not_fit() -> None:
    case = next(parameter.values[1] for parameter in CASES if parameter.values[0] == "hint")
    made = objective("hint('a', 'b')")
    flat, image = said(features={"a": (3,), "b": (3,)}), said(features={"a": (3, 2, 2), "b": (3, 2, 2)})
    batch = Batch.of(torch.zeros(6, 1), None, case.batch.task)
    with pytest.raises(ObjectiveError, match=r"no projector yet[\s\S]*call objective.setup"):
        made.loss(flat, flat, batch)
    with pytest.raises(ObjectiveError, match=r"cannot compare these layers: a \(6, 3\), b \(6, 3, 2, 2\)"):
        made.setup(flat, image, batch)
    made.setup(flat, flat, batch)
    assert [name for name, _ in made.named_parameters()] == ["projector.weight", "projector.bias"]
    assert set((0.5 * made + objective("kd")).state_dict()) == {
        "first.objective.projector.weight",
        "first.objective.projector.bias",
    }


def test_hint_pools_sizes_that_do_not_divide() -> None:
    made = objective("hint('a', 'b')")
    student, teacher = said(features={"a": (2, 5, 7)}), said(features={"b": (3, 3, 9)}, seed=1)
    batch = Batch.of(torch.zeros(6, 1), None, CASES[0].values[1].batch.task)
    made.setup(student, teacher, batch)
    assert made(student, teacher, batch).shape == (6,)
