"""The tests notice bugs: each planted one makes a test fail."""

from pathlib import Path

import pytest
from mutations import MUTATIONS, ROOT, Mutation, changed, killers
from mutations_of_answers import MUTATIONS_OF_ANSWERS
from mutations_of_artifacts import MUTATIONS_OF_ARTIFACTS
from mutations_of_features import MUTATIONS_OF_FEATURES
from mutations_of_firmware import MUTATIONS_OF_FIRMWARE
from mutations_of_measuring import MUTATIONS_OF_MEASURING
from mutations_of_quantization import MUTATIONS_OF_QUANTIZATION
from mutations_of_reasoning import MUTATIONS_OF_REASONING
from mutations_of_recordings import MUTATIONS_OF_RECORDINGS
from mutations_of_reduction import MUTATIONS_OF_REDUCTION
from mutations_of_relations import MUTATIONS_OF_RELATIONS
from mutations_of_responses import MUTATIONS_OF_RESPONSES
from mutations_of_schedules import MUTATIONS_OF_SCHEDULES
from mutations_of_streams import MUTATIONS_OF_STREAMS
from mutations_of_targets import MUTATIONS_OF_TARGETS
from mutations_of_tasks import MUTATIONS_OF_TASKS
from mutations_of_text import MUTATIONS_OF_TEXT
from mutations_of_transformers import MUTATIONS_OF_TRANSFORMERS

ALL = [
    *MUTATIONS,
    *MUTATIONS_OF_ANSWERS,
    *MUTATIONS_OF_ARTIFACTS,
    *MUTATIONS_OF_FEATURES,
    *MUTATIONS_OF_MEASURING,
    *MUTATIONS_OF_QUANTIZATION,
    *MUTATIONS_OF_FIRMWARE,
    *MUTATIONS_OF_RESPONSES,
    *MUTATIONS_OF_RECORDINGS,
    *MUTATIONS_OF_REASONING,
    *MUTATIONS_OF_REDUCTION,
    *MUTATIONS_OF_RELATIONS,
    *MUTATIONS_OF_SCHEDULES,
    *MUTATIONS_OF_STREAMS,
    *MUTATIONS_OF_TARGETS,
    *MUTATIONS_OF_TASKS,
    *MUTATIONS_OF_TEXT,
    *MUTATIONS_OF_TRANSFORMERS,
]


def test_every_bug_is_one_of_the_code_as_it_stands() -> None:
    assert len({mutation.name for mutation in ALL}) == len(ALL)
    for mutation in ALL:
        assert changed(mutation)
        assert (ROOT / "tests" / mutation.test).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("mutation", ALL, ids=lambda mutation: mutation.name)
def test_a_planted_bug_is_noticed(mutation: Mutation, tmp_path: Path) -> None:
    assert killers(mutation, tmp_path), f"{mutation.test} -k '{mutation.only}' passes with the bug: {mutation.name}"


@pytest.mark.slow
def test_where_no_bug_is_planted_none_is_noticed(tmp_path: Path) -> None:
    whole = Mutation("none", "objectives/kd.py", (), "test_objectives.py", "kd")
    assert killers(whole, tmp_path) == []
    assert " passed" in (tmp_path / "output.txt").read_text()
