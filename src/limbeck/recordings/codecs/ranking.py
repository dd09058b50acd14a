"""A vocabulary in order of frequency: the symbols that are often kept have small numbers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import UInt32

from limbeck.errors import TeacherError
from limbeck.recordings.codecs.frames import Frames, damaged, pack, split, width

_WHAT = "a frequency ranking"
_HEAD = np.dtype("<u4")


@dataclass(frozen=True, eq=False)
class Ranking:
    """Symbols and their frequency ranks.

    Counted on the first rows of a recording and then frozen. Symbols that were not seen there have ranks too, after all
    others: another text costs bytes and nothing else.

    Attributes:
        symbols: The symbol at each rank, most frequent first: a permutation of the vocabulary.
    """

    symbols: UInt32[np.ndarray, " vocabulary"]

    @classmethod
    def counted(cls, symbols: UInt32[np.ndarray, "..."], vocabulary: int) -> "Ranking":
        """The ranking of some rows' symbols; of two that are equally frequent the smaller comes first.

        Raises:
            TeacherError: When a symbol is not of the vocabulary.
        """
        refuse_foreign(symbols, vocabulary)
        counts = np.bincount(symbols.ravel(), minlength=vocabulary)
        return cls(np.argsort(-counts, kind="stable").astype(np.uint32))

    def __len__(self) -> int:
        return len(self.symbols)

    @cached_property
    def ranks(self) -> UInt32[np.ndarray, " vocabulary"]:
        """The rank of each symbol."""
        ranks = np.empty_like(self.symbols)
        ranks[self.symbols] = np.arange(len(self), dtype=np.uint32)
        return ranks

    def of(self, symbols: UInt32[np.ndarray, "*shape"]) -> UInt32[np.ndarray, "*shape"]:
        """The ranks of symbols.

        Raises:
            TeacherError: When a symbol is not of the vocabulary.
        """
        refuse_foreign(symbols, len(self))
        return self.ranks[symbols]

    def to_bytes(self) -> bytes:
        """The ranking as bytes, about two for each symbol."""
        return np.array(len(self), _HEAD).tobytes() + pack(split(self.symbols, width(len(self))))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Ranking":
        """The ranking that `to_bytes` wrote.

        Raises:
            RecordingError: When the bytes are none.
        """
        if len(content) < _HEAD.itemsize:
            raise damaged(_WHAT, f"it has {len(content)} bytes")
        vocabulary = int(np.frombuffer(content, _HEAD, 1)[0])
        planes = width(vocabulary)
        symbols = Frames(content[_HEAD.itemsize :], planes, _WHAT).numbers(vocabulary, planes)
        if not np.array_equal(np.sort(symbols), np.arange(vocabulary)):
            raise damaged(_WHAT, f"it is no order of {vocabulary} symbols")
        return cls(symbols)


def refuse_foreign(symbols: UInt32[np.ndarray, "..."], vocabulary: int) -> None:
    """Refuses symbols that the vocabulary does not have.

    Raises:
        TeacherError: When there is one.
    """
    if symbols.size and int(symbols.max()) >= vocabulary:
        raise TeacherError(
            f"symbol {int(symbols.max())} is to be kept, and the vocabulary has {vocabulary} symbols",
            expected=f"symbols from 0 to {vocabulary - 1}",
            remedy="give the size of the teacher's output, which may be padded beyond its tokenizer's",
        )
