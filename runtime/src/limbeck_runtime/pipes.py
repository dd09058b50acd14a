"""Arrays over pipes between two processes of one machine: each message has its length before it.

A message is four bytes `LBK1`, the length of what follows as a 32-bit number, the number of the frame as a 64-bit one,
a byte that says what it is, and its content. An array is a byte for its type, a byte for how many dimensions it has,
each of them as a 32-bit number, and its numbers row by row. All numbers are little-endian. Nothing that is read is
believed beyond what it claims to be: a length is bounded, an array must be as long as its shape.
"""

import math
import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from limbeck_runtime.errors import BrainError
from limbeck_runtime.manifest import DTYPES

MAGIC = b"LBK1"
LARGEST_BYTES = 2**28
READY, ROWS, OUTPUTS, REFUSED = range(4)
"""What a message is: the child is ready, rows to be asked about, outputs, or words about why there are none."""

_HEAD = struct.Struct("<4sIQB")
_MOST_DIMENSIONS = 8


@dataclass(frozen=True, eq=False)
class Message:
    """One message.

    Args:
        frame: Which rows it is about.
        kind: One of `READY`, `ROWS`, `OUTPUTS`, `REFUSED`.
        content: As it came.
    """

    frame: int
    kind: int
    content: bytes

    @property
    def array(self) -> npt.NDArray[Any]:
        """The content as numbers.

        Raises:
            BrainError: When it is no array.
        """
        held = self.content
        if len(held) < 2 or held[0] >= len(DTYPES) or held[1] > _MOST_DIMENSIONS or len(held) < 2 + 4 * held[1]:
            raise BrainError("a message is no array")
        kind, size = np.dtype(DTYPES[held[0]]).newbyteorder("<"), held[1]
        shape = struct.unpack_from(f"<{size}I", held, 2)
        if math.prod(shape) * kind.itemsize != len(held) - 2 - 4 * size:
            raise BrainError(f"a message has not the numbers of an array of shape {shape}")
        return np.frombuffer(held, kind, offset=2 + 4 * size).reshape(shape).astype(kind.newbyteorder("="))


def packed(array: npt.NDArray[Any]) -> bytes:
    """An array as the content of a message."""
    said = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    place = DTYPES.index(array.dtype.name)
    return bytes((place, array.ndim)) + struct.pack(f"<{array.ndim}I", *array.shape) + said.tobytes()


def send(pipe: IO[bytes], frame: int, kind: int, content: bytes = b"") -> None:
    """Writes one message, whole.

    Raises:
        OSError: When nobody reads any more.
    """
    pipe.write(_HEAD.pack(MAGIC, len(content), frame, kind) + content)
    pipe.flush()


def receive(pipe: IO[bytes]) -> Message | None:
    """Reads one message; None where there will be no more.

    Raises:
        BrainError: When what comes is no message.
    """
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, length, frame, kind = _HEAD.unpack(head)
    if magic != MAGIC or length > LARGEST_BYTES or kind > REFUSED:
        raise BrainError("something else than a message came over the pipe", expected=f"{MAGIC!r} and a length")
    content = pipe.read(length)
    return Message(frame, kind, content) if len(content) == length else None
