"""How the features asked for are kept, beside the logits."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from limbeck.recordings.codecs import channels
from limbeck.recordings.columns import Stored
from limbeck.recordings.precision import PRECISIONS, kept_in, refuse_unknown

_FEATURE, _LEAST, _STEP = "feature:", "least:", "step:"
_INT8 = "int8"


@dataclass(frozen=True)
class Features:
    """The outputs of the layers that an objective listens to.

    Args:
        precision: `as said` keeps the teacher's own bits; float16 and bfloat16 keep two bytes a number, off by at most
            a 2,048th and a 256th of its size. int8 keeps one, off by at most a 510th of the spread of its row's
            channel; the channel is a map of an image, a column of a row of tokens, and a whole row of one dimension.
    """

    precision: str = "as said"

    def __post_init__(self) -> None:
        refuse_unknown("features", self.precision, (*PRECISIONS, _INT8))

    def pack(self, layer: str, feature: Shaped[Tensor, "rows ..."]) -> dict[str, Stored]:
        """What is kept of one layer's output."""
        if not feature.is_floating_point():
            return {_FEATURE + layer: feature.detach().cpu().contiguous()}
        if self.precision != _INT8:
            return {_FEATURE + layer: kept_in(self.precision, feature, f"the features of {layer}")}
        numbers = feature.detach().float().cpu()
        axis = _channel_axis(numbers)
        by_channel = numbers.unsqueeze(1) if axis is None else numbers.movedim(axis, 1)
        rows, count = by_channel.shape[:2]
        codes, scales = channels.encode(by_channel.reshape(1, rows * count, -1).numpy(), 1)
        whole = torch.from_numpy(codes).reshape(by_channel.shape)
        return {
            _FEATURE + layer: (whole.squeeze(1) if axis is None else whole.movedim(1, axis)).contiguous(),
            _LEAST + layer: torch.from_numpy(scales.least).reshape(rows, count),
            _STEP + layer: torch.from_numpy(scales.step).reshape(rows, count),
        }

    def unpack(self, layer: str, kept: Mapping[str, Stored]) -> Shaped[Tensor, "rows ..."]:
        """One layer's output, from what was kept of it."""
        feature = kept[_FEATURE + layer]
        assert isinstance(feature, Tensor)
        if _STEP + layer not in kept:
            return feature
        least, step = kept[_LEAST + layer], kept[_STEP + layer]
        assert isinstance(least, Tensor) and isinstance(step, Tensor)
        axis = _channel_axis(feature)
        shape = [len(feature), *(-1 if place == axis else 1 for place in range(1, feature.ndim))]
        return feature.float() * step.reshape(shape) + least.reshape(shape)

    def owns(self, column: str) -> bool:
        """Whether a column, by its name, is of some layer's output."""
        return column.startswith((_FEATURE, _LEAST, _STEP))

    def columns(self, layer: str) -> tuple[str, ...]:
        """The names of the columns that one layer's output is kept in."""
        known = (_FEATURE + layer, _LEAST + layer, _STEP + layer)
        return known if self.precision == _INT8 else known[:1]


def _channel_axis(feature: Shaped[Tensor, "rows ..."]) -> int | None:
    """The axis along which numbers are alike: an image's maps, a token's columns; None for rows of one dimension."""
    return {2: None, 3: 2}.get(feature.ndim, 1) if feature.ndim > 1 else None
