"""The tests notice bugs: each planted one makes a test fail."""

from pathlib import Path

import pytest
from mutations import MUTATIONS, Mutation, killers


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_planted_bug_is_noticed(mutation: Mutation, tmp_path: Path) -> None:
    assert killers(mutation, tmp_path), f"{mutation.test} -k '{mutation.only}' passes with the bug: {mutation.name}"
