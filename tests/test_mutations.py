"""The tests notice bugs: each planted one makes a test fail."""

from pathlib import Path

import pytest
from mutations import MUTATIONS, Mutation, killers
from mutations_of_answers import MUTATIONS_OF_ANSWERS
from mutations_of_features import MUTATIONS_OF_FEATURES
from mutations_of_relations import MUTATIONS_OF_RELATIONS
from mutations_of_responses import MUTATIONS_OF_RESPONSES
from mutations_of_schedules import MUTATIONS_OF_SCHEDULES
from mutations_of_targets import MUTATIONS_OF_TARGETS
from mutations_of_tasks import MUTATIONS_OF_TASKS
from mutations_of_transformers import MUTATIONS_OF_TRANSFORMERS


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutation",
    [
        *MUTATIONS,
        *MUTATIONS_OF_ANSWERS,
        *MUTATIONS_OF_FEATURES,
        *MUTATIONS_OF_RESPONSES,
        *MUTATIONS_OF_RELATIONS,
        *MUTATIONS_OF_SCHEDULES,
        *MUTATIONS_OF_TARGETS,
        *MUTATIONS_OF_TASKS,
        *MUTATIONS_OF_TRANSFORMERS,
    ],
    ids=lambda mutation: mutation.name,
)
def test_a_planted_bug_is_noticed(mutation: Mutation, tmp_path: Path) -> None:
    assert killers(mutation, tmp_path), f"{mutation.test} -k '{mutation.only}' passes with the bug: {mutation.name}"


@pytest.mark.slow
def test_where_no_bug_is_planted_none_is_noticed(tmp_path: Path) -> None:
    whole = Mutation("none", "objectives/kd.py", (), "test_objectives.py", "kd")
    assert killers(whole, tmp_path) == []
    assert " passed" in (tmp_path / "output.txt").read_text()
