"""A mirror image, left for right, of every second row."""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from limbeck.data.replay import Draw


@dataclass(frozen=True)
class Flip:
    """Mirrors each image with a chance of one half."""

    def __call__(
        self, images: Shaped[Tensor, "rows channels height width"], draw: Draw
    ) -> Shaped[Tensor, "rows channels height width"]:
        """The images, about half of them mirrored."""
        mirrored = draw.integers(2)[0].bool()
        return torch.where(mirrored[:, None, None, None], images.flip(-1), images)
