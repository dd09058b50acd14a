"""Several classes for each row: a probability for each of its own, average precision, and the scores by class."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from pydantic import validate_call
from torch import Tensor
from torch.nn import functional

from limbeck.divergences import binary_kl, binary_mean
from limbeck.errors import DataError
from limbeck.metrics.classes import binned_error, reliability_data
from limbeck.metrics.examples import pictures, rounded, telling
from limbeck.metrics.known import counted
from limbeck.notation import spelled
from limbeck.precision import wide
from limbeck.records import Panel
from limbeck.task import LabelKind, Meaning

_RANKED = 5


class Multilabel:
    """Each row has any number of classes, or none. Outputs are a logit for each class; labels are 0 or 1 for each.

    A class is said where its probability is at least one half. Metrics: `map`, the mean over classes of the average
    precision (of those that are true of some rows and not of others; left out where there is none); `macro_f1`, the
    mean of F1 over the classes that occur in labels or answers, and `micro_f1`, F1 of all decisions together;
    `subset_accuracy`, the share of rows with every class right; `nll`, the loss against the labels in nats; `ece`, the
    mean distance between probability and frequency over all rows and classes. All but `nll` are from 0 to 1.

    Args:
        select: The validation metric by which weights are chosen.
    """

    name: ClassVar[str] = "multilabel"
    labels: ClassVar[LabelKind] = "several"
    learnt: ClassVar[frozenset[str]] = frozenset()
    baseline_name: ClassVar[str] = ""
    says: ClassVar[frozenset[Meaning]] = frozenset({"binary"})
    higher_is_better: ClassVar[bool] = True
    objective: ClassVar[str] = "0.9 * binary_kd(temperature=1) + 0.1 * labels"

    @validate_call
    def __init__(self, select: Literal["map", "macro_f1", "micro_f1", "subset_accuracy"] = "map") -> None:
        self.select = select

    def __repr__(self) -> str:
        return spelled(self)

    @property
    def selection(self) -> str:
        """What `select` says."""
        return self.select

    @property
    def headline(self) -> tuple[str, ...]:
        """The chosen metric first."""
        return tuple(dict.fromkeys((self.select, "map", "macro_f1", "micro_f1", "subset_accuracy")))

    def fitted(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."]) -> "Multilabel":
        """Itself: it needs to know nothing of the labels beforehand."""
        return self

    def restore(self) -> None:
        """Logits are what the network says."""

    def check_labels(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."], classes: Sequence[str]) -> None:
        """Checks that there is 0 or 1 for each class of each known row.

        Raises:
            DataError: When there is not.
        """
        if labels.ndim != 2 or labels.shape[1] != len(classes):
            raise DataError(
                f"the labels have shape {tuple(labels.shape)}",
                expected=f"a column for each class: (rows, {len(classes)})",
                remedy="task: classification where each row has one class",
            )
        wrong = (known[:, None] & (labels != 0) & (labels != 1)).nonzero()
        if len(wrong):
            row, place = wrong[0].tolist()
            raise DataError(
                f"row {row} holds {float(labels[row, place]):g} for the class {classes[place]!r}", expected="0 or 1"
            )

    def output_size(self, classes: Sequence[str]) -> int:
        """One logit for each class."""
        return len(classes)

    def mean(self, answers: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
        """The logits of each class's mean probability."""
        return binary_mean(answers, weights)

    def label_loss(
        self, outputs: Float[Tensor, "*rows classes"], labels: Float[Tensor, "*rows classes"]
    ) -> Float[Tensor, "*rows"]:
        """Cross-entropy of every class in nats, summed over the classes, in at least float32.

        Summed, because that is what a row's labels cost a model that takes classes as independent, and because
        `binary_kd` sums likewise: their weights in an objective mean the same whatever the number of classes.
        """
        said = wide(outputs)
        loss = functional.binary_cross_entropy_with_logits(said, labels.to(said.dtype), reduction="none")
        return loss.sum(dim=-1)

    def metrics(
        self,
        outputs: Float[Tensor, "rows classes"],
        labels: Float[Tensor, "rows classes"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str] = (),
    ) -> dict[str, float]:
        """See the class; over the rows whose labels are known.

        Raises:
            DataError: When none is known.
            ModelError: When an output is not finite.
        """
        logits, truth = counted(outputs, labels, known)
        there, said = truth.numpy() > 0, logits.numpy() >= 0
        precise = [score for score in _average_precisions(logits, there) if score is not None]
        values = {"map": float(np.mean(precise))} if precise else {}
        hits, both = (there & said).sum(axis=0), there.sum(axis=0) + said.sum(axis=0)
        if both.any():
            values["macro_f1"] = float((2 * hits[both > 0] / both[both > 0]).mean())
            values["micro_f1"] = float(2 * hits.sum() / both.sum())
        probability = torch.sigmoid(logits)
        return values | {
            "subset_accuracy": float((there == said).all(axis=1).mean()),
            "nll": float(self.label_loss(logits, truth).mean()),
            "ece": binned_error(probability.flatten(), truth.double().flatten()),
        }

    def baseline(self, inputs: Shaped[Tensor, "rows ..."]) -> Tensor:
        """There is none: how common classes are says nothing of a row."""
        raise NotImplementedError

    def likeness(
        self, outputs: Float[Tensor, "rows classes"], teacher: Float[Tensor, "rows classes"]
    ) -> dict[str, float]:
        """The share of equal decisions about a class, and KL(teacher || student) in nats, summed over classes."""
        student, taught = outputs.detach().cpu().double(), teacher.detach().cpu().double()
        agreement = ((student >= 0) == (taught >= 0)).double().mean()
        return {"agreement": float(agreement), "kl": float(binary_kl(taught, student).sum(dim=-1).mean())}

    def decode(self, outputs: Float[Tensor, "rows classes"], classes: Sequence[str]) -> list[Mapping[str, object]]:
        """For each row the classes it has, likeliest first, and the five likeliest with their probabilities."""
        values, places = torch.sigmoid(outputs.detach().float().cpu()).sort(dim=-1, descending=True, stable=True)
        answers: list[Mapping[str, object]] = []
        for chances, order in zip(values.tolist(), places.tolist(), strict=True):
            ranked = {classes[place]: chance for place, chance in zip(order, chances, strict=True)}
            likeliest = dict(list(ranked.items())[:_RANKED])
            answers.append({"classes": [name for name, c in ranked.items() if c >= 0.5], "likeliest": likeliest})
        return answers

    def reading(self, classes: Sequence[str]) -> Mapping[str, object]:
        """Several classes, from a logit each."""
        return {"kind": "classes", "names": list(classes)}

    def panels(
        self,
        outputs: Float[Tensor, "rows classes"],
        labels: Float[Tensor, "rows classes"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str],
    ) -> list[Panel]:
        """Scores by class, and how often a class was there by its probability, over all classes.

        Raises:
            DataError: When none is known.
            ModelError: When an output is not finite.
        """
        from sklearn.metrics import precision_recall_fscore_support

        logits, truth = counted(outputs, labels, known)
        there, said = truth.numpy() > 0, logits.numpy() >= 0
        rows = []
        for place, precise in enumerate(_average_precisions(logits, there)):
            precision, recall, f1, _ = precision_recall_fscore_support(
                there[:, place], said[:, place], average="binary", zero_division=0
            )
            scores = [float(precision), float(recall), float(f1)]
            rows.append([classes[place], precise, *scores, int(there[:, place].sum())])
        columns = ["class", "average precision", "precision", "recall", "f1", "rows"]
        curve = reliability_data(torch.sigmoid(logits).flatten(), truth.double().flatten())
        curve |= {"x_label": "probability", "y_label": "share that was there"}
        return [
            Panel("by_class", "Scores by class", "table", {"columns": columns, "rows": rows}),
            Panel("reliability", "Reliability: how often a class was there by its probability", "curve", curve),
        ]

    def teacher_saw(
        self,
        inputs: Shaped[Tensor, "rows ..."],
        teacher: Float[Tensor, "rows classes"],
        labels: Float[Tensor, "rows classes"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str],
        temperature: float,
    ) -> Panel:
        """Eight rows: half those over whose classes the teacher hesitates most, and half those it is surest of."""
        logits = teacher.detach().cpu().double()
        nearest = torch.sigmoid(-logits.abs()).amax(dim=1)
        chosen = telling(len(logits), nearest)
        rows = [
            {
                "image": image,
                "label": None,
                "labels": _names(labels[row], classes) if bool(known[row]) else None,
                "cold": rounded(torch.sigmoid(logits[row])),
                "warm": rounded(torch.sigmoid(logits[row] / temperature)),
            }
            for row, image in zip(chosen, pictures(inputs, chosen), strict=True)
        ]
        data = {"classes": list(classes), "temperature": temperature, "rows": rows}
        return Panel("teacher_saw", "What the teacher saw", "examples", data)


def _names(labels: Tensor, classes: Sequence[str]) -> list[str]:
    return [name for name, mark in zip(classes, labels.tolist(), strict=True) if mark > 0]


def _average_precisions(logits: Tensor, there: "np.ndarray") -> list[float | None]:
    """Of each class; None where it is true of all rows or of none."""
    from sklearn.metrics import average_precision_score

    return [
        float(average_precision_score(truth, column.numpy())) if 0 < truth.sum() < len(truth) else None
        for truth, column in zip(there.T, logits.unbind(dim=1), strict=True)
    ]
