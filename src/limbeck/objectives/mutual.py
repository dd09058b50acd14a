"""Mutual learning: networks that train at the same time teach each other, and none of them needs to be good before.

Zhang, Xiang, Hospedales, Lu, CVPR 2018 (DML), https://arxiv.org/abs/1706.00384, sections 2.1 and 2.3: each network's
loss is that on the label plus the mean over the others of KL(other || it), at temperature 1. Read: copy for the
authors' code (YingZhangDUT/Deep-Mutual-Learning), memory for the paper.
Deviations:
- the paper updates the networks in turn, each against what the others say after their update (section 2.2); here all
  make one step together, each against what the others said before it. The loss is the sum of theirs, and no gradient
  flows from one to another, so that each gets the gradient of its own;
- the authors' code adds up the divergences from the others, the paper takes their mean (section 2.3), as here;
- the paper has a label for every row. Here a row without a known label adds its divergences alone: the peers still
  bring each other to agree on it. Both parts are averaged over all rows, so that the labels weigh as much as the share
  of labelled rows;
- a mixed row's (mixup) loss on the label is that of both labels by their shares.
"""

from typing import Annotated

import torch
from annotated_types import MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.divergences import kl, tempered
from limbeck.errors import ObjectiveError
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class Mutual(Objective):
    """The sum over peers of the task's loss on the label and the mean of KL(other peer || it) in nats.

    The peers are one student: a network that runs them all and answers for one of them, such as
    `peers(network='cnn(size=16)', count=2)`, whose layers `peers.0` and `peers.1` say each peer's logits. They must
    stand in the order of the data's classes.

    It needs no teacher, and a run without one makes no control. To compare, train the same student on `labels` with
    the same seed: only the peer that answers then learns, from the same first weights, and learns alone. Beside a term
    that needs a teacher, the control is just that.

    Args:
        layers: Layers of the student that say the peers' logits, two or more.
    """

    family = "several students"
    formula = "Σ over peers (task loss(peer, label) + mean over the others of KL(other || peer))"

    @validate_call
    def __init__(
        self, layers: Annotated[tuple[Annotated[str, MinLen(1)], ...], MinLen(2)] = ("peers.0", "peers.1")
    ) -> None:
        super().__init__()
        if len(set(layers)) < len(layers):
            raise ObjectiveError(
                f"mutual(layers={layers!r}) names a peer twice", expected="each once: it would be its own teacher"
            )
        self.layers = layers

    def needs(self) -> Needs:
        """The peers' layers and labels, and no teacher."""
        return Needs(student_layers=frozenset(self.layers), labels=True, meaning=frozenset({"classes"}))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Checks that each layer says logits as the student does.

        Raises:
            ObjectiveError: When one says something of another shape.
        """
        assert student.logits is not None
        for layer in self.layers:
            if student.features[layer].shape != student.logits.shape:
                raise ObjectiveError(
                    f"{self!r} takes what the layer {layer} says for a peer's logits, and it has the shape "
                    f"{tuple(student.features[layer].shape)}",
                    expected=f"that of the student's: {tuple(student.logits.shape)}",
                    remedy="a student of peers(network=...), whose layers are peers.0, peers.1 and so on",
                )

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """What all peers together pay for each row."""
        said = [student.features[layer] for layer in self.layers]
        spoken = [tempered(logits, 1.0) for logits in said]
        total = torch.stack([self._label_loss(logits, batch) for logits in said]).sum(dim=0)
        for place, own in enumerate(spoken):
            others = [other.detach() for other in spoken[:place] + spoken[place + 1 :]]
            total = total + torch.stack([kl(other, own) for other in others]).mean(dim=0)
        return total

    def _label_loss(self, logits: Float[Tensor, "*rows classes"], batch: Batch) -> Float[Tensor, "*rows"]:
        """The task's loss of each row, zero where its label is not known."""
        if batch.labels is None:
            return torch.zeros(batch.mask.shape, device=logits.device)
        loss = batch.by_label(lambda labels: batch.task.label_loss(logits, labels))
        return torch.where(batch.labelled, loss, 0.0)
