"""Classification against closed forms and scikit-learn: losses, metrics, panels, and what the teacher saw."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss, recall_score

from limbeck.catalog.tasks import task
from limbeck.errors import DataError, ModelError, RecipeError
from limbeck.task import Task
from limbeck.tasks.classification import Classification, calibration_error

TASK = Classification()
NAMES = tuple("abcdefg")


def answers(rows: int, classes: int = 7, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (rows,), generator=generator)
    return 2 * torch.randn(rows, classes, generator=generator), labels


def everything(labels: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(labels, dtype=torch.bool)


def test_it_keeps_the_protocol_of_a_task():
    assert isinstance(TASK, Task)
    assert TASK.output_size(NAMES) == 7
    assert set(TASK.headline) <= set(TASK.metrics(*answers(9), torch.ones(9, dtype=torch.bool)))
    assert TASK.selection in TASK.headline


def test_label_loss_of_two_classes_by_hand():
    # -log(softmax) for logits (0, log 3): probabilities 1/4 and 3/4
    outputs = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    loss = TASK.label_loss(outputs, torch.tensor([0, 1]))
    assert loss.tolist() == pytest.approx([math.log(4), math.log(4 / 3)])


def test_label_loss_keeps_leading_dimensions_and_widens_half_precision():
    outputs, labels = answers(12)
    flat = TASK.label_loss(outputs, labels)
    assert torch.equal(TASK.label_loss(outputs.reshape(3, 4, 7), labels.reshape(3, 4)), flat.reshape(3, 4))
    half = TASK.label_loss(outputs.bfloat16(), labels)
    assert half.dtype == torch.float32
    assert torch.equal(half, TASK.label_loss(outputs.bfloat16().float(), labels))
    assert TASK.label_loss(outputs.double(), labels).dtype == torch.float64


def test_label_loss_gives_each_row_its_own_gradient():
    outputs, labels = answers(5)
    outputs.requires_grad_()
    TASK.label_loss(outputs, labels)[2].backward()
    expected = torch.softmax(outputs[2], 0) - torch.nn.functional.one_hot(labels[2], 7)
    assert torch.allclose(outputs.grad[2], expected.detach(), atol=1e-6)
    assert not outputs.grad[[0, 1, 3, 4]].any()


def test_metrics_by_hand():
    # probabilities 3/4 and 1/4: right in three rows of four
    outputs = torch.tensor([[3, 1], [3, 1], [1, 3], [1, 3]], dtype=torch.float64).log()
    labels = torch.tensor([0, 1, 1, 1])
    # F1 of the classes: 2 · 1 / (1 + 2) and 2 · 2 / (3 + 2); their recalls: 1 and 2/3
    likelihood = {"nll": (3 * math.log(4 / 3) + math.log(4)) / 4, "ece": 0.0}
    assert TASK.metrics(outputs, labels, everything(labels)) == pytest.approx(
        {"accuracy": 0.75, "macro_f1": 11 / 15, "balanced_accuracy": 5 / 6, **likelihood}
    )


def test_calibration_error_by_hand():
    # bin of 0.9: half right, off by 0.4; bin of 0.65: all right, off by 0.35; an equal number of rows in both
    probability = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.35, 0.65], [0.35, 0.65]], dtype=torch.float64)
    assert calibration_error(probability, torch.tensor([0, 1, 1, 1])) == pytest.approx(0.5 * 0.4 + 0.5 * 0.35)
    # over- and underconfidence in ONE bin cancel, in two bins they do not
    same = torch.tensor([[0.62, 0.38], [0.64, 0.36]], dtype=torch.float64)
    assert calibration_error(same, torch.tensor([0, 1])) == pytest.approx(0.63 - 0.5)
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert calibration_error(certain, torch.tensor([0, 1])) == 0
    assert calibration_error(certain, torch.tensor([1, 0])) == 1


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 60), seed=st.integers(0, 1000), classes=st.integers(2, 9))
def test_metrics_equal_slow_references(rows, seed, classes):
    outputs, labels = answers(rows, classes, seed)
    values = TASK.metrics(outputs, labels, everything(labels))
    probability = np.exp(outputs.double().numpy())
    probability /= probability.sum(1, keepdims=True)
    assert values["nll"] == pytest.approx(log_loss(labels, probability, labels=np.arange(classes)))
    assert values["accuracy"] == pytest.approx(np.mean(probability.argmax(1) == labels.numpy()))
    error = 0.0
    for number in range(15):
        inside = [r for r in range(rows) if number / 15 < probability[r].max() <= (number + 1) / 15]
        right = sum(probability[r].argmax() == labels[r].item() for r in inside)
        error += abs(right - sum(probability[r].max() for r in inside)) / rows
    assert values["ece"] == pytest.approx(error)
    if classes > 5:
        best = np.argsort(-probability, axis=1)[:, :5]
        assert values["top5"] == pytest.approx(np.mean([labels[r].item() in best[r] for r in range(rows)]))
    else:
        assert "top5" not in values


def test_a_confident_mistake_costs_its_full_likelihood():
    outputs, labels = torch.tensor([[500.0, 0.0]]), torch.tensor([1])
    assert TASK.metrics(outputs, labels, everything(labels))["nll"] == pytest.approx(500)


def test_rows_with_unknown_labels_change_no_metric_and_no_panel():
    outputs, labels = answers(20)
    known = everything(labels)
    more = torch.cat((outputs, torch.randn(5, 7))), torch.cat((labels, torch.zeros(5, dtype=torch.int64)))
    mask = torch.cat((known, torch.zeros(5, dtype=torch.bool)))
    assert TASK.metrics(*more, mask) == TASK.metrics(outputs, labels, known)
    assert TASK.panels(*more, mask, NAMES) == TASK.panels(outputs, labels, known, NAMES)


def test_metrics_without_a_known_label_or_with_broken_outputs_are_refused():
    outputs, labels = answers(4)
    with pytest.raises(DataError, match="none of the 4 rows has a known label"):
        TASK.metrics(outputs, labels, ~everything(labels))
    outputs[2, 3] = math.nan
    with pytest.raises(ModelError, match="NaN or infinite in 1 of 4 rows\n  expected: finite logits"):
        TASK.metrics(outputs, labels, everything(labels))


def test_likeness_is_perfect_for_equal_models_and_by_hand_for_two_classes():
    outputs, _ = answers(30)
    assert TASK.likeness(outputs, outputs) == {"agreement": 1.0, "kl": 0.0}
    assert TASK.likeness(outputs + 3, outputs)["kl"] == pytest.approx(0, abs=1e-7)
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.0, math.log(3)]])
    # KL((3/4, 1/4) || (1/4, 3/4)) = 3/4 log 3 - 1/4 log 3; the other direction of unequal ones differs
    assert TASK.likeness(student, teacher) == pytest.approx({"agreement": 0.0, "kl": 0.5 * math.log(3)})
    even = torch.tensor([[0.0, 0.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert TASK.likeness(even, teacher)["kl"] == pytest.approx(expected)


def test_decoded_answers_are_ranked():
    outputs = torch.log(torch.tensor([[0.05, 0.4, 0.2, 0.1, 0.1, 0.1, 0.05], [0.9, 0.1, 0, 0, 0, 0, 0]]))
    first, second = TASK.decode(outputs, NAMES)
    assert first["class"] == "b"
    assert first["probability"] == pytest.approx(0.4)
    assert list(first["likeliest"])[:2] == ["b", "c"]
    assert len(first["likeliest"]) == 5
    assert second["class"] == "a"
    assert list(TASK.decode(torch.zeros(1, 2), ("no", "yes"))[0]["likeliest"].values()) == [0.5, 0.5]


def test_panels_by_hand():
    outputs = torch.eye(3)[[0, 0, 1, 1, 1]] * 2
    labels = torch.tensor([0, 1, 1, 1, 1])
    table, matrix, curve = TASK.panels(outputs, labels, everything(labels), ("x", "y", "z"))
    assert table.data["columns"] == ["class", "precision", "recall", "f1", "rows"]
    assert table.data["rows"] == [
        ["x", 0.5, 1.0, pytest.approx(2 / 3), 1],
        ["y", 1.0, 0.75, pytest.approx(6 / 7), 4],
        ["z", 0.0, 0.0, 0.0, 0],
    ]
    # rows are the truth, columns the answer
    assert matrix.data == {"labels": ["x", "y", "z"], "values": [[1, 0, 0], [1, 3, 0], [0, 0, 0]]}
    confidence = math.exp(2) / (math.exp(2) + 2)
    assert curve.data["x"] == pytest.approx([confidence])
    assert curve.data["y"] == pytest.approx([0.8])
    assert curve.data["counts"] == [5]
    assert curve.data["diagonal"] is True
    assert [panel.kind for panel in (table, matrix, curve)] == ["table", "matrix", "curve"]


def test_the_curve_agrees_with_the_calibration_error_and_all_panels_are_json():
    outputs, labels = answers(300)
    panels = TASK.panels(outputs, labels, everything(labels), NAMES)
    curve = panels[-1].data
    distance = sum(abs(x - y) * n for x, y, n in zip(curve["x"], curve["y"], curve["counts"], strict=True)) / 300
    assert distance == pytest.approx(TASK.metrics(outputs, labels, everything(labels))["ece"])
    assert json.loads(json.dumps([asdict(panel) for panel in panels]))


def test_a_matrix_of_very_many_classes_is_left_out():
    outputs, labels = answers(30, classes=101)
    kinds = [p.kind for p in TASK.panels(outputs, labels, everything(labels), [str(n) for n in range(101)])]
    assert kinds == ["table", "curve"]


def test_the_teacher_saw_doubtful_and_sure_rows_at_both_temperatures():
    sure = torch.eye(7)[torch.arange(40) % 7] * torch.linspace(3, 9, 40)[:, None]
    images = torch.randint(0, 17, (40, 1, 8, 8), dtype=torch.uint8)
    images[0, 0, 0, :2] = torch.tensor([0, 16])
    labels = torch.arange(40) % 7
    known = torch.arange(40) != 0
    panel = TASK.teacher_saw(images, sure, labels, known, NAMES, 4.0)
    assert panel.kind == "examples"
    assert panel.data["classes"] == list(NAMES)
    assert panel.data["temperature"] == 4.0
    rows = panel.data["rows"]
    assert len(rows) == 8
    # the teacher grows surer from row to row: the doubtful half are the first rows, the sure half the last
    assert [row["label"] for row in rows] == [None, "b", "c", "d", *(NAMES[n % 7] for n in (39, 38, 37, 36))]
    assert rows[4]["cold"] == [round(float(p), 4) for p in torch.softmax(sure[39].double(), 0)]
    assert rows[4]["warm"] == [round(float(p), 4) for p in torch.softmax(sure[39].double() / 4, 0)]
    assert np.allclose(rows[0]["image"], images[0, 0].numpy() / 16, atol=1e-4)
    assert json.loads(json.dumps(asdict(panel)))


def test_each_half_of_the_examples_prefers_different_answers_within_its_quarter():
    outputs = (
        torch.eye(7)[[0] * 20 + [1, 2, 3, 4]] * torch.cat((torch.full((20,), 0.5), torch.full((4,), 1.0)))[:, None]
    )
    labels = torch.zeros(24, dtype=torch.int64)
    inputs = torch.zeros(24, 5)
    rows = TASK.teacher_saw(inputs, outputs, labels, everything(labels), NAMES, 2.0).data["rows"]
    tops = [int(np.argmax(row["cold"])) for row in rows]
    assert tops == [0, 0, 0, 0, 4, 3, 2, 1]
    assert all(row["image"] is None for row in rows)


def test_pictures_are_scaled_down_only_when_large():
    outputs, labels = answers(3)
    large = torch.rand(3, 3, 100, 50)
    rows = TASK.teacher_saw(large, outputs, labels, everything(labels), NAMES, 1.0).data["rows"]
    assert len(rows) == 3
    assert np.array(rows[0]["image"]).shape == (64, 32, 3)
    small = TASK.teacher_saw(torch.rand(3, 1, 64, 64), outputs, labels, everything(labels), NAMES, 1.0).data["rows"]
    assert np.array(small[0]["image"]).shape == (64, 64)
    assert 0 <= np.min(small[0]["image"]) <= np.max(small[0]["image"]) <= 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            torch.tensor([0, 3, 7, -1]),
            "row 2 has label 7 \\(2 rows are out of range\\)\n  expected: a class number from",
        ),
        (torch.tensor([0.0, 1.0, 2.0, 1.0]), "the labels are of type torch.float32\n  expected: class numbers"),
        (
            torch.zeros(4, 7, dtype=torch.int64),
            "the labels have shape \\(4, 7\\)\n  expected: one class number for each",
        ),
        (torch.zeros(3, dtype=torch.int64), "the labels have shape \\(3,\\)"),
    ],
)
def test_labels_that_cannot_be_are_named(labels, message):
    with pytest.raises(DataError, match=message):
        TASK.check_labels(labels, torch.ones(4, dtype=torch.bool), NAMES)


def test_the_number_of_a_hidden_label_does_not_matter():
    TASK.check_labels(torch.tensor([0, 99, -1]), torch.tensor([True, False, False]), NAMES)


# Arguments: another metric to choose by, and classes that weigh the same


def test_arguments_are_written_as_they_are_read():
    texts = ["classification", "classification(select='macro_f1')", "classification(weights=(0.5, 2.0))"]
    assert [repr(task(text)) for text in [*texts, "classification(weights='balanced')"]] == [
        *texts,
        "classification(weights='balanced')",
    ]
    chosen = task("classification(select='balanced_accuracy')")
    assert (chosen.selection, chosen.headline[0]) == ("balanced_accuracy", "balanced_accuracy")
    assert TASK.headline == ("accuracy", "nll", "ece")
    for wrong in ("classification(select='f1')", "classification(weights='even')", "classification(weights=(1, -1))"):
        with pytest.raises(RecipeError, match="cannot be read"):
            task(wrong)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 60), seed=st.integers(0, 1000), classes=st.integers(2, 9))
def test_means_over_classes_are_scikit_learns(rows, seed, classes):
    outputs, labels = answers(rows, classes, seed)
    values, said = TASK.metrics(outputs, labels, everything(labels)), outputs.argmax(1)
    assert values["macro_f1"] == pytest.approx(f1_score(labels, said, average="macro", zero_division=0))
    # not balanced_accuracy_score, which warns where a class was said and never true
    present = labels.unique().tolist()
    recalls = recall_score(labels, said, labels=present, average="macro", zero_division=0)
    assert values["balanced_accuracy"] == pytest.approx(recalls)


def test_balanced_weights_by_hand():
    # six known labels of classes 0 and 2: four and two of them; class 1 occurs nowhere
    labels = torch.tensor([0, 0, 0, 0, 2, 2, 1, 1])
    known = torch.arange(8) < 6
    fitted = task("classification(weights='balanced')").fitted(labels, known)
    assert fitted.weights == (6 / (2 * 4), 0, 6 / (2 * 2))
    assert repr(fitted) == "classification(weights=(0.75, 0.0, 1.5))"
    assert task(repr(fitted)).fitted(labels, known).weights == fitted.weights
    outputs, _ = answers(8, 4)
    plain = TASK.label_loss(outputs, labels)
    expected = plain * torch.tensor([0.75] * 4 + [1.5] * 2 + [0, 0])
    assert torch.allclose(fitted.label_loss(outputs, labels), expected)
    assert torch.equal(fitted.label_loss(outputs, torch.full((8,), 3)), TASK.label_loss(outputs, torch.full((8,), 3)))
    assert task("classification(weights='balanced')").fitted(labels, ~known | known) is not TASK
    assert TASK.fitted(labels, known) is TASK


def test_balanced_weights_leave_the_mean_row_at_one_and_metrics_as_they_are():
    outputs, labels = answers(50)
    fitted = task("classification(weights='balanced')").fitted(labels, everything(labels))
    assert sum(fitted.weights[label] for label in labels.tolist()) == pytest.approx(50)
    assert fitted.metrics(outputs, labels, everything(labels)) == TASK.metrics(outputs, labels, everything(labels))
