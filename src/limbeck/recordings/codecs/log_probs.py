"""Log-probabilities of each position's kept symbols, and the tails beside them, in nats.

Four precisions. `float32`, `float16` and `bfloat16` keep the numbers rounded to that type, bit for bit. `companded`
keeps the largest of each position as `float16` and of the others the square root of their distance to it, in steps of
1/64: finest where a symbol is likely and growing with the root of the distance, and the same for all positions, so that
no position's range decides another's error.

In every precision a value becomes a whole number that grows as the value falls, and what is packed is how far it is
from the position's farthest one. Most of k kept symbols are nearly as unlikely as the last of them, wherever that one
is: the differences are small and alike from position to position, and take a sixth fewer bytes than the numbers.

Tails are log(sum of p^(1/T)) over the symbols that were not kept, one for each temperature. They are encoded as values
in `float16`: wrong by at most 0.001 nats up to 4, by 0.002 up to 8 and by 0.004 up to 16.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt32

from limbeck.errors import TeacherError
from limbeck.recordings.codecs.frames import Frames, join, pack, split

Precision = Literal["float32", "float16", "bfloat16", "companded"]
Values = Float32[np.ndarray, "tokens k"]
Codes = UInt32[np.ndarray, "tokens k"]

STEP = 1 / 64
_IMPOSSIBLE = 0xFFFF  # the number of steps that stands for minus infinity
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "companded": 2}
_ROUNDOFF = {"float32": 0.0, "float16": 2**-11, "bfloat16": 2**-8, "companded": 0.0}
_SUBNORMAL = 2**-25  # half the smallest float16
_LARGEST = {"float32": math.inf, "float16": 65504.0, "bfloat16": 255 * 2.0**120}
_WHAT = "log-probabilities"


def encode(values: Values, precision: Precision) -> bytes:
    """One block: the values of the positions of one row.

    Args:
        values: In nats, at least one for each position, in the order of the index set. Minus infinity is an impossible
            symbol.
        precision: What is kept of them.

    Raises:
        TeacherError: When a value is not a number, plus infinity, or finite and too large for the precision.
    """
    if bool((np.isnan(values) | np.isposinf(values)).any()):
        raise TeacherError(
            "the teacher's log-probabilities contain numbers that are not finite",
            expected="finite numbers, or minus infinity for an impossible symbol",
            remedy="look at the teacher's weights and input transform; a half-precision teacher may overflow",
        )
    planes = []
    if precision == "companded":
        largest = _codes(values.max(axis=1, keepdims=True), "float16")
        planes = split(largest, 2)
        codes = _steps(values, _values(largest, "float16"))
    else:
        codes = _codes(values, precision)
    farthest = codes.max(axis=1, keepdims=True)
    width = _BYTES[precision]
    return pack([*planes, *split(farthest, width), *split(farthest - codes, width)])


def decode(blocks: Sequence[bytes], tokens: Sequence[int], k: int, precision: Precision) -> Values:
    """The values of many blocks, one after the other, in nats: (sum of tokens, k).

    Args:
        blocks: What `encode` returned.
        tokens: The positions in each block.
        k: The values of one position.
        precision: As they were encoded.

    Raises:
        RecordingError: When a block holds something else.
    """
    width, total = _BYTES[precision], sum(tokens)
    heads = np.empty((width + 2 * (precision == "companded"), total, 1), np.uint8)
    planes = np.empty((width, total, k), np.uint8)
    start = 0
    for block, count in zip(blocks, tokens, strict=True):
        frames = Frames(block, len(heads) + width, _WHAT)
        for plane in (*heads, *planes):
            rows = plane[start : start + count]
            rows[:] = frames.plane(rows.size).reshape(rows.shape)
        start += count
    # A damaged block may say more than the farthest; what wraps around is as wrong as the rest of it.
    codes = join(list(heads[-width:])) - join(list(planes))
    if precision == "companded":
        return _from_steps(codes, _values(join(list(heads[:2])), "float16"))
    return _values(codes, precision)


def error_bound(values: Values, precision: Precision) -> Values:
    """The most by which what `decode` returns differs from each value, in nats; zero at minus infinity.

    With the distance d to the position's largest value, `companded` is wrong by at most sqrt(d) / 64 + 1 / 16384, and
    the largest itself by its rounding to `float16`.
    """
    possible = ~np.isneginf(values)
    size = np.where(possible, np.abs(values), 0)
    if precision == "companded":
        largest = np.where(possible, values, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        largest = np.where(np.isneginf(largest), 0, largest)
        slack = np.abs(largest) * _ROUNDOFF["float16"] + _SUBNORMAL
        root = np.sqrt(np.where(possible, largest - values, 0) + slack)
        # The last term is what float32 itself rounds on the way.
        error = np.maximum(slack, STEP * root + STEP**2 / 4) + (size + np.abs(largest)) * 2.0**-22
    else:
        # Below its normal numbers a type's roundings stop shrinking; of the three this matters for float16 alone.
        error = size * _ROUNDOFF[precision] + (_SUBNORMAL if precision == "float16" else 0)
    return np.where(possible, error, 0).astype(np.float32)


def _codes(values: Values, precision: Precision) -> Codes:
    """The bits of the values in a type, nearest and of two the even one, reordered so that they grow as values fall."""
    finite = np.abs(values[np.isfinite(values)])
    if finite.size and float(finite.max()) > _LARGEST[precision]:
        raise TeacherError(
            f"the teacher said a log-probability of size {float(finite.max()):.4g}",
            expected=f"at most {_LARGEST[precision]:.4g} in the precision {precision}",
            remedy="record in float32, or let the teacher say minus infinity for impossible symbols",
        )
    if precision == "float16":
        return _reordered(values.astype(np.float16).view(np.uint16).astype(np.uint32), 16)
    bits = np.ascontiguousarray(values).view(np.uint32)
    if precision == "float32":
        return _reordered(bits, 32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return _reordered((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16), 16)


def _values(codes: Codes, precision: Precision) -> Values:
    """The values with these codes."""
    if precision == "float32":
        return _reordered(codes, 32).view(np.float32)
    bits = _reordered(codes & np.uint32(0xFFFF), 16)
    if precision == "float16":
        return bits.astype(np.uint16).view(np.float16).astype(np.float32)
    return (bits << np.uint32(16)).view(np.float32)


def _reordered(bits: Codes, width: int) -> Codes:
    """Turns round the numbers without a sign bit, once and again: negative numbers' bits already grow as they fall."""
    sign = np.uint32(1 << (width - 1))
    return np.where(bits & sign, bits, bits ^ (sign - np.uint32(1)))


def _steps(values: Values, largest: Float32[np.ndarray, "tokens 1"]) -> Codes:
    """How many steps the root of each value's distance from the largest is."""
    impossible = np.isneginf(values)
    # The largest may have been rounded down, and where nothing is possible there is no distance.
    away = np.maximum(np.where(impossible, 0, largest - np.where(impossible, 0, values)), 0)
    steps = np.rint(np.sqrt(away) / np.float32(STEP))
    if bool((steps >= _IMPOSSIBLE).any()):
        raise TeacherError(
            f"the teacher said a log-probability {float(away.max()):.4g} below the position's largest",
            expected=f"at most {((_IMPOSSIBLE - 1) * STEP) ** 2:.4g} below it in the precision companded",
            remedy="record in float32, or let the teacher say minus infinity for impossible symbols",
        )
    return np.where(impossible, _IMPOSSIBLE, steps).astype(np.uint32)


def _from_steps(steps: Codes, largest: Float32[np.ndarray, "tokens 1"]) -> Values:
    roots = steps.astype(np.float32) * np.float32(STEP)
    # Bytes that were damaged may hold a number that is none; whoever reads the values sees it.
    with np.errstate(invalid="ignore"):
        return np.where(steps == _IMPOSSIBLE, np.float32(-np.inf), largest - roots * roots)
