"""Depthwise separable networks, after MobileNet (Howard et al., 2017), with shortcuts: few sums, few weights."""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from limbeck.errors import ModelError


class SeparableBlock(nn.Module):
    """A depthwise 3 x 3 and a pointwise 1 x 1 convolution, beside a shortcut where the shape stays."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.depthwise = _convolution(narrow, narrow, 3, stride, groups=narrow)
        self.pointwise = _convolution(narrow, wide, 1, 1)
        self.has_shortcut = narrow == wide and stride == 1

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Returns the images' features."""
        features = self.pointwise(self.depthwise(images))
        return features + images if self.has_shortcut else features


def build(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    size: int = 32,
    depth: int = 2,
    stem_stride: int | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Builds a depthwise separable network of three stages with `size`, 2 `size` and 4 `size` channels.

    The submodules are `stem`, `layer1`, `layer2`, `layer3` and `head`. The image is halved until its shorter side is
    at most 8, first in the stem (unless the image is so small that once is enough), then in `layer2`, then in
    `layer3`, and again in the stem. A separable block from a to b channels has 11a + ab + 2b parameters, so that with
    C channels, s = `size` and d = `depth` the whole has
    9Cs + 2s + d(s² + 13s) + (2s² + 15s) + (d - 1)(4s² + 26s) + (8s² + 30s) + (d - 1)(16s² + 52s) + (4s + 1) outputs
    parameters: 39,178 for (1, 28, 28), 10 outputs and the defaults.

    Args:
        inputs: Shape of one row: channels, height, width.
        outputs: How many logits.
        size: Channels of the first stage; the one dial.
        depth: Separable blocks in each stage.
        stem_stride: By how much the stem shrinks the image, a power of two; None lets the image decide.
        dropout: Chance that a pooled feature is dropped in training.

    Raises:
        ModelError: If a row is not an image, or a number is out of range.
    """
    _check(inputs, outputs, size, depth, stem_stride, dropout)
    channels, height, width = inputs
    halvings = _halvings(min(height, width))
    stride = stem_stride or (1 if halvings == 1 else 2 ** max(1, halvings - 2))
    third = 2 if halvings >= 3 else 1
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


def _convolution(narrow: int, wide: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    # BatchNorm has a shift of its own, so that a bias before it would be a parameter without effect.
    convolution = nn.Conv2d(narrow, wide, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wide), nn.ReLU())


def _stem(channels: int, size: int, stride: int) -> nn.Sequential:
    parts: list[nn.Module] = [_convolution(channels, size, 3, min(stride, 2))]
    parts += [nn.MaxPool2d(3, 2, padding=1) for _ in range(stride.bit_length() - 2)]
    return nn.Sequential(*parts)


def _stage(narrow: int, wide: int, depth: int, stride: int) -> nn.Sequential:
    blocks = [SeparableBlock(narrow, wide, stride)]
    blocks += [SeparableBlock(wide, wide, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def _check(
    inputs: tuple[int, ...], outputs: int, size: int, depth: int, stem_stride: int | None, dropout: float
) -> None:
    if len(inputs) != 3 or min(inputs) < 1:
        raise ModelError(
            f"separable_cnn was asked for rows of shape {tuple(inputs)}",
            expected="an image: (channels, height, width), such as (1, 28, 28)",
            remedy="use the student mlp for flat rows, or give the model a transform that shapes rows into images",
        )
    for name, count in {"outputs": outputs, "size": size, "depth": depth}.items():
        if count < 1:
            raise ModelError(
                f"separable_cnn was asked for {name}={count}", expected="1 or more", remedy=f"raise {name}"
            )
    if stem_stride is not None and (stem_stride < 1 or stem_stride.bit_count() != 1):
        raise ModelError(
            f"separable_cnn was asked for stem_stride={stem_stride}",
            expected="1, 2, 4 or another power of two",
            remedy="leave stem_stride out to let the image decide",
        )
    if not 0.0 <= dropout < 1.0:
        raise ModelError(
            f"separable_cnn was asked for dropout={dropout}",
            expected="a chance from 0 up to, not including, 1",
            remedy="use dropout=0 for none",
        )
