"""From every term's values to one loss: the one place where they are masked, averaged and weighted.

A student that says hidden states in the place of logits (a language model) is asked through its head: the positions
that count are taken some at a time, their logits made, and each term's values and their gradient in the logits computed
at once; gradients of hidden states and head are summed up on the way. No tensor of positions x classes is larger than
what is taken at a time, nothing is computed twice, and values and gradients are those of all logits at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from limbeck.errors import ObjectiveError
from limbeck.precision import wide
from limbeck.signals import Batch, Signals
from limbeck.targets.hidden import HiddenTargets

# Logits at a time. Loss and gradients of 1,024 positions of 49,152 symbols on one thread of a CPU, beside 64 recorded
# symbols: 3.0 s at 2^22 and 2^23, 3.2 s at 2^21, 3.3 s at 2^24, 3.5 s at 2^25 (medians of three turns).
_LOGITS = 1 << 23


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


@dataclass
class _Sums:
    """Gradients as they are summed up, slice by slice; None for what asks for none."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    parameters: list[Tensor]

    @classmethod
    def of(
        cls, wanted: Sequence[bool], hidden: Tensor, weight: Tensor, bias: Tensor | None, rest: Sequence[Tensor]
    ) -> "_Sums":
        hidden_sum, weight_sum, bias_sum = (
            torch.zeros_like(like) if want and like is not None else None
            for want, like in zip(wanted, (hidden, weight, bias), strict=False)
        )
        return cls(hidden_sum, weight_sum, bias_sum, [torch.zeros_like(each) for each in rest])

    def add(self, places: tuple[Tensor, ...], slope: Tensor, said: Tensor, head: Tensor) -> None:
        """Adds what the gradient of some logits makes of the hidden states behind them and of the head."""
        low = slope.to(said.dtype)
        if self.hidden is not None:
            self.hidden[places] = (low @ head).to(self.hidden.dtype)
        if self.weight is not None:
            if self.weight.dtype == low.dtype:
                self.weight.addmm_(low.t(), said)
            else:
                self.weight += low.t() @ said
        if self.bias is not None:
            self.bias += slope.sum(dim=0)

    def all(self) -> list[Tensor | None]:
        return [self.hidden, self.weight, self.bias, *self.parameters]


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
        sums = _Sums.of(ctx.needs_input_grad, hidden, weight, bias, parameters) if wanted else None
        head, low_bias = weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
        precision = torch.promote_types(hidden.dtype, torch.float32)
        means = torch.zeros(len(parts), dtype=precision, device=hidden.device)
        reads_logits = any(part.reads_logits for part in parts)
        for places in _slices(parts, len(weight)):
            said = hidden[places]
            logits = wide(functional.linear(said, head, low_bias)).requires_grad_(wanted)
            heard = _said(teacher, places, reads_logits)
            with torch.set_grad_enabled(wanted):
                values = [part.at(places, Signals.dense(logits), heard) for part in parts]
                total = torch.stack([part.weight * value for part, value in zip(parts, values, strict=True)]).sum()
                slopes = _slopes(total, logits, parameters) if sums is not None else []
            means += torch.stack([value.detach() for value in values]).to(precision)
            if sums is not None:
                sums.add(places, slopes[0], said, head)
                for whole, slope in zip(sums.parameters, slopes[1:], strict=True):
                    whole += slope
        ctx.sums = sums
        ctx.mark_non_differentiable(means)
        weights = torch.tensor([part.weight for part in parts], dtype=precision, device=hidden.device)
        return (weights * means).sum(), means

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        # In place would spoil a second backward pass through a retained graph.
        found = [None if each is None else each * upstream.to(each.dtype) for each in ctx.sums.all()]
        return (*found[:3], None, None, *found[3:])


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
    step = max(1, _LOGITS // classes)
    for start in range(0, len(places[0]), step):
        yield tuple(each[start : start + step] for each in places)


def _said(teacher: Signals, places: tuple[Tensor, ...], logits: bool) -> Signals:
    """What a teacher says of some positions; features stay behind, and silence was heard when rows were counted."""
    targets = None if teacher.targets is None else teacher.targets.rows(places)
    said = None if teacher.logits is None else teacher.logits[places]
    if logits and said is None and isinstance(targets, HiddenTargets):
        said = targets.logits
    members = tuple(_said(member, places, logits) for member in teacher.members)
    return replace(teacher, logits=said, targets=targets, features={}, said=None, members=members)
