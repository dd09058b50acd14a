"""Every method in objectives/: its value and gradient against its reference, and the laws that all methods keep.

A new method needs no test here: this file finds `objectives/NAME.py` and `reference/NAME.py` by name.
"""

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from method_cases import (
    MASK,
    METHODS,
    REFERENCES,
    built,
    cases_where,
    changed,
    every_case,
    leaves,
    loss_and_gradients,
    only_rows,
    reference_of,
    same,
    tensors_of,
)
from reference import Case, Said
from torch import Tensor

from limbeck.catalog.objectives import method, objective
from limbeck.objective import Objective
from limbeck.signals import Batch, Partner, Signals


@pytest.fixture(autouse=True)
def _one_seed() -> Iterator[None]:
    """Projectors are drawn from torch's current seed, which must not be what some test before left behind.

    Of the projectors with ReLU, two units wide here, some seeds draw one in which no unit answers any row.
    """
    with torch.random.fork_rng():
        # torch.manual_seed asks for all devices, and is a tenth of what these tests take.
        torch.default_generator.manual_seed(2)
        yield


# Value and gradient

# Along how many random directions a gradient is compared: a wrong one is right along none of them but by chance.
DIRECTIONS = 4


def test_every_method_has_a_reference_and_every_reference_a_method() -> None:
    assert METHODS == REFERENCES


def constants_of(name: str, case: Case) -> dict[str, Any]:
    """What the method holds constant, from the case as it stands, however a test moves the student."""
    found = getattr(reference_of(name), "constants", None)
    said = Said.of(case.student), Said.of(case.teacher)
    return {} if found is None else found(*said, case.batch, **case.arguments)


def reversal_of(name: str, case: Case) -> dict[str, float]:
    """By what the method multiplies the gradient of a parameter that does not go down it."""
    found = getattr(reference_of(name), "reversal", None)
    return {} if found is None else found(**case.arguments)


def reference_loss(
    name: str, case: Case, batch: Batch, numbers: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> float:
    """The reference's value, averaged over the rows that it counts."""
    reference = reference_of(name)
    said = {layer: tensor.tolist() for layer, tensor in numbers.items()}
    student = Said(said.pop("logits"), said)
    plain = {key: tensor.tolist() for key, tensor in weights.items()} | constants_of(name, case)
    value = reference.value(student, Said.of(case.teacher), batch, plain, **case.arguments)
    if isinstance(value, float):
        return value
    counted = reference.counted(batch) if hasattr(reference, "counted") else batch.mask.tolist()
    return sum(row for row, counts in zip(value, counted, strict=True) if counts) / max(sum(counted), 1)


@every_case
def test_values_are_the_reference(name: str, case: Case) -> None:
    made = built(name, case)
    weights = {key: tensor.tolist() for key, tensor in made.state_dict().items()} | constants_of(name, case)
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
    generator = torch.Generator().manual_seed(5)
    for key, tensor in [*numbers.items(), *weights.items()]:
        kept, signed = tensor.clone(), reversal_of(name, case).get(key, 1.0)
        for _ in range(DIRECTIONS):
            direction = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            direction = direction / direction.norm()
            tensor.copy_(kept + step * direction)
            above = reference_loss(name, case, batch, numbers, weights)
            tensor.copy_(kept - step * direction)
            below = reference_loss(name, case, batch, numbers, weights)
            tensor.copy_(kept)
            assert (found[key] * direction).sum().item() == pytest.approx(
                signed * (above - below) / (2 * step), rel=1e-6, abs=1e-7
            ), key


# Laws of all methods

# By how much student and teacher are multiplied, and in which precision they come.
SCALES = [
    (1e-3, 1e-3, torch.float32),
    (1e3, 1e-3, torch.float32),
    (1e-3, 1e3, torch.float32),
    (1e3, 1e3, torch.float32),
    (30.0, 0.03, torch.bfloat16),
    (1e3, 1e3, torch.bfloat16),
]


@every_case
def test_one_value_for_each_row_or_one_for_the_batch(name: str, case: Case) -> None:
    made = built(name, case)
    value = made(case.student, case.teacher, case.batch)
    assert value.shape == (case.batch.mask.shape if made.per_row else ())


@every_case
def test_finite_at_every_scale(name: str, case: Case) -> None:
    """Where what student and teacher say is a thousand times smaller or larger, alike and unlike."""
    for ours, theirs, precision in SCALES:
        student = changed(case.student, lambda tensor: (tensor * ours).to(precision))  # noqa: B023
        teacher = changed(case.teacher, lambda tensor: (tensor * theirs).to(precision))  # noqa: B023
        made = method(name)(**case.arguments)
        made.setup(student, teacher, case.batch)
        total, found = loss_and_gradients(made, student, teacher, case.batch)
        assert total.isfinite(), (ours, theirs, precision)
        assert total.dtype == torch.float32
        assert all(gradient.isfinite().all() for gradient in found.values()), (ours, theirs, precision)


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
    marked = masked.view(-1, *[1] * (labels.ndim - 1))
    if partner is not None:
        partner = Partner(
            torch.where(masked, 99, partner.labels), partner.known | masked, torch.where(masked, 7.0, partner.share)
        )
    batch = replace(case.batch, mask=~masked, labels=torch.where(marked, 99, labels), partner=partner)
    return changed(case.student, spoilt), changed(case.teacher, spoilt), batch


@every_case
def test_masked_rows_change_nothing(name: str, case: Case) -> None:
    made, counts = built(name, case), MASK.nonzero().squeeze(1)
    kept = (case.student.rows(counts), case.teacher.rows(counts), case.batch.rows(counts))
    total, found = loss_and_gradients(made, *kept)
    for size in (0.0, 1e4, 1e30):
        total_masked, found_masked = loss_and_gradients(made, *rubbish(case, ~MASK, size))
        same(total_masked, total)
        for key, gradient in found_masked.items():
            if key in tensors_of(case.student):
                assert (gradient[~MASK] == 0).all(), size
                gradient = gradient[MASK]
            same(gradient, found[key])


@every_case
def test_few_or_no_counted_rows_give_no_nan(name: str, case: Case) -> None:
    made = built(name, case)
    for rows in (0, 1, 2):
        batch = replace(case.batch, mask=torch.arange(6) < rows)
        total, found = loss_and_gradients(made, case.student, case.teacher, batch)
        assert total.isfinite(), rows
        assert all(gradient.isfinite().all() for gradient in found.values()), rows
        if rows == 0:
            assert total == 0
            assert all((gradient == 0).all() for gradient in found.values())


@every_case
def test_gradient_reaches_the_student_and_never_the_teacher(name: str, case: Case) -> None:
    made, student, teacher = built(name, case), leaves(case.student), leaves(case.teacher)
    made.loss(student, teacher, case.batch).total.backward()
    for said in (teacher, *teacher.members):
        assert all(tensor.grad is None for tensor in tensors_of(said).values())
    assert any(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors_of(student).values())
    assert all(parameter.grad is not None for parameter in made.parameters())


@cases_where(lambda name, case: method(name).per_row)
def test_slices_sum_to_the_whole(name: str, case: Case) -> None:
    made, batch = built(name, case), replace(case.batch, mask=MASK)
    total, whole = loss_and_gradients(made, case.student, case.teacher, batch)
    counts = made.counts(batch)
    for cut in (1, 2, 4):
        parts = [
            loss_and_gradients(made, case.student.rows(part), case.teacher.rows(part), batch.rows(part), counts)
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
        labels=batch.labels.view(3, 2, *batch.labels.shape[1:]),
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
        members=case.teacher.members if needs.members else (),
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
    differ = any(not torch.equal(other.state_dict()[key], tensor) for key, tensor in saved.items())
    assert differ == (bool(saved) and reference_of(name).PROMISES.drawn)
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
