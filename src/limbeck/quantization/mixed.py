"""Mixed precision: the nodes that int8 hurts most stay in float32, as each was found to hurt when quantised alone."""

from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.quantization.graphs import PRODUCTS, asked, slim
from limbeck.quantization.static import Activation, quantisable, static

LEVELS = (1, 2, 4)
"""So many of the worst nodes stay in float32."""

# These hand numbers on and compute nothing, so that nothing is lost in them.
_MOVING = {
    *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Pad", "Gather", "GatherElements"),
    *("Concat", "Where", "Resize", "MaxPool", "Relu", "Clip", "TopK", "ArgMax"),
}


def damage(
    model: Any, ranges: Any, rows: npt.NDArray[Any], *, activation: Activation = "u8", products_only: bool = False
) -> dict[str, float]:
    """For each node that can be quantised: how far the graph's answers move when it alone is, the worst first.

    Root mean square distance over the rows, in the outputs' unit.

    Args:
        model: As `graphs.prepared` gives it.
        ranges: As `calibration.ranges` gives them.
        rows: Raw; those of the calibration will do.
        activation: As for `static.static`.
        products_only: As for `static.static`.
    """
    known = asked(model.SerializeToString(), rows)
    kinds = frozenset(PRODUCTS) if products_only else quantisable() - _MOVING
    found = {}
    for node in model.graph.node:
        if node.op_type in kinds:
            said = asked(slim(static(model, ranges, activation=activation, alone=(node.name,))), rows)
            found[node.name] = float(np.sqrt(np.mean((said - known) ** 2)))
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def worst(hurt: dict[str, float], count: int) -> tuple[str, ...]:
    """The names of the nodes that hurt most, of those that hurt at all."""
    return tuple(name for name, lost in list(hurt.items())[:count] if lost > 0)
