"""Answers that are numbers, held against numbers of which some may be unknown (NaN)."""

import torch
from jaxtyping import Float
from torch import Tensor


def root_mean_square(errors: Float[Tensor, "..."]) -> float:
    """The root of the mean square of what is no NaN; NaN where nothing is."""
    return float(errors.square().nanmean().sqrt())


def mean_absolute(errors: Float[Tensor, "..."]) -> float:
    """The mean distance from zero of what is no NaN; NaN where nothing is."""
    return float(errors.abs().nanmean())


def explained(said: Float[Tensor, "rows quantities"], truth: Float[Tensor, "rows quantities"]) -> float | None:
    """R²: 1 minus the squared error's share in the squared distance from the truth's mean, averaged over quantities.

    Quantities with fewer than two different known numbers have none; None where no quantity has one.
    """
    found = []
    for ours, theirs in zip(said.unbind(dim=1), truth.unbind(dim=1), strict=True):
        there = torch.isfinite(theirs)
        known = theirs[there]
        spread = float((known - known.mean()).square().sum()) if len(known) else 0.0
        if spread > 0:
            found.append(1 - float((ours[there] - known).square().sum()) / spread)
    return sum(found) / len(found) if found else None
