"""Input transforms that are part of a model: their numbers are saved with its weights."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn


class ImageScale(nn.Module):
    """What pretrained image networks expect: colours 0..1, three channels, their own size, their own statistics.

    Args:
        mean: Per channel, of colours between 0 and 1.
        deviation: Standard deviation per channel.
        size: Height and width the network expects; other images are resized (bilinear, antialiased).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float], *, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1))
        self.register_buffer("deviation", torch.tensor(list(deviation)).view(-1, 1, 1))

    def forward(self, inputs: Shaped[Tensor, "rows channels height width"]) -> Float[Tensor, "rows colours size size"]:
        """Images of bytes (0..255) or of floats (0..1), with one or three channels."""
        images = inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs.float()
        if images.shape[1] == 1:
            images = images.expand(-1, self.mean.shape[0], -1, -1)
        if images.shape[-2:] != (self.size, self.size):
            images = nn.functional.interpolate(
                images, size=(self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        return (images - self.mean) / self.deviation

    def extra_repr(self) -> str:
        """Size and statistics decide the answers, so they belong in the fingerprint."""
        return f"size={self.size}"


class AsFloat(nn.Module):
    """Raw inputs as float32, their values untouched: what a bare module given by a caller is fed."""

    def forward(self, inputs: Shaped[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        """The same numbers."""
        return inputs.float()
