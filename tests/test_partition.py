"""Splits by group and by time: no group in two splits, nothing from the future, nothing across a boundary."""

import numpy as np
import pytest
import torch

from limbeck.data.raw import Raw
from limbeck.data.source import load
from limbeck.errors import DataError

ROWS = 120
INPUTS = np.arange(ROWS, dtype=np.float32)[:, None]
LABELS = np.arange(ROWS) % 2
PEOPLE = np.array([f"p{place % 10}" for place in range(ROWS)])


def raw(**more) -> Raw:
    return Raw("some", (INPUTS, LABELS), **more)


def ids(data) -> list[set[int]]:
    return [set(rows.ids.tolist()) for rows in data.splits().values()]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("part", [0.1, 0.3, 1, 3])
def test_groups_stay_together_and_every_row_is_somewhere(seed, part):
    data = load(raw(groups={"train": PEOPLE}), seed=seed, valid=part, test=part)
    groups = [{PEOPLE[place] for place in split} for split in ids(data)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert set.union(*ids(data)) == set(range(ROWS))
    count = part if isinstance(part, int) else round(part * 10)
    assert [len(found) for found in groups] == [10 - 2 * count, count, count]
    assert [split["groups"] for split in data.description["splits"].values()] == [sorted(found) for found in groups]
    assert load(raw(groups={"train": PEOPLE}), seed=seed, valid=part, test=part).fingerprint == data.fingerprint


def test_seeds_choose_other_groups():
    chosen = {tuple(sorted(ids(load(raw(groups={"train": PEOPLE}), seed=seed))[2])) for seed in range(12)}
    assert len(chosen) > 4


def test_groups_may_be_named_and_mistakes_are_said():
    data = load(raw(groups={"train": PEOPLE}), valid=["p1", "p4"], test=["p7"])
    assert {PEOPLE[place] for place in ids(data)[1]} == {"p1", "p4"}
    assert {PEOPLE[place] for place in ids(data)[2]} == {"p7"}
    for wrong, message in (
        ({"test": ["p77"]}, "did you mean 'p7'"),
        ({"test": ["p1"], "valid": ["p1"]}, "valid names the group 'p1', which has no rows here"),
        ({"test": 10}, "leaves no group to train on"),
        ({"test": 5, "valid": 5}, "leaves no group to train on: there are 5"),
        ({"test": 11}, "a number of groups from 1 to 10"),
        ({"test": [f"p{n}" for n in range(10)]}, "leaves no row to train on"),
        ({"split": "time"}, "columns: {time: NAME}"),
        ({"split": "random", "test": ["p1"]}, "the rows are not split by group"),
    ):
        with pytest.raises(DataError) as caught:
            load(raw(groups={"train": PEOPLE}), **wrong)
        assert message in str(caught.value)
    with pytest.raises(DataError, match=r"columns: \{group: NAME\}"):
        load(raw(), split="groups")
    with pytest.raises(DataError, match="119 groups"):
        load(raw(groups={"train": PEOPLE[1:]}))


def test_own_splits_that_share_a_group_are_refused_unless_that_is_wanted():
    shared = raw(test=(INPUTS[:12], LABELS[:12]), groups={"train": PEOPLE, "test": ["p3"] * 6 + ["q"] * 6})
    with pytest.raises(DataError, match="'p3' is in the source's own train and in its test split"):
        load(shared)
    assert len(load(shared, split="random").test) == 12
    apart = raw(test=(INPUTS[:12], LABELS[:12]), groups={"train": PEOPLE, "test": ["q"] * 12})
    assert load(apart).description["splits"]["test"]["groups"] == ["q"]


def test_time_puts_the_last_rows_into_the_test_and_those_before_into_validation():
    order = np.random.default_rng(0).permutation(ROWS)
    moments = order.astype(float)
    data = load(raw(times={"train": (moments, moments)}), split="time", valid=0.2, test=0.1)
    times = [sorted(order[list(split)].tolist()) for split in ids(data)]
    assert times == [list(range(84)), list(range(84, 108)), list(range(108, 120))]


def test_rows_that_reach_across_a_boundary_are_left_out():
    begin = np.arange(ROWS, dtype=float)
    data = load(raw(times={"train": (begin, begin + 5)}), split="time", valid=20, test=10)
    train, valid, test = ids(data)
    assert test == set(range(110, 120))
    assert max(valid) + 5 < min(test)
    assert max(train) + 5 < min(valid)
    assert "5 that reach across the boundary left out" in data.description["how"]["test"]
    assert len(train) + len(valid) + len(test) == ROWS - 10


def test_time_within_groups_is_each_groups_own():
    moments = (np.arange(ROWS) // 10 + 1000 * (np.arange(ROWS) % 10)).astype(float)
    data = load(raw(groups={"train": PEOPLE}, times={"train": (moments, moments)}), split="time", valid=0.25, test=0.25)
    for person in set(PEOPLE):
        mine = [[place for place in split if PEOPLE[place] == person] for split in ids(data)]
        assert all(mine)
        assert max(moments[mine[0]]) < min(moments[mine[1]]) and max(moments[mine[1]]) < min(moments[mine[2]])


def test_time_mistakes_are_said():
    moments = np.zeros(ROWS)
    with pytest.raises(DataError, match="leaves no row to train on"):
        load(raw(times={"train": (moments, moments)}), split="time")
    begin = np.arange(ROWS, dtype=float)
    with pytest.raises(DataError, match="leaves no row to train on"):
        load(raw(times={"train": (begin, begin)}), split="time", test=ROWS)
    assert isinstance(load(raw(times={"train": (begin, begin)})).train.inputs, torch.Tensor)
