"""Contrastive representation distillation: a row's two embeddings shall find each other among those of other rows.

Tian, Krishnan, Isola, 2019, https://arxiv.org/abs/1910.10699, sections 3.1 and 3.4: the critic h with a linear map and
L2 normalisation in both models, N negatives to a positive, the student's rows as anchors and then the teacher's.
Read: memory, and a copy of the authors' code (https://github.com/HobbitLong/RepDistiller). Width and temperature are
that code's defaults (the paper says 0.1 for CIFAR-100).
What N/M is: with M the rows of the data, as the paper writes it, thousands of negatives at a cosine of 0 outweigh one
positive; the authors' code first divides e = exp(cosine / temperature) by M times its mean over the first batch, so
that M cancels and N times that mean is left. Here 1/M is the mean of e over pairs of random directions in `width`
dimensions: it follows from the arguments, and measures nothing.
Deviations:
- the paper keeps both embeddings of every row of the data, moved by momentum 0.5, and draws 16,384 negatives from them;
  here a bank keeps the embeddings of the last `bank` rows trained on, as they were, the oldest leaving first, and all
  of it are negatives. It is as large whatever the data, never older than bank / batch steps, and draws nothing;
- the other rows of the batch are negatives too, so that there are some while the bank is empty: the first steps teach
  what the later ones do;
- the authors take the positive from the memory as well; here it is the row's other embedding of this step, so that the
  gradient of a pair reaches both heads;
- the value is averaged over the rows; N is each row's own number of negatives.
"""

import math
from functools import lru_cache
from typing import Annotated

import torch
from annotated_types import Ge, Lt, MinLen
from jaxtyping import Bool, Float, Int
from pydantic import validate_call
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from limbeck.alignment import beside, points, ready, seeded, through, unit
from limbeck.errors import ObjectiveError
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class CRD(Objective):
    """Noise-contrastive estimation of which embedding of the other model is a row's own, in both directions.

    A row's own entries in the bank, also of another view or epoch, are no negatives of it; where the mask counts
    positions, a position's own. Of a mixed row (mixup) the id is that of its first half; earlier entries of the second
    half count as others. `setup` makes the two heads, which train with the student; the bank stands in buffers, is
    written by `remember` and saved with them. Training over several processes is refused: each would keep its own bank.

    Args:
        student_layer: Layer of the student to embed, flattened; None means its logits. The paper takes the last one
            before the classifier, after pooling.
        teacher_layer: The same of the teacher.
        width: Numbers in an embedding.
        temperature: Divides the cosines.
        bank: Past rows that serve as negatives.
    """

    family = "relations"
    formula = (
        "mean over rows of −log h(own) − Σ log(1 − h(other)), twice; h = e / (e + N/M), e = exp(cosine / temperature)"
    )
    per_row = False

    learnt: Float[Tensor, "bank width"]
    taught: Float[Tensor, "bank width"]
    owners: Int[Tensor, "bank 2"]

    @validate_call
    def __init__(
        self,
        student_layer: Annotated[str, MinLen(1)] | None = None,
        teacher_layer: Annotated[str, MinLen(1)] | None = None,
        width: Annotated[int, Ge(2)] = 128,
        temperature: Annotated[float, Ge(0.001), Lt(math.inf)] = 0.07,
        bank: Annotated[int, Ge(0)] = 4096,
    ) -> None:
        super().__init__()
        self.student_layer, self.teacher_layer = student_layer, teacher_layer
        self.width, self.temperature, self.bank = width, temperature, bank
        self.student_head: nn.Module | None = None
        self.teacher_head: nn.Module | None = None
        self.register_buffer("learnt", torch.zeros(bank, width))
        self.register_buffer("taught", torch.zeros(bank, width))
        # Id and position of each entry; -1 where there is none yet.
        self.register_buffer("owners", torch.full((bank, 2), -1))

    def needs(self) -> Needs:
        """The two layers or the teacher's logits, ids to know a row again, and two rows."""
        return Needs(
            logits=self.teacher_layer is None,
            student_layers=frozenset() if self.student_layer is None else frozenset({self.student_layer}),
            teacher_layers=frozenset() if self.teacher_layer is None else frozenset({self.teacher_layer}),
            ids=True,
            rows=2,
        )

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Makes two new heads from the widths of the layers, and an empty bank.

        Raises:
            ObjectiveError: When a layer says no vector for each row, or each position, that the mask counts.
        """
        self.student_head = self._head("student", student, self.student_layer, batch)
        self.teacher_head = self._head("teacher", teacher, self.teacher_layer, batch)
        weight = next(self.student_head.parameters())
        self.learnt = torch.zeros(self.bank, self.width, dtype=weight.dtype, device=weight.device)
        self.taught = torch.zeros_like(self.learnt)
        self.owners = torch.full((self.bank, 2), -1, device=weight.device)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, ""]:
        """The mean over the rows that the mask counts, both directions added.

        Raises:
            ObjectiveError: When `setup` has not been called.
        """
        ours, theirs = self._embedded(student, teacher, batch)
        owners = _owners(batch)
        others = _differ(owners, torch.cat([owners, self.owners]))
        value = self._contrast(ours, theirs, self.taught, others) + self._contrast(theirs, ours, self.learnt, others)
        return value.sum() / max(len(value), 1)

    def keep(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Puts the rows that the mask counts into the bank, in place of its oldest ones."""
        ours, theirs = self._embedded(student, teacher, batch)
        for kept, new in ((self.learnt, ours), (self.taught, theirs), (self.owners, _owners(batch))):
            kept.copy_(torch.cat([kept, new.to(kept.dtype)])[len(new) :])

    def _head(self, side: str, signals: Signals, layer: str | None, batch: Batch) -> nn.Module:
        said, mask = signals.logits if layer is None else signals.features[layer], batch.mask
        assert said is not None
        if said.ndim <= mask.ndim or said.shape[: mask.ndim] != mask.shape:
            raise ObjectiveError(
                f"{self!r} cannot embed the {side}'s {layer or 'logits'} of shape {tuple(said.shape)}",
                expected=f"a vector for each place of the mask, {tuple(mask.shape)}",
                remedy="name a layer that says one vector for each",
            )
        with seeded("crd", side, layer or "logits"):
            made = nn.Linear(said.flatten(mask.ndim).shape[-1], self.width)
        return beside(made, said)

    def _embedded(
        self, student: Signals, teacher: Signals, batch: Batch
    ) -> tuple[Float[Tensor, "n width"], Float[Tensor, "n width"]]:
        """The counted rows' embeddings of length 1; no gradient reaches the teacher's layer."""
        learnt = points(student, self.student_layer, batch)
        taught = points(teacher, self.teacher_layer, batch).detach()
        ours = unit(through(ready(self.student_head, self), learnt))
        theirs = unit(through(ready(self.teacher_head, self), taught))
        return ours, theirs.to(ours.dtype)

    def _contrast(
        self,
        anchors: Float[Tensor, "n width"],
        own: Float[Tensor, "n width"],
        past: Float[Tensor, "bank width"],
        others: Bool[Tensor, "n candidates"],
    ) -> Float[Tensor, " n"]:
        """−log h of each anchor with its own, − log(1 − h) of it with every other; 0 where there is no other."""
        cosines = anchors @ torch.cat([own, past.to(own.dtype)]).T
        count = others.sum(dim=1)
        # The logit of h: log e − log(N/M).
        level = count.clamp(min=1).to(cosines.dtype).log()[:, None] + _log_mean_of_chance(self.width, self.temperature)
        logits = cosines / self.temperature - level
        kept = -logsigmoid(logits[:, : len(own)].diagonal())
        left = torch.where(others, -logsigmoid(-logits), 0.0).sum(dim=1)
        return torch.where(count > 0, kept + left, 0.0)


@lru_cache(maxsize=16)
def _log_mean_of_chance(width: int, temperature: float) -> float:
    """Log of the mean of exp(cosine / temperature) over pairs of random directions: a Bessel series, in logarithms."""
    sharpness = 1 / temperature
    # Terms grow up to about half the sharpness, then fall faster than any power.
    terms = [
        2 * k * math.log(sharpness / 2) - math.lgamma(k + 1) - math.lgamma(width / 2 + k) + math.lgamma(width / 2)
        for k in range(int(2 * sharpness) + 50)
    ]
    highest = max(terms)
    return highest + math.log(math.fsum(math.exp(term - highest) for term in terms))


def _owners(batch: Batch) -> Int[Tensor, "n 2"]:
    """Whose the counted vectors are: the row's id and, where the mask counts positions, which position."""
    places = batch.mask.nonzero()
    position = places[:, 1] if batch.mask.ndim > 1 else torch.zeros_like(places[:, 0])
    return torch.stack([batch.ids[places[:, 0]], position], dim=1)


def _differ(ours: Int[Tensor, "n 2"], candidates: Int[Tensor, "candidates 2"]) -> Bool[Tensor, "n candidates"]:
    """Whether a candidate is there and belongs to another row, or another position."""
    apart = (ours[:, None, :] != candidates[None, :, :]).any(dim=2)
    return apart & (candidates[:, 0] >= 0)
