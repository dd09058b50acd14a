"""Reports of numbers and forecasts: where less is better, what needs no learning, and lines instead of pictures."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from invented_runs import a_record, a_run
from rich.console import Console
from test_report import browser, plain_text

from limbeck.records import Panel, RunRecord, Scores, SeedResult, read_record, write_record
from limbeck.reporting.headline import headline
from limbeck.reporting.html import report
from limbeck.reporting.table import headline_table
from limbeck.reporting.units import metric

__all__ = ["browser"]


def lines(threshold: float | None = 70.0, *, band: bool = True) -> Panel:
    """Four drawn rows of a sensor; of the last nothing is known that came after."""
    rows = [
        {
            "window": [100 + 30 * math.sin(0.3 * (step + 9 * number)) for step in range(24)],
            "truth": [None] * 6 if number == 3 else [85.0 - 4 * step for step in range(5)] + [None],
            "forecast": [88.0 - 5 * step for step in range(6)],
            "low": [80.0 - 7 * step for step in range(6)] if band else None,
            "high": [95.0 - 3 * step for step in range(6)] if band else None,
            "probability": 0.52 if threshold else None,
        }
        for number in range(4)
    ]
    data = {
        "rows": rows,
        "threshold": threshold,
        "event": "a reading below 70" if threshold else "",
        "interval": [0.1, 0.9] if band else None,
    }
    return Panel("teacher_saw", "What the teacher saw", "lines", data)


def of_numbers(old: Scores | None, rmse: float) -> Scores | None:
    if old is None:
        return None
    return dataclasses.replace(
        old, metrics={"rmse": rmse, "mae": 0.7 * rmse, "auprc": 0.6, "event_share": 0.05}, panels=()
    )


def forecasts(students: tuple[float, ...] = (17.0, 17.2), controls: tuple[float, ...] = (18.4, 18.0)) -> RunRecord:
    record = a_record(students=students, controls=controls)

    def measured(result: SeedResult) -> SeedResult:
        student, control = (
            of_numbers(old, values[result.seed])
            for old, values in ((result.student, students), (result.control, controls))
        )
        assert student is not None
        return dataclasses.replace(result, student=student, control=control)

    return dataclasses.replace(
        record,
        task="forecasting(horizon=6, below=70, scale=14.5)",
        selection="rmse",
        headline=("rmse", "mae", "auprc"),
        results=tuple(measured(result) for result in record.results),
        teacher=of_numbers(record.teacher, 16.1),
        baseline=Scores(10_000, {"rmse": 21.3, "auprc": 0.4}),
        baseline_name="the last reading said again",
        panels=(lines(),),
    )


def written(folder: Path, record: RunRecord) -> Path:
    """The run's folder, with the curves of another run beside the record."""
    a_run(folder, a_record(students=(0.9, 0.91), controls=(0.88, 0.89)))
    write_record(record, folder)
    return folder


@pytest.mark.parametrize(
    ("students", "controls", "kind", "said"),
    [
        (
            (17.0, 17.2),
            (18.4, 18.0),
            "better",
            "Even the worst of 2 students (17.20) beats the best student alone (18.00)",
        ),
        (
            (18.4, 18.0),
            (17.0, 17.2),
            "worse",
            "Even the best of 2 students (18.00) is worse than the worst student alone",
        ),
        ((17.0, 18.2), (18.4, 18.0), "unclear", "It wins in 1 and loses in 1 of 2 pairs"),
    ],
)
def test_less_error_is_better(students: tuple[float, ...], controls: tuple[float, ...], kind: str, said: str) -> None:
    found = headline(forecasts(students, controls)).verdict
    assert (found.kind, said in found.text) == (kind, True), found.text
    assert "RMSE" in found.title and "rmse" not in found.title


def test_the_gap_that_was_closed_is_counted_downwards() -> None:
    found = headline(forecasts()).verdict
    # controls 18.2 on average, students 17.1, teacher 16.1: 1.1 of 2.1
    assert "closes 52 % of the" in found.text and found.title.startswith("Better with the teacher: −1.100")


def test_the_baseline_stands_beside_the_models() -> None:
    found = headline(forecasts())
    assert found.models == ("teacher", "student", "control", "baseline")
    assert found.selection is not None and found.selection.baseline is not None
    assert (found.selection.baseline.value, found.selection.baseline.spread) == ("21.30", "")
    assert "Baseline: the last reading said again, without any learning." in found.notes
    assert "baseline" not in headline(a_record()).models
    console = Console(width=160, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(headline_table(forecasts()))
    assert "Baseline" in captured.get() and "21.30" in captured.get()


def test_a_record_without_a_baseline_is_still_read(tmp_path: Path) -> None:
    write_record(forecasts(), tmp_path)
    assert read_record(tmp_path) == forecasts()
    stored = json.loads((tmp_path / "run.json").read_text())
    del stored["baseline"], stored["baseline_name"]
    (tmp_path / "run.json").write_text(json.dumps(stored))
    assert read_record(tmp_path) == dataclasses.replace(forecasts(), baseline=None, baseline_name="")


@pytest.mark.parametrize(
    ("name", "label", "better", "written"),
    [
        ("rmse", "RMSE", "lower", "16.63"),
        ("rmse_weight", "RMSE of weight", "lower", "16.63"),
        ("mae", "MAE", "lower", "16.63"),
        ("brier", "Brier score", "lower", "16.63"),
        ("auprc", "AUPRC", "higher", "16.63"),
        ("r2", "R²", "higher", "16.63"),
        ("map", "Mean average precision", "higher", "1,663.40 %"),
        ("macro_f1", "Macro F1", "higher", "1,663.40 %"),
        ("event_share", "Share of the event", None, "1,663.40 %"),
        ("event_kl", "KL(teacher ‖ model) of the event", "lower", "16.6340 nats"),
    ],
)
def test_metrics_have_a_direction_and_a_unit(name: str, label: str, better: str | None, written: str) -> None:
    unit = metric(name)
    assert (unit.label, unit.better, unit.write(16.634)) == (label, better, written)


def test_a_label_in_capitals_stays_so_in_a_sentence() -> None:
    assert [metric(name).spoken for name in ("rmse", "accuracy", "kl")] == ["RMSE", "accuracy", "KL(teacher ‖ model)"]


def test_lines_are_drawn_and_said(tmp_path: Path) -> None:
    run = written(tmp_path / "run", forecasts())
    page = report(run, to=tmp_path / "report.html")
    text = page.read_text(encoding="utf-8")
    said = plain_text(page)
    assert said.count("52.0 % for a reading below 70") == 4
    assert "The band reaches from its quantile 0.1 to 0.9. The fine dashes mark 70." in said
    assert "24 readings up to" in text and "what came is not known" in text and "69 came" in text
    again = report(run, to=tmp_path / "again.html")
    assert again.read_text(encoding="utf-8") == text, "the same data, the same bytes"


def test_lines_without_event_or_band(tmp_path: Path) -> None:
    record = dataclasses.replace(forecasts(), panels=(lines(None, band=False),))
    said = plain_text(report(written(tmp_path / "run", record), to=tmp_path / "report.html"))
    assert "The band" not in said and "mark" not in said.split("What the teacher saw")[1].split("Findings")[0]


@pytest.mark.parametrize("width", [380, 1280])
def test_lines_fit_a_phone_and_a_screen(browser: Any, tmp_path: Path, width: int) -> None:
    path = report(written(tmp_path / "run", forecasts()), to=tmp_path / "report.html")
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [chart.bounding_box() for chart in page.query_selector_all(".examples svg.chart")]
    assert len(boxes) == 4
    assert all(200 < box["width"] <= width and box["height"] > 100 for box in boxes)
    page.close()
