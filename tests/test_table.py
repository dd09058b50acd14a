"""The headline on a terminal: the report's numbers, all of them whole, on narrow terminals too."""

import dataclasses
import io
import re

import pytest
from invented_runs import a_record
from rich.cells import cell_len
from rich.console import Console
from test_report_values import forecasts

from limbeck.records import RunRecord
from limbeck.reporting.headline import headline
from limbeck.reporting.table import headline_table

RECORDS = {
    "classes": a_record(),
    "forecasts": forecasts(),
    "one seed": a_record(students=(0.9,), controls=(0.89,)),
    "alone": dataclasses.replace(a_record(controls=None), teacher=None),
}


def printed(record: RunRecord, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as captured:
        console.print(headline_table(record))
    return captured.get()


def words_of(text: str) -> set[str]:
    """Words, and the parts of those that a hyphen may break."""
    return set(re.split(r"\s+|(?<=-)(?=\w)", text))


def test_the_terminal_says_what_the_report_says() -> None:
    text = printed(a_record(name="[red]kd[/red]"), 160)
    assert "[red]kd[/red]" in text
    for words in ("Accuracy (%)", "90.25 ± 0.17", "+1.17 ± 0.13", "Better with the teacher", "Latency, median (ms)"):
        assert words in text
    assert "0.410" in text


def test_that_no_spread_is_known_is_said_below_the_numbers() -> None:
    text = printed(RECORDS["one seed"], 80)
    assert "(one seed)" not in text
    assert "One seed: no spread is known." in text


@pytest.mark.parametrize("width", [60, 61, 65, 72, 79, 80, 81, 100, 160])
@pytest.mark.parametrize("kind", RECORDS)
def test_nothing_is_cut_from_60_columns_on(kind: str, width: int) -> None:
    text, found = printed(RECORDS[kind], width), headline(RECORDS[kind])
    assert "…" not in text
    assert max(map(cell_len, text.splitlines())) <= width
    words = words_of(text)
    for row in found.rows:
        assert words_of(row.unit.label) <= words
        for cell in (row.teacher, row.student, row.control, row.difference, row.baseline):
            if cell is not None:
                assert set(cell.number.split()) <= words
                assert cell.count < 2 or set(cell.spread.split()) <= words


@pytest.mark.parametrize("kind", RECORDS)
def test_a_row_reads_from_left_to_right(kind: str) -> None:
    """Where there is room, each quantity is one line: its label and unit, then each model's number and spread."""
    lines = [" ".join(line.split()) for line in printed(RECORDS[kind], 160).splitlines()]
    found = headline(RECORDS[kind])
    units = {"share": " (%)", "nats": " (nats)", "milliseconds": " (ms)"}
    for row in found.rows:
        said = []
        for cell in [*(row.of(who) for who in found.models), *([row.difference] if "control" in found.models else [])]:
            value = "—" if cell is None else cell.number if row.unit.style in units else cell.value
            said.append(value if cell is None or cell.count < 2 else f"{value} {cell.spread}".strip())
        assert f"{row.unit.label}{units.get(row.unit.style, '')} {' '.join(said)}" in lines
