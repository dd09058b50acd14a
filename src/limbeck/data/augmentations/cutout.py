"""A black square somewhere on the image.

DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017,
https://arxiv.org/abs/1708.04552, section 3. Deviation: the paper fills with 0 after standardising, the mean colour;
here the raw image is filled with 0, since each model standardises in its own way. Read: memory.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped, UInt8
from torch import Tensor

from limbeck.errors import RecipeError
from limbeck.replay import Draw


@dataclass(frozen=True)
class Cutout:
    """Sets a square to 0; its centre is any pixel, so that it may hang over the edge, as in the paper.

    Args:
        size: Length of the square's side in pixels, at least 1.
    """

    size: int = 8

    def __post_init__(self) -> None:
        if self.size < 1:
            raise RecipeError(f"cutout has size={self.size!r}", expected="a whole number of pixels, at least 1")

    def __call__(
        self, images: Shaped[Tensor, "rows channels height width"], draw: Draw
    ) -> Shaped[Tensor, "rows channels height width"]:
        """The images with a square missing."""
        height, width = images.shape[-2:]
        middle_row, middle_column = draw.integers(height, width)
        # products of bytes are vectorised where masked_fill of a broadcast mask is not
        hole = self._inside(middle_row, height)[:, None, :, None] * self._inside(middle_column, width)[:, None, None, :]
        return images * (1 - hole)

    def _inside(self, middle: Int[Tensor, " rows"], length: int) -> UInt8[Tensor, "rows length"]:
        start = (middle - self.size // 2)[:, None]
        pixel = torch.arange(length, device=middle.device)
        return ((pixel >= start) & (pixel < start + self.size)).to(torch.uint8)
