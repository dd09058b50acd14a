"""How many training labels are wrong, judged by a teacher that is good and by the rows' own neighbours.

Confident learning (Northcutt, Jiang and Chuang, 2021, https://arxiv.org/abs/1911.00068, section 3.1; read: memory): a
row counts as of class j where its probability of j is at least the mean probability of j over the rows labelled j.
Rows that count as another class than their label's are suspects. Deviation: the authors calibrate the counts to the
labels' frequencies; here the plain share of suspects is reported.

A teacher may be against a label because it is wrong itself. So each suspect is put to a second judge that has never
seen the teacher: the vote of the row's nearest neighbours in the data, as labelled, each row judged by others only.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from limbeck.records import Finding

# From this share on noise is more than the few hard rows that every data set has.
NOISY = 0.05
# Below this accuracy a teacher's confidence says more about the teacher than about the labels.
GOOD_TEACHER = 0.5
ROWS = 3000
_NEIGHBOURS = 15
_COMPONENTS = 50
_SHOWN = 5


def label_noise(
    inputs: Shaped[Tensor, "rows ..."],
    labels: Int[Tensor, " rows"],
    ids: Int[Tensor, " rows"],
    logits: Float[Tensor, "rows classes"] | None,
    classes: Sequence[str],
) -> list[Finding]:
    """The share of labels that are likely wrong: a note, a warning from 5 % on.

    Args:
        inputs: Training rows; a few thousand say enough.
        labels: Their labels.
        ids: Their places in the data.
        logits: The teacher's about them; None where only the neighbours can judge.
        classes: Names.
    """
    if len(labels) < 10 * _NEIGHBOURS:
        return []
    given, count = labels.numpy(), len(classes)
    voted = _neighbours(inputs, given, count)
    judges = [_meant(voted, given, count)]
    if logits is not None and float((logits.argmax(dim=1) == labels).float().mean()) > GOOD_TEACHER:
        judges.insert(0, _meant(torch.softmax(logits.double(), dim=1).numpy(), given, count))
    against = [meant != given for meant in judges]
    both = np.logical_and.reduce([*against, *([judges[0] == judges[1]] if len(judges) > 1 else [])])
    share, suspects = float(both.mean()), np.flatnonzero(both)
    if not len(suspects):
        return []
    examples = ", ".join(
        f"row {int(ids[at])}: {classes[given[at]]!r}, likely {classes[judges[0][at]]!r}" for at in suspects[:_SHOWN]
    )
    said = (
        f"the teacher is confidently against the label in {against[0].mean():.1%} of {len(given):,} training rows and "
        f"their neighbours (k={_NEIGHBOURS}) in {against[1].mean():.1%}; in {share:.1%} both name the same other class"
        if len(judges) > 1
        else f"the neighbours (k={_NEIGHBOURS}) of {share:.1%} of {len(given):,} training rows are against their label"
    )
    # Neighbours alone are a weak judge on hard data: without a teacher that agrees this is never more than a note.
    severity: Literal["warning", "note"] = "warning" if share >= NOISY and len(judges) > 1 else "note"
    return [
        Finding(
            severity,
            "label noise",
            f"{said} ({examples})",
            "look at these rows; correct or drop them, or lean on the teacher: less weight for labels, more for kd",
        )
    ]


def _meant(probability: npt.NDArray[np.float64], given: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The class each row counts as: the likeliest of those it is confidently in, its own label where there is none."""
    rows = [probability[given == label, label] for label in range(count)]
    threshold = np.array([values.mean() if len(values) else np.inf for values in rows])
    confident = np.where(probability >= threshold, probability, -1.0)
    best = confident.argmax(axis=1)
    return np.where(confident.max(axis=1) >= 0, best, given)


def _neighbours(inputs: Tensor, given: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.float64]:
    """The vote of each row's nearest other rows, as shares."""
    from sklearn.decomposition import PCA
    from sklearn.neighbors import NearestNeighbors

    flat = inputs.reshape(len(inputs), -1).double().numpy()
    flat = flat - flat.mean(axis=0)
    # Not divided by each number's deviation: in a picture that would blow up the border, where nearly nothing happens.
    kept = min(_COMPONENTS, *flat.shape)
    if kept < flat.shape[1]:
        flat = PCA(n_components=kept, svd_solver="randomized", random_state=0).fit_transform(flat)
    else:
        flat = flat / np.where(flat.std(axis=0) > 0, flat.std(axis=0), 1.0)
    near = NearestNeighbors(n_neighbors=_NEIGHBOURS + 1).fit(flat).kneighbors(flat, return_distance=False)
    # The row itself is among its own neighbours, first unless another row is equal to it.
    others = np.where(near == np.arange(len(flat))[:, None], -1, near)
    votes = np.zeros((len(flat), count))
    for column in others.T:
        there = column >= 0
        np.add.at(votes, (np.flatnonzero(there), given[column[there]]), 1.0)
    found: npt.NDArray[np.float64] = votes / votes.sum(axis=1, keepdims=True)
    return found
