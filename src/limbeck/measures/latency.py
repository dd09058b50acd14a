"""How long an answer takes, measured for several models in turns so that a drifting machine treats them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor, nn

LEAST = 3


def interleaved(
    answers: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 30,
    calls: int = 10,
    warm_up: int = 5,
    seconds: float = 30.0,
) -> dict[str, dict[str, float]]:
    """Times several functions in interleaved rounds; the arguments are those of `taken`.

    Returns:
        For each name `latency_ms` (median) and `latency_p95_ms`, wall milliseconds a call.
    """
    found = taken(answers, rounds=rounds, calls=calls, warm_up=warm_up, seconds=seconds)
    return {
        name: {"latency_ms": 1e3 * float(np.median(times)), "latency_p95_ms": 1e3 * float(np.quantile(times, 0.95))}
        for name, times in found.items()
    }


def taken(
    answers: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 30,
    calls: int = 10,
    warm_up: int = 5,
    seconds: float = 30.0,
) -> dict[str, list[float]]:
    """Wall seconds of every call of several functions that are called in interleaved rounds.

    Args:
        answers: What to time, by name; each is called without arguments.
        rounds: How many times all are visited, in rotating order.
        calls: Calls in a row at each visit; each is timed by itself.
        warm_up: Calls of each before the first round, not counted.
        seconds: About how long all this may take: what answers slowly is called less often, each at least once warm
            and three times in turns.
    """
    names = list(answers)
    once = 0.0
    for answer in answers.values():
        answer()  # the first call of all may load or lay out what the others find there
        once += max(_timed(answer), 1e-9)  # a clock may see nothing of a short call
        for _ in range(min(warm_up, int(seconds / 10 / once)) - 2):
            answer()
    calls = max(1, min(calls, int(seconds / rounds / once)))
    rounds = max(LEAST, min(rounds, int(seconds / calls / once)))
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name] += [_timed(answers[name]) for _ in range(calls)]
    return found


@dataclass(frozen=True)
class Latency:
    """Wall milliseconds of one call. On a machine that does other work too, the least is what the code itself takes.

    Args:
        least: The shortest call.
        p50: The median.
        p90: Nine of ten calls took no longer.
        p99: Ninety-nine of a hundred took no longer.
        calls: How many were timed; of fewer than a hundred, p99 is about the longest.
    """

    least: float
    p50: float
    p90: float
    p99: float
    calls: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """From the seconds of each call."""
        p50, p90, p99 = (1e3 * float(np.quantile(seconds, share)) for share in (0.5, 0.9, 0.99))
        return cls(1e3 * min(seconds), p50, p90, p99, len(seconds))


def _timed(answer: Callable[[], object]) -> float:
    start = time.perf_counter()
    answer()
    return time.perf_counter() - start


def of_models(models: Mapping[str, nn.Module], row: Shaped[Tensor, "1 ..."]) -> dict[str, dict[str, float]]:
    """Latency of one row in eager torch with one thread, interleaved; models are left in eval mode.

    The number of threads is put back afterwards.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    device = next((parameter.device for model in models.values() for parameter in model.parameters()), row.device)
    here = row.to(device)

    def answer(model: nn.Module) -> Callable[[], object]:
        def call() -> None:
            model(here)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return call

    try:
        with torch.inference_mode():
            return interleaved({name: answer(model.eval()) for name, model in models.items()})
    finally:
        torch.set_num_threads(threads)
