"""The two things that flow: a batch of data, and what a network said about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from limbeck.targets.dense import DenseTargets
from limbeck.targets.hidden import HiddenTargets
from limbeck.targets.protocol import MakesLogits, SoftTargets
from limbeck.task import LABEL_DIMENSIONS, UNLABELLED_COUNT, Task, counted


@dataclass(frozen=True)
class Partner:
    """The other half of a mixed example (mixup): its label, and how much of the example is the first half's."""

    labels: Shaped[Tensor, "rows ..."]
    known: Bool[Tensor, "*rows"]
    share: Float[Tensor, " rows"]

    def rows(self, index: Tensor | slice) -> "Partner":
        """The partners of some of the rows."""
        return Partner(self.labels[index], self.known[index], self.share[index])


@dataclass(frozen=True)
class Batch:
    """Rows of data as every network and objective sees them.

    `inputs` are raw: each `Model` applies its own transform. `mask` counts positions (True counts); `known` marks the
    positions whose label is known, so that unlabelled rows still carry soft targets. `ids` and `views` key the
    recording: a row's id is its place in the data, its view the number of its augmentation. `rationale` marks the
    positions of a text whose label belongs to the steps before an answer; None where the data does not tell them apart.
    """

    inputs: Shaped[Tensor, "rows ..."]
    labels: Shaped[Tensor, "rows ..."] | None
    mask: Bool[Tensor, "*rows"]
    known: Bool[Tensor, "*rows"]
    ids: Int[Tensor, " rows"]
    views: Int[Tensor, " rows"]
    task: Task
    partner: Partner | None = None
    rationale: Bool[Tensor, "*rows"] | None = None

    @classmethod
    def of(cls, inputs: Tensor, labels: Tensor | None, task: Task, *, ids: Tensor | None = None) -> "Batch":
        """A batch for a loop of your own: every row counts, every label (where there are labels) is known.

        Of text only the positions count whose label is 0 or above.
        """
        rows = inputs.shape[0]
        positions = (rows,) if labels is None else labels.shape[: labels.ndim - LABEL_DIMENSIONS[task.labels]]
        everything = torch.ones(positions, dtype=torch.bool, device=inputs.device)
        known = everything if labels is not None else torch.zeros_like(everything)
        if labels is not None and not UNLABELLED_COUNT[task.labels]:
            known = labels >= 0
        number = torch.arange(rows, device=inputs.device) if ids is None else ids
        mask = everything if labels is None else counted(known, task.labels)
        return cls(inputs, labels, mask, known, number, torch.zeros_like(number), task)

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    def only(self, rows: Bool[Tensor, "..."]) -> "Batch":
        """The same batch in which nothing counts but these rows or positions (and of them what counted before)."""
        there = rows.to(self.mask.device)
        return replace(self, mask=self.mask & there.reshape(*there.shape, *[1] * (self.mask.ndim - there.ndim)))

    @property
    def labelled(self) -> Bool[Tensor, "*rows"]:
        """The rows that count and whose label, and whose partner's label where there is one, is known."""
        known = self.mask & self.known
        return known if self.partner is None else known & self.partner.known

    def by_label(self, value: Callable[[Shaped[Tensor, "rows ..."]], Float[Tensor, "*rows"]]) -> Float[Tensor, "*rows"]:
        """What a row's label makes of it; for a mixed row both labels' values, weighted by their shares.

        Args:
            value: From labels to one value for each row. Rows that are not `labelled` are asked about with label 0,
                for what stands there may be no label at all (often -1); their values mean nothing. So are all rows
                of a batch without labels.
        """
        counted = self.labelled
        if self.labels is None:
            return value(torch.zeros_like(self.mask, dtype=torch.int64))

        def asked(labels: Shaped[Tensor, "rows ..."]) -> Float[Tensor, "*rows"]:
            positions = counted.reshape(*counted.shape, *[1] * (labels.ndim - counted.ndim))
            return value(torch.where(positions, labels, torch.zeros_like(labels)))

        own = asked(self.labels)
        if self.partner is None:
            return own
        share = self.partner.share.to(own.dtype).reshape(-1, *[1] * (own.ndim - 1))
        return share * own + (1 - share) * asked(self.partner.labels)

    def rows(self, index: Tensor | slice) -> "Batch":
        """Some of the rows, in the order of the index."""
        return replace(
            self,
            inputs=self.inputs[index],
            labels=None if self.labels is None else self.labels[index],
            mask=self.mask[index],
            known=self.known[index],
            ids=self.ids[index],
            views=self.views[index],
            partner=None if self.partner is None else self.partner.rows(index),
            rationale=None if self.rationale is None else self.rationale[index],
        )

    def positions(self, places: tuple[Tensor, ...]) -> "Batch":
        """Some positions of some rows as rows of their own, which keep their row's id; what was shown stays behind.

        Args:
            places: For each dimension of `mask` the places in it.
        """
        rows = places[0]
        partner = self.partner and Partner(
            self.partner.labels[places], self.partner.known[places], self.partner.share[rows]
        )
        return replace(
            self,
            inputs=self.inputs.new_empty((len(rows), 0)),
            labels=None if self.labels is None else self.labels[places],
            mask=self.mask[places],
            known=self.known[places],
            ids=self.ids[rows],
            views=self.views[rows],
            partner=partner,
            rationale=None if self.rationale is None else self.rationale[places],
        )

    def to(self, device: torch.device) -> "Batch":
        """The same rows on another device; returns itself when they are there already."""
        if self.inputs.device == device:
            return self
        partner = self.partner and Partner(
            self.partner.labels.to(device), self.partner.known.to(device), self.partner.share.to(device)
        )
        return replace(
            self,
            inputs=self.inputs.to(device, non_blocking=True),
            labels=None if self.labels is None else self.labels.to(device, non_blocking=True),
            mask=self.mask.to(device),
            known=self.known.to(device),
            ids=self.ids.to(device),
            views=self.views.to(device),
            partner=partner,
            rationale=None if self.rationale is None else self.rationale.to(device),
        )


@dataclass(frozen=True)
class Signals:
    """What a network said about a batch: the same type for a student and a teacher, live or recorded.

    `logits` are dense and may be absent from a recording; `targets` answer divergences in the form they were kept;
    `features` hold the outputs of the layers that were asked for, by layer name. `said` marks the rows the network
    answered at all, None when it answered all of them: what stands in the other rows is finite and means nothing, and
    `Objective.loss` leaves those rows out of every term that needs the teacher. Who may be silent always says `said`;
    who may be silent about a part of a row says it of each position.
    `members` are what the members of an ensemble said, where a method asked to hear each of them.
    """

    logits: Float[Tensor, "*rows classes"] | None = None
    features: Mapping[str, Shaped[Tensor, "..."]] = field(default_factory=dict)
    targets: SoftTargets | None = None
    said: Bool[Tensor, "rows *positions"] | None = None
    members: "tuple[Signals, ...]" = ()

    @classmethod
    def dense(
        cls, logits: Tensor, features: Mapping[str, Tensor] | None = None, said: Tensor | None = None
    ) -> "Signals":
        """Signals of a network that said all its logits, about all rows or about those that `said` marks."""
        return cls(logits, dict(features or {}), DenseTargets(logits), said)

    @classmethod
    def hidden(
        cls, hidden: Tensor, weight: Tensor, bias: Tensor | None = None, features: Mapping[str, Tensor] | None = None
    ) -> "Signals":
        """Signals of a network that said what its last layer is given, and that layer, in the place of logits."""
        return cls(None, dict(features or {}), HiddenTargets(hidden, weight, bias))

    @property
    def headed(self) -> bool:
        """Whether hidden states and a head were said in the place of logits."""
        return self.logits is None and isinstance(self.targets, HiddenTargets)

    @property
    def outputs(self) -> tuple[int, ...] | None:
        """The shape of all logits, whether they were said or can be made of hidden states; None without them."""
        if self.logits is not None:
            return tuple(self.logits.shape)
        return self.targets.shape if isinstance(self.targets, MakesLogits) else None

    def of_logits(
        self, function: Callable[..., tuple[Tensor, ...]], *beside: Shaped[Tensor, "..."]
    ) -> tuple[Tensor, ...]:
        """What a function that takes each position by itself makes of all logits, without gradient.

        Where hidden states were said, logits are made of them for some positions at a time.

        Args:
            function: From logits, and what stands beside them, to tensors with the same positions.
            *beside: Tensors with the dimensions of the positions first.
        """
        if self.logits is None and isinstance(self.targets, HiddenTargets):
            return self.targets.each(function, *beside)
        assert self.logits is not None
        with torch.no_grad():
            return function(self.logits.detach(), *beside)

    def logits_at(self, places: Tensor | tuple[Tensor, ...]) -> Float[Tensor, "positions classes"]:
        """The logits at some positions; where hidden states were said, made of those there."""
        if self.logits is None and isinstance(self.targets, MakesLogits):
            return self.targets.rows(places).made_logits()
        assert self.logits is not None
        return self.logits[places]

    def rows(self, index: Tensor | slice) -> "Signals":
        """The signals for some of the rows."""
        return Signals(
            None if self.logits is None else self.logits[index],
            {name: feature[index] for name, feature in self.features.items()},
            None if self.targets is None else self.targets.rows(index),
            None if self.said is None else self.said[index],
            tuple(member.rows(index) for member in self.members),
        )

    def to(self, device: torch.device) -> "Signals":
        """The same signals on another device; the copies may still be under way."""
        logits = None if self.logits is None else self.logits.to(device, non_blocking=True)
        targets = self.targets
        if targets is not None:
            shared = isinstance(targets, DenseTargets) and targets.logits is self.logits and logits is not None
            targets = DenseTargets(logits) if shared and logits is not None else targets.to(device)
        return Signals(
            logits,
            {name: feature.to(device, non_blocking=True) for name, feature in self.features.items()},
            targets,
            None if self.said is None else self.said.to(device, non_blocking=True),
            tuple(member.to(device) for member in self.members),
        )
