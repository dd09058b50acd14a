"""Steps of several variants in turns, in one process, and what their times say of each other."""

import importlib.util
import os
import platform
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

Steps = Iterator[None]
"""A variant: each `next` does one step."""

_WARM = 3


def measured(
    variants: dict[str, Steps], rounds: int, steps: int, until: float = float("inf"), warm: int = _WARM
) -> dict[str, list[float]]:
    """CPU milliseconds a step of each variant in each round; fewer rounds where time is up.

    Args:
        variants: Steps by name.
        rounds: In each of them every variant has a turn, in an order of the round's own.
        steps: In a turn.
        until: The instant of `time.perf_counter` after which no round is begun, but for the first.
        warm: Steps of each variant that are not counted: they compile, and fill caches.
    """
    for steps_of in variants.values():
        for _ in range(warm):
            next(steps_of)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds):
        if number and time.perf_counter() > until:
            break
        order = list(variants)
        random.Random(number).shuffle(order)
        for name in order:
            started = time.process_time()
            for _ in range(steps):
                next(variants[name])
            times[name].append((time.process_time() - started) / steps * 1e3)
    return times


def ratio(times: dict[str, list[float]], one: str, other: str) -> tuple[float, float, float]:
    """The median over rounds of one variant's time by another's in the same round, and its 95 % bootstrap interval."""
    paired = np.array(times[one]) / np.array(times[other])
    drawn = np.random.default_rng(0).choice(paired, size=(10_000, len(paired)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(np.median(paired)), float(low), float(high)


def show(times: dict[str, list[float]], console: Console, over: Sequence[str]) -> None:
    """A line for each variant: its median, least and greatest time, and its ratio to some of the others."""
    names = [name for name in over if name in times]
    console.print(f"{'':24s}{'CPU ms a step':>28s}" + "".join(f"{'over ' + name:>26s}" for name in names))
    for name, values in times.items():
        row = f"{name:24s}{statistics.median(values):10.1f} ({min(values):.1f}-{max(values):.1f})".ljust(52)
        for other in names:
            middle, low, high = ratio(times, name, other)
            row += f"{middle:12.3f} [{low:.3f}, {high:.3f}]"
        console.print(row, highlight=False)


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """The processor, its load, and the versions of Python and of those packages that are here."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages if importlib.util.find_spec(name)},
    }
