"""Terms of an objective that have no say beside another, and batches too small for what compares rows."""

import math
from collections.abc import Mapping
from itertools import combinations

from limbeck.objective import Objective
from limbeck.records import Finding

# Beside a gradient a hundred times as long another one moves the student less than the noise of a batch does.
APART = 100.0
# 16 rows make 120 pairs; in batches of 8 a relation is known from 28 of them, mostly of the same few classes.
FEWEST_RELATED = 16


def balance(norms: Mapping[str, float | None], objective: Objective) -> list[Finding]:
    """Weighted gradients at the initial weights, on the first batch, that differ by more than 100 times: a warning.

    Args:
        norms: Length of each weighted term's gradient, by its name; None where it has none.
        objective: Says the weights.
    """
    weights = {name: weight for name, weight, _ in objective.named_terms()}
    lengths = {name: length for name, length in norms.items() if length and weights.get(name, 0) > 0}
    found = []
    for first, second in combinations(lengths, 2):
        loud, quiet = (first, second) if lengths[first] > lengths[second] else (second, first)
        ratio = lengths[loud] / lengths[quiet]
        if ratio > APART and loud == max(lengths, key=lengths.__getitem__):
            found.append(
                Finding(
                    "warning",
                    f"{loud} drowns {quiet}",
                    f"on the first batch the weighted gradient of {loud} is {ratio:,.0f} times as long as that of "
                    f"{quiet} (weights {weights[loud]:g} and {weights[quiet]:g})",
                    f"a weight of about {_written(weights[quiet] * ratio)} for {quiet}, or of about "
                    f"{_written(weights[loud] / ratio)} for {loud}, makes both equally long",
                )
            )
    return found


def relations(objective: Objective, batch: int) -> list[Finding]:
    """Methods that compare the rows of a batch with each other, on batches of fewer than 16 rows: a warning."""
    found = []
    for name, weight, term in objective.named_terms():
        if term.per_row or weight <= 0 or batch >= FEWEST_RELATED:
            continue
        pairs = batch * (batch - 1) // 2
        found.append(
            Finding(
                "warning",
                f"the batch is small for {name}",
                f"{name} compares rows with each other, and a batch of {batch} rows has {pairs} pairs",
                f"training.batch of {FEWEST_RELATED} or more (the authors of such methods use 64 to 128)",
            )
        )
    return found


def _written(value: float) -> str:
    return f"{float(f'{value:.2g}'):g}" if math.isfinite(value) else "0"
