"""Which of several measured graphs is shipped: what each may lose, what is outdone, and why one was taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import validate_call

from limbeck.artifact.candidates import FLOAT32
from limbeck.errors import ModelError


class Allowances:
    """What an int8 graph may lose beside float32, on validation rows.

    Args:
        metric: Of the metric by which the task chooses weights: a difference where more is better (0.005 is half a
            point of accuracy), a share of float32's where less is.
        agreement: The least share of rows with the same answer, where answers are classes.
        distance: Where answers are numbers: the largest distance from float32's, as a share of how far those are spread
            about their own mean.
        latency: How many times float32's latency. `auto` is held to it; for `int8` it is reported.
    """

    @validate_call
    def __init__(
        self,
        metric: Annotated[float, Ge(0)] = 0.005,
        agreement: Annotated[float, Ge(0), Le(1)] = 0.98,
        distance: Annotated[float, Ge(0)] = 0.05,
        latency: Annotated[float, Ge(0)] = 1.05,
    ) -> None:
        self.metric, self.agreement, self.distance, self.latency = metric, agreement, distance, latency


@dataclass(frozen=True)
class Measured:
    """A graph as it was measured beside float32 on the same rows.

    Args:
        recipe: How it was made.
        bytes: Of the graph.
        metric: The task's; None where its answers could not be scored.
        lost: Of the metric, as `Allowances.metric` counts it; below 0 where it gained.
        likeness: To float32's answers, in the task's words.
        distances: Of those which are distances, the shares that `Allowances.distance` bounds.
        latency_ms: Of one call.
        slower: Times float32's latency.
        failed: Why it could not be measured.
    """

    recipe: str
    bytes: int
    metric: float | None = None
    lost: float = 0.0
    likeness: Mapping[str, float] | None = None
    distances: Mapping[str, float] | None = None
    latency_ms: float | None = None
    slower: float = 1.0
    failed: str = ""

    def losses(self, allowed: Allowances) -> list[str]:
        """What it loses in answers that it was not allowed to, in words."""
        if self.failed or self.metric is None:
            return [self.failed or "not measured"]
        said = []
        if self.lost > allowed.metric:
            said.append(f"loses {self.lost:.3g} of the metric (at most {allowed.metric:g})")
        agreement = (self.likeness or {}).get("agreement")
        if agreement is not None and agreement < allowed.agreement:
            said.append(f"agrees on {agreement:.4f} of the rows (at least {allowed.agreement:g})")
        for name, share in (self.distances or {}).items():
            if share > allowed.distance:
                said.append(f"{name} is {share:.3g} of the answers' spread (at most {allowed.distance:g})")
        return said

    def slowness(self, allowed: Allowances) -> list[str]:
        """That it is slower than it was allowed to be, in words."""
        return [f"takes {self.slower:.2f} of float32's time"] if self.slower > allowed.latency else []

    def verdict(self, allowed: Allowances) -> str:
        """Everything that speaks against it; `passes` where nothing does."""
        return "; ".join([*self.losses(allowed), *([] if self.failed else self.slowness(allowed))]) or "passes"


def chosen(
    measured: Sequence[Measured], precision: Literal["int8", "auto"], allowed: Allowances
) -> tuple[Measured, str]:
    """The graph to ship and a sentence that says why.

    `auto` takes the smallest that passes every gate; float32, which is among them, passes by its nature. `int8` takes
    the smallest int8 graph that keeps metric and likeness and is as fast; where none is as fast, the fastest.

    Args:
        measured: All, float32 among them.
        precision: What was asked for.
        allowed: What may be lost.

    Raises:
        ModelError: When `int8` was asked for and nothing keeps metric and likeness; it names what came closest.
    """
    float32 = next(each for each in measured if each.recipe == FLOAT32)
    others = [each for each in measured if each is not float32]
    right = [each for each in others if not each.losses(allowed)]
    fast = [each for each in right if not each.slowness(allowed)]
    if precision == "int8" and not right:
        raise ModelError(
            _nothing(others, allowed), expected="one int8 graph that keeps metric and likeness", remedy=_TRY
        )
    if not fast:
        if precision == "auto":
            return float32, f"float32 stays: {_why(others, right, allowed)}"
        found = min(right, key=lambda each: (each.latency_ms, each.bytes, each.recipe))
        words = f"the fastest of {len(right)} that keep metric and likeness, but int8 is slower here"
        return found, f"{found.recipe}: {words}, {_beside(found, float32)}"
    found = min(fast, key=lambda each: (each.bytes, each.latency_ms, each.recipe))
    if precision == "auto" and float32.bytes <= found.bytes:
        return float32, "float32 stays: no int8 graph that passes is smaller"
    return found, f"{found.recipe}: the smallest of {len(fast)} that pass, {_beside(found, float32)}"


def pareto(measured: Sequence[Measured], higher_is_better: bool) -> frozenset[str]:
    """The recipes that no other outdoes: better in one of metric, bytes and latency, and no worse in the others."""

    def cost(each: Measured) -> tuple[float, ...]:
        assert each.metric is not None and each.latency_ms is not None
        return (-each.metric if higher_is_better else each.metric, each.bytes, each.latency_ms)

    costs = {each.recipe: cost(each) for each in measured if not each.failed}
    return frozenset(
        name
        for name, own in costs.items()
        if not any(other != own and all(a <= b for a, b in zip(other, own, strict=True)) for other in costs.values())
    )


def described(measured: Sequence[Measured], allowed: Allowances, higher_is_better: bool) -> list[dict[str, Any]]:
    """What was measured, as JSON for the manifest."""
    front = pareto(measured, higher_is_better)
    return [
        {
            "recipe": each.recipe,
            "bytes": each.bytes,
            "metric": each.metric,
            "likeness": dict(each.likeness or {}),
            "latency_ms": each.latency_ms,
            "verdict": each.verdict(allowed),
            "pareto": each.recipe in front,
        }
        for each in measured
    ]


_TRY = "--precision auto, more rows with --calibrate, or larger allowances (--lose, --agreement, --distance)"


def _beside(found: Measured, float32: Measured) -> str:
    return f"{found.bytes / float32.bytes:.2f} of float32's bytes in {found.slower:.2f} of its time"


def _why(others: Sequence[Measured], right: Sequence[Measured], allowed: Allowances) -> str:
    if right:
        least = min(right, key=lambda each: (each.slower, each.recipe))
        same = f"of {len(right)} int8 graphs that keep metric and likeness"
        return f"{same} the fastest takes {least.slower:.2f} of its time"
    return _nothing(others, allowed)


def _nothing(others: Sequence[Measured], allowed: Allowances) -> str:
    scored = [each for each in others if not each.failed]
    if not scored:
        failed = sorted(f"{each.recipe}: {each.failed}" for each in others)
        return "no int8 recipe could be followed: " + "; ".join(failed[:3])
    near = min(scored, key=lambda each: (len(each.losses(allowed)), max(each.lost, 0.0), each.recipe))
    return f"no int8 graph keeps metric and likeness; the closest, {near.recipe}, {'; '.join(near.losses(allowed))}"
