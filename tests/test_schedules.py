"""Weights and arguments that change over the training: their values, how they are written, and what training sees."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from method_cases import CASES, same
from small_runs import small, teacher_run

from limbeck.catalog.objectives import objective
from limbeck.divergences import kl
from limbeck.errors import ObjectiveError, RecipeError
from limbeck.objectives.kd import KD
from limbeck.schedules import Moment, Schedule, cosine, linear

QUICK = settings(max_examples=60, deadline=None, derandomize=True)
NUMBERS = st.floats(0, 1e3)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(teacher_run(tmp_path_factory.mktemp("teacher") / "run").folder)


def moment(step: int, steps: int = 11, steps_per_epoch: int = 5) -> Moment:
    return Moment(step, steps, steps_per_epoch)


def test_a_line_and_half_a_cosine() -> None:
    assert [linear(1, 0).at(moment(step)) for step in (0, 5, 10)] == [1.0, 0.5, 0.0]
    assert [round(linear(2, 4, over="1 epoch").at(moment(step)), 12) for step in (0, 1, 5, 10)] == [2, 2.4, 4, 4]
    assert [linear(2, 4, over="2 steps").at(moment(step)) for step in (0, 1, 2, 3)] == [2, 3, 4, 4]
    expected = [8 - 7 * (1 - math.cos(math.pi * step / 10)) / 2 for step in range(11)]
    assert [cosine(8, 1).at(moment(step)) for step in range(11)] == pytest.approx(expected, rel=1e-12)


@QUICK
@given(
    shape=st.sampled_from(["linear", "cosine"]),
    start=NUMBERS,
    end=NUMBERS,
    steps=st.integers(1, 50),
    over=st.none() | st.integers(1, 60).map(lambda n: f"{n} steps"),
)
def test_it_starts_and_ends_and_never_leaves_its_values(
    shape: str, start: float, end: float, steps: int, over: str | None
) -> None:
    schedule = Schedule.of(shape, start, end, over)
    values = [schedule.at(moment(step, steps)) for step in range(steps)]
    assert values[0] == pytest.approx(start, abs=1e-12)
    low, high = min(start, end), max(start, end)
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)
    assert values == sorted(values, reverse=end < start) or max(map(abs, (start, end))) * 1e-12 > abs(start - end)
    if steps > schedule.length(steps, 5):
        assert values[-1] == pytest.approx(end, rel=1e-12)
    read = objective(f"{schedule!r} * labels + 1 * kd") if start or end else None
    assert read is None or f"{schedule!r} * labels" in repr(read)


def test_a_weight_and_a_temperature_that_change() -> None:
    text = "linear(0.9, 0.1) * kd(temperature=cosine(8, 1)) + linear(0.1, 0.9, over='5 steps') * labels"
    made = objective(text)
    assert repr(made) == text
    assert repr(objective(repr(made))) == text
    assert [weight for weight, _ in made.terms()] == [0.9, 0.1]
    assert made.needs().soft == {(kl, 8.0), (kl, 1.0)}
    case = CASES[0].values[1]
    for step in (0, 3, 10, 0):
        made.advance(moment(step))
        share, temperature = 0.9 - 0.8 * step / 10, 8 - 7 * (1 - math.cos(math.pi * step / 10)) / 2
        plain = objective(f"{share!r} * kd(temperature={temperature!r}) + {min(0.9, 0.1 + 0.16 * step)!r} * labels")
        found, expected = (each.loss(case.student, case.teacher, case.batch) for each in (made, plain))
        same(found.total, expected.total, 1e-12)
        assert list(found.terms) == ["kd(temperature=cosine(8, 1))", "labels"], "a term keeps its name"
    assert [weight for weight, _ in (0.5 * made).terms()] == pytest.approx([0.45, 0.05])


def test_products_of_numbers_and_schedules_and_python() -> None:
    assert repr(objective("0.5 * linear(1, 0) * kd")) == "linear(0.5, 0) * kd(temperature=4)"
    assert repr(objective("2 * linear(1, 3) * kd")) == "linear(2, 6) * kd(temperature=4)"
    assert repr(objective("2 * (linear(1, 0) * kd + labels)")) == "linear(2, 0) * kd(temperature=4) + 2 * labels"
    assert repr(linear(1, 0) * KD(temperature=2)) == "linear(1, 0) * kd(temperature=2)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("linear(1, 0) * linear(0, 1) * kd", "one schedule for a weight"),
        ("linear(1) * kd", r"linear\(START, END\)"),
        ("cosine(1, 'a') * kd", r"cosine\(START, END\)"),
        ("linear(1, 0, over=3) * kd", r"over='10 epochs'"),
        ("linear(1, 0, over='10m') * kd", "given in time"),
        ("linear(1, 0, over='never') * kd", "cannot be read"),
        ("linear(1, 1e999) * kd", "does not stay finite"),
        ("linear(-1, 1) * kd", "at least 0, above it at one end"),
        ("linear(0, 0) * kd", "at least 0, above it at one end"),
        ("kd(temperature=linear(4, 0))", r"kd\(temperature=0\.0\)"),
        ("hint(student_layer=linear(0, 1), teacher_layer='a')", "hint"),
        ("hint('a', 'b', student_prefix=linear(0, 1))", "student_prefix cannot change while training"),
        ("linear(1, 0)", "no method 'linear'"),
    ],
)
def test_schedules_that_are_refused(text: str, said: str) -> None:
    with pytest.raises((ObjectiveError, RecipeError), match=said):
        objective(text)


def test_a_schedule_elsewhere_than_in_an_objective(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"has the weight linear\(1, 0\)"):
        small(None, tmp_path / "run", objective="labels", augment="linear(1, 0) * flip")


def test_a_schedule_longer_than_the_budget(teacher: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match=r"takes 500 steps, and the training has[\s\S]*leave `over` out"):
        small(teacher, tmp_path / "run", objective="linear(1, 0, over='500 steps') * kd + labels")


def test_training_follows_the_schedule(teacher: str, tmp_path: Path) -> None:
    text = "linear(1, 0) * kd(temperature=linear(8, 2)) + linear(0, 1) * labels"
    run = small(teacher, tmp_path / "run", objective=text, control=False)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "lr" in line]
    steps = trained[-1]["step"]
    assert run.record.recipe["objective"] == text
    for line in trained:
        passed = (line["step"] - 1) / (steps - 1)
        kd, labels = line["terms"]["kd(temperature=linear(8, 2))"], line["terms"]["labels"]
        assert line["loss"] == pytest.approx((1 - passed) * kd + passed * labels, rel=1e-9)
    assert trained[-1]["shares"] == {"kd(temperature=linear(8, 2))": 0, "labels": 1}
