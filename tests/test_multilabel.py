"""Several classes a row: losses and metrics by hand and against scikit-learn, and what a report shows."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from limbeck.catalog.tasks import task
from limbeck.errors import DataError, ModelError
from limbeck.task import Task
from limbeck.tasks.multilabel import Multilabel

NAMES = ("cat", "dog", "fish")
TASK = Multilabel()


def all_of(labels: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(labels), dtype=torch.bool)


def answers(rows: int, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(rows, classes, generator=generator) < 0.4).float()
    return 2 * torch.randn(rows, classes, generator=generator) + labels, labels


def test_it_keeps_the_protocol_and_is_written_as_it_is_read() -> None:
    assert isinstance(TASK, Task)
    assert TASK.output_size(NAMES) == 3
    assert [repr(task(text)) for text in ("multilabel", "multilabel(select='macro_f1')")] == [
        "multilabel", "multilabel(select='macro_f1')",
    ]  # fmt: skip
    assert task("multilabel(select='micro_f1')").selection == "micro_f1"


def test_label_loss_is_the_sum_of_every_class_by_hand() -> None:
    # probabilities 3/4, 1/4 and 1/2
    outputs = torch.tensor([[math.log(3), -math.log(3), 0.0]])
    found = [TASK.label_loss(outputs, torch.tensor([labels])).item() for labels in ([1.0, 0, 0], [0.0, 1, 1])]
    assert found == pytest.approx([2 * math.log(4 / 3) + math.log(2), 2 * math.log(4) + math.log(2)])
    outputs, labels = answers(6)
    assert torch.equal(
        TASK.label_loss(outputs.view(2, 3, 3), labels.view(2, 3, 3)).flatten(), TASK.label_loss(outputs, labels)
    )
    assert TASK.label_loss(outputs.bfloat16(), labels).dtype == torch.float32


def test_a_confident_mistake_costs_its_full_likelihood() -> None:
    assert TASK.label_loss(torch.tensor([[500.0, -9, -9]]), torch.zeros(1, 3)).item() == pytest.approx(500, rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(2, 40), classes=st.integers(1, 5), seed=st.integers(0, 1000))
def test_metrics_are_scikit_learns(rows: int, classes: int, seed: int) -> None:
    outputs, labels = answers(rows, classes, seed)
    found = TASK.metrics(outputs, labels, all_of(labels))
    truth, logits = labels.numpy().astype(int), outputs.double().numpy()
    said = (logits >= 0).astype(int)
    mixed = [k for k in range(classes) if 0 < truth[:, k].sum() < rows]
    if mixed:
        expected = np.mean([average_precision_score(truth[:, k], logits[:, k]) for k in mixed])
        assert found["map"] == pytest.approx(expected)
    else:
        assert "map" not in found
    seen = [k for k in range(classes) if truth[:, k].any() or said[:, k].any()]
    if seen:
        each = [f1_score(truth[:, k], said[:, k], average="binary", zero_division=0) for k in seen]
        assert found["macro_f1"] == pytest.approx(np.mean(each))
        assert found["micro_f1"] == pytest.approx(
            f1_score(truth.ravel(), said.ravel(), average="binary", zero_division=0)
        )
    assert found["subset_accuracy"] == pytest.approx(
        np.mean([(a == b).all() for a, b in zip(truth, said, strict=True)])
    )


def test_calibration_by_hand_over_rows_and_classes() -> None:
    outputs = torch.tensor([[math.log(3), math.log(3)], [math.log(3), math.log(3)]])
    labels = torch.tensor([[1.0, 1], [1, 0]])
    assert TASK.metrics(outputs, labels, all_of(labels))["ece"] == pytest.approx(0, abs=1e-7)
    assert TASK.metrics(outputs, torch.ones(2, 2), all_of(labels))["ece"] == pytest.approx(0.25)


def test_unknown_rows_change_nothing_and_bad_ones_are_named() -> None:
    outputs, labels = answers(10)
    known = torch.arange(10) < 7
    assert TASK.metrics(outputs, labels, known) == TASK.metrics(outputs[:7], labels[:7], known[:7])
    assert TASK.panels(outputs, labels, known, NAMES) == TASK.panels(outputs[:7], labels[:7], known[:7], NAMES)
    with pytest.raises(DataError, match="none of the 10 rows"):
        TASK.metrics(outputs, labels, ~known & known)
    with pytest.raises(ModelError, match="in 10 of 10 rows\n  expected: finite logits"):
        TASK.metrics(outputs * math.nan, labels, all_of(labels))
    with pytest.raises(DataError, match=r"row 1 holds 0\.5 for the class 'fish'"):
        TASK.check_labels(torch.tensor([[0.0, 1, 0], [0, 1, 0.5]]), torch.ones(2, dtype=torch.bool), NAMES)
    TASK.check_labels(torch.tensor([[0.0, 1, 0], [0, 1, 0.5]]), torch.tensor([True, False]), NAMES)
    with pytest.raises(DataError, match="a column for each class: \\(rows, 3\\)"):
        TASK.check_labels(torch.zeros(4), torch.ones(4, dtype=torch.bool), NAMES)


def test_likeness_by_hand() -> None:
    teacher, student = torch.tensor([[math.log(3), -1.0]]), torch.tensor([[0.0, 1.0]])
    # KL((3/4, 1/4) || a coin), and of sigmoid(-1) from sigmoid(1): (2p - 1) log(p / (1 - p)) with p = sigmoid(1)
    first = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    p = 1 / (1 + math.exp(-1))
    assert TASK.likeness(student, teacher) == pytest.approx({"agreement": 0.5, "kl": first + (2 * p - 1)})
    assert TASK.likeness(teacher, teacher) == {"agreement": 1, "kl": 0}


def test_answers_are_ranked() -> None:
    first, second = TASK.decode(torch.tensor([[0.0, 3, -2], [-1, -2, -3]]), NAMES)
    assert first["classes"] == ["dog", "cat"]
    assert list(first["likeliest"]) == ["dog", "cat", "fish"]  # type: ignore[call-overload]
    assert second["classes"] == []


def test_panels_by_hand() -> None:
    outputs = torch.tensor([[3.0, -1, -1], [2, 1, -1], [-1, 2, -1]])
    labels = torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 1, 0]])
    table, curve = TASK.panels(outputs, labels, all_of(labels), NAMES)
    assert table.data["columns"] == ["class", "average precision", "precision", "recall", "f1", "rows"]
    assert table.data["rows"] == [
        ["cat", pytest.approx(0.5 + 0.5 * 2 / 3), 0.5, 0.5, 0.5, 2],
        ["dog", 1, 0.5, 1, pytest.approx(2 / 3), 1],
        ["fish", None, 0, 0, 0, 0],
    ]
    assert sum(curve.data["counts"]) == 9
    assert json.loads(json.dumps([asdict(panel) for panel in (table, curve)]))


def test_the_teacher_saw_pictures_with_all_their_classes() -> None:
    outputs, labels = answers(40)
    outputs[7] = torch.tensor([0.0, 9, 9])
    panel = TASK.teacher_saw(torch.rand(40, 1, 8, 8), outputs, labels, torch.arange(40) != 7, NAMES, 2.0)
    rows = panel.data["rows"]
    assert (panel.kind, len(rows)) == ("examples", 8)
    assert rows[0]["labels"] is None and rows[0]["cold"][0] == 0.5, "the row it hesitates most over comes first"
    assert all(set(row["labels"]) <= set(NAMES) for row in rows[1:])
    assert rows[0]["warm"][1] == round(1 / (1 + math.exp(-4.5)), 4)
    assert np.array(rows[0]["image"]).shape == (8, 8)
