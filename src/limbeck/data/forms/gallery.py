"""Pictures to rows of one size: a first look at every header, a second one that decodes.

The first look finds whether any picture has colour and whether all have one size, so that a missing `data.size` is
said before hours of decoding.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data import pictures
from limbeck.data.forms.assembly import Assembly
from limbeck.data.forms.columns import Block, Roles
from limbeck.data.pictures import Source, Unfit
from limbeck.errors import DataError

AT_ONCE = 128
"""Pictures decoded together; so many are in memory beside the shelf."""

_THREADS = 4


@dataclass(frozen=True)
class Look:
    """What all pictures have in common.

    Args:
        grey: Whether none has colour.
        size: Height and width to bring them to.
        sizes: How many pictures have which (height, width).
    """

    grey: bool
    size: tuple[int, int]
    sizes: Mapping[tuple[int, int], int]

    @property
    def facts(self) -> dict[str, Any]:
        """JSON for the report."""
        if set(self.sizes) == {self.size}:
            return {}
        said = [f"{height} x {width}" for height, width in self.sizes]
        return {"resized": {"to": list(self.size), "from": said[:5], "sizes": len(said)}}


def surveyed(sources: Iterable[Source], size: int | None) -> Look:
    """Looks at the headers of pictures; those that cannot be read are left for the second look to count.

    Args:
        sources: All pictures of all splits.
        size: Height and width that a recipe asks for; None where all have one size.

    Raises:
        DataError: When sizes differ and none was asked for, or no picture can be read.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    with pictures.pillow(), ThreadPoolExecutor(_THREADS) as pool:
        for some in _chunks(sources):
            for seen in pool.map(_header, some):
                if seen is not None:
                    grey = grey and seen[0]
                    sizes[seen[1]] += 1
    if not sizes:
        raise DataError("not one picture can be read", expected=f"files of {', '.join(sorted(pictures.SUFFIXES))}")
    if size is None and len(sizes) > 1:
        (height, width), count = sizes.most_common(1)[0]
        raise DataError(
            f"the pictures have {len(sizes)} sizes; the most common is {height} x {width} (height x width), of {count}",
            expected="one size",
            remedy=f"data: {{size: {min(height, width)}}}",
        )
    return Look(grey, next(iter(sizes)) if size is None else (size, size), dict(sizes.most_common()))


def hang(
    assembly: Assembly, split: str, blocks: Iterable[tuple[Block, Sequence[Source | None]]], roles: Roles, look: Look
) -> None:
    """Decodes pictures and adds them to the assembly.

    Args:
        assembly: Takes the rows.
        split: Which split they are.
        blocks: What stands beside the pictures, and the picture of each row; None where there is none.
        roles: Of the columns of the blocks.
        look: What `surveyed` gave.

    Raises:
        DataError: When too many pictures are unreadable.
    """
    with pictures.pillow(), ThreadPoolExecutor(_THREADS) as pool:
        for block, sources in blocks:
            found = assembly.read(roles, block)
            rows = []
            for first in range(0, len(sources), AT_ONCE):
                some = sources[first : first + AT_ONCE]
                for place, seen in enumerate(pool.map(_decoder(look), some), first):
                    if isinstance(seen, str):
                        if found.good[place]:
                            found.lose_one(place, seen)
                    elif found.good[place]:
                        rows.append(seen)
            assembly.keep(split, _stacked(rows), found)


def _stacked(rows: Sequence[Any]) -> Tensor | None:
    return torch.from_numpy(np.stack(rows)) if rows else None


def _header(source: Source) -> tuple[bool, tuple[int, int]] | None:
    try:
        return None if source is None else pictures.header(source)
    except Unfit:
        return None


def _decoder(look: Look) -> Callable[[Source | None], Any]:
    def decode(source: Source | None) -> Any:
        if source is None:
            return "has no picture"
        try:
            return pictures.decoded(source, grey=look.grey, size=look.size)
        except Unfit as error:
            return str(error)

    return decode


def _chunks(sources: Iterable[Source]) -> Iterator[list[Source]]:
    waiting = iter(sources)
    while some := list(islice(waiting, AT_ONCE)):
        yield some
