"""The grammar of a device's budget, `latency<5ms,size<500kB`, and what of it a measurement keeps."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.errors import RecipeError, did_you_mean
from limbeck.expenditure.quantities import UNITS, quantity, unit_of

_LIMIT = re.compile(r"\s*(?P<name>[A-Za-z][\w.]*)\s*(?P<sign><=|>=|<|>|=+)\s*(?P<bound>\S.*?)\s*")

KINDS = {
    "size": "size",
    "parameters": "count",
    "macs": "count",
    "memory": "size",
    "latency": "time",
    "latency.min": "time",
    "latency.p90": "time",
    "latency.p99": "time",
    "cpu": "time",
    "throughput": "rate",
    "energy": "energy",
}
"""What may be limited, and in which kind of quantity; `latency` is the median."""

_MORE_IS_BETTER = {"throughput"}
# How the record of an export names what was measured of each candidate, and in what unit.
_OF_CANDIDATES = {"size": ("bytes", 1.0), "latency": ("latency_ms", 1e-3)}


@dataclass(frozen=True)
class Limit:
    """One bound.

    Args:
        name: Of `KINDS`.
        sign: `<`, `<=`, `>` or `>=`.
        bound: In the first unit of its kind.
        unit: In which it was written.
        text: As it was written.
    """

    name: str
    sign: str
    bound: float
    unit: str
    text: str

    def keeps(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return {"<": value < self.bound, "<=": value <= self.bound, ">": value > self.bound, ">=": value >= self.bound}[
            self.sign
        ]

    def excess(self, value: float) -> float:
        """How far outside a value is, as a share of the bound; 0 within."""
        if self.keeps(value):
            return 0.0
        return abs(value - self.bound) / self.bound if self.bound else float("inf")


@dataclass(frozen=True)
class Verdict:
    """One bound, what was measured, and whether that is within; None where it was not measured, which keeps nothing."""

    limit: Limit
    value: float | None

    @property
    def kept(self) -> bool:
        return self.value is not None and self.limit.keeps(self.value)


@dataclass(frozen=True)
class Candidate:
    """A candidate of the export, and which bounds it breaks, so far as its record says.

    Args:
        recipe: How it came to its precision.
        facts: All that its record says.
        broken: The bounds, as they were written.
        unknown: Bounds of which the record says nothing.
        excess: How far outside it is in all, as shares of the bounds.
    """

    recipe: str
    facts: Mapping[str, Any]
    broken: tuple[str, ...]
    unknown: tuple[str, ...]
    excess: float


def limits(text: str) -> tuple[Limit, ...]:
    """Reads a budget.

    Args:
        text: Bounds with commas between them.

    Raises:
        RecipeError: When one is no bound, names nothing that is measured, or is there twice.
    """
    example = "NAME<QUANTITY with commas between them, such as latency<5ms,size<500kB"
    found: list[Limit] = []
    for part in text.split(","):
        read = _LIMIT.fullmatch(part)
        if read is None:
            raise RecipeError(f"{part.strip()!r} is no bound", expected=example)
        name, sign = read["name"], read["sign"]
        if name not in KINDS:
            raise RecipeError(
                f"nothing called {name!r} is measured", expected=example, remedy=did_you_mean(name, KINDS)
            )
        right = ">" if name in _MORE_IS_BETTER else "<"
        if sign not in (right, f"{right}="):
            raise RecipeError(f"{part.strip()!r} bounds {name} with {sign}", expected=f"{right} or {right}=")
        if any(each.name == name for each in found):
            raise RecipeError(f"{name} is bounded twice in {text!r}", expected="each bound once")
        bound = quantity(read["bound"], KINDS[name])
        found.append(Limit(name, sign, bound, unit_of(read["bound"]), part.strip()))
    return tuple(found)


def closest(asked: Sequence[Limit], candidates: Sequence[Mapping[str, Any]], beside: int = 0) -> Candidate | None:
    """The candidate of an export that breaks the fewest bounds, and of those the one that is outside by least.

    Args:
        asked: The budget.
        candidates: As an artifact's verification keeps them: `recipe`, `bytes` (of the graph), `latency_ms`, ...
        beside: Bytes that a file holds beside its graph.
    """
    judged = [_judged(asked, facts, beside) for facts in candidates]
    return min(judged, key=lambda each: (len(each.broken), each.excess, len(each.unknown)), default=None)


def _judged(asked: Sequence[Limit], facts: Mapping[str, Any], beside: int) -> Candidate:
    broken, unknown, excess = [], [], 0.0
    for limit in asked:
        key, unit = _OF_CANDIDATES.get(limit.name, ("", 1.0))
        said = facts.get(key)
        if not isinstance(said, int | float):
            unknown.append(limit.text)
            continue
        value = said * unit + (beside if limit.name == "size" else 0)
        if not limit.keeps(value):
            broken.append(limit.text)
            excess += limit.excess(value)
    return Candidate(str(facts.get("recipe", "?")), facts, tuple(broken), tuple(unknown), excess)


def written(limit: Limit, value: float) -> str:
    """A measured value in the unit that its bound was written in."""
    return f"{value / UNITS[KINDS[limit.name]][limit.unit]:.4g}{limit.unit}"
