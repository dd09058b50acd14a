"""The task's own loss against the labels, as a student without a teacher trains on it.

The task decides which loss that is (cross-entropy for classification). Rows without a known label are not counted.
Of texts whose data tells steps from answers (`data.columns.rationale`), one of the two may be asked about alone:

    distilling step-by-step: Hsieh, Li, Yeh, Nakhost, Fujii, Ratner, Krishna, Lee, Pfister, 2023,
    https://arxiv.org/abs/2305.02301, equation 3: L = L_label + λ L_rationale, which is written
    labels(of='answer') + 0.5 * labels(of='rationale'), each the mean over its own positions. Read: memory.

Where a batch is mixed (mixup), both labels are asked, weighted by their shares:

    mixup: Zhang, Cisse, Dauphin, Lopez-Paz, 2017, https://arxiv.org/abs/1710.09412, section 2 (Contribution).

A row and its partner count only where both labels are known. Read: memory.
Deviation: the paper mixes the one-hot labels; the loss is linear in them, so mixing the losses is the same.
"""

from typing import Literal

from jaxtyping import Bool, Float
from pydantic import validate_call
from torch import Tensor

from limbeck.errors import ObjectiveError
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Labels(Objective):
    """The task's loss against the labels (for classification: cross-entropy in nats).

    Args:
        of: Which labels of texts with steps: those of the answer, or of the rationale; False: all.
    """

    family = "labels"
    formula = "task loss(student, label)"

    @validate_call
    def __init__(self, of: Literal[False, "answer", "rationale"] = False) -> None:
        super().__init__()
        self.of = of

    def needs(self) -> Needs:
        """Labels, and no teacher."""
        return Needs(labels=True)

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        """The rows whose label, and whose partner's label where there is one, is known, of the kind that is asked.

        Raises:
            ObjectiveError: When the data does not tell steps from answers.
        """
        if not self.of:
            return batch.labelled
        if batch.rationale is None:
            if not bool(batch.labelled.any()):  # a student's own text
                return batch.labelled
            raise ObjectiveError(
                f"{self!r} asks for the {self.of}, and the data does not tell steps from answers",
                expected="texts of prompts, steps and answers, each in a column of its own",
                remedy="columns: {inputs: prompt, rationale: steps, label: answer}, or the method labels",
            )
        return batch.labelled & (batch.rationale if self.of == "rationale" else ~batch.rationale)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The loss of each row; rows that are not counted may hold any label, and any finite logits.

        Raises:
            ObjectiveError: When the batch holds no labels although some are said to be known.
        """
        logits = student.logits
        assert logits is not None
        if batch.labels is None:
            if batch.known.any():
                raise ObjectiveError("the batch has no labels", expected="labels for the rows that `known` marks")
            return logits.new_zeros(batch.mask.shape)
        return batch.by_label(lambda labels: batch.task.label_loss(logits, labels))
