"""Episodes and alarms counted by hand; records rebuilt from their windows."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.source import load
from limbeck.data.timelines import readings, timelines
from limbeck.data.windows import windowed
from limbeck.errors import DataError
from limbeck.metrics.episodes import Counted, Episode, counted, poisson_interval, stretches
from limbeck.recipe import DataSpec

EVERY = 300.0


def low(values, **fields):
    """Episodes below 70 of readings every five minutes, in minutes; None is a reading that is missing."""
    there = [place for place, value in enumerate(values) if value is not None]
    found = stretches(
        EVERY * np.array(there, dtype=float),
        np.array([values[place] < 70 for place in there]),
        every=EVERY,
        **{"lasting": 900.0, "apart": 900.0, **fields},
    )
    return [(episode.begin / 60, episode.end / 60) for episode in found]


def test_fifteen_minutes_below_are_an_episode_and_ten_are_none():
    assert low([80, 69, 68, 67, 80]) == [(5, 20)]
    assert low([80, 69, 68, 70, 80]) == []
    assert low([69] * 3) == [(0, 15)]


def test_episodes_with_fewer_than_fifteen_minutes_between_are_one():
    assert low([60, 60, 60, 80, 80, 60, 60, 60]) == [(0, 40)]
    assert low([60, 60, 60, 80, 80, 80, 60, 60, 60]) == [(0, 15), (30, 45)]
    # What is too short to be an episode prolongs none, however near it is.
    assert low([60, 60, 60, 80, 80, 60, 60, 80]) == [(0, 15)]


def test_nothing_is_known_of_a_long_hole():
    # One missing reading: the readings beside it are ten minutes apart, nearer than two episodes would be.
    assert low([60, 60, None, 60, 80]) == [(0, 20)]
    assert low([60, 60, None, None, None, 60, 60]) == []


def test_beats_have_no_rate():
    times = np.array([0.0, 0.8, 1.7, 2.1, 2.9, 30.0, 31.0])
    there = np.array([False, True, False, True, True, True, False])
    assert stretches(times, there) == [Episode(0.8, 0.8), Episode(2.1, 30.0)]
    assert stretches(times, there, apart=2.0) == [Episode(0.8, 30.0)]
    assert stretches(times, ~there & False) == []


def test_alarms_are_counted_once_for_each_episode():
    episodes = [Episode(1000.0, 1600.0), Episode(5000.0, 6000.0), Episode(9000.0, 9900.0)]
    alarms = [
        600.0,  # right: 400 s before the first
        1200.0,  # right too, but the first alarm counts for the lead
        2000.0,  # false: after its end
        4600.1,  # right for the second, a little more than 399 s before
        4000.0,  # false: too early for the second
        9950.0,  # within `late` of the third's end: right, and 950 s after it began
    ]
    found = counted([(sorted(alarms), episodes), ([10.0], [])], days=0.5, ahead=400.0, late=60.0)
    assert (found.episodes, found.caught, found.noticed, found.alarms, found.right, found.false) == (3, 3, 3, 7, 4, 3)
    assert found.leads == (400.0, pytest.approx(399.9), -950.0)
    assert found.false_a_day == 6.0 and found.median_lead == pytest.approx(399.9)
    facts = found.facts()
    assert facts["sensitivity"] == 1.0 and facts["ppv"] == 4 / 7
    assert facts["lead_minutes_quartiles"] == pytest.approx([-4.585, 6.665, 6.666], abs=0.01)
    assert facts["false_alarms_a_day_95"] == [pytest.approx(2 * 0.6187, abs=1e-3), pytest.approx(2 * 8.7673, abs=1e-3)]


def test_an_alarm_within_an_episode_is_right_and_may_be_too_late_to_catch_it():
    records = [([500.0, 1090.0, 3010.0], [Episode(1000.0, 2000.0), Episode(3000.0, 4000.0)])]
    for within, caught, leads in ((0.0, 0, ()), (10.0, 0, ()), (60.0, 1, (-10.0,)), (None, 2, (-90.0, -10.0))):
        found = counted(records, days=1.0, ahead=300.0, late=0.0, within=within)
        assert (found.caught, found.noticed, found.right, found.false) == (caught, 2, 2, 1) and found.leads == leads


def test_an_alarm_that_never_ends_is_one_alarm_and_catches_one_episode():
    episodes = [Episode(1000.0 * day, 1000.0 * day + 300) for day in range(1, 9)]
    found = counted([([900.0], episodes)], days=1.0, ahead=300.0, late=0.0)
    assert (found.caught, found.false) == (1, 0)


def test_nothing_is_said_of_nothing():
    facts = Counted(0, 0, 0, 0, 0, 0.0, ()).facts()
    assert facts["sensitivity"] is None and facts["ppv"] is None and facts["false_alarms_a_day"] is None


def test_the_range_of_a_rate_is_garwoods():
    """Table of Garwood, 1936, for counts 0, 1 and 10 at 95 %."""
    assert poisson_interval(0) == (0.0, pytest.approx(3.689, abs=1e-3))
    assert poisson_interval(1) == (pytest.approx(0.0253, abs=1e-4), pytest.approx(5.572, abs=1e-3))
    assert poisson_interval(10) == (pytest.approx(4.795, abs=1e-3), pytest.approx(18.390, abs=1e-3))


def cut(who, when, values, valid=("a",), **windows):
    spec = DataSpec(
        source="memory",
        columns={"inputs": "gl", "group": "who", "time": "when"},
        windows={"steps": 4, "horizon": 2, "every": "300s", **windows},
    )
    table = {"who": np.array(who, dtype=object), "when": np.array(when), "gl": np.array(values)}
    raw = windowed(table, spec, "values", name="sugar")
    return load(raw, labels="values", valid=list(valid), test=["b"])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([1] * 9 + [2, 3, 5, 9]), min_size=20, max_size=60),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from([1.0, 1.004]),
)
def test_a_record_is_read_again_from_its_windows(ahead, stride, fill, drift):
    """Every reading that lies in a window or after one comes back once, at its time, and in its order."""
    steps = np.cumsum([0, 1, 1, 1, 1, 1, 1, *ahead])
    times, values = steps * EVERY * drift, 100.0 + np.arange(len(steps))
    others = np.arange(30)
    data = cut(
        ["a"] * len(steps) + ["b"] * 30 + ["c"] * 30,
        [*times, *(others * EVERY), *(others * EVERY)],
        [*values, *others, *others],
        stride=stride,
        fill=fill,
    )
    [line] = timelines(data, "valid")
    found, read = readings(data, "valid", line, 0)
    assert np.all(np.diff(found) > EVERY / 2)
    real = {value: time for value, time in zip(values, times, strict=True)}
    there = [(time, value) for time, value in zip(found, read, strict=True) if value in real]
    assert all(abs(real[value] - time) < 0.1 * EVERY for time, value in there)
    # Wherever six readings follow each other at a window's place there is a window, and all of it comes back.
    piece = data.valid.take(torch.arange(len(data.valid)))
    seen = {float(value) for value in torch.cat([piece.inputs.flatten(), piece.labels.flatten()]).tolist()} & set(real)
    assert {value for _, value in there} == {value for value in seen if not math.isnan(value)}


def test_the_records_of_a_split_are_apart_and_in_order():
    data = cut(
        ["a"] * 20 + ["b"] * 20 + ["c"] * 20 + ["d"] * 20, [*range(0, 6000, 300)] * 4, [*range(80)], valid=("c", "a")
    )
    lines = timelines(data, "valid")
    assert [line.name for line in lines] == ["a", "c"]
    for line in lines:
        inputs = data.valid.take(torch.from_numpy(line.positions)).inputs
        # The last reading of a window is when it is answered, and not when what it forecasts is over.
        first = 0 if line.name == "a" else 40
        assert ((inputs[:, 0, -1].numpy() - first) * 300 == line.times).all()
    assert lines[0].watched(0.0) == 14 * 300 and lines[0].watched(100.0) == 1400.0


def test_windows_drawn_at_random_are_no_record():
    times = [*range(0, 60000, 300)]
    spec = DataSpec(source="memory", columns={"inputs": "gl", "time": "when"}, windows={"steps": 4, "horizon": 2})
    raw = windowed({"when": np.array(times), "gl": np.arange(200.0)}, spec, "values")
    with pytest.raises(DataError, match="rows of other splits lie between"):
        timelines(load(raw, labels="values", valid=0.2, test=0.2, split="random"), "valid")
    [line] = timelines(load(raw, labels="values", valid=0.2, test=0.2, split="time"), "valid")
    assert np.diff(line.times).tolist() == [300.0] * (len(line.times) - 1)


def test_rows_without_times_have_no_days(digits):
    with pytest.raises(DataError, match="rows of digits have no times"):
        timelines(digits, "valid")
