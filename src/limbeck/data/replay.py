"""Random numbers that can be asked for again: each is a pure function of a seed, a name, a view, a row and an index.

The mixing function is the finaliser of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014, https://doi.org/10.1145/2660193.2660195, figure 16 (variant 13 of Stafford). Deviation:
instead of one stream that is stepped, the function is applied to a key made of seed, name and view, to the row's id
and to the number's index in turn, so that any number is reached without those before it. Read: memory.

All arithmetic is on 64-bit integers that wrap, so the numbers are the same bits on every device.
"""

import hashlib
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


@lru_cache(maxsize=1024)
def _key(seed: int, name: str, view: int) -> int:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    for part in (seed, view):
        word = _mixed_word((word + (part + 1) * _GAMMA) & _WORD)
    return _signed(word)


@dataclass(frozen=True, eq=False)
class Draw:
    """The random numbers of some rows, for one purpose.

    Args:
        ids: The rows; a row's numbers depend on its own id and on no other row.
        seed: Any whole number.
        name: What the numbers are for; two purposes with different names draw independently.
        view: Which augmented look at the row.
    """

    ids: Int[Tensor, " rows"]
    seed: int
    name: str
    view: int = 0

    def words(self, count: int) -> Int[Tensor, "count rows"]:
        """Uniform 64-bit words, `count` for each row (the first ones are the same whatever the count)."""
        rows = _mixed(self.ids * _signed(_GAMMA) + _key(self.seed, self.name, self.view))
        index = torch.arange(1, count + 1, device=self.ids.device).unsqueeze(1)
        return _mixed(rows + index * _signed(_GAMMA))

    def integers(self, *below: int) -> Int[Tensor, "count rows"]:
        """For each bound (1 to 2^31) one whole number a row, from 0 up to, not including, the bound.

        A bound that is no power of two is met with an unevenness of at most bound / 2^31.
        """
        bounds = torch.tensor(below, device=self.ids.device).unsqueeze(1)
        return (_shifted(self.words(len(below)), 33) * bounds) >> 31

    def fractions(self, count: int) -> Float[Tensor, "count rows"]:
        """Uniform float64 numbers, at least 0 and less than 1."""
        return _shifted(self.words(count), 11).double() * 2.0**-53
