"""A random shift by whole pixels: pad with zeros on each side, then cut the original size out at a random place.

Krizhevsky and Hinton's padding of 4 on 32 x 32 images is in He et al., "Deep Residual Learning for Image Recognition",
2015, https://arxiv.org/abs/1512.03385, section 4.2. With padding=2 on 28 x 28 images it is the jitter of "up to two
pixels in any direction" of Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015,
https://arxiv.org/abs/1503.02531, section 3. Read: memory.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.functional import pad

from limbeck.errors import RecipeError
from limbeck.replay import Draw


@dataclass(frozen=True)
class Crop:
    """Shifts each image by -padding to +padding pixels down and right; what comes in from outside is 0.

    Args:
        padding: Pixels, at least 1.
    """

    padding: int = 4

    def __post_init__(self) -> None:
        if self.padding < 1:
            raise RecipeError(f"crop has padding={self.padding!r}", expected="a whole number of pixels, at least 1")

    def __call__(
        self, images: Shaped[Tensor, "rows channels height width"], draw: Draw
    ) -> Shaped[Tensor, "rows channels height width"]:
        """The shifted images."""
        places = 2 * self.padding + 1
        down, right = draw.integers(places, places)
        height, width = images.shape[-2:]
        padded = pad(images, (self.padding,) * 4)
        # every line of every image is one window on the padded pixels: a copy of whole lines, not of single pixels
        line = torch.arange(height, device=images.device) * padded.shape[3]
        plane = torch.arange(images.shape[0] * images.shape[1], device=images.device) * padded[0, 0].numel()
        shift = (down * padded.shape[3] + right)[:, None, None]
        starts = plane.reshape(*images.shape[:2], 1) + shift + line
        return padded.reshape(-1).unfold(0, width, 1).index_select(0, starts.reshape(-1)).reshape(images.shape)
