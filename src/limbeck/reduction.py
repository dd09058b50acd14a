"""From every term's values to one loss: the one place where they are masked, averaged and weighted.

A student that says hidden states in the place of logits (a language model) is asked through its head: the positions
that count are taken some at a time, their logits made, and each term's values and their gradient in the logits computed
at once; gradients of hidden states and head are summed up on the way. No tensor of positions x classes is larger than
what is taken at a time, nothing is computed twice, and values and gradients are those of all logits at once. Products
with the head are made in the precision of the hidden states; what methods see of the logits is at least float32.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from limbeck.errors import ObjectiveError
from limbeck.precision import wide
from limbeck.signals import Batch, Signals
from limbeck.targets.dense import DenseTargets
from limbeck.targets.hidden import HiddenTargets, pieces, slices

# Slices whose products for the head's gradient are summed up in the precision of the hidden states, before they are
# added to a sum in the head's own.
_LOW_SUMS = 8


@dataclass(frozen=True)
class Loss:
    """A loss after reduction: the weighted total, and each term's unweighted mean, by the term's name."""

    total: Float[Tensor, ""]
    terms: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Part:
    """One term of a loss.

    Args:
        name: Of the term.
        weight: Of the term in the total.
        value: From the signals of student and teacher and the rows to one value for each row, or one for all.
        batch: The rows, as this term sees them.
        counted: The rows this term is defined on.
        whole: How many rows its mean is taken over.
        per_row: Whether it gives a value for each row, which depends on no other.
        reads_outputs: Whether it reads what the student's last layer says.
        reads_logits: Whether it reads the teacher's own logits.
        parameters: What it trains beside the student.
    """

    name: str
    weight: float
    value: Callable[[Signals, Signals, Batch], Tensor]
    batch: Batch
    counted: Bool[Tensor, "*rows"]
    whole: Tensor | float
    per_row: bool
    reads_outputs: bool
    reads_logits: bool
    parameters: Sequence[Tensor]

    def mean(self, student: Signals, teacher: Signals) -> Float[Tensor, ""]:
        """The mean over the rows that count."""
        value = self.value(student, teacher, self.batch)
        return self._summed(value, self.counted) if self.per_row else value * (self.counted.sum() / self.whole)

    def at(self, places: tuple[Tensor, ...], student: Signals, teacher: Signals) -> Float[Tensor, ""]:
        """What some positions add to the mean; the signals are of these positions alone."""
        return self._summed(self.value(student, teacher, self.batch.positions(places)), self.counted[places])

    def _summed(self, value: Tensor, counted: Tensor) -> Tensor:
        if value.shape != counted.shape:
            raise ObjectiveError(
                f"{self.name} returned values of shape {tuple(value.shape)}",
                expected=f"one value for each row: {tuple(counted.shape)}",
                remedy="a method that gives one number for the batch must declare per_row = False",
            )
        return torch.where(counted, value, torch.zeros_like(value)).sum() / self.whole


def reduced(parts: Sequence[Part], student: Signals, teacher: Signals) -> Loss:
    """The loss of all parts.

    Raises:
        ObjectiveError: When a method does not give a value for each row, or when one that compares rows of logits with
            each other meets a student that says hidden states.
    """
    through = [part for part in parts if student.headed and part.reads_outputs]
    total: Tensor | None = None
    means: dict[str, Tensor] = {}
    if through:
        total, found = through_head(through, student, teacher)
        means |= {part.name: mean for part, mean in zip(through, found.unbind(), strict=True)}
    for part in parts:
        if part.name in means:
            continue
        mean = part.mean(student, teacher)
        means[part.name] = mean.detach()
        total = part.weight * mean if total is None else total + part.weight * mean
    assert total is not None
    return Loss(total, {part.name: means[part.name] for part in parts})


def through_head(
    parts: Sequence[Part], student: Signals, teacher: Signals
) -> tuple[Float[Tensor, ""], Float[Tensor, " parts"]]:
    """The weighted total of parts that read a student's logits, of which it says the hidden states and the head.

    Args:
        parts: Methods that give a value for each row.
        student: Its targets are hidden states with the head, with gradient where it trains.
        teacher: What the teacher says of the same rows.

    Returns:
        The total, with gradient in hidden states, head and the parts' parameters, and each part's mean without.
    """
    targets = student.targets
    assert isinstance(targets, HiddenTargets)
    for part in parts:
        if not part.per_row:
            raise ObjectiveError(
                f"{part.name} compares rows of logits with each other, and the student says hidden states",
                expected="a method that gives a value for each row, such as kd or labels",
                remedy="limbeck methods NAME says whether a method does",
            )
    parameters = [parameter for part in parts for parameter in part.parameters]
    total, means = _ThroughHead.apply(targets.hidden, targets.weight, targets.bias, parts, teacher, *parameters)
    return total, means


class _HeadGradient:
    """The gradient of the head's weight, slice by slice.

    A product in low precision is added to a sum in that precision, which costs no pass of its own over the weight; the
    sum is carried over to one in the weight's precision before it has many parts.
    """

    def __init__(self, weight: Tensor) -> None:
        self._like, self._held = weight, 0
        self._low: Tensor | None = None
        self._whole: Tensor | None = None

    def add(self, slope: Float[Tensor, "some classes"], said: Float[Tensor, "some width"]) -> None:
        if self._low is None:
            self._low = torch.empty_like(self._like, dtype=said.dtype)
        torch.addmm(self._low, slope.t(), said, beta=float(self._held > 0), out=self._low)
        self._held += 1
        if self._held == _LOW_SUMS and self._low.dtype != self._like.dtype:
            self._carry()

    def sum(self) -> Float[Tensor, "classes width"]:
        """What was added, in the weight's precision."""
        if self._held and self._low is not None:
            self._carry()
        return torch.zeros_like(self._like) if self._whole is None else self._whole

    def _carry(self) -> None:
        assert self._low is not None
        # Without a sum so far it is this one, which is not copied where its precision is right.
        self._whole = self._low.to(self._like.dtype) if self._whole is None else self._whole.add_(self._low)
        self._held = 0


class _Sums:
    """Gradients as they are summed up, slice by slice; None for what asks for none."""

    def __init__(
        self, wanted: Sequence[bool], hidden: Tensor, weight: Tensor, bias: Tensor | None, rest: Sequence[Tensor]
    ) -> None:
        self._hidden = torch.zeros_like(hidden) if wanted[0] else None
        self._weight = _HeadGradient(weight) if wanted[1] else None
        self._bias = torch.zeros_like(bias) if wanted[2] and bias is not None else None
        self.own, self.parameters = rest, [torch.zeros_like(each) for each in rest]

    def add(self, places: tuple[Tensor, ...], slope: Tensor, said: Tensor, head: Tensor) -> None:
        """Adds what the gradient of some logits makes of the hidden states behind them and of the head."""
        if self._hidden is not None:
            self._hidden[places] = slope @ head
        if self._weight is not None:
            self._weight.add(slope, said)
        if self._bias is not None:
            self._bias += slope.sum(dim=0, dtype=self._bias.dtype)

    def all(self) -> list[Tensor | None]:
        weight = None if self._weight is None else self._weight.sum()
        return [self._hidden, weight, self._bias, *self.parameters]


class _ThroughHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        parts: Sequence[Part],
        teacher: Signals,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        wanted = any(ctx.needs_input_grad)
        sums = _Sums(ctx.needs_input_grad, hidden, weight, bias, parameters) if wanted else None
        head, low_bias = weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
        precision = torch.promote_types(hidden.dtype, torch.float32)
        means = torch.zeros(len(parts), dtype=precision, device=hidden.device)
        room: Tensor | None = None
        for places in _slices(parts, len(weight)):
            said = hidden[places]
            # The same memory for every slice: what is taken from the system anew costs as much as a pass over it.
            room = hidden.new_empty(len(said), len(weight)) if room is None else room[: len(said)]
            logits = _product(said, head, low_bias, room)
            means += _asked(parts, places, logits, teacher, sums)
            if sums is not None:
                sums.add(places, logits, said, head)
        ctx.save_for_backward(*([] if sums is None else sums.all()))
        ctx.mark_non_differentiable(means)
        weights = torch.tensor([part.weight for part in parts], dtype=precision, device=hidden.device)
        return (weights * means).sum(), means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.saved_tensors
        # Looking at the number would make another device wait. In place would spoil a second backward pass through a
        # retained graph.
        if upstream.device.type != "cpu" or float(upstream) != 1:
            found = [None if each is None else each * upstream.to(each.dtype) for each in found]
        return (*found[:3], None, None, *found[3:])


def _product(said: Tensor, head: Tensor, bias: Tensor | None, room: Tensor) -> Tensor:
    if bias is None:
        return torch.mm(said, head.t(), out=room)
    return torch.addmm(bias, said, head.t(), out=room)


def _asked(
    parts: Sequence[Part], places: tuple[Tensor, ...], logits: Tensor, teacher: Signals, sums: _Sums | None
) -> Float[Tensor, " parts"]:
    """What some positions add to each part's mean; with sums, their logits are overwritten with their gradient."""
    wanted = sums is not None
    said = _said(teacher, places, any(part.reads_logits for part in parts))
    means = []
    for few in pieces(logits):
        at = tuple(each[few] for each in places)
        asked, heard = wide(logits[few]).requires_grad_(wanted), said.rows(few)
        with torch.set_grad_enabled(wanted):
            values = [part.at(at, Signals.dense(asked), heard) for part in parts]
            total = torch.stack([part.weight * value for part, value in zip(parts, values, strict=True)]).sum()
            if sums is not None:
                slope, *slopes = _slopes(total, asked, sums.own)
                logits[few] = slope
                for whole, own in zip(sums.parameters, slopes, strict=True):
                    whole += own
        means.append(torch.stack([value.detach() for value in values]))
    return torch.stack(means).sum(dim=0)


def _slopes(total: Tensor, logits: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of a total in some logits and in parameters; zero where it does not depend on them."""
    if not total.requires_grad:
        return [torch.zeros_like(each) for each in (logits, *parameters)]
    found = torch.autograd.grad(total, (logits, *parameters), allow_unused=True)
    return [
        torch.zeros_like(of) if each is None else each for each, of in zip(found, (logits, *parameters), strict=True)
    ]


def _slices(parts: Sequence[Part], classes: int) -> Iterator[tuple[Tensor, ...]]:
    """The places of the positions that count for any part, some at a time."""
    counted = parts[0].counted
    for part in parts[1:]:
        counted = counted | part.counted
    places = counted.nonzero(as_tuple=True)
    for some in slices(len(places[0]), classes, counted.device):
        yield tuple(each[some] for each in places)


def _said(teacher: Signals, places: tuple[Tensor, ...], logits: bool) -> Signals:
    """What a teacher says of some positions; features stay behind, and silence was heard when rows were counted."""
    targets = None if teacher.targets is None else teacher.targets.rows(places)
    said = None if teacher.logits is None else teacher.logits[places]
    if isinstance(targets, HiddenTargets):
        # Their logits are made of all these positions together; methods are asked about fewer.
        targets = DenseTargets(targets.made_logits())
        said = targets.logits if logits and said is None else said
    members = tuple(_said(member, places, logits) for member in teacher.members)
    return replace(teacher, logits=said, targets=targets, features={}, said=None, members=members)
