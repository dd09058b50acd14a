"""One class at each step of a row, such as a sleep stage each half minute: scores over the steps that are labelled."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from pydantic import validate_call
from torch import Tensor
from torch.nn import functional

from limbeck.divergences import kl, log_mean, tempered
from limbeck.errors import DataError
from limbeck.metrics.classes import by_class, calibration_error, class_means, confusion, reliability
from limbeck.metrics.examples import telling
from limbeck.metrics.known import check_class_numbers, counted
from limbeck.notation import spelled
from limbeck.precision import wide
from limbeck.records import Panel
from limbeck.task import LabelKind, Meaning

_SHOWN_RUNS = 12


class SequenceLabels:
    """Each step of a row has one class. Outputs are logits (rows, steps, classes); labels are class numbers by step.

    Metrics are those of classification over every step whose label is known: `accuracy`, `macro_f1` and
    `balanced_accuracy` (0 to 1), `nll` (nats) and `ece` (0 to 1).

    Args:
        select: The validation metric by which weights are chosen.
    """

    name: ClassVar[str] = "sequence"
    labels: ClassVar[LabelKind] = "steps"
    learnt: ClassVar[frozenset[str]] = frozenset()
    baseline_name: ClassVar[str] = ""
    says: ClassVar[frozenset[Meaning]] = frozenset({"classes"})
    higher_is_better: ClassVar[bool] = True
    objective: ClassVar[str] = "0.9 * kd(temperature=4) + 0.1 * labels"

    @validate_call
    def __init__(self, select: Literal["accuracy", "macro_f1", "balanced_accuracy"] = "accuracy") -> None:
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
        return tuple(dict.fromkeys((self.select, "accuracy", "macro_f1", "nll", "ece")))

    def fitted(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."]) -> "SequenceLabels":
        """Itself: it needs to know nothing of the labels beforehand."""
        return self

    def restore(self) -> None:
        """Logits are what the network says."""

    def check_labels(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."], classes: Sequence[str]) -> None:
        """Checks that each known label is the number of a class.

        Raises:
            DataError: When labels are no whole numbers, not one for each step, or out of range.
        """
        if labels.ndim != 2 or labels.shape != known.shape:
            raise DataError(
                f"the labels have shape {tuple(labels.shape)}",
                expected=f"one class number for each step: {tuple(known.shape)}",
                remedy="task: classification where a row has one label",
            )
        check_class_numbers(labels, known, classes)

    def output_size(self, classes: Sequence[str]) -> int:
        """One logit for each class, at each step."""
        return len(classes)

    def mean(self, answers: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
        """The logarithms of the mean probabilities of each step."""
        return log_mean(answers, weights)

    def label_loss(
        self, outputs: Float[Tensor, "*rows classes"], labels: Int[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows"]:
        """Cross-entropy in nats for each step, in at least float32."""
        flat = functional.cross_entropy(wide(outputs).flatten(0, -2), labels.flatten(), reduction="none")
        return flat.reshape(labels.shape)

    def metrics(
        self,
        outputs: Float[Tensor, "rows steps classes"],
        labels: Int[Tensor, "rows steps"],
        known: Bool[Tensor, "rows steps"],
        classes: Sequence[str] = (),
    ) -> dict[str, float]:
        """See the class.

        Raises:
            DataError: When no label is known.
            ModelError: When an output at a known step is not finite.
        """
        logits, truth = counted(outputs, labels, known)
        answer = logits.argmax(dim=1)
        values = {"accuracy": float((answer == truth).double().mean())}
        values |= class_means(truth.numpy(), answer.numpy(), logits.shape[1])
        values["nll"] = float(functional.cross_entropy(logits, truth))
        values["ece"] = calibration_error(torch.softmax(logits, dim=1), truth)
        return values

    def baseline(self, inputs: Shaped[Tensor, "rows ..."]) -> Tensor:
        """There is none: the commonest class says nothing of a step."""
        raise NotImplementedError

    def likeness(
        self, outputs: Float[Tensor, "rows steps classes"], teacher: Float[Tensor, "rows steps classes"]
    ) -> dict[str, float]:
        """Share of steps with the same answer, and the mean of KL(teacher || student) in nats at T=1."""
        student, taught = outputs.detach().cpu().double(), teacher.detach().cpu().double()
        agreement = (student.argmax(dim=-1) == taught.argmax(dim=-1)).double().mean()
        return {"agreement": float(agreement), "kl": float(kl(tempered(taught, 1.0), tempered(student, 1.0)).mean())}

    def decode(
        self, outputs: Float[Tensor, "rows steps classes"], classes: Sequence[str]
    ) -> list[Mapping[str, object]]:
        """For each row the likeliest class of each step, and its probability."""
        chances, places = torch.softmax(outputs.detach().float().cpu(), dim=-1).max(dim=-1)
        return [
            {"classes": [classes[place] for place in row], "probability": chance}
            for row, chance in zip(places.tolist(), chances.tolist(), strict=True)
        ]

    def reading(self, classes: Sequence[str]) -> Mapping[str, object]:
        """One class at each step, from logits."""
        return {"kind": "steps", "names": list(classes)}

    def panels(
        self,
        outputs: Float[Tensor, "rows steps classes"],
        labels: Int[Tensor, "rows steps"],
        known: Bool[Tensor, "rows steps"],
        classes: Sequence[str],
    ) -> list[Panel]:
        """Scores by class, the confusion matrix (up to 100 classes), and the reliability curve, all over steps.

        Raises:
            DataError: When no label is known.
            ModelError: When an output at a known step is not finite.
        """
        logits, truth = counted(outputs, labels, known)
        numbers, answer = truth.numpy(), logits.argmax(dim=1).numpy()
        curve = reliability(torch.softmax(logits, dim=1), truth)
        return [by_class(numbers, answer, classes, "steps"), *confusion(numbers, answer, classes), curve]

    def teacher_saw(
        self,
        inputs: Shaped[Tensor, "rows ..."],
        teacher: Float[Tensor, "rows steps classes"],
        labels: Int[Tensor, "rows steps"],
        known: Bool[Tensor, "rows steps"],
        classes: Sequence[str],
        temperature: float,
    ) -> Panel:
        """Eight rows, half those over which the teacher hesitates most on average and half those it is surest of.

        Steps of one class in a row are written together: `N ×12, V, N ×3`.
        """
        logits = tempered(teacher.detach().cpu().double(), 1.0)
        doubt = -(logits.exp() * logits).sum(dim=-1).mean(dim=-1)
        rows = []
        for row in telling(len(logits), doubt):
            truth = [classes[n] if k else "?" for n, k in zip(labels[row].tolist(), known[row].tolist(), strict=True)]
            said = [classes[number] for number in logits[row].argmax(dim=-1).tolist()]
            rows.append([str(row), _runs(truth), _runs(said), float(logits[row].exp().amax(dim=-1).min())])
        columns = ["row", "label", "teacher", "its least probability"]
        return Panel("teacher_saw", "What the teacher said", "table", {"columns": columns, "rows": rows})


def _runs(names: Sequence[str]) -> str:
    runs = [(name, len(list(group))) for name, group in groupby(names)]
    said = [name if count == 1 else f"{name} ×{count}" for name, count in runs[:_SHOWN_RUNS]]
    return ", ".join([*said, *(["…"] if len(runs) > _SHOWN_RUNS else [])])
