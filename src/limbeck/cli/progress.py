"""How the progress of training looks: one live line on a terminal, a plain line now and then elsewhere."""

import math
import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0
SHARE_BETWEEN_LINES = 0.1
# Ten lines for a training of two seconds would bury what matters.
LEAST_SECONDS_BETWEEN_LINES = 2.0


def duration(seconds: float) -> str:
    """Wall seconds for a reader: "8 s", "1:05", "2:03:09"; a question mark when unknown."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def state(loss: float, shares: Mapping[str, float], rows_per_second: float, seconds_left: float) -> str:
    """What the steps of late say: "loss 0.512 (kd 88 %, labels 12 %), 12,345 rows/s, 8 s left"."""
    parts = []
    if math.isfinite(loss):
        terms = ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in shares.items())
        parts.append(f"loss {loss:.3g}" + (f" ({terms})" if len(shares) > 1 else ""))
    if rows_per_second > 0:
        parts.append(f"{rows_per_second:,.0f} rows/s")
    if math.isfinite(seconds_left):
        parts.append(f"{duration(seconds_left)} left")
    return ", ".join(parts)


class _Work:
    """The piece of work that was started last."""

    def __init__(self, who: str, steps: int, unit: str, now: float) -> None:
        self.who, self.steps, self.unit, self.started = who, steps, unit, now
        self.step, self.loss = 0, math.nan

    def ended(self, now: float) -> str:
        """One line for the record."""
        loss = f", loss {self.loss:.3g}" if math.isfinite(self.loss) else ""
        return f"{self.who}: {self.step:,} {self.unit} in {duration(now - self.started)}{loss}"


class Lines:
    """Progress where nobody can rewrite a line: in a log file or a pipe.

    Args:
        console: Where to.
        clock: Seconds from any beginning.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self.work: _Work | None = None
        self.last_seconds, self.last_step = 0.0, 0

    def start(self, who: str, steps: int, unit: str = "steps") -> None:
        """Says what begins."""
        self.done()
        self.last_seconds, self.last_step = self.clock(), 0
        self.work = _Work(who, steps, unit, self.last_seconds)
        self.say(f"{who}: {steps:,} {unit}" if steps else who)

    def step(
        self, step: int, loss: float, shares: Mapping[str, float], rows_per_second: float, seconds_left: float
    ) -> None:
        """Says the state when ten seconds, or a tenth of the steps, have passed since the last line."""
        if self.work is None:
            return
        self.work.step, self.work.loss = step, loss
        passed = self.clock() - self.last_seconds
        gained = (step - self.last_step) / self.work.steps if self.work.steps else 0.0
        if passed < SECONDS_BETWEEN_LINES and (passed < LEAST_SECONDS_BETWEEN_LINES or gained < SHARE_BETWEEN_LINES):
            return
        self.last_seconds, self.last_step = self.clock(), step
        of = f" of {self.work.steps:,}" if self.work.steps else ""
        unit = self.work.unit.removesuffix("s")
        self.say(f"{self.work.who}: {unit} {step:,}{of}, {state(loss, shares, rows_per_second, seconds_left)}")

    def say(self, message: str) -> None:
        """Writes one line."""
        self.console.print(Text(message), soft_wrap=True)

    def done(self) -> None:
        """Says how long it took."""
        if self.work is not None:
            self.say(self.work.ended(self.clock()))
        self.work = None


class Line:
    """Progress on a terminal: one line that is rewritten, and a line for the record when a piece of work is done.

    Args:
        console: The terminal.
        clock: Seconds from any beginning.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self.work: _Work | None = None
        self.live: Live | None = None

    def start(self, who: str, steps: int, unit: str = "steps") -> None:
        """Opens the line."""
        self.done()
        self.work = _Work(who, steps, unit, self.clock())
        self.live = Live(Text(f"{who} ..."), console=self.console, transient=True, refresh_per_second=8)
        self.live.start()

    def step(
        self, step: int, loss: float, shares: Mapping[str, float], rows_per_second: float, seconds_left: float
    ) -> None:
        """Rewrites the line."""
        if self.work is None or self.live is None:
            return
        self.work.step, self.work.loss = step, loss
        row = Table.grid(padding=(0, 1))
        done = ProgressBar(total=self.work.steps or None, completed=step, width=20)
        of = f"/{self.work.steps:,}" if self.work.steps else ""
        words = Text(state(loss, shares, rows_per_second, seconds_left), no_wrap=True, overflow="ellipsis")
        row.add_row(Text(self.work.who, style="bold"), done, Text(f"{step:,}{of}"), words)
        self.live.update(row)

    def say(self, message: str) -> None:
        """Writes a line above the live one."""
        self.console.print(Text(message))

    def done(self) -> None:
        """Closes the line and leaves one for the record."""
        if self.live is not None:
            self.live.stop()
        if self.work is not None:
            self.say(self.work.ended(self.clock()))
        self.work = self.live = None
