"""Methods that hear several teachers apart: agreement, disagreement, real ensembles, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from method_cases import CASES, same
from small_runs import small, teacher_run

from limbeck.catalog.objectives import objective
from limbeck.errors import LimbeckError
from limbeck.signals import Signals


def test_teachers_that_agree_are_one_teacher() -> None:
    """Confidence weights sum to 1, and whoever is asked says the same."""
    _, case = next(each.values for each in CASES if each.values[0] == "kd")
    several = replace(case.teacher, members=(case.teacher,) * 3)
    for name in ("ca_mkd", "routed", "routed(by='confidence')"):
        found = objective(name).loss(case.student, several, case.batch).total
        same(found, objective("kd").loss(case.student, case.teacher, case.batch).total, 1e-12)


def test_a_teacher_that_is_wrong_on_a_row_is_hardly_heard_there() -> None:
    """With one teacher sure of the label and the other sure of another class, the row learns from the first."""
    _, case = next(each.values for each in CASES if each.values[0] == "kd")
    assert case.batch.labels is not None
    right = torch.nn.functional.one_hot(case.batch.labels, 4).double() * 20
    wrong = right.roll(1, dims=1)
    several = replace(Signals.dense(right), members=(Signals.dense(wrong), Signals.dense(right)))
    known = case.batch.known
    for name in ("ca_mkd(temperature=1)", "routed(temperature=1)"):
        values = objective(name)(case.student, several, case.batch)
        alone = objective("kd(temperature=1)")(case.student, Signals.dense(right), case.batch)
        same(values[known], alone[known], 1e-7)
        assert (values[~known] - alone[~known]).abs().max() > 0.01 or name.startswith("routed")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("teachers")
    other = small(None, folder / "other", student="mlp(size=24)", budget="4 epochs", seed=5)
    return [str(teacher_run(folder / "big").folder), str(other.folder)]


@pytest.mark.parametrize("method", ["ca_mkd", "routed(by='confidence')"])
def test_a_list_of_teachers_trains_a_student(method: str, teachers: list[str], tmp_path: Path) -> None:
    run = small(teachers, tmp_path / "run", objective=f"0.9 * {method} + 0.1 * labels", budget="6 epochs")
    (result,) = run.record.results
    assert result.student.metrics["accuracy"] > 0.7
    assert run.record.teacher is not None


def test_recordings_of_each_teacher_give_what_the_teachers_give(teachers: list[str], tmp_path: Path) -> None:
    recordings = []
    for number, teacher in enumerate(teachers):
        run = small(teacher, tmp_path / f"r{number}", budget="1 steps", record=1, control=False)
        recordings += [str(path) for path in (run.folder / "recording").iterdir()]
    live, recorded = (
        small(what, tmp_path / name, objective="ca_mkd", budget="20 steps", control=False)
        for what, name in ((teachers, "live"), (recordings, "recorded"))
    )
    ours, theirs = (run.student().network.state_dict() for run in (live, recorded))
    for name, tensor in ours.items():
        assert (tensor - theirs[name]).abs().max() < 1e-4


def test_one_teacher_and_one_recording_of_all_are_refused(teachers: list[str], tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"weighs several teachers, and there is one[\s\S]*a list of two or more"):
        small(teachers[0], tmp_path / "one", objective="ca_mkd")
    with pytest.raises(LimbeckError, match=r"keeps their mean[\s\S]*a list of recordings"):
        small(teachers, tmp_path / "all", objective="ca_mkd", record=1)
