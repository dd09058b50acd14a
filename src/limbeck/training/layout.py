"""Where the channels-last layout must not be used."""

from torch import nn


def unsafe_channels_last(module: nn.Module) -> str | None:
    """Names a convolution that torch computes by writing outside its memory in the channels-last layout.

    Seen with torch 2.15 on a processor with AVX2 and without AVX-512: the backward pass of a strided 1 x 1 convolution
    of fewer than 8 input channels corrupts the heap (4 -> 8 and 6 -> 12 channels do, 8 -> 16 does not, nor does the
    default layout, nor stride 1). It ends the process at best; so the layout is not used where such a layer is.
    """
    for name, layer in module.named_modules():
        if (
            isinstance(layer, nn.Conv2d)
            and layer.kernel_size == (1, 1)
            and max(layer.stride) > 1
            and layer.in_channels % 8
        ):
            return name
    return None
