"""Which rows go where: deterministic from a seed, in proportion to the classes."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from limbeck.replay import Draw


def chosen(
    ids: Int[Tensor, " rows"], strata: Int[Tensor, " rows"], count: int, *, seed: int, name: str, least: int = 0
) -> Bool[Tensor, " rows"]:
    """Chooses `count` of the rows, each stratum in proportion to its size (largest remainders).

    Whether a row is chosen depends on the seed, the name, and the set of rows, not on their order.

    Args:
        ids: The rows' places in the data set.
        strata: A number for each row, such as its class.
        count: How many rows to choose, 0 to rows.
        seed: Any whole number.
        name: What they are chosen for; choices with other names are independent.
        least: How many rows of each stratum must be chosen; a smaller stratum gives all it has.
    """
    ranks = Draw.of(ids, seed, name=f"split {name}").words(1)[0]
    groups = [(strata == value).nonzero().squeeze(1) for value in torch.unique(strata)]
    picked = torch.zeros(len(ids), dtype=torch.bool)
    for group, number in zip(groups, shares([len(group) for group in groups], count, least), strict=True):
        picked[group[torch.argsort(ranks[group], stable=True)[:number]]] = True
    return picked


def shares(sizes: Sequence[int], total: int, least: int = 0) -> list[int]:
    """Divides `total` among groups in proportion to their sizes, never more than a group has.

    Args:
        sizes: Rows in each group.
        total: From the sum of the least numbers to the sum of the sizes.
        least: What each group gets first (a smaller group gets its size).
    """
    given = [min(size, least) for size in sizes]
    left = [size - first for size, first in zip(sizes, given, strict=True)]
    room, rest = sum(left), total - sum(given)
    assert 0 <= rest <= room, f"{total} rows cannot be chosen of {sum(sizes)}"
    whole = [rest * free // room if room else 0 for free in left]
    # whole numbers throughout: a remainder computed in floating point could order equal classes by rounding error
    order = sorted(range(len(sizes)), key=lambda group: (-(rest * left[group] % room) if room else 0, group))
    for group in order[: rest - sum(whole)]:
        whole[group] += 1
    return [first + more for first, more in zip(given, whole, strict=True)]
