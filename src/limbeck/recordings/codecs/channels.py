"""Features in one byte a number, with a scale for each channel, or in two as `float16`.

A channel's 256 steps go from its least to its largest value among the rows of a shard, so that a channel that a ReLU
has cut off at zero uses all of them. A number is wrong by at most half a step, and a channel that does not vary by
nothing but its rounding. Codes are not packed further: rows are read one by one and in any order from a mapped file.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, UInt8

from limbeck.errors import TeacherError

_STEPS = 255
_LARGEST_HALF = 65504.0
_LARGEST_SPREAD = 1e38  # so that differences stay within float32


@dataclass(frozen=True, eq=False)
class Scales:
    """What codes mean: channel c's code n is `least[c] + n * step[c]`.

    Attributes:
        least: The least value of each channel.
        step: The difference between neighbouring codes; zero where a channel does not vary.
        axis: The axis of the channels, counted with the rows as axis 0.
    """

    least: Float32[np.ndarray, " channels"]
    step: Float32[np.ndarray, " channels"]
    axis: int

    def error_bound(self) -> Float32[np.ndarray, " channels"]:
        """The most by which a number of each channel may be wrong: half a step, and what float32 rounds on the way."""
        size = np.abs(self.least) + self.step * _STEPS
        return self.step / 2 + size * np.float32(2**-21)


def encode(features: Float32[np.ndarray, "rows *shape"], axis: int) -> tuple[UInt8[np.ndarray, "rows *shape"], Scales]:
    """Codes of the features of a shard's rows, and their scales.

    Args:
        features: At least one row.
        axis: The axis of the channels, 1 for images (rows, channels, height, width), -1 for tokens.

    Raises:
        TeacherError: When a number is not finite or beyond 1e38.
    """
    axis %= features.ndim
    others = tuple(other for other in range(features.ndim) if other != axis)
    least, most = features.min(axis=others), features.max(axis=others)
    # A NaN makes both NaN, and every comparison with it false.
    if not bool(((least >= -_LARGEST_SPREAD) & (most <= _LARGEST_SPREAD)).all()):
        raise _overflow("1e38", "look at the teacher's weights and input transform")
    step = (most - least) / np.float32(_STEPS)
    around = _around(features.ndim, axis)
    codes = (features - least[around]) / np.where(step > 0, step, 1)[around]
    return np.clip(np.rint(codes), 0, _STEPS).astype(np.uint8), Scales(least, step, axis)


def decode(codes: UInt8[np.ndarray, "rows *shape"], scales: Scales) -> Float32[np.ndarray, "rows *shape"]:
    """The features of some of the rows of a shard."""
    around = _around(codes.ndim, scales.axis)
    features = codes.astype(np.float32)
    features *= scales.step[around]
    features += scales.least[around]
    return features


def half(features: Float32[np.ndarray, "*shape"]) -> Float16[np.ndarray, "*shape"]:
    """The features as `float16`: wrong by at most 1 / 2048 of their size, and by 3e-8 below 6e-5.

    Raises:
        TeacherError: When a number is not finite or beyond 65504, the largest there is.
    """
    if not bool((np.abs(features) <= _LARGEST_HALF).all()):
        raise _overflow("65504", "record this layer as int8, whose scales follow the channel, or in float32")
    return features.astype(np.float16)


def _around(dimensions: int, axis: int) -> tuple[slice | None, ...]:
    """The index that lays values for each channel along their axis."""
    return tuple(slice(None) if dimension == axis else None for dimension in range(dimensions))


def _overflow(largest: str, remedy: str) -> TeacherError:
    return TeacherError(
        f"a layer's features contain numbers that are not finite or beyond {largest}",
        expected=f"finite numbers of at most {largest}",
        remedy=remedy,
    )
