"""Mistakes in the data, planted one by one: each is found, and following its remedy makes it go away."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from examinations import bad, changed, examined, the
from small_runs import small
from torch import Tensor, nn

from limbeck.catalog.tasks import task as find_task
from limbeck.data.rows import TensorRows
from limbeck.data.source import Data, load
from limbeck.data.windows import windowed
from limbeck.errors import DataError
from limbeck.evaluation import Answers
from limbeck.examination.values import values
from limbeck.model import Model
from limbeck.recipe import DataSpec
from limbeck.records import Finding
from limbeck.run import Run
from limbeck.teachers.function import FunctionTeacher
from limbeck.transforms import AsFloat


@pytest.fixture
def teacher(good_run: Run) -> Model:
    return good_run.student()


@pytest.fixture(scope="module")
def rows() -> Data:
    """Split as the teacher's own."""
    return load("digits", valid=0.1, test=0.2)


# 5. Test rows were copied into train.


def test_test_rows_in_train(teacher: Model, rows: Data) -> None:
    def both(first: TensorRows, second: TensorRows) -> TensorRows:
        parts = [torch.cat([getattr(first, name), getattr(second, name)]) for name in ("inputs", "labels", "known")]
        return TensorRows(*parts, torch.cat([first.ids, second.ids + 10_000]))

    leaking = changed(rows, train=both(rows.train, rows.test.select(torch.arange(40))))
    found = the(examined(teacher, leaking, claims=0.95), "the same rows in training and test", "error")
    assert found.evidence.startswith("40 of 359 test rows (11.1%)")
    with pytest.raises(DataError, match="the same rows in training and test"):
        small(teacher, Path("never"), data=leaking)
    assert not Path("never").exists()
    kept = leaking.train.select((leaking.train.ids < 10_000).nonzero().flatten())
    assert bad(examined(teacher, changed(leaking, train=kept), claims=0.95)) == []


# 6. One person in two splits, and windows that overlap.


def people(split: str) -> Data:
    generator = np.random.default_rng(0)
    table = {
        "person": np.repeat([f"p{number}" for number in range(12)], 60),
        "minute": np.tile(np.arange(60.0), 12) * 60,
        "value": generator.normal(size=720).cumsum(),
        "label": generator.integers(0, 2, 720).astype(str),
    }
    spec = DataSpec(
        source="x",
        columns={"inputs": "value", "label": "label", "group": "person", "time": "minute"},  # type: ignore[arg-type]
        windows={"steps": 8, "stride": 4},  # type: ignore[arg-type]
    )
    return load(windowed(table, spec, "single"), valid=0.2, test=0.2, split=split)  # type: ignore[arg-type]


def test_one_person_in_two_splits() -> None:
    found = examined(None, people("random"), objective="labels")
    assert "10 of the 10 groups" in the(found, "the same groups in training and test", "error").evidence
    assert "share readings" in the(found, "the same time in training and test", "error").evidence
    apart = examined(None, people("groups"), objective="labels")
    assert not [subject for subject in bad(apart) if subject.startswith("the same")]
    past = examined(None, people("time"), objective="labels")
    assert not [subject for subject in bad(past) if subject.startswith("the same")]
    assert the(past, "the same groups in training and test", "note").remedy.startswith("right for")


# 7. A fifth of the labels is wrong.


def test_flipped_labels(teacher: Model, rows: Data) -> None:
    assert rows.train.labels is not None
    generator = torch.Generator().manual_seed(0)
    flipped = torch.rand(len(rows.train), generator=generator) < 0.2
    shifts = torch.randint(1, 10, (len(rows.train),), generator=generator)
    labels = torch.where(flipped, (rows.train.labels + shifts) % 10, rows.train.labels)
    noisy = changed(rows, train=dataclasses.replace(rows.train, labels=labels))
    found = the(examined(teacher, noisy, claims=0.95), "label noise", "warning")
    share = float(found.evidence.partition("; in ")[2].partition("%")[0]) / 100
    assert share == pytest.approx(float(flipped.float().mean()), abs=0.04)
    # The remedy is to correct or drop what it names; correcting all of them is the data as it was.
    assert "label noise" not in bad(examined(teacher, rows, claims=0.95))


def test_equal_rows_with_different_labels(teacher: Model, rows: Data) -> None:
    assert rows.train.labels is not None
    inputs, labels = rows.train.inputs, rows.train.labels.clone()
    assert isinstance(inputs, Tensor)
    doubled = inputs.clone()
    doubled[:20] = doubled[20:40]
    labels[:20] = (labels[20:40] + 1) % 10
    twice = changed(rows, train=dataclasses.replace(rows.train, inputs=doubled, labels=labels))
    found = the(examined(teacher, twice), "equal rows with different labels", "warning")
    assert "at least 20 labels are wrong" in found.evidence
    dropped = twice.train.select(torch.arange(20, len(rows.train)))
    assert "equal rows with different labels" not in bad(examined(teacher, changed(rows, train=dropped)))


# 10. Inputs that are no inputs.


def test_nan_pixels_and_constant_inputs(teacher: Model, rows: Data) -> None:
    def floats(change: Callable[[Tensor], Any]) -> Data:
        inputs = rows.train.take(torch.arange(len(rows.train))).inputs.float()
        change(inputs)
        parts = {
            name: dataclasses.replace(part, inputs=part.take(torch.arange(len(part))).inputs.float())
            for name, part in (("valid", rows.valid), ("test", rows.test))
        }
        return changed(rows, train=dataclasses.replace(rows.train, inputs=inputs), **parts)

    def plant(inputs: Tensor) -> None:
        inputs[7, 0, 3, 3] = torch.nan

    broken = floats(plant)
    assert "1 of 1,258 train rows" in the(examined(teacher, broken), "NaN in the train inputs", "error").evidence
    with pytest.raises(DataError, match="NaN in the train inputs"):
        small(teacher, Path("never"), data=broken)
    kept = broken.train.select(torch.cat([torch.arange(7), torch.arange(8, len(rows.train))]))
    assert bad(examined(teacher, changed(broken, train=kept), claims=0.95)) == []
    flat = floats(lambda inputs: torch.nn.init.constant_(inputs, 3.0))
    the(examined(teacher, flat), "the inputs are all the same", "error")


# 15. Milligrams and millimoles.


def sugar() -> Data:
    """A made-up blood sugar in mg/dL, and the quarter of an hour after each hour to forecast."""
    generator = np.random.default_rng(0)
    walk = 140 + 25 * np.sin(np.arange(3000) / 9) + generator.normal(0, 3, 3000)
    spec = DataSpec(
        source="x",
        columns={"inputs": "glucose", "time": "second"},  # type: ignore[arg-type]
        windows={"steps": 12, "stride": 3, "horizon": 3},  # type: ignore[arg-type]
    )
    table = {"second": np.arange(3000.0) * 300, "glucose": walk}
    return load(windowed(table, spec, "values"), labels="values", split="time", valid=0.2, test=0.2)


@pytest.mark.parametrize(
    ("factor", "offset", "name"),
    [(1 / 18.016, 0.0, "mmol/L and mg/dL"), (0.001, 0.0, "a thousand"), (1.0, 273.15, "kelvin"), (1.0, 0.0, None)],
)
def test_a_teacher_in_another_unit(factor: float, offset: float, name: str | None) -> None:
    data = sugar()
    piece = data.valid.take(torch.arange(len(data.valid)))
    task = find_task("forecasting(horizon=3)").fitted(data.train.labels, data.train.known)
    last, before = piece.inputs[:, 0, -1], piece.inputs[:, 0, -4]
    forecast = (last[:, None] + 0.2 * (last - before)[:, None] * torch.arange(1, 4)) * factor + offset
    found = values(Answers(forecast, piece.labels, piece.known), piece.inputs, task, "validation rows")
    if name is None:
        assert bad(found) == []
    else:
        assert name in the(found, "the teacher's unit", "error").evidence


def test_a_forecast_that_is_no_better_than_no_change() -> None:
    data = sugar()
    piece = data.valid.take(torch.arange(len(data.valid)))
    task = find_task("forecasting(horizon=3)").fitted(data.train.labels, data.train.known)
    said = Answers(torch.full((len(data.valid), 3), 141.0), piece.labels, piece.known)
    found = the(values(said, piece.inputs, task, "validation rows"), "the teacher is no better than a guess", "warning")
    assert "always saying the mean" in found.evidence


def test_the_doctor_sees_the_unit_in_a_whole_recipe() -> None:
    def answers(factor: float) -> FunctionTeacher:
        def answer(windows: np.ndarray) -> np.ndarray:
            last, before = windows[:, 0, -1], windows[:, 0, -4]
            return (last[:, None] + 0.2 * (last - before)[:, None] * np.arange(1, 4)) * factor

        return FunctionTeacher(answer, outputs="values")

    def asked(factor: float) -> list[Finding]:
        task = "forecasting(horizon=3)"
        return examined(answers(factor), sugar(), "tcn(size=8)", objective="labels + regression", task=task)

    the(asked(1 / 18.016), "the teacher's unit", "error")
    assert bad(asked(1.0)) == []


@pytest.mark.parametrize(
    ("task", "objective"),
    [("multilabel", "binary_kd + labels"), ("sequence", "kd + labels"), ("regression", "regression")],
)
def test_other_tasks_are_examined_as_far_as_that_makes_sense(task: str, objective: str) -> None:
    """A teacher that knows the answer is found to be good, and one that knows nothing is not."""
    generator = torch.Generator().manual_seed(0)
    series = torch.randn(300, 2, 6, generator=generator)
    high = series > 0.5
    labels = {"multilabel": high[:, :, 0].long(), "sequence": high[:, 0].long(), "regression": series.mean(dim=2)}[task]
    kind = find_task(task).labels
    data = load({"train": (series, labels)}, labels=kind, valid=0.2, test=0.2)
    right = {
        "multilabel": lambda x: 8 * (x[:, :, 0] - 0.5),
        "sequence": lambda x: torch.stack([8 * (0.5 - x[:, 0]), 8 * (x[:, 0] - 0.5)], dim=-1),
        "regression": lambda x: x.mean(dim=2),
    }[task]
    student = "tcn(size=8, per_step=True)" if task == "sequence" else "tcn(size=8)"

    class Knowing(nn.Module):
        def __init__(self, sign: int) -> None:
            super().__init__()
            self.sign = nn.Parameter(torch.tensor(float(sign)))

        def forward(self, x: Tensor) -> Tensor:
            return self.sign * right(x)

    found = examined(Model(Knowing(1), AsFloat()), data, student, task=task, objective=objective)
    assert [subject for subject in bad(found) if "teacher is" in subject or "class order" in subject] == []
    wrong = bad(examined(Model(Knowing(-1), AsFloat()), data, student, task=task, objective=objective, claims=0.95))
    expected = {"sequence": "the teacher's class order", "multilabel": "the teacher is worse than claimed"}
    assert expected.get(task, "the teacher is no better than a guess") in wrong
