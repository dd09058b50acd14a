"""Windows of series, against a slow reference that knows nothing of grids laid end to end."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.data.windows import seconds, windowed
from limbeck.errors import DataError
from limbeck.recipe import DataSpec

EVERY = 60.0


def spec(steps=3, **windows) -> DataSpec:
    return DataSpec(
        source="memory",
        columns={"inputs": "value", "group": "who", "time": "when"},
        windows={"steps": steps, **windows},
    )


def table(series: dict[str, dict[int, float]], shuffle: int = 0) -> dict[str, np.ndarray]:
    """Readings by group and by minute, in an order that means nothing."""
    lines = [(who, minute * EVERY, value) for who, found in series.items() for minute, value in found.items()]
    order = np.random.default_rng(shuffle).permutation(len(lines))
    return {
        "who": np.array([lines[i][0] for i in order], dtype=object),
        "when": np.array([lines[i][1] for i in order]),
        "value": np.array([lines[i][2] for i in order]),
    }


def slow(series: dict[str, dict[int, float]], steps: int, horizon: int, stride: int, fill: int) -> list:
    """Every window from the definition: (who, first minute, inputs, targets)."""
    rows = []
    for who in sorted(series):
        found = series[who]
        bridged = dict(found)
        minutes = sorted(found)
        for left, right in itertools.pairwise(minutes):
            if 0 < right - left - 1 <= fill:
                for minute in range(left + 1, right):
                    share = (minute - left) / (right - left)
                    bridged[minute] = found[left] * (1 - share) + found[right] * share
        for first in range(minutes[0], minutes[-1] - steps - horizon + 2, stride):
            inside = range(first, first + steps)
            ahead = range(first + steps, first + steps + horizon)
            if all(minute in bridged for minute in inside) and first + steps - 1 in found:
                targets = [found.get(minute, np.nan) for minute in ahead]
                if not horizon or not np.isnan(targets).all():
                    rows.append((who, first * EVERY, [bridged[minute] for minute in inside], targets))
    return rows


@st.composite
def many_series(draw):
    series = {}
    for who in ("ada", "bob", "eve"):
        # Most neighbours are a minute apart, as in a sensor that misses readings now and then.
        ahead = draw(st.lists(st.sampled_from([2, 3, 9, 40]), max_size=5)) + [1] * draw(st.integers(7, 15))
        minutes = np.cumsum([0, *draw(st.permutations(ahead))]).tolist()
        series[who] = {minute: float(draw(st.integers(-50, 50))) for minute in minutes}
    return series


@settings(max_examples=50, deadline=None)
@given(many_series(), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 9))
def test_windows_are_those_of_the_definition(series, steps, horizon, stride, fill, shuffle):
    expected = slow(series, steps, horizon, stride, fill)
    asked = spec(steps, horizon=horizon, stride=stride, fill=fill, every="60s")
    if not expected:
        with pytest.raises(DataError, match="no series is long enough"):
            windowed(table(series, shuffle), asked, "values")
        return
    raw = windowed(table(series, shuffle), asked, "values")
    inputs, targets = raw.train
    assert list(raw.groups["train"]) == [who for who, *_ in expected]
    taken = inputs.take(torch.arange(len(expected)))
    np.testing.assert_allclose(taken[:, 0].numpy(), [row for _, _, row, _ in expected], rtol=1e-6)
    if horizon:
        np.testing.assert_array_equal(targets, np.array([row for *_, row in expected], dtype=np.float32))
    begin, end = raw.times["train"]
    np.testing.assert_allclose(begin, [first for _, first, *_ in expected])
    np.testing.assert_allclose(end, begin + (steps + horizon - 1) * EVERY)


def test_a_clock_that_runs_slow_makes_no_gap():
    moments = np.arange(1000) * 61.0
    raw = windowed(
        {"when": moments, "value": np.arange(1000.0)},
        DataSpec(source="m", columns={"inputs": "value", "time": "when"}, windows={"steps": 1000, "every": "60s"}),
        "values",
    )
    assert raw.train[0].shape == (1, 1, 1000)


def test_a_filled_reading_never_ends_a_window():
    """A straight line to the next reading would tell the forecast what comes."""
    raw = windowed(table({"ada": {0: 0.0, 1: 1.0, 3: 30.0, 4: 40.0, 5: 50.0}}), spec(3, fill=1, horizon=1), "values")
    ends = raw.train[0].take(torch.arange(raw.train[0].shape[0]))[:, 0, -1].tolist()
    assert ends == [30.0, 40.0]


def test_a_pause_of_years_takes_no_memory():
    year = 365 * 24 * 60
    raw = windowed(
        table({"ada": {**{m: 1.0 for m in range(10)}, **{3 * year + m: 2.0 for m in range(10)}}}), spec(4), "values"
    )
    assert raw.train[0].shape[0] == 14
    assert raw.train[0].series.shape[1] < 40
    assert raw.facts["windows"]["steps_without_reading"] == 3 * year - 10


def test_labels_of_steps_and_of_windows():
    series = table({"ada": {m: float(m) for m in range(6)}})
    named = {**series, "state": np.array(["rest" if when < 180 else "walk" for when in series["when"]], dtype=object)}
    asked = DataSpec(
        source="m",
        columns={"inputs": "value", "group": "who", "time": "when", "label": "state"},
        windows={"steps": 3},
    )
    assert list(windowed(named, asked, "single").train[1]) == ["rest", "walk", "walk", "walk"]
    assert windowed(named, asked, "steps").train[1].tolist()[1] == ["rest", "rest", "walk"]


def test_windows_equal_dense_rows_in_every_way():
    raw = windowed(table({"ada": {m: float(m * m) for m in range(30)}}), spec(5, horizon=2), "values")
    inputs = raw.train[0]
    dense = inputs.take(torch.arange(len(inputs.starts)))
    some = torch.tensor([3, 0, 7, 7])
    assert torch.equal(inputs.take(some), dense[some])
    assert torch.equal(inputs.select(some).take(torch.tensor([1, 3])), dense[some[[1, 3]]])
    kept = TensorRows(inputs, None, torch.zeros(len(dense), dtype=torch.bool), torch.arange(len(dense)))
    held = TensorRows(dense, None, kept.known, kept.ids)
    assert kept.fingerprint == held.fingerprint
    assert kept.select(some).fingerprint == held.select(some).fingerprint
    assert kept.select(some).fingerprint != kept.fingerprint


def test_people_are_in_one_split_only_and_named():
    series = {f"p{number}": {m: float(number + m) for m in range(12)} for number in range(10)}
    data = load(windowed(table(series), spec(3, horizon=1), "values"), labels="values", valid=0.2, test=["p3", "p7"])
    people = {name: set(facts["groups"]) for name, facts in data.description["splits"].items()}
    assert people["test"] == {"p3", "p7"} and len(people["valid"]) == 2
    assert not people["train"] & people["valid"] and not people["train"] & people["test"]


def test_windows_that_reach_across_the_boundary_in_time_leave_both_splits():
    series = {"ada": {m: float(m) for m in range(100)}, "bob": {m: float(-m) for m in range(60)}}
    steps, horizon = 5, 2
    raw = windowed(table(series), spec(steps, horizon=horizon), "values")
    data = load(raw, labels="values", valid=0.1, test=0.2, split="time")
    for sign in (1, -1):
        seen = {}
        for name, rows in data.splits().items():
            window = rows.inputs.take(torch.arange(len(rows)))[:, 0]
            mine = window[:, -1] * sign > 0
            assert rows.labels is not None
            seen[name] = set((torch.cat((window, rows.labels), dim=1)[mine] * sign).ravel().tolist())
        assert max(seen["train"]) < min(seen["valid"]) and max(seen["valid"]) < min(seen["test"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"windows": {"steps": 99}}, "the longest stretch without a gap has 10 readings"),
        ({"columns": {"inputs": "valeu", "group": "who", "time": "when"}}, "did you mean 'value'"),
        ({"columns": {"inputs": "who", "time": "when"}}, "no numbers"),
        ({"windows": {"steps": 3, "every": "5 bananas"}}, "no time between readings"),
        ({"windows": {"steps": 3, "every": "1s"}}, "every 1 s, and the series one every 60 s"),
        ({"windows": {"steps": 3, "every": "1s"}}, "windows: {every: 60s}, or leave it out"),
        ({"windows": {"steps": 3, "horizon": 1, "target": "price"}}, "is no input column"),
    ],
)
def test_what_cannot_be_cut_is_said(change, text):
    series = table({"ada": {m: float(m) for m in range(10)}})
    asked = spec(3).model_copy(update={k: type(getattr(spec(3), k)).model_validate(v) for k, v in change.items()})
    with pytest.raises(DataError) as error:
        windowed(series, asked, "values")
    assert text in str(error.value)


def test_mixed_sampling_rates_name_the_series():
    mixed = table(
        {
            "ada": {m: 1.0 for m in range(20)},
            "bob": {5 * m: 1.0 for m in range(20)},
            "eve": dict.fromkeys(range(9), 1.0),
        }
    )
    with pytest.raises(DataError, match=r"1 of 3 series have .*: bob every 300 s; the others every 60 s"):
        windowed(mixed, spec(3), "values")
    said = spec(3).model_copy(update={"windows": type(spec(3).windows).model_validate({"steps": 3, "every": "5m"})})
    with pytest.raises(DataError, match=r"2 of 3 series .*: ada every 60 s, eve every 60 s; windows .* every 300 s"):
        windowed(mixed, said, "values")


def test_a_reading_that_came_twice_is_refused():
    twice = table({"ada": {m: 1.0 for m in range(10)}})
    twice = {name: np.append(column, column[:1]) for name, column in twice.items()}
    with pytest.raises(DataError, match="closer together"):
        windowed(twice, spec(3), "values")


def test_series_shorter_than_the_window_are_named():
    raw = windowed(table({"ada": dict.fromkeys(range(9), 1.0), "bob": dict.fromkeys(range(3), 1.0)}), spec(5), "values")
    assert raw.facts["windows"]["too_short"] == ["bob"]


@pytest.mark.parametrize(("text", "value"), [("5m", 300), ("250ms", 0.25), ("2 h", 7200), ("0.01s", 0.01)])
def test_times_between_readings(text, value):
    assert seconds(text) == pytest.approx(value)


def test_dates_and_seconds_are_the_same_time():
    moments = np.datetime64("2026-01-01T00:00:00") + np.arange(10) * np.timedelta64(60, "s")
    values = np.arange(10.0)
    asked = DataSpec(source="m", columns={"inputs": "value", "time": "when"}, windows={"steps": 4})
    dated = windowed({"when": moments, "value": values}, asked, "values")
    counted = windowed({"when": np.arange(10) * 60.0, "value": values}, asked, "values")
    assert dated.train[0].digest() == counted.train[0].digest()
    assert dated.facts["windows"]["every_seconds"] == counted.facts["windows"]["every_seconds"] == 60.0


def test_a_path_is_not_needed(tmp_path: Path):
    """Arrays in memory may be windowed rows too: the loader asks for the protocol and not for a tensor."""
    raw = windowed(table({"ada": {m: float(m) for m in range(60)}}), spec(4, horizon=2), "values")
    data = load(raw, labels="values", valid=0.2, test=0.2, split="random")
    assert sum(len(rows) for rows in data.splits().values()) == raw.train[0].shape[0]
