"""Each row is mixed with another, and counts for both labels in the same proportion.

Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: Beyond Empirical Risk Minimization", ICLR 2018,
https://arxiv.org/abs/1710.09412, equation (1) of section 2. Deviations: the partner is any row of the data, not one of
the same batch, so that a row looks the same in whatever batch it is and can be recorded; the share is the quantile of
Beta(alpha, alpha) at one of 16,384 equally likely places, looked up in a table. Read: memory.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from limbeck.errors import RecipeError
from limbeck.replay import Draw

_PLACES = 1 << 14


@dataclass(frozen=True)
class Mixup:
    """Mixes pairs of rows; float32 comes out.

    Args:
        alpha: Both parameters of the Beta distribution of the share, above 0; small means that most rows stay nearly
            whole, 1 means that every share is equally likely.
    """

    alpha: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= 100:
            raise RecipeError(f"mixup has alpha={self.alpha!r}", expected="a number above 0, at most 100")
        object.__setattr__(self, "alpha", float(self.alpha))

    def partners(self, draw: Draw, count: int) -> tuple[Int[Tensor, " rows"], Float[Tensor, " rows"]]:
        """The position (of `count`) of each row's partner, and how much of the mixture is the row itself, 0 to 1."""
        position, place = draw.integers(count, _PLACES)
        return position, _quantiles(self.alpha).to(place.device)[place]

    def mixed(
        self, own: Shaped[Tensor, "rows ..."], other: Shaped[Tensor, "rows ..."], share: Float[Tensor, " rows"]
    ) -> Float[Tensor, "rows ..."]:
        """The mixture: share * own + (1 - share) * other."""
        weight = share.reshape(-1, *(1 for _ in own.shape[1:]))
        return torch.lerp(other.float(), own.float(), weight)


@lru_cache(maxsize=8)
def _quantiles(alpha: float) -> Float[Tensor, " places"]:
    from scipy.special import betaincinv

    places = (np.arange(_PLACES) + 0.5) / _PLACES
    return torch.from_numpy(betaincinv(alpha, alpha, places)).float()
