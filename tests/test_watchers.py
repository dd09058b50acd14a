"""What a terminal shows of progress: a line now and then, or one live line that is rewritten."""

import io
from typing import Any

import pytest
from rich.console import Console

from limbeck.cli.progress import Line, Lines, duration
from limbeck.progress import Progress, RowsDone, Silent


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_plain_progress_says_a_line_now_and_then() -> None:
    text, clock = io.StringIO(), Clock()
    lines = Lines(Console(file=text, width=200), clock)
    lines.start("student, seed 0", 1000)
    for step in range(1, 1001):
        clock.now += 0.1
        lines.step(step, 0.5, {"kd": 0.88, "labels": 0.12}, 12345.6, 60.4)
    lines.say("precision: float32")
    lines.done()
    said = text.getvalue().splitlines()
    assert said[0] == "student, seed 0: 1,000 steps"
    assert said[1] == "student, seed 0: step 100 of 1,000, loss 0.5 (kd 88 %, labels 12 %), 12,346 rows/s, 1:00 left"
    assert 11 <= len(said) <= 13
    assert said[-1] == "student, seed 0: 1,000 steps in 1:40, loss 0.5"


def test_a_short_training_says_little() -> None:
    text, clock = io.StringIO(), Clock()
    lines = Lines(Console(file=text), clock)
    lines.start("student", 100)
    for step in range(1, 101):
        clock.now += 0.01
        lines.step(step, float("nan"), {}, 0, float("nan"))
    lines.done()
    lines.done()
    assert text.getvalue().splitlines() == ["student: 100 steps", "student: 100 steps in 1 s"]


def test_a_recording_counts_rows_and_says_where_it_begins() -> None:
    text, clock = io.StringIO(), Clock()
    lines = Lines(Console(file=text, width=200), clock)
    new, half, whole = (RowsDone(lines, f"recording {name}", clock) for name in ("new", "half", "whole"))
    for tell, first in ((new, 0), (half, 1000), (whole, 2000)):
        tell(first, 2000)
        for done in range(first + 100, 2001, 100):
            clock.now += 1.0
            tell(done, 2000)
        lines.done()

    def between(name: str, first: int) -> list[str]:
        rows = range(first, 2001, 200)
        return [f"recording {name}: row {row:,} of 2,000, 100 rows/s, {20 - row // 100} s left" for row in rows]

    assert text.getvalue().splitlines() == [
        "recording new: 2,000 rows",
        *between("new", 200),
        "recording new: 2,000 rows in 20 s",
        "recording half: 2,000 rows",
        "recording half: going on after 1,000 of 2,000 rows",
        *between("half", 1200),
        "recording half: 2,000 rows in 10 s",
        "recording whole: found finished, 2,000 rows",
    ]


def test_the_live_line_is_rewritten_and_leaves_one_line() -> None:
    text, clock = io.StringIO(), Clock()
    line = Line(Console(file=text, force_terminal=True, width=120), clock)
    line.start("student", 10)
    for step in range(1, 11):
        line.step(step, 0.25, {"kd": 0.9, "labels": 0.1}, 100, 1)
    line.done()
    line.done()
    assert text.getvalue().rstrip().endswith("student: 10 steps in 0 s, loss 0.25")


def test_every_watcher_keeps_the_protocol() -> None:
    watchers: list[Any] = [Silent(), Lines(Console(file=io.StringIO())), Line(Console(file=io.StringIO()))]
    for watcher in watchers:
        assert isinstance(watcher, Progress)
        watcher.step(1, 0.0, {}, 0, 0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (65, "1:05"), (7389, "2:03:09"), (float("nan"), "?")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
