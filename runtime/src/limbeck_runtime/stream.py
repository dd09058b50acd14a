"""Readings as they come, cut into the windows that training cut, one reading at a time.

Readings lie on a grid of equal steps: between two neighbours lie as many steps as their distance in time comes nearest
to, so that a clock that runs a little fast or slow makes no gaps. A step without a reading is a hole. Holes of up to
`fill` steps are bridged, each channel by itself, by a straight line between their neighbours; a window's last reading
is always a real one. A window begins a whole number of strides after the first reading. Time is the signal's own: no
clock of this machine is read.

An answer says its `state`. It is `answer` where the artifact was asked, with the answer's own fields beside it; and
`no data`, with a `reason`, where a window is due and a reading in it is missing. That is never the same as normal.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck_runtime.decoding import Answer
from limbeck_runtime.errors import ArtifactError, InputError
from limbeck_runtime.fields import built
from limbeck_runtime.manifest import Manifest
from limbeck_runtime.predictor import Predictor
from limbeck_runtime.scores import Watch

ALIKE = 0.25
"""Share of a step by which a distance in time may be off and still be that many steps, as in training."""

NO_DATA, ANSWER = "no data", "answer"
_JUDGED = 16
"""Distances after which the rate is judged; a median of fewer says little."""


@dataclass(frozen=True)
class Cut:
    """How readings become rows, as the manifest's `stream` says it.

    Args:
        channels: Their names, in the order of a row.
        units: Of the channels; an empty text where nobody knows it.
        every_seconds: Between two readings; None where readings follow each other and have no times.
        steps: Readings in a window.
        stride: Readings from the start of one window to that of the next.
        fill: So many missing readings in a row are bridged.
        horizon: Readings ahead that are forecast, 0 where none are.
        target: The channel that is forecast.
    """

    channels: tuple[str, ...]
    steps: int
    every_seconds: float | None = None
    units: tuple[str, ...] = ()
    stride: int = 1
    fill: int = 0
    horizon: int = 0
    target: str | None = None

    def __post_init__(self) -> None:
        whole = self.steps >= 1 and self.stride >= 1 and self.fill >= 0 and self.horizon >= 0
        if not whole or not self.channels or (self.units and len(self.units) != len(self.channels)):
            raise ArtifactError(f"a stream of {self}", expected="channels, a unit for each, steps and stride from 1 on")
        if self.every_seconds is not None and not self.every_seconds > 0:
            raise ArtifactError(f"readings every {self.every_seconds} s", expected="a time above 0")


def cut(manifest: Manifest) -> Cut:
    """How the readings of an artifact's stream become rows.

    Raises:
        ArtifactError: When its rows are no windows of a series, or the manifest says two things of them.
    """
    if manifest.stream is None:
        raise ArtifactError(
            f"the rows of {manifest.name} are no windows of a series",
            expected="an artifact of a run with data.windows",
            remedy="ask the predictor for rows, and give its answers to Alerts with their times",
        )
    found = built(Cut, manifest.stream, "stream")
    if manifest.input.shape != (len(found.channels), found.steps):
        raise ArtifactError(
            f"a stream of {len(found.channels)} channels and {found.steps} steps for rows of {manifest.input.shape}",
            expected="one shape",
            remedy="export the run again",
        )
    return found


class Windows:
    """A ring of readings and the windows in it; knows no network.

    Args:
        cut: How to cut.
    """

    def __init__(self, cut: Cut) -> None:
        self.cut = cut
        # Each reading is written twice, `steps` apart, so that every window lies in one piece.
        self._ring = np.full((len(cut.channels), 2 * cut.steps), np.nan)
        self._row = np.empty((len(cut.channels), cut.steps), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forgets every reading and count: another record begins."""
        self._ring.fill(np.nan)
        self._place = -1
        self._time = math.nan
        self._known = [(-1, math.nan)] * len(self.cut.channels)
        self._distances = self._early = self._late = 0
        self.readings = self.holes = self.bridged = self.duplicates = self.corrections = 0

    @property
    def counts(self) -> Mapping[str, int]:
        """Readings taken; steps without one, and those bridged; readings twice; distances that were no whole step."""
        names = ("readings", "holes", "bridged", "duplicates", "corrections")
        return {name: getattr(self, name) for name in names}

    def take(self, values: npt.NDArray[np.float64], time: float | None) -> tuple[bool, str]:
        """Lays one reading of every channel on the grid.

        Args:
            values: Of the channels; NaN where one has none.
            time: Of the signal, in seconds; None where the cut has no times.

        Returns:
            Whether a window is due, and why it is not whole; an empty text where it is.

        Raises:
            InputError: When time goes back, or readings come at another rate; nothing has changed then.
        """
        ahead = 1 if self._place < 0 else self._ahead(time)
        if ahead == 0:
            self.duplicates += 1
            return False, ""
        before, self._place = self._place, self._place + ahead
        self._time = math.nan if time is None else time
        self._lay(values, before)
        self.readings += 1
        return self._due(before)

    @property
    def row(self) -> npt.NDArray[np.float32]:
        """The window that ends with the last reading, (channels, steps); the same memory every time."""
        first = (self._place + 1) % self.cut.steps
        np.copyto(self._row, self._ring[:, first : first + self.cut.steps], casting="same_kind")
        return self._row

    def _ahead(self, time: float | None) -> int:
        """How many steps after the last reading this one lies; 0 where it is the same again."""
        every = self.cut.every_seconds
        if every is None or time is None:
            return 1
        distance = (time - self._time) / every
        if distance < 0:
            raise InputError(
                f"a reading at {time:g} s after one at {self._time:g} s",
                expected="readings in the order of their time",
                remedy="reset() where another record begins",
            )
        ahead = int(np.rint(distance))
        if ahead == 0:
            return 0
        early, late = self._early + (distance < 1 - ALIKE), self._late + (distance > 1 + ALIKE)
        if self._distances + 1 >= _JUDGED and 2 * max(early, late) > self._distances + 1:
            raise InputError(
                f"more than half of {self._distances + 1} readings came {'sooner' if early > late else 'later'} than "
                f"every {every:g} s, the last after {distance * every:g} s",
                expected=f"a reading every {every:g} s",
                remedy="resample the readings, or a student of their rate",
            )
        self._distances, self._early, self._late = self._distances + 1, early, late
        self.corrections += bool(abs(distance - ahead) > ALIKE)
        return ahead

    def _lay(self, values: npt.NDArray[np.float64], before: int) -> None:
        steps, place = self.cut.steps, self._place
        skipped = place - before - 1
        self.holes += max(skipped, 0)
        for hole in range(max(before + 1, place - steps + 1), place):
            self._ring[:, hole % steps :: steps] = np.nan
        self._ring[:, place % steps :: steps] = values[:, None]
        for channel, value in enumerate(values):
            if math.isnan(value):
                self.holes += 1
                continue
            known, level = self._known[channel]
            if 0 <= known < place - 1 <= known + self.cut.fill:
                self._bridge(channel, known, level, value)
            self._known[channel] = (place, float(value))

    def _bridge(self, channel: int, known: int, level: float, value: float) -> None:
        """A straight line over a short hole, in the very arithmetic of `limbeck.data.grid.filled_in`."""
        steps, place = self.cut.steps, self._place
        for hole in range(known + 1, place):
            self.bridged += 1
            if hole > place - steps:
                share = (hole - known) / (place - known)
                self._ring[channel, hole % steps :: steps] = level * (1 - share) + value * share

    def _due(self, before: int) -> tuple[bool, str]:
        """Whether a window ends here, or ended where no reading came since the last one."""
        steps, stride = self.cut.steps, self.cut.stride
        if (self._place - steps + 1) % stride:
            skipped = (self._place - steps + 1) // stride > (before - steps + 1) // stride
            return skipped and before >= 0, "there was no reading at the step at which an answer was due"
        if self._place < steps - 1:
            return True, f"{self._place + 1} of {steps} readings so far"
        if np.isnan(self._ring[:, self._place % steps]).any():
            return True, "the last reading is missing"
        first = (self._place + 1) % steps
        broken = np.isnan(self._ring[:, first : first + steps]).any(axis=0)
        if broken.any():
            most = int(broken.sum())
            return True, f"{most} of the last {steps} readings are missing, in a hole of more than {self.cut.fill}"
        return True, ""


class Stream:
    """An artifact asked about readings as they come; its answers are those of the batch.

    Args:
        predictor: A loaded artifact, or a cascade with its manifest.
        units: Of the channels as the readings come, in their order; an empty text where it is not known. Held against
            the manifest: 5.5 mmol/L must not be read as 5.5 mg/dL.
        manifest: Of the artifact; by default the predictor's own.
        watch: Whose score stands in each answer as `score`; by default that of the manifest's `alerts`.

    Raises:
        ArtifactError: When its rows are no windows of a series.
        InputError: When the units are others than those of training.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        units: Sequence[str],
        manifest: Manifest | None = None,
        watch: Watch | None = None,
    ) -> None:
        found = manifest or getattr(predictor, "manifest", None)
        if not isinstance(found, Manifest):
            raise InputError("a predictor without a manifest", expected="manifest=...")
        self.manifest, self._predictor = found, predictor
        self.windows = Windows(cut(found))
        _check_units(self.windows.cut, units)
        if watch is None and found.alerts is not None:
            watch = built(Watch, found.alerts.get("watch"), "alerts.watch")
        if watch is not None:
            watch.check(found)
        self._watch = watch
        self._inside = False

    def reset(self) -> None:
        """Forgets every reading: another record begins."""
        self.windows.reset()
        self._inside = False

    def push(self, readings: float | Sequence[float] | npt.NDArray[Any], time: float | None = None) -> Answer | None:
        """Takes one reading of every channel.

        Args:
            readings: One number, or one for each channel in the manifest's order; NaN where there is none, which is a
                hole and is counted.
            time: When they were taken, in seconds of the signal from any moment on. A reading less than half a step
                after the last one is the same again: it is counted and left out.

        Returns:
            An answer where a window is due, with its `time`, its `state`, the `row` that was asked about where there
            is one, and the `score` that alerts watch; else None.

        Raises:
            InputError: When the readings are no numbers or infinite, time is missing or goes back, they come at another
                rate, or the first window lies outside of everything the student has seen, as in another unit.
        """
        timed = self.windows.cut.every_seconds is not None
        if timed and (time is None or not math.isfinite(time)):
            raise InputError(f"a reading at the time {time}", expected="seconds of the signal, a finite number")
        values = self._values(readings)
        due, missing = self.windows.take(values, None if time is None else float(time))
        if not due:
            return None
        stamp: dict[str, Any] = {} if time is None else {"time": float(time)}
        if missing:
            return {**stamp, "state": NO_DATA, "reason": missing}
        row = self.windows.row
        self._check_range(row)
        outputs = self._predictor.outputs(row[None])
        score = {} if self._watch is None else {"score": self._watch.scores(self.manifest, row[None], outputs)[0]}
        answer = self._decode(row, outputs)
        return {**stamp, "state": ANSWER, **answer, **score, "row": row.copy()}

    def wait(self, time: float) -> Answer | None:
        """What time alone says: no data, once a hole is too long to be bridged; else None. Takes no reading.

        Args:
            time: Of the signal, in seconds.
        """
        every, last = self.windows.cut.every_seconds, self.windows._time
        if every is None or math.isnan(last) or time - last < (self.windows.cut.fill + 1.5) * every:
            return None
        return {"time": float(time), "state": NO_DATA, "reason": f"no reading for {time - last:g} s"}

    def _decode(self, row: npt.NDArray[np.float32], outputs: npt.NDArray[np.float32]) -> Answer:
        decode: Callable[[Any], list[Answer]] | None = getattr(self._predictor, "decode", None)
        return self._predictor(row[None])[0] if decode is None else decode(outputs)[0]

    def _values(self, readings: Any) -> npt.NDArray[np.float64]:
        names = self.windows.cut.channels
        try:
            found = np.atleast_1d(np.asarray(readings, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise InputError(f"readings {readings!r}", expected=f"a number for each of {', '.join(names)}") from error
        if found.shape != (len(names),):
            raise InputError(
                f"readings of shape {found.shape}", expected=f"{len(names)}, a number for each of {', '.join(names)}"
            )
        with np.errstate(over="ignore"):
            if np.isinf(found.astype(np.float32)).any():
                raise InputError(f"readings {found.tolist()}", expected="finite numbers, NaN where there is none")
        return found

    def _check_range(self, row: npt.NDArray[np.float32]) -> None:
        """Refuses a first window of which not one reading lies where those of training lay."""
        low, high = self.manifest.input.low, self.manifest.input.high
        if self._inside or low is None or high is None:
            return
        if not ((row >= low) & (row <= high)).any():
            raise InputError(
                f"every reading of the first window is outside of {low:g} to {high:g}, such as {row[0, -1]:g}",
                expected=f"readings in {', '.join(self.windows.cut.units) or 'the unit of training'}",
                remedy="convert them",
            )
        self._inside = True


def _check_units(cut: Cut, units: Sequence[str]) -> None:
    if isinstance(units, str) or len(units) != len(cut.channels):
        raise InputError(
            f"units {units!r}", expected=f"a list with the unit of each of {', '.join(cut.channels)}; '' where unknown"
        )
    for channel, known, said in zip(cut.channels, cut.units or ("",) * len(units), units, strict=True):
        if known and known != said:
            raise InputError(
                f"{channel} comes in {said or 'an unknown unit'}", expected=known, remedy="convert the readings"
            )
