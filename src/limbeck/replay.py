"""Random numbers that can be asked for again: each is a pure function of a seed, a name, a view, a row and an index.

The mixing function is the finaliser of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014, https://doi.org/10.1145/2660193.2660195, figure 16 (variant 13 of Stafford). Deviation:
instead of one stream that is stepped, the function is applied to seed, view and row, and then to name and index, so
that any number is reached without those before it. Read: memory.

All arithmetic is on 64-bit integers that wrap, so the numbers are the same bits on every device.
"""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

_WORD = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _shifted(words: Tensor, by: int) -> Tensor:
    # torch shifts signed integers arithmetically: the copies of the sign bit have to go
    return (words >> by) & ((1 << (64 - by)) - 1)


def _mixed(words: Tensor) -> Tensor:
    words = (words ^ _shifted(words, 30)) * _signed(_FIRST)
    words = (words ^ _shifted(words, 27)) * _signed(_SECOND)
    return words ^ _shifted(words, 31)


def _mixed_word(word: int) -> int:
    word = ((word ^ (word >> 30)) * _FIRST) & _WORD
    word = ((word ^ (word >> 27)) * _SECOND) & _WORD
    return word ^ (word >> 31)


def _name_word(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


@lru_cache(maxsize=1024)
def _index_keys(name: str, count: int) -> Tensor:
    words = [_mixed_word((_name_word(name) + index * _GAMMA) & _WORD) for index in range(1, count + 1)]
    return torch.tensor([_signed(word) for word in words]).unsqueeze(1)


@dataclass(frozen=True, eq=False)
class Draw:
    """The random numbers of some rows; ask for them by purpose, and two purposes with different names are independent.

    A row's numbers depend on its own id and on no other row. Make one with `Draw.of`.
    """

    words_of_rows: Int[Tensor, " rows"]
    name: str = ""

    @classmethod
    def of(cls, ids: Int[Tensor, " rows"], seed: int, view: int | Int[Tensor, " rows"] = 0, name: str = "") -> "Draw":
        """The numbers of the rows with these ids, for a seed (any whole number) and a view, one for all or for each."""
        key = _signed(_mixed_word((seed + 1) * _GAMMA & _WORD))
        views = torch.as_tensor(view, device=ids.device)
        return cls(_mixed(ids * _signed(_GAMMA) + _mixed((views + 1) * _signed(_GAMMA) + key)), name)

    def named(self, name: str) -> "Draw":
        """The same rows' numbers for another purpose."""
        return Draw(self.words_of_rows, name)

    def words(self, count: int) -> Int[Tensor, "count rows"]:
        """Uniform 64-bit words, `count` for each row (the first ones are the same whatever the count)."""
        return _mixed(self.words_of_rows + _index_keys(self.name, count).to(self.words_of_rows.device))

    def uniforms(self, *shape: int) -> Float[Tensor, "rows ..."]:
        """An array of this shape for each row, of float64 numbers from 0 up to, not including, 1, in steps of 2^-53.

        What is drawn at a position does not depend on how many positions follow: of `uniforms(positions, draws)` those
        of a longer text begin with those of a shorter.
        """
        words = self.words(math.prod(shape))
        return (_shifted(words, 11).double() * 2.0**-53).T.reshape(-1, *shape)

    def integers(self, *below: int) -> Int[Tensor, "count rows"]:
        """For each bound (1 to 2^31) one whole number a row, from 0 up to, not including, the bound.

        A bound that is no power of two is met with an unevenness of at most bound / 2^31.
        """
        bounds = torch.tensor(below, device=self.words_of_rows.device).unsqueeze(1)
        return (_shifted(self.words(len(below)), 33) * bounds) >> 31
