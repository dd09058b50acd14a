"""`objective: auto`: what a student learns by where nobody says it, chosen by the task, said aloud and written down."""

from pathlib import Path

import pytest
from test_diagnosis import Hearing
from test_task_runs import EXAMPLES, settings

from limbeck.catalog.models import model
from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import names, task
from limbeck.distillation import distill, written_down
from limbeck.recipe import Recipe
from limbeck.workshop import Workshop

DEFAULTS = {
    "classification": "0.9 * kd(temperature=4) + 0.1 * labels",
    "sequence": "0.9 * kd(temperature=4) + 0.1 * labels",
    "language": "0.9 * kd(temperature=1) + 0.1 * labels",
    "multilabel": "0.9 * binary_kd(temperature=1) + 0.1 * labels",
    "regression": "0.5 * regression + 0.5 * labels",
    "forecasting(horizon=3)": "0.5 * regression + 0.5 * labels",
    "forecasting(horizon=3, below=70)": "0.5 * regression + 0.5 * event_kd(temperature=1) + 0.5 * labels",
}


def test_every_task_has_a_default_that_takes_its_outputs_for_what_they_are() -> None:
    assert {text.partition("(")[0] for text in DEFAULTS} == set(names())
    for text, default in DEFAULTS.items():
        assert task(text).objective == default
        assert objective(default).needs().meaning <= task(text).says
        assert objective(default).needs().labels


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_is_settled_and_said_and_can_train(name: str, tmp_path: Path) -> None:
    """With an untrained teacher of the same shape, up to the dry batch that sets the objective up."""
    one = EXAMPLES[name]
    recipe, given = written_down(None, one.student, one.data, task=one.task, to=tmp_path / "run", **settings())
    alone = Workshop.open(recipe, given, recipe.folder, Hearing(), "")
    recipe, given = written_down(
        model(one.teacher, alone.shape), one.student, one.data, task=one.task, to=tmp_path / "run", **settings()
    )
    heard = Hearing()
    taught = Workshop.open(recipe, given, recipe.folder, heard, "")
    taught.case()
    assert (alone.recipe.objective, taught.recipe.objective) == ("labels", task(one.task).objective)
    assert [line for line in heard.said if line.startswith(f"objective: {task(one.task).objective} (auto")]


def test_left_out_or_auto_a_run_writes_down_the_same_and_is_resumed_by_either(tmp_path: Path) -> None:
    one = EXAMPLES["multilabel"]
    teacher = distill(None, one.teacher, one.data, task=one.task, to=tmp_path / "teacher", **settings())
    settled = []
    for name, said in (("out", {}), ("auto", {"objective": "auto"})):
        run = distill(teacher, one.student, one.data, task=one.task, to=tmp_path / name, **settings(**said))
        settled.append(Recipe.read(run.folder / "recipe.yaml").objective)
        again = distill(teacher, one.student, one.data, task=one.task, to=tmp_path / name, resume=True, **settings())
        assert again.record.results == run.record.results
    assert settled == [DEFAULTS["multilabel"]] * 2
