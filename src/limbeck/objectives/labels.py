"""The task's own loss against the labels, as a student without a teacher trains on it.

The task decides which loss that is (cross-entropy for classification). Rows without a known label are not counted.
Where a batch is mixed (mixup), both labels are asked, weighted by their shares:

    mixup: Zhang, Cisse, Dauphin, Lopez-Paz, 2017, https://arxiv.org/abs/1710.09412, section 2 (Contribution).

A row and its partner count only where both labels are known. Read: memory.
Deviation: the paper mixes the one-hot labels; the loss is linear in them, so mixing the losses is the same.
"""

from jaxtyping import Bool, Float
from torch import Tensor

from limbeck.errors import ObjectiveError
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Labels(Objective):
    """The task's loss against the labels (for classification: cross-entropy in nats)."""

    family = "labels"
    formula = "task loss(student, label)"

    def needs(self) -> Needs:
        """Labels, and no teacher."""
        return Needs(labels=True)

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        """The rows whose label, and whose partner's label where there is one, is known."""
        return batch.labelled

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
