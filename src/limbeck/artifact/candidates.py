"""The int8 graphs a search looks at: of each family that peers ship, and static ones with their worst nodes left."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.quantization.calibration import METHODS, check, ranges
from limbeck.quantization.dynamic import dynamic
from limbeck.quantization.graphs import operations, prepared, slim
from limbeck.quantization.mixed import LEVELS, damage, worst
from limbeck.quantization.static import static
from limbeck.quantization.weights import weights

FLOAT32 = "float32"
WEIGHTS = "weights int8, sums float32"

_DAMAGE_ROWS = 64
"""So many calibration rows say which nodes int8 hurts."""


@dataclass(frozen=True)
class Candidate:
    """A graph that may be shipped.

    Args:
        recipe: How it was made, in words.
        graph: ONNX bytes; empty where the recipe could not be followed.
        batch: How many rows it takes at a time; None: any number.
        failed: Why the recipe could not be followed.
    """

    recipe: str
    graph: bytes
    batch: int | None
    failed: str = ""


class Recipes:
    """The recipes for one graph, each calibrated on the same rows.

    Args:
        graph: float32, ONNX bytes.
        rows: Raw rows to calibrate on, of the training split.
        batch: How many rows the graph takes at a time; None: any number.
        only: How the names of the recipes begin that are followed; empty: all.

    Raises:
        DataError: When the rows are none of the graph's.
    """

    def __init__(self, graph: bytes, rows: npt.NDArray[Any], batch: int | None, *, only: str = "") -> None:
        self._only = only
        self._model, self._rows, self._batch = prepared(graph), rows, batch
        check(self._model, rows)
        self._ranges: dict[str, Any] = {}

    def plain(self) -> Iterator[Candidate]:
        """Each recipe that leaves no node out."""
        for name, make, batch in self._recipes():
            if name.startswith(self._only):
                yield self._made(name, make, batch=batch)

    def _recipes(self) -> Iterator[tuple[str, Callable[[], Any], int | None]]:
        kinds = operations(self._model)
        yield WEIGHTS, partial(weights, self._model), None
        for name, words in _DYNAMIC.items() if self._batch in (None, 1) else ():
            if words.get("convolutions", True) or ("Conv" in kinds and kinds & {"MatMul", "Gemm"}):
                yield name, partial(dynamic, self._model, **words), 1
        for name, method, words in _STATIC:
            yield name, partial(self._static, method, words), None

    def mixed(self, like: str) -> Iterator[Candidate]:
        """A static recipe again, with the one, two and four nodes that int8 hurts most left in float32.

        Args:
            like: The recipe; one that is not static gives none.
        """
        found = [(method, words) for name, method, words in _STATIC if name == like]
        if not found:
            return
        method, words = found[0]
        rows = self._rows[np.linspace(0, len(self._rows) - 1, min(_DAMAGE_ROWS, len(self._rows))).astype(int)]
        hurt = damage(
            self._model,
            self._range(method),
            rows,
            activation=words["activation"],
            products_only=words.get("products_only", False),
        )
        for count in LEVELS:
            leaving = worst(hurt, count)
            if len(leaving) == count < len(hurt):
                name = f"{like}, {count} node{'s' * (count > 1)} in float32"
                yield self._made(name, partial(self._static, method, {**words, "leaving": leaving}))

    def _static(self, method: str, words: dict[str, Any]) -> Any:
        return static(self._model, self._range(method), **words)

    def _range(self, method: Any) -> Any:
        if method not in self._ranges:
            self._ranges[method] = ranges(self._model, self._rows, method)
        return self._ranges[method]

    def _made(self, recipe: str, make: Callable[[], Any], *, batch: int | None = None) -> Candidate:
        from onnx.checker import ValidationError

        try:
            return Candidate(recipe, slim(make()), batch or self._batch)
        except (*_REFUSALS, ValidationError) as error:
            return Candidate(
                recipe, b"", batch or self._batch, f"{type(error).__name__}: {' '.join(str(error).split())}"
            )


# What ONNX Runtime's quantisers raise about a graph that they do not cover.
_REFUSALS = (ValueError, KeyError, IndexError, TypeError, AttributeError, NotImplementedError, RuntimeError)

_DYNAMIC: dict[str, dict[str, Any]] = {
    "dynamic": {},
    "dynamic, per channel": {"per_channel": True},
    "dynamic, matrices only": {"convolutions": False},
}
_STATIC: list[tuple[str, str, dict[str, Any]]] = [
    *((f"static {kind}s8, {method}", method, {"activation": kind}) for kind in ("u8", "s8") for method in METHODS),
    ("static u8s8, minmax, per tensor", "minmax", {"activation": "u8", "per_channel": False}),
    ("static u8s8, minmax, products only", "minmax", {"activation": "u8", "products_only": True}),
]

RECIPES = (WEIGHTS, *_DYNAMIC, *(name for name, _, _ in _STATIC))
"""The names of all recipes but mixed ones, which are static ones with a few words more."""
