"""A mirror image, left for right, of every second row."""

from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from limbeck.replay import Draw


@dataclass(frozen=True)
class Flip:
    """Mirrors each image with a chance of one half."""

    def __call__(
        self, images: Shaped[Tensor, "rows channels height width"], draw: Draw
    ) -> Shaped[Tensor, "rows channels height width"]:
        """The images, about half of them mirrored."""
        # multiplying by 0 and 1 is exact, and several times faster than torch.where with one condition a row
        mirrored = draw.integers(2)[0].to(images.dtype)[:, None, None, None]
        return images * (1 - mirrored) + images.flip(-1) * mirrored
