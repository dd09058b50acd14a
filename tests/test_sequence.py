"""One class a step: losses and metrics over labelled steps alone, and `kd`, which need not know of steps."""

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
from reference import Said, kd

from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task
from limbeck.errors import DataError, ModelError
from limbeck.signals import Batch, Signals
from limbeck.task import Task
from limbeck.tasks.classification import Classification
from limbeck.tasks.sequence import SequenceLabels

TASK = SequenceLabels()
NAMES = ("wake", "light", "deep")


def answers(rows: int = 6, steps: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (rows, steps), generator=generator)
    known = torch.rand(rows, steps, generator=generator) < 0.7
    return 2 * torch.randn(rows, steps, 3, generator=generator), labels, known


def test_it_keeps_the_protocol_and_is_written_as_it_is_read() -> None:
    assert isinstance(TASK, Task)
    assert (TASK.labels, TASK.output_size(NAMES), repr(TASK)) == ("steps", 3, "sequence")
    chosen = task("sequence(select='macro_f1')")
    assert (repr(chosen), chosen.selection) == ("sequence(select='macro_f1')", "macro_f1")


def test_loss_and_metrics_are_those_of_classification_over_the_labelled_steps() -> None:
    outputs, labels, known = answers()
    flat = Classification()
    assert torch.equal(
        TASK.label_loss(outputs, labels), flat.label_loss(outputs.flatten(0, 1), labels.flatten()).view(6, 5)
    )
    expected = flat.metrics(outputs.flatten(0, 1), labels.flatten(), known.flatten())
    assert TASK.metrics(outputs, labels, known) == pytest.approx(expected)
    outputs[~known] = math.nan
    assert TASK.metrics(outputs, labels, known) == pytest.approx(expected), "a step without a label changes nothing"
    with pytest.raises(ModelError, match=r"infinite in \d+ of 30 positions"):
        TASK.metrics(outputs, labels, torch.ones_like(known))
    with pytest.raises(DataError, match="none of the 6 rows"):
        TASK.metrics(outputs, labels, known & ~known)


def test_a_loss_counts_labelled_steps_and_not_rows() -> None:
    outputs, labels, known = answers()
    batch = replace(Batch.of(torch.zeros(6, 1), labels, TASK), known=known)
    loss = objective("labels").loss(Signals.dense(outputs), Signals(), batch)
    assert float(loss.total) == pytest.approx(float(TASK.label_loss(outputs, labels)[known].mean()))


def test_kd_is_the_reference_at_each_counted_step() -> None:
    student, labels, known = answers(seed=1)
    teacher, _, mask = answers(seed=2)
    student, teacher = student.double(), teacher.double()
    batch = replace(Batch.of(torch.zeros(6, 1), labels, TASK), known=known, mask=mask)
    expected = torch.tensor(
        [kd.value(Said(ours.tolist()), Said(theirs.tolist()), batch, {}, temperature=3.0)
         for ours, theirs in zip(student, teacher, strict=True)]
    )  # fmt: skip
    said, heard = Signals.dense(student.requires_grad_()), Signals.dense(teacher)
    values = objective("kd(temperature=3)")(said, heard, batch)
    assert torch.allclose(values, expected.double(), atol=1e-6)
    total = objective("kd(temperature=3)").loss(said, heard, batch).total
    assert total.item() == pytest.approx(float(expected[mask].mean()), rel=1e-5)
    total.backward()
    assert student.grad is not None
    assert (student.grad[~mask] == 0).all() and (student.grad[mask] != 0).any(dim=-1).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([[0, 1], [2, 3]]), "step 1 of row 1 has label 3 \\(1 steps are out of range\\)"),
        (torch.tensor([0, 1]), "one class number for each step: \\(2, 2\\)"),
        (torch.zeros(2, 2), "of type torch.float32"),
    ],
)
def test_labels_that_cannot_be_are_named(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TASK.check_labels(labels, torch.ones(2, 2, dtype=torch.bool), NAMES)
    TASK.check_labels(torch.tensor([[0, 9], [2, 1]]), torch.tensor([[True, False], [True, True]]), NAMES)


def test_answers_likeness_and_panels() -> None:
    outputs = 3 * torch.eye(3)[torch.tensor([[0, 0, 1], [2, 2, 2]])]
    labels, known = torch.tensor([[0, 1, 1], [2, 0, 0]]), torch.tensor([[True, True, True], [True, False, False]])
    first, _ = TASK.decode(outputs, NAMES)
    assert first["classes"] == ["wake", "wake", "light"]
    assert first["probability"] == pytest.approx([math.exp(3) / (math.exp(3) + 2)] * 3)
    assert TASK.likeness(outputs, outputs) == {"agreement": 1, "kl": 0}
    table, matrix, curve = TASK.panels(outputs, labels, known, NAMES)
    assert table.data["columns"][-1] == "steps"
    assert [row[-1] for row in table.data["rows"]] == [1, 2, 1]
    assert matrix.data["values"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert curve.data["counts"] == [4]
    panel = TASK.teacher_saw(torch.zeros(2, 1, 3), outputs, labels, known, NAMES, 4.0)
    assert [row[1:3] for row in panel.data["rows"]] in (
        [["wake, light ×2", "wake ×2, light"], ["deep, ? ×2", "deep ×3"]],
        [["deep, ? ×2", "deep ×3"], ["wake, light ×2", "wake ×2, light"]],
    )
    assert json.loads(json.dumps([asdict(each) for each in (table, matrix, curve, panel)]))
