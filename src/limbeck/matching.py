"""Which layer of a student may learn from which layer of a teacher: stages found, and paired in order by likeness.

Likeness is linear CKA (Kornblith, Norouzi, Lee, Hinton, 2019, https://arxiv.org/abs/1905.00414, section 3) with the
unbiased estimate of HSIC (Song, Smola, Gretton, Bedo, Borgwardt, 2012, Feature selection via dependence maximization,
equation 4), since the batch is small beside the layers' widths. Read: memory. An untrained student has some likeness
too: what its architecture alone makes of the inputs.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.errors import ModelError
from limbeck.model import Model, answering
from limbeck.signals import Batch

# An octave of resolution between two layers counts as this much less likeness, so that of two equally alike layers the
# one is taken that needs less pooling. Chosen, not from a paper.
PER_OCTAVE = 0.05
FEWEST_ROWS = 8


@dataclass(frozen=True)
class Stage:
    """A layer that ends a stage: the last that says images of its shape, or one of several blocks of the same.

    `shape` is that of one row; `places` how many positions it has: steps, or height times width.
    """

    name: str
    shape: tuple[int, ...]
    places: int
    features: Float[Tensor, "rows ..."]


@dataclass(frozen=True)
class Pair:
    """A student's layer and the teacher's layer it may learn from, with the shapes of one row and their likeness.

    `similarity` is the unbiased linear CKA on the batch: 1 for the same but for rotation and scale, about 0 for
    strangers.
    """

    student: str
    teacher: str
    student_shape: tuple[int, ...]
    teacher_shape: tuple[int, ...]
    similarity: float


def propose(student: Model, teacher: Model, batch: Batch, *, most: int = 6) -> list[Pair]:
    """Proposes pairs of layers, in the order in which the networks run.

    The networks answer in eval mode without gradient, and the random state is put back: no statistic of a
    normalisation, no generator and no iterator moves.

    Args:
        student: The model to be trained.
        teacher: The model that teaches.
        batch: Some rows, 8 or more; both models read them, each through its own transform.
        most: The most stages of a network, spread evenly over its depth.

    Returns:
        Pairs whose layers follow each other in both networks; none where a network shows no stage.

    Raises:
        ModelError: When the batch is too small to tell layers apart.
    """
    if len(batch) < FEWEST_ROWS:
        raise ModelError(f"{len(batch)} rows tell layers apart badly", expected=f"a batch of {FEWEST_ROWS} or more")
    ours, theirs = stages(student, batch.inputs, most=most), stages(teacher, batch.inputs, most=most)
    alike = [[similarity(mine.features, its.features) for its in theirs] for mine in ours]
    worth = [
        [value - PER_OCTAVE * abs(math.log2(mine.places / its.places)) for value, its in zip(row, theirs, strict=True)]
        for row, mine in zip(alike, ours, strict=True)
    ]
    return [
        Pair(ours[i].name, theirs[j].name, ours[i].shape, theirs[j].shape, alike[i][j]) for i, j in _in_order(worth)
    ]


def stages(model: Model, inputs: Shaped[Tensor, "rows ..."], *, most: int = 6) -> list[Stage]:
    """The stages of a network, in the order in which they end.

    Args:
        model: The model; it is left as it is.
        inputs: Raw rows.
        most: The most stages, spread evenly over the depth.
    """
    with torch.random.fork_rng(), torch.no_grad(), answering(model), _heard(model.network) as heard:
        logits = model.network(model.transform(inputs))
    rows = inputs.shape[0]
    # What was overwritten in place, or is no feature of each row, or is the answer itself, is no stage.
    said = {
        name: (module, value)
        for name, (module, value, version) in heard.items()
        if value.ndim in (2, 3, 4) and value.shape[0] == rows and version == value._version and value is not logits
    }
    ends = _ends(said)
    chosen = ends if len(ends) <= most else [ends[round(i * (len(ends) - 1) / (most - 1))] for i in range(most)]
    return [
        Stage(name, tuple(value.shape[1:]), math.prod(_resolution(value)), value)
        for name, value in ((name, said[name][1]) for name in chosen)
    ]


def similarity(first: Float[Tensor, "rows ..."], second: Float[Tensor, "rows ..."]) -> float:
    """Unbiased linear CKA of two layers' features of the same rows; 0 where one of them does not vary."""
    one, other = (_products(features) for features in (first, second))
    own, its = _hsic(one, one), _hsic(other, other)
    return float(_hsic(one, other) / (own * its).sqrt()) if own > 0 and its > 0 else 0.0


@contextlib.contextmanager
def _heard(network: nn.Module) -> Iterator[Mapping[str, tuple[nn.Module, Tensor, int]]]:
    """Every module's output in the order of their ends, while the block runs; no hook stays behind."""
    heard: dict[str, tuple[nn.Module, Tensor, int]] = {}

    def listener(name: str) -> object:
        def listen(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.is_floating_point():
                heard.pop(name, None)  # of a layer that runs several times, the last
                heard[name] = (module, output, output._version)

        return listen

    handles = [module.register_forward_hook(listener(name)) for name, module in network.named_modules() if name]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _ends(said: Mapping[str, tuple[nn.Module, Tensor]]) -> list[str]:
    """Names of the layers that end stages: of images the last of each shape, else every outermost layer."""
    outer = [name for name in said if _is_outermost(name, said)]
    learnt = [name for name in outer if any(True for _ in said[name][0].parameters())]
    last: dict[tuple[int, ...], str] = {}
    for name in learnt:
        value = said[name][1]
        last[tuple(value.shape[1:]) if value.ndim == 4 else (len(last),)] = name
    # The shortest name that says the same tensor: layer1 for layer1.1.
    return [min((n for n in said if said[n][1] is said[name][1]), key=len) for name in last.values()]


def _is_outermost(name: str, said: Mapping[str, tuple[nn.Module, Tensor]]) -> bool:
    """Whether no layer around this one stands for it; a row of equal blocks does not stand for its blocks."""
    if _is_row(name, said):
        return False
    parents = [name[:place] for place, sign in enumerate(name) if sign == "."]
    return all(parent not in said or _is_row(parent, said) for parent in parents)


def _is_row(name: str, said: Mapping[str, tuple[nn.Module, Tensor]]) -> bool:
    """Whether a layer is several blocks of one kind one after the other, each of which was heard."""
    module = said[name][0]
    if not isinstance(module, nn.Sequential) or len(module) < 2:
        return False
    blocks = [f"{name}.{place}" for place in range(len(module))]
    return len({type(block) for block in module}) == 1 and all(block in said for block in blocks)


def _resolution(value: Tensor) -> tuple[int, ...]:
    """Height and width of images, steps of sequences, nothing of flat features."""
    return tuple(value.shape[2:]) if value.ndim == 4 else tuple(value.shape[1:-1])


def _products(features: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows rows"]:
    """Products of all pairs of rows, without those of a row with itself."""
    points = features.detach().flatten(1).double()
    points = points - points.mean(dim=0)
    products = points @ points.mT
    return products - products.diagonal().diag()


def _hsic(one: Float[Tensor, "rows rows"], other: Float[Tensor, "rows rows"]) -> Float[Tensor, ""]:
    rows = len(one)
    sums = one.sum() * other.sum() / ((rows - 1) * (rows - 2))
    crossed = 2 * (one.sum(dim=0) @ other.sum(dim=1)) / (rows - 2)
    return ((one * other).sum() + sums - crossed) / (rows * (rows - 3))


def _in_order(worth: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pairs that grow in both numbers and have the largest sum; what is worth nothing stays alone."""
    rows, columns = len(worth), len(worth[0]) if worth else 0
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows):
        for j in range(columns):
            best[i + 1][j + 1] = max(best[i][j + 1], best[i + 1][j], best[i][j] + worth[i][j])
    pairs, i, j = [], rows, columns
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]
