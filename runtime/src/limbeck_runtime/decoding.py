"""From outputs to answers a person can read, in the ways that the tasks of Limbeck read theirs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck_runtime.errors import ArtifactError
from limbeck_runtime.fields import built

Answer = Mapping[str, Any]
Floats = npt.NDArray[np.float32]
Decoder = Callable[[Floats], list[Answer]]
RANKED = 5


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities along the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def sigmoid(logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Probabilities, each for itself."""
    # exp of the negative magnitude never overflows.
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return np.asarray(np.where(logits >= 0, 1, small) / (1 + small))


@dataclass(frozen=True)
class Class:
    """One class for each row, from logits."""

    kind: str
    names: tuple[str, ...]

    def answers(self, outputs: Floats) -> list[Answer]:
        """The likeliest class, its probability, and the likeliest few."""
        chances = softmax(outputs)
        order = np.argsort(-chances, axis=-1, kind="stable")[:, :RANKED]
        return [_ranked(row, places, self.names) for row, places in zip(chances, order, strict=True)]


def _ranked(chances: npt.NDArray[np.float64], places: npt.NDArray[Any], names: Sequence[str]) -> Answer:
    ranked = {names[place]: float(chances[place]) for place in places}
    return {"class": names[places[0]], "probability": float(chances[places[0]]), "likeliest": ranked}


@dataclass(frozen=True)
class Classes:
    """Several classes for each row, from a logit each; a class is said from one half on."""

    kind: str
    names: tuple[str, ...]

    def answers(self, outputs: Floats) -> list[Answer]:
        """The classes that are there, likeliest first, and the likeliest few with their probabilities."""
        found: list[Answer] = []
        for row in sigmoid(outputs):
            order = np.argsort(-row, kind="stable")
            there = [self.names[place] for place in order if row[place] >= 0.5]
            found.append({"classes": there, "likeliest": {self.names[p]: float(row[p]) for p in order[:RANKED]}})
        return found


@dataclass(frozen=True)
class Steps:
    """One class at each step of a row, from logits (rows, steps, classes)."""

    kind: str
    names: tuple[str, ...]

    def answers(self, outputs: Floats) -> list[Answer]:
        """The likeliest class of each step, and its probability."""
        chances = softmax(outputs)
        places, best = chances.argmax(axis=-1), chances.max(axis=-1)
        return [
            {"classes": [self.names[place] for place in row], "probability": [float(each) for each in said]}
            for row, said in zip(places, best, strict=True)
        ]


@dataclass(frozen=True)
class Numbers:
    """Numbers in the labels' unit, by name."""

    kind: str
    names: tuple[str, ...]

    def answers(self, outputs: Floats) -> list[Answer]:
        """The numbers by name."""
        return [dict(zip(self.names, map(float, row), strict=True)) for row in outputs]


@dataclass(frozen=True)
class Forecast:
    """The next readings, with quantiles and the probability of an event where the task has them.

    Outputs are (steps x quantiles) numbers, step by step, then the logit of the event.

    Args:
        kind: `forecast`.
        names: Of the steps.
        quantiles: Their levels; empty where there is one number a step.
        event: What the event is called; empty where there is none.
    """

    kind: str
    names: tuple[str, ...]
    quantiles: tuple[float, ...] = ()
    event: str = ""

    def answers(self, outputs: Floats) -> list[Answer]:
        """The forecast by step (the median), the other quantiles, and the event's probability."""
        levels = self.quantiles or (0.5,)
        width = len(self.names) * len(levels)
        numbers = outputs[:, :width].reshape(len(outputs), len(self.names), len(levels))
        found: list[Answer] = []
        places = sorted(range(len(levels)), key=lambda place: levels[place] != 0.5)  # the forecast itself comes first
        for row, said in enumerate(numbers):
            answer: dict[str, Any] = {}
            for place in places:
                key = "forecast" if levels[place] == 0.5 else f"quantile {levels[place]:g}"
                answer[key] = dict(zip(self.names, map(float, said[:, place]), strict=True))
            if self.event:
                answer |= {"event": self.event, "probability": float(sigmoid(outputs[row, width:])[0])}
            found.append(answer)
        return found


KINDS: Mapping[str, type[Any]] = {
    "class": Class,
    "classes": Classes,
    "steps": Steps,
    "numbers": Numbers,
    "forecast": Forecast,
}


def decoder(reading: Mapping[str, Any], shape: tuple[int, ...]) -> Decoder:
    """What turns outputs of shape (rows, *shape) into answers.

    Raises:
        ArtifactError: When this runtime does not know the kind, or the names do not fit the shape.
    """
    kind = str(reading.get("kind"))
    if kind not in KINDS:
        raise ArtifactError(
            f"outputs of the kind {kind!r}",
            expected=f"one of {', '.join(KINDS)}",
            remedy="pip install --upgrade limbeck-runtime",
        )
    found = built(KINDS[kind], reading, "output.reading")
    width = len(found.names)
    if isinstance(found, Forecast):
        width = width * max(len(found.quantiles), 1) + bool(found.event)
    if not shape or shape[-1] != width or len(shape) != (2 if kind == "steps" else 1):
        raise ArtifactError(f"outputs of shape {shape} with {width} numbers to read", expected="one shape")
    return found.answers
