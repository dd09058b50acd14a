"""Residual convolutional networks, after He et al. (2016), whose number of halvings follows from the image."""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from limbeck.errors import ModelError


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(narrow, wide, 3, stride)
        self.activation = nn.ReLU()
        self.second = _convolution(wide, wide, 3, 1)
        same = narrow == wide and stride == 1
        self.shortcut = nn.Identity() if same else _convolution(narrow, wide, 1, stride)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Returns the images' features, non-negative."""
        inner = self.second(self.activation(self.first(images)))
        return self.activation(inner + self.shortcut(images))


def build(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    size: int = 32,
    depth: int = 2,
    stem_stride: int | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Builds a residual network of three stages with `size`, 2 `size` and 4 `size` channels.

    The submodules are `stem`, `layer1`, `layer2`, `layer3` and `head`. The image is halved until its shorter side is
    at most 8: once for 8 pixels (in `layer2`), twice for 28 (`layer2`, `layer3`), and from the third time on in the
    stem. With C channels, s = `size` and d = `depth` it has
    9Cs + 2s + d(18s² + 4s) + (56s² + 12s) + (d - 1)(72s² + 8s) + (224s² + 24s) + (d - 1)(288s² + 16s)
    + (4s + 1) outputs parameters: 696,042 for (1, 28, 28), 10 outputs and the defaults.

    Args:
        inputs: Shape of one row: channels, height, width.
        outputs: How many logits.
        size: Channels of the first stage; the one dial.
        depth: Residual blocks in each stage.
        stem_stride: By how much the stem shrinks the image, a power of two; None lets the image decide. 2 on small
            images costs about a quarter of 1.
        dropout: Chance that a pooled feature is dropped in training.

    Raises:
        ModelError: If a row is not an image, or a number is out of range.
    """
    _check(inputs, outputs, size, depth, stem_stride, dropout)
    channels, height, width = inputs
    halvings = _halvings(min(height, width))
    stride = stem_stride or 2 ** max(0, halvings - 2)
    third = 2 if halvings >= 2 else 1
    return nn.Sequential(
        OrderedDict(
            stem=_stem(channels, size, stride),
            layer1=_stage(size, size, depth, 1),
            layer2=_stage(size, 2 * size, depth, 2),
            layer3=_stage(2 * size, 4 * size, depth, third),
            head=nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * size, outputs)
            ),
        )
    )


def _halvings(side: int) -> int:
    count = 0
    while side > 8:
        side, count = (side + 1) // 2, count + 1
    return max(1, count)


def _convolution(narrow: int, wide: int, kernel: int, stride: int) -> nn.Sequential:
    # BatchNorm has a shift of its own, so that a bias before it would be a parameter without effect.
    convolution = nn.Conv2d(narrow, wide, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wide))


def _stem(channels: int, size: int, stride: int) -> nn.Sequential:
    parts: list[nn.Module] = [_convolution(channels, size, 3, min(stride, 2)), nn.ReLU()]
    # Pooling costs nothing, where a second strided convolution at high resolution would be the dearest layer.
    parts += [nn.MaxPool2d(3, 2, padding=1) for _ in range(stride.bit_length() - 2)]
    return nn.Sequential(*parts)


def _stage(narrow: int, wide: int, depth: int, stride: int) -> nn.Sequential:
    blocks = [ResidualBlock(narrow, wide, stride)]
    blocks += [ResidualBlock(wide, wide, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def _check(
    inputs: tuple[int, ...], outputs: int, size: int, depth: int, stem_stride: int | None, dropout: float
) -> None:
    if len(inputs) != 3 or min(inputs) < 1:
        raise ModelError(
            f"cnn was asked for rows of shape {tuple(inputs)}",
            expected="an image: (channels, height, width), such as (1, 28, 28)",
            remedy="use the student mlp for flat rows, or give the model a transform that shapes rows into images",
        )
    for name, count in {"outputs": outputs, "size": size, "depth": depth}.items():
        if count < 1:
            raise ModelError(f"cnn was asked for {name}={count}", expected="1 or more", remedy=f"raise {name}")
    if stem_stride is not None and (stem_stride < 1 or stem_stride.bit_count() != 1):
        raise ModelError(
            f"cnn was asked for stem_stride={stem_stride}",
            expected="1, 2, 4 or another power of two",
            remedy="leave stem_stride out to let the image decide",
        )
    if not 0.0 <= dropout < 1.0:
        raise ModelError(
            f"cnn was asked for dropout={dropout}",
            expected="a chance from 0 up to, not including, 1",
            remedy="use dropout=0 for none",
        )
