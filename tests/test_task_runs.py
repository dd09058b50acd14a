"""Every task from its data to its report, through the command line, on small real data or an honest small series."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits
from test_cli import call
from test_report import plain_text

from limbeck.checkpoint import load
from limbeck.distillation import distill
from limbeck.errors import DataError, ObjectiveError, TeacherError
from limbeck.run import Run

Arrays = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def diabetes() -> Arrays:
    """442 people: the progress of the disease, and the mean blood pressure in its standardised unit."""
    inputs, progress = load_diabetes(return_X_y=True)
    labels = np.stack([progress, inputs[:, 3]], axis=1).astype(np.float32)
    labels[::9, 1] = np.nan
    labels[5] = np.nan
    return np.delete(inputs, 3, axis=1).astype(np.float32), labels


def waves(rows: int = 500, steps: int = 20) -> npt.NDArray[np.float64]:
    """A wave of slowly changing size under noise, in windows; a channel beside it says nothing."""
    generator = np.random.default_rng(0)
    time = np.arange(rows + steps + 3)
    series = 100 + (15 + 5 * np.sin(time / 70)) * np.sin(time / 6) + generator.normal(scale=1.5, size=len(time))
    noise = generator.normal(size=len(time))
    return np.stack([np.lib.stride_tricks.sliding_window_view(line, steps + 3)[:rows] for line in (noise, series)], 1)


def readings() -> Arrays:
    found = waves()
    labels = found[:, 1, 20:].astype(np.float32)
    labels[::11, 0], labels[7] = np.nan, np.nan
    return found[:, :, :20].astype(np.float32), labels


def digit_parts() -> Arrays:
    """Which of three things is true of a digit: it is even, above four, a circle is in it."""
    digits = load_digits()
    numbers = digits.target[:500]
    labels = np.stack([numbers % 2 == 0, numbers > 4, np.isin(numbers, (0, 6, 8, 9))], axis=1).astype(np.int64)
    labels[3] = -1
    return digits.images[:500, None].astype(np.float32), labels


def phases() -> Arrays:
    """At each step of a wave, whether it lies low, in the middle or high."""
    found = waves(rows=300)
    labels = np.digitize(found[:, 1, :20], (92, 108)).astype(np.int64)
    labels[::4, 3] = -1
    return found[:, :, :20].astype(np.float32), labels


@dataclass(frozen=True)
class Example:
    """A task on data, the networks that do it, the method that distils it, and what a person can then read."""

    data: Arrays
    task: str
    teacher: str
    student: str
    objective: str
    better_than: Mapping[str, float]
    panels: tuple[str, ...]
    says: tuple[str, ...]


EXAMPLES = {
    "regression": Example(
        diabetes(),
        "regression",
        "mlp(size=32)",
        "mlp(size=8)",
        "0.3 * regression + 0.3 * bounded_regression(margin=0.1) + 0.2 * attentive_regression + 0.2 * labels",
        {"r2": 0.05},
        ("by_quantity", "by_truth_0", "by_truth_1"),
        ("Errors by quantity", "RMSE", "MAE", "R²", "the mean of the training labels", "RMSE of 0"),
    ),
    "forecasting": Example(
        readings(),
        "forecasting(horizon=3, below=88, channel=1, quantiles=(0.1, 0.5, 0.9))",
        "gru(size=16)",
        "tcn(size=8, depth=2)",
        "0.4 * regression + 0.3 * event_kd(temperature=2) + 0.3 * labels",
        {"auprc": 0.5, "auroc": 0.8},
        ("error_by_step", "precision_recall", "reliability"),
        ("the last reading said again", "AUPRC", "Brier score", "for a reading below 88", "The fine dashes mark 88."),
    ),
    "multilabel": Example(
        digit_parts(),
        "multilabel",
        "cnn(size=16, depth=1)",
        "mlp(size=16)",
        "0.7 * binary_kd(temperature=2) + 0.3 * labels",
        {"map": 0.7},
        ("by_class", "reliability"),
        ("Mean average precision", "Macro F1", "average precision", "What the teacher saw"),
    ),
    "sequence": Example(
        phases(),
        "sequence(select='macro_f1')",
        "gru(size=16, per_step=True)",
        "tcn(size=8, depth=2, per_step=True)",
        "0.7 * kd(temperature=2) + 0.3 * labels",
        {"accuracy": 0.6},
        ("by_class", "confusion", "reliability"),
        ("Macro F1", "Confusion matrix", "What the teacher said", "steps"),
    ),
}
RECIPE = """
data: {{source: "{data}", valid: 0.15, test: 0.2}}
task: "{task}"
student: "{student}"
objective: "{objective}"
budget: 6 epochs
training: {{batch: 32, lr: 0.01, precision: float32, channels_last: false, threads: 1}}
device: cpu
"""


@pytest.fixture(scope="module", params=EXAMPLES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, Path]:
    """A folder with the runs of a teacher and of its student, made from a file."""
    one, folder = EXAMPLES[request.param], tmp_path_factory.mktemp(request.param)
    inputs, labels = one.data
    np.savez(folder / "data.npz", inputs=inputs, labels=labels)
    np.savez(folder / "new.npz", inputs=inputs[:3])
    filled = {"data": folder / "data.npz", "task": one.task}
    teacher = RECIPE.format(student=one.teacher, objective="labels", **filled)
    student = RECIPE.format(student=one.student, objective=one.objective, **filled) + f"teacher: {folder / 'teacher'}\n"
    for name, text in (("teacher", teacher), ("student", student)):
        (folder / f"{name}.yaml").write_text(text)
        call("distill", str(folder / f"{name}.yaml"), "--to", str(folder / name), "--quiet")
    return one, folder


def test_a_run_learns_and_records_what_its_task_measures(made: tuple[Example, Path]) -> None:
    one, folder = made
    record = Run.open(folder / "student").record
    (result,) = record.results
    assert record.status == "finished"
    assert result.control is not None and record.teacher is not None
    for scores in (result.student, result.control, record.teacher):
        assert set(record.headline) <= set(scores.metrics)
        assert tuple(panel.name for panel in scores.panels) == one.panels
    for name, bound in one.better_than.items():
        assert result.student.metrics[name] > bound
    assert all(finding.severity != "error" for finding in record.findings)


def test_the_settled_recipe_knows_the_labels_and_a_run_answers_without_its_data(made: tuple[Example, Path]) -> None:
    one, folder = made
    run = Run.open(folder / "student")
    settled = run.recipe().task
    assert settled == run.record.task
    assert ("scale=" in settled) == ("regression" in settled or "forecasting" in settled)
    inputs = torch.from_numpy(one.data[0][:7])
    with torch.no_grad():
        said = run.student()(inputs)
    tensors, _ = load(folder / "student" / "student.safetensors")
    assert ("restore.scale" in tensors) == ("scale=" in settled)
    (folder / "data.npz").rename(folder / "hidden.npz")
    try:
        with torch.no_grad():
            again = Run.open(folder / "student").student()(inputs)
    finally:
        (folder / "hidden.npz").rename(folder / "data.npz")
    assert torch.equal(said, again)


def test_the_baseline_is_scored_beside_the_models(made: tuple[Example, Path]) -> None:
    one, folder = made
    record = Run.open(folder / "student").record
    if one.task.startswith(("multilabel", "sequence")):
        assert record.baseline is None and record.baseline_name == ""
        return
    assert record.baseline is not None
    assert record.baseline_name in plain_text(folder / "student" / "report.html")
    assert record.baseline.metrics["rmse"] > record.results[0].student.metrics["rmse"], "learning paid"


def test_evaluate_gives_the_scores_of_the_record(
    made: tuple[Example, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = made
    record = Run.open(folder / "student").record
    call("evaluate", str(folder / "student"), "--json")
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert ("baseline" in scores) == (record.baseline is not None)
    for name, value in record.results[0].student.metrics.items():
        if name in scores["student"]["metrics"]:
            assert scores["student"]["metrics"][name] == pytest.approx(value, rel=1e-5)
    call("evaluate", str(folder / "student"), "--split", "valid")
    assert record.selection in capsys.readouterr().out


def test_predict_and_report_speak_to_people(made: tuple[Example, Path], capsys: pytest.CaptureFixture[str]) -> None:
    one, folder = made
    call("predict", str(folder / "student"), str(folder / "new.npz"), "--json")
    answers = json.loads(capsys.readouterr().out)["predictions"]
    assert len(answers) == 3
    call("predict", str(folder / "student"), str(folder / "new.npz"))
    out = capsys.readouterr().out
    assert all(words.split()[0] in out for words in answers[0])
    call("report", str(folder / "student"), "--to", str(folder / "report.html"))
    assert "Difference" in capsys.readouterr().out
    text = plain_text(folder / "report.html")
    assert all(words in text for words in one.says), [words for words in one.says if words not in text]


def settings(**changes: Any) -> dict[str, Any]:
    training = {"batch": 32, "lr": 0.01, "precision": "float32", "channels_last": False}
    return {"valid": 0.15, "test": 0.2, "budget": "1 epochs", "device": "cpu", "training": training, **changes}


@pytest.mark.parametrize(
    ("name", "objective", "message"),
    [
        ("forecasting", "kd", "takes outputs for classes, and forecasting.* has event and values[\\s\\S]*event_kd"),
        ("regression", "0.5 * event_kd + 0.5 * labels", "takes outputs for event, and regression.* has values"),
        ("multilabel", "kd", "takes outputs for classes, and multilabel has binary"),
        ("sequence", "binary_kd", "takes outputs for binary"),
        ("sequence", "regression", "takes outputs for values"),
    ],
)
def test_a_method_for_other_outputs_is_refused_before_training(
    name: str, objective: str, message: str, tmp_path: Path
) -> None:
    one = EXAMPLES[name]
    with pytest.raises(ObjectiveError, match=message):
        distill(
            torch.nn.Flatten(), one.student, one.data, task=one.task, objective=objective, to=tmp_path / "run",
            **settings(),
        )  # fmt: skip
    assert not (tmp_path / "run" / "run.json").is_file()


def test_a_teacher_with_other_outputs_is_refused(tmp_path: Path) -> None:
    one = EXAMPLES["regression"]
    with pytest.raises(
        TeacherError, match="outputs of shape \\(9,\\) a row\n  expected: what the student gives: \\(2,\\)"
    ):
        distill(
            torch.nn.Flatten(), one.student, one.data, task=one.task, objective="regression", to=tmp_path / "run",
            **settings(),
        )  # fmt: skip


def test_weights_cannot_be_chosen_by_what_validation_rows_do_not_give(tmp_path: Path) -> None:
    inputs, labels = readings()
    happens, whole = (labels < 88).any(axis=1), np.isfinite(labels).all(axis=1)
    calm = np.flatnonzero(~happens & whole)
    rest = np.setdiff1d(np.arange(500), calm[:40])
    parts = {"train": rest[:300], "valid": calm[:40], "test": rest[300:]}
    data = {split: (inputs[rows], labels[rows]) for split, rows in parts.items()}
    with pytest.raises(DataError, match=r"validation rows do not give auprc[\s\S]*another select="):
        distill(
            None, "tcn(size=8, depth=2)", data, to=tmp_path / "run",
            task="forecasting(horizon=3, below=88, channel=1, select='auprc')",
            **settings(valid=None, test=None),
        )  # fmt: skip


def test_weights_of_the_best_validation_error_are_kept(tmp_path: Path) -> None:
    one = EXAMPLES["regression"]
    run = distill(None, "mlp(size=8)", one.data, task="regression", to=tmp_path / "run", **settings(budget="8 epochs"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    errors = {line["step"]: line["metrics"]["rmse"] for line in lines if line["event"] == "valid"}
    (result,) = run.record.results
    assert len(errors) > 1
    assert result.validation == min(errors.values())
    assert errors[result.selected_step] == result.validation


def test_balanced_classes_settle_their_weights(tmp_path: Path) -> None:
    digits = load_digits()
    keep = (digits.target != 3) | (np.arange(1797) % 6 == 0)
    data = digits.images[keep][:600, None].astype(np.float32), digits.target[keep][:600] == 3
    run = distill(
        None, "mlp(size=8)", (data[0], data[1].astype(np.int64)), to=tmp_path / "run",
        task="classification(select='macro_f1', weights='balanced')", **settings(),
    )  # fmt: skip
    settled = run.recipe().task
    assert settled.startswith("classification(select='macro_f1', weights=(")
    assert run.record.selection == "macro_f1"
    light, heavy = (float(number) for number in settled.split("weights=(")[1].rstrip(")").split(", "))
    assert light < 0.6 < 1 < heavy
