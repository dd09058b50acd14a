"""Readings one at a time against the windows that training cuts from the whole table, and what a stream refuses."""

import csv
import gzip
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import small_artifacts
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.windows import unlabelled
from limbeck.errors import DataError
from limbeck.recipe import Columns
from limbeck.recipe import Windows as WindowsSpec
from limbeck_runtime.errors import ArtifactError, InputError
from limbeck_runtime.predictor import load
from limbeck_runtime.stream import Cut, Stream, Windows, cut

EVERY = 300.0
CGM = Path(__file__).parents[2] / "shared" / "data" / "cgm" / "example_data_hall.csv.gz"
FORECAST = {"kind": "forecast", "names": ["+1", "+2"], "event": "below 70"}


def streamed(times, values, how: Cut):
    """Every whole window, and the place of its last reading."""
    windows, rows, lines = Windows(how), [], []
    for line, (time, reading) in enumerate(zip(times, values, strict=True)):
        due, missing = windows.take(np.asarray(reading, dtype=np.float64), time)
        if due and not missing:
            rows.append(windows.row.copy())
            lines.append(line)
    return rows, lines, windows


def batch(times, values, how: Cut):
    """The same by `limbeck.data.windows`, from the whole table at once."""
    names = [f"c{channel}" for channel in range(len(how.channels))]
    table = {"t": np.asarray(times, dtype=np.float64), **dict(zip(names, np.transpose(values), strict=True))}
    spec = WindowsSpec(steps=how.steps, stride=how.stride, fill=how.fill, every=f"{how.every_seconds:g}s")
    inputs, lines = unlabelled(table, Columns(inputs=tuple(names), time="t"), spec)
    return [inputs.take(inputs.starts.new_tensor([at]).argsort() + at)[0].numpy() for at in range(len(lines))], lines


@st.composite
def series(draw):
    """Times with a clock that drifts and jitters and holes of all lengths; channels with holes of their own."""
    channels, count = draw(st.integers(1, 3)), draw(st.integers(4, 60))
    steps = st.sampled_from([1] * 8 + [2, 3, 4, 9, 40])
    ahead = [draw(steps) for _ in range(count)]
    drift = draw(st.sampled_from([1.0, 1.02, 0.97]))
    jitter = [draw(st.floats(-0.09, 0.09)) for _ in range(count)]
    times = [(place * drift + shake) * EVERY for place, shake in zip(itertools.accumulate(ahead), jitter, strict=True)]
    reading = st.one_of(st.floats(40, 400, width=64), st.just(math.nan), st.floats(40, 400, width=64))
    values = [[draw(reading) for _ in range(channels)] for _ in range(count)]
    how = Cut(
        tuple(f"c{channel}" for channel in range(channels)),
        steps=draw(st.integers(1, 6)),
        every_seconds=EVERY,
        stride=draw(st.integers(1, 4)),
        fill=draw(st.integers(0, 8)),
    )
    return times, values, how


@settings(max_examples=100, deadline=None)
@given(series())
def test_a_stream_cuts_the_windows_that_training_cut(drawn):
    times, values, how = drawn
    try:
        wanted, lines = batch(times, values, how)
    except DataError as error:
        if "rate" in str(error):  # half the distances are holes: refused as another rate, here in the end
            return
        wanted, lines = [], np.array([])
    try:
        found, ends, _ = streamed(times, values, how)
    except InputError as error:
        if "more than half" not in str(error):  # so far; the batch sees the whole
            raise
        return
    assert ends == list(lines)
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_the_law_above_is_about_something():
    """The series drawn above have windows with bridged holes, holes too long, and strides."""
    how = Cut(("c0",), steps=4, every_seconds=EVERY, stride=2, fill=2)
    times = [EVERY * step for step in (0, 1, 2, 5, 6, 7, 8, 12, 13, 14, 15, 16)]
    values = [[float(step)] for step in range(len(times))]
    found, ends, windows = streamed(times, values, how)
    assert ends == [3, 5, 10]  # those that begin at the steps 2, 4 and 12
    assert found[0][0].tolist() == [2, pytest.approx(2 + 1 / 3), pytest.approx(2 + 2 / 3), 3]
    assert windows.counts == {"readings": 12, "holes": 5, "bridged": 2, "duplicates": 0, "corrections": 0}


@pytest.fixture
def artifact(tmp_path):
    return made(tmp_path)


def made(folder, **fields):
    rows = np.random.default_rng(0).uniform(40, 400, (4, 1, 4)).astype(np.float32)
    stream = {"channels": ["gl"], "units": ["mg/dL"], "every_seconds": EVERY, "steps": 4, "fill": 2, "horizon": 2}
    fields = {"stream": stream, "kind": "series", "reading": FORECAST, "row": (1, 4), "rows": rows} | fields
    graph = small_artifacts.linear(folder, fields["row"], 3)
    return load(small_artifacts.made(folder, graph=graph, **fields))


def test_a_hole_that_cannot_be_bridged_is_no_data_and_says_why(artifact):
    stream = Stream(artifact, units=["mg/dL"])
    answers = [stream.push(100.0 + step, EVERY * step) for step in range(4)]
    assert [answer["state"] for answer in answers] == ["no data", "no data", "no data", "answer"]
    assert answers[0]["reason"] == "1 of 4 readings so far"
    assert answers[3]["row"].tolist() == [[100, 101, 102, 103]]
    assert answers[3]["forecast"] == artifact(np.float32([[[100, 101, 102, 103]]]))[0]["forecast"]
    assert stream.push(math.nan, EVERY * 4) == {
        "time": EVERY * 4,
        "state": "no data",
        "reason": "the last reading is missing",
    }
    assert stream.push(105.0, EVERY * 5)["row"].tolist() == [[102, 103, 104, 105]]
    late = stream.push(106.0, EVERY * 9)
    assert late["state"] == "no data" and "in a hole of more than 2" in late["reason"]
    assert [stream.push(107.0, EVERY * step)["state"] for step in (10, 11, 12)] == ["no data", "no data", "answer"]
    assert stream.windows.counts["holes"] == 4 and stream.windows.counts["bridged"] == 1


def test_silence_is_no_data(artifact):
    stream = Stream(artifact, units=["mg/dL"])
    assert stream.wait(1e9) is None  # nothing began
    stream.push(100.0, 0.0)
    assert stream.wait(3 * EVERY) is None
    assert stream.wait(3.5 * EVERY) == {"time": 1050.0, "state": "no data", "reason": "no reading for 1050 s"}


def test_a_step_without_the_reading_at_which_an_answer_was_due_is_said(tmp_path):
    stream = {"channels": ["gl"], "every_seconds": EVERY, "steps": 4, "stride": 3, "fill": 2}
    found = Stream(made(tmp_path, stream=stream), units=[""])
    answers = {step: found.push(100.0, step * EVERY) for step in (0, 1, 2, 3, 4, 5, 7, 8, 9)}
    assert {step for step, answer in answers.items() if answer and answer["state"] == "answer"} == {3, 9}
    assert "no reading at the step" in answers[7]["reason"] and answers[4] is None and answers[8] is None


def test_one_time_twice_is_counted_and_time_that_goes_back_is_refused(artifact):
    stream = Stream(artifact, units=["mg/dL"])
    for step in range(4):
        stream.push(100.0 + step, EVERY * step)
    before = stream.windows.row.copy()
    assert stream.push(999.0, EVERY * 3) is None and stream.push(999.0, EVERY * 3 + 100) is None
    with pytest.raises(InputError, match=r"a reading at 600 s after one at 900 s.*reset"):
        stream.push(100.0, EVERY * 2)
    with pytest.raises(InputError, match="at the time nan"):
        stream.push(100.0, math.nan)
    with pytest.raises(InputError, match="at the time None"):
        stream.push(100.0)
    assert stream.windows.counts["duplicates"] == 2 and np.array_equal(stream.windows.row, before)
    assert stream.push(104.0, EVERY * 4)["row"].tolist() == [[101, 102, 103, 104]]
    stream.reset()
    assert stream.push(1.0, 0.0)["reason"] == "1 of 4 readings so far"


def _pushed(stream, readings, every):
    return [stream.push(reading, every * step) for step, reading in enumerate(readings)]


@pytest.mark.parametrize(("every", "way"), [(600.0, "later"), (200.0, "sooner"), (900.0, "later")])
def test_another_rate_is_refused_before_long(artifact, every, way):
    stream = Stream(artifact, units=["mg/dL"])
    with pytest.raises(InputError, match=f"more than half of 16 readings came {way} than every 300 s"):
        _pushed(stream, [100.0] * 17, every)


def test_a_sensor_that_rests_often_is_no_other_rate(artifact):
    stream = Stream(artifact, units=["mg/dL"])
    for step in range(200):
        if step % 4 != 1:
            stream.push(100.0, EVERY * step)
    assert stream.windows.counts["holes"] == 50


def test_other_units_are_refused(artifact):
    with pytest.raises(InputError, match=r"gl comes in mmol/L; expected: mg/dL"):
        Stream(artifact, units=["mmol/L"])
    with pytest.raises(InputError, match="gl comes in an unknown unit"):
        Stream(artifact, units=[""])
    with pytest.raises(InputError, match="a list with the unit of each of gl"):
        Stream(artifact, units="mg/dL")
    stream = Stream(artifact, units=["mg/dL"])
    with pytest.raises(InputError, match=r"outside of 4.* to 37.*such as 5\.5.*mg/dL"):
        _pushed(stream, [5.5] * 4, EVERY)


@pytest.mark.parametrize("readings", [[1.0, 2.0], [], "high", None, math.inf, 1e39, [[1.0]]])
def test_what_is_no_reading_is_refused(artifact, readings):
    stream = Stream(artifact, units=["mg/dL"])
    if readings is None:  # numpy reads None as NaN, which is a hole
        assert stream.push(readings, 0.0)["state"] == "no data"
        return
    with pytest.raises(InputError, match="readings"):
        stream.push(readings, 0.0)
    assert stream.windows.counts["readings"] == 0


def test_a_stream_of_rows_that_are_no_windows_is_refused(tmp_path):
    predictor = load(small_artifacts.made(tmp_path))
    with pytest.raises(ArtifactError, match="no windows of a series"):
        Stream(predictor, units=[""])
    stream = {"channels": ["gl"], "steps": 5}
    with pytest.raises(ArtifactError, match="1 channels and 5 steps for rows of"):
        cut(made(tmp_path, stream=stream).manifest)
    for wrong in ({"stride": 0}, {"every_seconds": 0.0}, {"units": ["a", "b"]}, {"fill": -1}, {"channels": []}):
        with pytest.raises(ArtifactError):
            cut(made(tmp_path, stream={"channels": ["gl"], "steps": 4, **wrong}).manifest)
    with pytest.raises(ArtifactError, match="stream has a field 'rate'"):
        cut(made(tmp_path, stream={"channels": ["gl"], "steps": 4, "rate": 3}).manifest)


@pytest.mark.skipif(not CGM.is_file(), reason="the project's shared data is not here")
def test_people_s_whole_records_give_the_answers_of_the_batch(tmp_path):
    """Real sensors: clocks that drift, holes, pauses of days. The first three people of the table."""
    with gzip.open(CGM, "rt") as file:
        lines = list(csv.DictReader(file))
    stream = {"channels": ["gl"], "units": ["mg/dL"], "every_seconds": EVERY, "steps": 24, "fill": 2, "horizon": 2}
    rows = np.random.default_rng(0).uniform(40, 400, (4, 1, 24)).astype(np.float32)
    predictor = made(tmp_path, stream=stream, row=(1, 24), rows=rows)
    for who in sorted({line["id"] for line in lines})[:3]:
        mine = [line for line in lines if line["id"] == who]
        moments = np.array([line["time"] for line in mine], "datetime64[us]").astype(np.int64) / 1e6
        values = np.array([float(line["gl"]) for line in mine])
        order = np.argsort(moments, kind="stable")
        inputs, ends = unlabelled(
            {"t": moments, "gl": values},
            Columns(inputs=("gl",), time="t"),
            WindowsSpec(steps=24, fill=2, every="5m"),
        )
        wanted = inputs.take(inputs.starts.new_tensor(range(len(ends)))).numpy()
        found = Stream(predictor, units=["mg/dL"])
        answers = [found.push(values[line], moments[line]) for line in order]
        there = [answer for answer in answers if answer["state"] == "answer"]
        assert len(there) > 500 and len(there) < len(answers)
        assert np.array_equal(np.stack([answer["row"] for answer in there]), wanted)
        assert [answer["time"] for answer in there] == moments[ends].tolist()
        # One row at a time is the same bits; many at once are another product of matrices.
        assert all(
            answer["forecast"] == predictor(row[None])[0]["forecast"]
            for answer, row in zip(there[:200], wanted, strict=False)
        )
        said = np.array([list(answer["forecast"].values()) for answer in there])
        assert np.allclose(said, predictor.outputs(wanted)[:, :2], rtol=1e-5, atol=1e-4)
