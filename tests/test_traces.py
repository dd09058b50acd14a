"""A run is asked about a series: it is cut as the run's own data was, and each window says where it ends."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_files import csv, loaded
from test_cli import call

from limbeck.data.arrays import as_rows
from limbeck.data.forms import traces
from limbeck.distillation import distill
from limbeck.errors import DataError
from limbeck.recipe import DataSpec
from limbeck.run import Run, predict_run

COLUMNS = {"inputs": ["value", "carbs"], "group": "person", "time": "when"}
WINDOWS = {"steps": 6, "every": "5m", "fill": 2, "horizon": 3, "stride": 2, "target": "value"}

pytestmark = pytest.mark.usefixtures("one_thread")


def readings(people: int = 6, steps: int = 60, *, dates: bool = False) -> dict[str, list[Any]]:
    """Lines of several people in no order, with holes, an empty value, and columns that mean nothing."""
    draw = np.random.default_rng(3)
    lines = []
    for person in range(people):
        for step in range(steps):
            value = round(120 + 40 * np.sin(step / 5 + person) + draw.normal(0, 2), 1)
            if draw.random() > 0.06 and step not in (20, 21, 22, 23):
                day = f"2024-03-01 {step * 5 // 60:02d}:{step * 5 % 60:02d}:00"
                empty = None if (person, step) == (1, 30) else round(draw.random(), 3)
                lines.append((f"p{person}", day if dates else step * 300 + person, step, empty, value))
    order = draw.permutation(len(lines))
    columns = zip(*(lines[place] for place in order), strict=True)
    return dict(zip(("person", "when", "noise", "carbs", "value"), map(list, columns), strict=True))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and a run that learnt to forecast it; the second input is named first in the table."""
    folder = tmp_path_factory.mktemp("traces")
    table = csv(folder / "table.csv", readings(dates=True))
    distill(
        None,
        "gru(size=4)",
        str(table),
        to=folder / "run",
        task="forecasting(horizon=3, below=90)",
        columns=COLUMNS,
        windows=WINDOWS,
        valid=0.2,
        test=0.2,
        budget="1 epochs",
        device="cpu",
        training={"batch": 32, "lr": 0.01, "precision": "float32", "channels_last": False},
    )
    return folder


def spec_of(**windows: Any) -> DataSpec:
    return DataSpec(source="table.csv", columns=COLUMNS, windows={**WINDOWS, **windows})


@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("fill", [0, 2])
def test_windows_of_the_training_file_are_the_loaders_bit_by_bit(tmp_path: Path, stride: int, fill: int) -> None:
    table = csv(tmp_path / "table.csv", readings())
    keys = {**WINDOWS, "stride": stride, "fill": fill}
    data = loaded(table, labels="values", columns=COLUMNS, windows=keys, valid=0.2, test=0.2)
    trained = {
        row.numpy().tobytes() for rows in data.splits().values() for row in rows.take(torch.arange(len(rows))).inputs
    }
    trace = traces.read(table, spec_of(stride=stride, fill=fill))
    asked = [row.numpy().tobytes() for row in trace.inputs.take(torch.arange(trace.inputs.shape[0]))]
    assert len(trained) == sum(len(rows) for rows in data.splits().values())
    assert trained <= set(asked) and (stride == 5 or trained != set(asked))
    # What is new has no future: nothing was read in the three steps after it.
    lines = readings()
    known = set(zip(lines["person"], lines["when"], strict=True))
    last = {who: max(when for other, when in known if other == who) for who in lines["person"]}
    for place, content in zip(trace.places, asked, strict=True):
        ahead = {(place["group"], place["time"] + 300 * step) for step in (1, 2, 3)}
        whole = place["time"] + 3 * 300 <= last[place["group"]]
        assert (content in trained) == (whole and bool(ahead & known))


def test_each_window_says_its_own_last_reading(tmp_path: Path) -> None:
    lines = readings()
    trace = traces.read(csv(tmp_path / "table.csv", lines), spec_of())
    said = dict(zip(zip(lines["person"], lines["when"], strict=True), lines["value"], strict=True))
    last = trace.inputs.take(torch.arange(trace.inputs.shape[0]))[:, 0, -1]
    expected = [said[place["group"], place["time"]] for place in trace.places]
    assert last.tolist() == np.array(expected, dtype=np.float32).tolist()
    assert [place["group"] for place in trace.places] == sorted(place["group"] for place in trace.places)


def test_files_columns_and_dates_say_the_same(work: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    run = Run.open(work / "run")
    expected = predict_run(run, work / "table.csv")
    lines = readings(dates=True)
    when = np.array(lines["when"], dtype="datetime64[ns]")
    typed = {**lines, "when": when}
    parquet.write_table(pa.table(typed), tmp_path / "test.parquet")
    assert predict_run(run, tmp_path / "test.parquet") == expected
    held = {name: np.array(values, dtype=float if name == "carbs" else None) for name, values in typed.items()}
    assert predict_run(run, held) == expected
    assert all(answer["time"] in lines["when"] for answer in expected)
    assert {"group", "time", "forecast", "event", "probability"} <= set(expected[0])


def test_the_answers_are_the_students_to_these_windows(work: Path) -> None:
    run = Run.open(work / "run")
    said = predict_run(run, str(work / "table.csv"))
    trace = traces.read(work / "table.csv", spec_of())
    rows = trace.inputs.take(torch.arange(trace.inputs.shape[0])).numpy()
    ready = predict_run(run, rows)
    assert [{**place, **answer} for place, answer in zip(trace.places, ready, strict=True)] == said


def test_predict_reads_a_series(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = readings(people=1, dates=True)
    call("predict", str(work / "run"), str(csv(tmp_path / "test.csv", lines)), "--json")
    answers = json.loads(capsys.readouterr().out)["predictions"]
    assert answers[-1]["group"] == "p0" and answers[-1]["time"] >= "2024-03-01 04:40:00"
    call("predict", str(work / "run"), str(tmp_path / "test.csv"))
    out = capsys.readouterr().out
    assert "group" in out and "p0" in out


def test_one_window_is_enough_and_one_reading_less_is_refused(work: Path) -> None:
    run = Run.open(work / "run")
    line = {"value": [100.0] * 6, "carbs": [0.0] * 6, "person": ["new"] * 6, "when": np.arange(6) * 300}
    (answer,) = predict_run(run, line)
    assert (answer["group"], answer["time"]) == ("new", 1500)
    for count in (1, 5):
        with pytest.raises(DataError, match=rf"has {count} of {count} readings[\s\S]*a stretch of 6 readings"):
            predict_run(run, {name: values[:count] for name, values in line.items()})
    late = {**line, "when": np.array([0, 300, 600, 6000, 6300, 6600])}
    with pytest.raises(DataError, match=r"without a gap has 3 of 6 readings"):
        predict_run(run, late)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": "vlue"}, r"no column 'value', which held the readings[\s\S]*did you mean 'vlue'"),
        ({"person": "persons"}, r"no column 'person', which held the group[\s\S]*did you mean 'persons'"),
        ({"when": None}, "no column 'when', which held the time"),
    ],
)
def test_a_series_of_other_columns_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str | None], message: str
) -> None:
    lines = readings(people=1, dates=True)
    for name, other in changes.items():
        values = lines.pop(name)
        if other is not None:
            lines[other] = values
    with pytest.raises(DataError, match=message):
        predict_run(Run.open(work / "run"), csv(tmp_path / "trace.csv", lines))
    call("predict", str(work / "run"), str(tmp_path / "trace.csv"), code=3)
    assert "has no column" in capsys.readouterr().err


def test_a_series_in_another_rhythm_or_broken_is_refused(work: Path, tmp_path: Path) -> None:
    run = Run.open(work / "run")
    line = {"value": [100.0] * 9, "carbs": [0.0] * 9, "person": ["new"] * 9, "when": np.arange(9) * 60}
    with pytest.raises(DataError, match="windows have a reading every 300 s, and the series one every 60 s"):
        predict_run(run, line)
    with pytest.raises(DataError, match="differ in length"):
        predict_run(run, {**line, "value": [1.0]})
    with pytest.raises(DataError, match="holds no reading"):
        predict_run(run, csv(tmp_path / "empty.csv", {name: [] for name in line}))
    broken = {**line, "when": np.arange(9) * 300, "value": [100.0] * 8 + ["high"]}
    with pytest.raises(DataError, match=r"broken.csv:10: column 'value' holds 'high'"):
        predict_run(run, csv(tmp_path / "broken.csv", broken))


def test_a_run_on_rows_is_asked_about_rows(good_run: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was not trained on windows"):
        predict_run(good_run, csv(tmp_path / "trace.csv", {"value": [1, 2]}))


def test_without_times_the_line_is_said(tmp_path: Path) -> None:
    spec = DataSpec(source="t", columns={"inputs": "value"}, windows={"steps": 3, "horizon": 2})
    trace = traces.read(csv(tmp_path / "t.csv", {"value": [1, 2, 3, 4, 5]}), spec)
    assert trace.places == [{"line": 2}, {"line": 3}, {"line": 4}]


def test_digits_may_come_without_channel_or_flat(good_run: Run, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 16, (3, 1, 8, 8)).astype(np.float64)
    expected = predict_run(good_run, rows)
    for shape in ((3, 8, 8), (3, 64), (3, 8, 8, 1), (3, 1, 64)):
        assert predict_run(good_run, rows.reshape(shape)) == expected
    for shape in ((1, 8, 8), (8, 8), (64,), (1, 64)):
        assert predict_run(good_run, rows[0].reshape(shape)) == predict_run(good_run, rows[:1])
    np.save(tmp_path / "flat.npy", rows.reshape(3, 64))
    call("predict", str(good_run.folder), str(tmp_path / "flat.npy"))
    with pytest.raises(DataError, match="the rows have shape"):
        predict_run(good_run, rows.reshape(3, 4, 16))


@pytest.mark.parametrize("shape", [(2, 192), (192,), (2, 8, 8, 3), (2, 64, 3)])
def test_several_channels_in_another_layout_are_not_guessed(shape: tuple[int, ...]) -> None:
    assert as_rows(np.zeros(shape), (3, 8, 8)) is None
