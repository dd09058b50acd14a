"""Answers that are numbers, held against numbers of which some may be unknown (NaN)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.records import Panel


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


def pinball(
    said: Float[Tensor, "*steps quantiles"], truth: Float[Tensor, "*steps"], levels: Sequence[float]
) -> Float[Tensor, "*steps"]:
    """The mean over quantiles of the pinball loss; what is unknown (NaN) counts as 0, and has no right to count.

    Args:
        said: A number for each level.
        truth: In the same unit, as is the loss.
        levels: Between 0 and 1.
    """
    above = truth.to(said.dtype).nan_to_num()[..., None] - said
    shares = said.new_tensor(levels)
    return torch.maximum(shares * above, (shares - 1) * above).mean(dim=-1)


def error_by_step(errors: Float[Tensor, "rows steps"]) -> Panel:
    """The root mean square of the errors at each step, from step 1; steps of which nothing is known are left out."""
    found = [root_mean_square(column) for column in errors.unbind(dim=1)]
    there = [step for step, error in enumerate(found) if not math.isnan(error)]
    data = {
        "x": [step + 1 for step in there],
        "y": [found[step] for step in there],
        "x_label": "steps after the last reading",
        "y_label": "root mean square error",
    }
    return Panel("error_by_step", "Error by step", "curve", data)
