"""What the references of transformer methods share: tokens, heads and relations, in loops over plain floats."""

import math
from collections.abc import Sequence

from reference import Numbers, Said

from limbeck.signals import Batch

Matrix = list[list[float]]


def standing(batch: Batch, row: int, count: int) -> list[int]:
    """The tokens of a row that stand for something: all, or those of the positions that its mask counts."""
    mask = batch.mask.tolist()[row]
    return [place for place in range(count) if not isinstance(mask, list) or mask[place]]


def seen(token: int, places: list[int], causal: bool) -> list[int]:
    return [place for place in places if place <= token or not causal]


def parts(said: Said, layers: Sequence[str], row: int, prefix: int) -> list[Matrix]:
    """Queries, keys and values of a row, as vectors of tokens; of a fused layer the thirds of its vectors."""
    found = [said.features[layer][row][prefix:] for layer in layers]
    if len(found) > 1:
        return found
    third = len(found[0][0]) // 3
    return [[vector[part * third : (part + 1) * third] for vector in found[0]] for part in range(3)]


def related(first: Matrix, second: Matrix, heads: int, head: int, i: int, j: int) -> float:
    """The scaled dot product of token i of the first with token j of the second in one head."""
    size = len(first[i]) // heads
    inside = range(head * size, (head + 1) * size)
    return sum(first[i][place] * second[j][place] for place in inside) / math.sqrt(size)


def divergence(theirs: list[float], ours: list[float]) -> float:
    """KL(softmax(theirs) || softmax(ours))."""
    p, q = ([math.exp(score) for score in scores] for scores in (theirs, ours))
    return sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True))


def divergence_at(
    i: int, places: list[int], heads: int, theirs: tuple[Matrix, Matrix], ours: tuple[Matrix, Matrix]
) -> float:
    """The mean over heads of a token's divergence, over the tokens it sees."""
    total = 0.0
    for head in range(heads):
        taught, learnt = ([related(*pair, heads, head, i, j) for j in places] for pair in (theirs, ours))
        total += divergence(taught, learnt)
    return total / heads


def gathered(values: dict[int, float], batch: Batch, count: int) -> Numbers | float:
    """A row's value: the mean over its tokens; or, where the mask counts positions, one for each, 0 where none."""
    if batch.mask.ndim == 1:
        return sum(values.values()) / len(values)
    return [values.get(place, 0.0) for place in range(count)]
