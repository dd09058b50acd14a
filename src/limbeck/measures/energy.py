"""What an answer costs in energy, always with the way in which that is known; nothing is guessed unasked."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

Method = Literal[
    "measured-rapl", "measured-nvml", "measured-external", "modelled-board", "estimated-tdp", "unavailable"
]

POWERCAP = Path("/sys/class/powercap")
CHUNKS = 5
CHUNK_SECONDS = 1.0
"""A counter is read at least so often: one of 32 bits of microjoules wraps after 43 s at 100 W; once is seen."""


@dataclass(frozen=True)
class EnergyReading:
    """The energy of one answer.

    Args:
        joules: Of one answer; None where it is not known.
        method: How it is known: measured by the processor's or the card's counter, by the person's own meter, a board's
            power times the measured time, an upper estimate from a thermal design power, or not at all.
        scope: What the joules pay for, or why there are none.
        uncertainty: Half the width of what they may be, in joules; None where nothing is known about it.
        reason: Where the uncertainty comes from, and what it leaves out.
    """

    joules: float | None
    method: Method
    scope: str
    uncertainty: float | None = None
    reason: str = ""


@runtime_checkable
class Counter(Protocol):
    """Something that counts joules."""

    method: Method
    scope: str

    def read(self) -> Sequence[float]:
        """The joules so far, one number for each part."""
        ...

    def spent(self, before: Sequence[float], after: Sequence[float]) -> float:
        """Joules between two readings, in all parts together."""
        ...


class Rapl:
    """The counters of Intel's and AMD's processors, as Linux shows them in powercap.

    Source: https://docs.kernel.org/power/powercap/powercap.html. Packages, and the memory beside them, which they do
    not contain; cores and graphics are inside of packages, and `psys` contains packages, so both are left out.

    Args:
        root: The folder of the counters.
    """

    method: Method = "measured-rapl"

    def __init__(self, root: Path = POWERCAP) -> None:
        zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _said(zone).startswith(("package", "dram"))]
        self._zones = [zone for zone in zones if (zone / "energy_uj").is_file()]
        if not self._zones:
            raise OSError(f"no counter of a package under {root}")
        self.read()
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) / 1e6 for zone in self._zones]
        self.scope = (
            f"{', '.join(_said(zone) for zone in self._zones)}: the whole of each, with whatever else ran there"
        )

    def read(self) -> list[float]:
        return [int((zone / "energy_uj").read_text()) / 1e6 for zone in self._zones]

    def spent(self, before: Sequence[float], after: Sequence[float]) -> float:
        # A counter that fell has begun again from zero; read often enough, it did so once.
        pairs = zip(before, after, self._ranges, strict=True)
        return sum(now - then + (span if now < then else 0.0) for then, now, span in pairs)


class Nvml:
    """The counter of one NVIDIA card since its driver was loaded, through the package `nvidia-ml-py`.

    Source: nvmlDeviceGetTotalEnergyConsumption, in millijoules, from Volta on.

    Args:
        card: Its number.
    """

    method: Method = "measured-nvml"

    def __init__(self, card: int = 0) -> None:
        try:
            import pynvml  # type: ignore[import-not-found,unused-ignore]
        except ModuleNotFoundError as error:
            raise OSError("nvidia-ml-py is not installed") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._card = pynvml.nvmlDeviceGetHandleByIndex(card)
            name = pynvml.nvmlDeviceGetName(self._card)
            self.read()
        except pynvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error
        self.scope = f"card {card} ({name}), the whole of it; the artifact itself runs on the processor"

    def read(self) -> list[float]:
        return [self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._card) / 1e3]

    def spent(self, before: Sequence[float], after: Sequence[float]) -> float:
        return after[0] - before[0]


def measured(counter: Counter, answer: Callable[[], object], *, seconds: float = CHUNK_SECONDS) -> EnergyReading:
    """Answers over and over in several stretches, and divides what a counter says by the answers.

    Args:
        counter: What counts joules.
        answer: One answer.
        seconds: Of each of the stretches.
    """
    found: list[float] = []
    for _ in range(CHUNKS):
        before, calls, end = counter.read(), 0, time.monotonic() + seconds
        while time.monotonic() < end:
            answer()
            calls += 1
        found.append(counter.spent(before, counter.read()) / calls)
    mean = sum(found) / len(found)
    spread = math.sqrt(sum((each - mean) ** 2 for each in found) / (len(found) - 1))
    return EnergyReading(
        mean,
        counter.method,
        counter.scope,
        spread,
        f"standard deviation of {CHUNKS} stretches of {seconds:g} s; the power at rest is in it",
    )


def of_board(watts: float, seconds: Sequence[float]) -> EnergyReading:
    """A board's power while it works, times the time an answer takes here.

    Args:
        watts: As the person says.
        seconds: Of each timed call.
    """
    ordered = sorted(seconds)
    middle, late = ordered[len(ordered) // 2], ordered[int(0.9 * (len(ordered) - 1))]
    return EnergyReading(
        watts * middle,
        "modelled-board",
        f"{watts:g} W, as given, times the median time of an answer on this machine, which need not be the board's",
        watts * (late - middle),
        "the time's alone (90th percentile less median); the power's is not known",
    )


def of_tdp(watts: float, cpu_seconds: float) -> EnergyReading:
    """A processor's thermal design power times its busy time, which is more than an answer draws on one core.

    Args:
        watts: As the person says.
        cpu_seconds: Of one answer.
    """
    return EnergyReading(
        watts * cpu_seconds,
        "estimated-tdp",
        f"an upper estimate: {watts:g} W, as given, times the processor time of an answer, as if one core drew it all",
        watts * cpu_seconds,
        "anything between nothing and twice it",
    )


def by_meter(joules: float) -> EnergyReading:
    """What a person's own meter said."""
    return EnergyReading(joules, "measured-external", "an answer, as given; Limbeck did not measure it")


def unavailable(reason: str) -> EnergyReading:
    """No number, and why."""
    return EnergyReading(None, "unavailable", reason)


def _said(zone: Path) -> str:
    name = zone / "name"
    return name.read_text().strip() if name.is_file() else ""
