"""Batches of rows: in a shuffled order that a seed and an epoch decide, or in order for evaluation."""

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.replay import Draw
from limbeck.signals import Batch, Partner
from limbeck.task import Task, counted

# Of long rows, such as texts, so many positions at once are as much work as a batch of pictures.
POSITIONS = 8192


def rows_at_once(rows: Rows, most: int) -> int:
    """How many rows a network is asked about at once: `most`, or fewer where a row has many positions."""
    return max(1, min(most, POSITIONS // max(1, rows.known[:1].numel())))


def order(rows: int, seed: int, epoch: int) -> Int[Tensor, " rows"]:
    """The order of the rows' positions in an epoch: a permutation that depends on nothing else."""
    return torch.argsort(Draw.of(torch.arange(rows), seed, epoch, "order").words(1)[0], stable=True)


def steps_per_epoch(rows: int, batch_size: int) -> int:
    """Full batches in an epoch; one smaller batch where there are fewer rows than `batch_size`."""
    return max(1, rows // batch_size)


def batches(
    rows: Rows,
    task: Task,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    view: int = 0,
    augment: Augmentation | None = None,
    augment_seed: int = 0,
    first: int = 0,
) -> Iterator[Batch]:
    """One epoch of training batches; the rows that do not fill the last batch sit this epoch out.

    Args:
        rows: The rows, at least one.
        task: Goes with every batch.
        batch_size: Rows in a batch, at least 1.
        seed: Decides the order, with `epoch`.
        epoch: Number of the epoch, from 0.
        view: Which augmented look at the rows.
        augment: What is done to the inputs; None leaves them as they are.
        augment_seed: Decides the augmentation, with the row's id and the view.
        first: Batches to skip at the start, at no cost.
    """
    places = order(len(rows), seed, epoch)
    for step in range(first, steps_per_epoch(len(rows), batch_size)):
        yield _batch(rows, places[step * batch_size : (step + 1) * batch_size], task, view, augment, augment_seed)


def in_order(rows: Rows, task: Task, *, batch_size: int) -> Iterator[Batch]:
    """Every row once, in order, not augmented, as view 0; the last batch may be smaller."""
    places = torch.arange(len(rows))
    for start in range(0, len(rows), batch_size):
        yield _batch(rows, places[start : start + batch_size], task, 0, None, 0)


def _batch(rows: Rows, places: Tensor, task: Task, view: int, augment: Augmentation | None, augment_seed: int) -> Batch:
    partner: Partner | None = None
    rationale: Tensor | None = None
    if augment is None:
        piece = rows.take(places)
        inputs, labels, known, ids, rationale = piece.inputs, piece.labels, piece.known, piece.ids, piece.rationale
    else:
        inputs, labels, known, ids, partner = augment.apply(rows, places, view, augment_seed)
    mask, views = counted(known, task.labels), torch.full_like(ids, view)
    return Batch(inputs, labels, mask, known, ids, views, task, partner, rationale)
