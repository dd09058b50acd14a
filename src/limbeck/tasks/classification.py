"""One class for each row: cross-entropy, accuracy and calibration, and what they look like in a report."""

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge
from jaxtyping import Bool, Float, Int, Shaped
from pydantic import validate_call
from torch import Tensor
from torch.nn import functional

from limbeck.divergences import kl, log_mean, tempered
from limbeck.errors import DataError
from limbeck.metrics.classes import by_class, calibration_error, class_means, confusion, reliability
from limbeck.metrics.examples import pictures, rounded
from limbeck.metrics.known import check_class_numbers, counted
from limbeck.notation import spelled
from limbeck.records import Panel
from limbeck.task import LabelKind, Meaning

_EXAMPLES = 8
_RANKED = 5


class Classification:
    """Each row has one class. Outputs are logits; labels are class numbers.

    Metrics are `accuracy`, `top5` (where there are more than five classes), `macro_f1` and `balanced_accuracy` (which
    weigh every class the same), all shares from 0 to 1; `nll` (mean negative log-likelihood in nats) and `ece`
    (expected calibration error, 0 to 1).

    Args:
        select: The validation metric by which weights are chosen.
        weights: What a row of each class counts for in the loss against the labels, by class number; classes beyond
            the last number count 1. "balanced" takes n / (k · n_c), with n known training labels, n_c of them of the
            class, and k classes that occur, so that every class weighs the same and a row counts 1 on average (King and
            Zeng, 2001, https://doi.org/10.1093/oxfordjournals.pan.a004868, section 3.2; read: memory; scikit-learn's
            formula). It draws probabilities towards the rare classes. Terms that learn from the teacher are not
            weighted.
    """

    name: ClassVar[str] = "classification"
    labels: ClassVar[LabelKind] = "single"
    learnt: ClassVar[frozenset[str]] = frozenset({"weights"})
    baseline_name: ClassVar[str] = ""
    says: ClassVar[frozenset[Meaning]] = frozenset({"classes"})
    higher_is_better: ClassVar[bool] = True
    objective: ClassVar[str] = "0.9 * kd(temperature=4) + 0.1 * labels"

    @validate_call
    def __init__(
        self,
        select: Literal["accuracy", "macro_f1", "balanced_accuracy"] = "accuracy",
        weights: Literal["balanced"] | tuple[Annotated[float, Ge(0)], ...] | None = None,
    ) -> None:
        self.select, self.weights = select, weights

    @property
    def selection(self) -> str:
        """What `select` says."""
        return self.select

    @property
    def headline(self) -> tuple[str, ...]:
        """The chosen metric first."""
        return tuple(dict.fromkeys((self.select, "accuracy", "nll", "ece")))

    def fitted(self, labels: Int[Tensor, " rows"], known: Bool[Tensor, " rows"]) -> "Classification":
        """With balanced weights as numbers; itself where there are none to balance."""
        if self.weights != "balanced" or not bool(known.any()):
            return self
        counts = torch.bincount(labels[known]).double()
        weights = torch.where(counts > 0, counts.sum() / (int((counts > 0).sum()) * counts.clamp(min=1)), 0.0)
        return Classification(self.select, tuple(weights.tolist()))

    def restore(self) -> None:
        """Logits are what the network says."""

    def __repr__(self) -> str:
        return spelled(self)

    def check_labels(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."], classes: Sequence[str]) -> None:
        """Checks that each known label is the number of a class.

        Raises:
            DataError: When labels are no whole numbers, not one for each row, or out of range.
        """
        if labels.ndim != 1 or labels.shape != known.shape:
            raise DataError(
                f"the labels have shape {tuple(labels.shape)}",
                expected=f"one class number for each row: {tuple(known.shape)}",
                remedy="labels.argmax(1) for one-hot labels",
            )
        check_class_numbers(labels, known, classes)

    def output_size(self, classes: Sequence[str]) -> int:
        """One logit for each class."""
        return len(classes)

    def mean(self, answers: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
        """The logarithms of the mean probabilities."""
        return log_mean(answers, weights)

    def label_loss(
        self, outputs: Float[Tensor, "*rows classes"], labels: Int[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows"]:
        """Cross-entropy in nats for each row, times the weight of its class, in at least float32."""
        wide = outputs if outputs.dtype == torch.float64 else outputs.float()
        flat = functional.cross_entropy(wide.flatten(0, -2), labels.flatten(), reduction="none")
        if isinstance(self.weights, tuple):
            given = self.weights[: wide.shape[-1]]
            weights = wide.new_tensor([*given, *[1.0] * (wide.shape[-1] - len(given))])
            flat = flat * weights[labels.flatten()]
        return flat.reshape(labels.shape)

    def metrics(
        self,
        outputs: Float[Tensor, "rows classes"],
        labels: Int[Tensor, " rows"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str] = (),
    ) -> dict[str, float]:
        """Accuracy, top-5 accuracy, the means over classes, nll and ece over the rows whose label is known.

        Raises:
            DataError: When no label is known.
            ModelError: When an output is not finite.
        """
        from sklearn.metrics import accuracy_score, top_k_accuracy_score

        logits, truth = counted(outputs, labels, known)
        probability = torch.softmax(logits, dim=1)
        numbers = truth.numpy()
        values = {"accuracy": float(accuracy_score(numbers, logits.argmax(dim=1).numpy()))}
        if logits.shape[1] > 5:
            names = np.arange(logits.shape[1])
            values["top5"] = float(top_k_accuracy_score(numbers, logits.numpy(), k=5, labels=names))
        values |= class_means(numbers, logits.argmax(dim=1).numpy(), logits.shape[1])
        # not sklearn's log_loss: it takes probabilities and clips them, so a confident mistake would cost too little
        values["nll"] = float(functional.cross_entropy(logits, truth))
        values["ece"] = calibration_error(probability, truth)
        return values

    def baseline(self, inputs: Shaped[Tensor, "rows ..."]) -> Tensor:
        """There is none: the commonest class says nothing of a row."""
        raise NotImplementedError

    def likeness(
        self, outputs: Float[Tensor, "rows classes"], teacher: Float[Tensor, "rows classes"]
    ) -> dict[str, float]:
        """Share of rows with the same answer, and the mean of KL(teacher || student) in nats at T=1."""
        student, wide = outputs.detach().cpu().double(), teacher.detach().cpu().double()
        agreement = (student.argmax(dim=-1) == wide.argmax(dim=-1)).double().mean()
        return {"agreement": float(agreement), "kl": float(kl(tempered(wide, 1.0), tempered(student, 1.0)).mean())}

    def decode(self, outputs: Float[Tensor, "rows classes"], classes: Sequence[str]) -> list[Mapping[str, object]]:
        """For each row the likeliest class, its probability, and the five likeliest with their probabilities."""
        values, places = torch.softmax(outputs.detach().float().cpu(), dim=-1).topk(min(_RANKED, len(classes)))
        answers: list[Mapping[str, object]] = []
        for row_values, row_places in zip(values.tolist(), places.tolist(), strict=True):
            ranked = {classes[place]: value for place, value in zip(row_places, row_values, strict=True)}
            answers.append({"class": classes[row_places[0]], "probability": row_values[0], "likeliest": ranked})
        return answers

    def reading(self, classes: Sequence[str]) -> Mapping[str, object]:
        """One class, from logits."""
        return {"kind": "class", "names": list(classes)}

    def panels(
        self,
        outputs: Float[Tensor, "rows classes"],
        labels: Int[Tensor, " rows"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str],
    ) -> list[Panel]:
        """Scores by class, the confusion matrix (up to 100 classes), and the reliability curve.

        Raises:
            DataError: When no label is known.
            ModelError: When an output is not finite.
        """
        logits, truth = counted(outputs, labels, known)
        numbers, answer = truth.numpy(), logits.argmax(dim=1).numpy()
        curve = reliability(torch.softmax(logits, dim=1), truth)
        return [by_class(numbers, answer, classes), *confusion(numbers, answer, classes), curve]

    def teacher_saw(
        self,
        inputs: Shaped[Tensor, "rows ..."],
        teacher: Float[Tensor, "rows classes"],
        labels: Int[Tensor, " rows"],
        known: Bool[Tensor, " rows"],
        classes: Sequence[str],
        temperature: float,
    ) -> Panel:
        """Eight rows, half of them those the teacher hesitates most over and half those it is surest of.

        Each half comes from the most doubtful and the surest quarter of the rows, different answers (classes) first.
        Images are grey or RGB, scaled to 0..1 by the least and the greatest value among `inputs`, and averaged down to
        64 pixels a side where larger.
        """
        logits = teacher.detach().cpu().double()
        chosen = _examples(logits)
        images = pictures(inputs, chosen)
        rows = [
            {
                "image": image,
                "label": classes[int(labels[row])] if bool(known[row]) else None,
                "cold": rounded(torch.softmax(logits[row], dim=0)),
                "warm": rounded(torch.softmax(logits[row] / temperature, dim=0)),
            }
            for row, image in zip(chosen, images, strict=True)
        ]
        data = {"classes": list(classes), "temperature": temperature, "rows": rows}
        return Panel("teacher_saw", "What the teacher saw", "examples", data)


def _examples(logits: Float[Tensor, "rows classes"]) -> list[int]:
    cold = tempered(logits, 1.0)
    entropy = -(cold.exp() * cold).sum(dim=1)
    by_doubt = torch.argsort(entropy, descending=True, stable=True).tolist()
    answer = logits.argmax(dim=1).tolist()
    half = min(_EXAMPLES, len(by_doubt)) // 2
    quarter = max(_EXAMPLES, len(by_doubt) // 4)
    doubtful = _varied(by_doubt[:quarter], answer, half)
    surest = [row for row in reversed(by_doubt) if row not in doubtful][:quarter]
    return doubtful + _varied(surest, answer, _EXAMPLES - half)


def _varied(rows: Sequence[int], answer: Sequence[int], count: int) -> list[int]:
    """The first row of each answer, in order, then the others in order."""
    first_of = {answer[row]: row for row in reversed(rows)}
    firsts = [row for row in rows if first_of[answer[row]] == row]
    return [*firsts, *(row for row in rows if first_of[answer[row]] != row)][:count]
