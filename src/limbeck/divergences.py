"""Divergences between two distributions over the same symbols, one value in nats for each row.

A divergence is a function of two tensors of log-probabilities, teacher first, and knows nothing of temperature,
storage or masks. `targets` decides over which symbols it is taken (all of them, or the top k and the tail), so a
divergence written here is right for every kind of recording that can serve it. One with a parameter is a small frozen
class whose name says it, so that two with the same parameter are the same. One that merging symbols never raises says
so by `monotone`; a recording that merged symbols answers no other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from limbeck.partial import softened
from limbeck.precision import wide

_ROUNDINGS = 16  # a largest deviation from the mean this many roundings wide is taken for none


@runtime_checkable
class Divergence(Protocol):
    """A named function (teacher log-probabilities, student log-probabilities) -> nats, one value per row."""

    @property
    def __name__(self) -> str: ...

    def __call__(
        self, teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]
    ) -> Float[Tensor, "*rows"]: ...


Kind = TypeVar("Kind", bound=Callable[..., Any])


def monotone(divergence: Kind) -> Kind:
    """Declares that merging symbols, in both models alike, never raises the divergence: a decorator.

    Of merged symbols it is then a lower bound of that of all symbols, and still zero for equal models. Every
    f-divergence is so (the data processing inequality: Csiszár, 1967. Read: memory). What weighs symbols by their rank
    or their number is not, as a rule.

    Args:
        divergence: A function, or a class whose instances are divergences.
    """
    divergence.monotone = True  # type: ignore[attr-defined]  # functions and classes take any attribute
    return divergence


def is_monotone(divergence: Divergence) -> bool:
    """Whether a divergence has declared that merging symbols never raises it; one that says nothing has not."""
    return bool(getattr(divergence, "monotone", False))


def unnamed(divergence: Kind) -> Kind:
    """Declares that a divergence does not ask which symbol is which, and takes models with other symbols: a decorator.

    Symbols in another order, in either model, and symbols of probability zero beside them change nothing.

    Args:
        divergence: A function, or a class whose instances are divergences.
    """
    divergence.unnamed = True  # type: ignore[attr-defined]  # functions and classes take any attribute
    return divergence


def is_unnamed(divergence: Divergence) -> bool:
    """Whether a divergence has declared that it does not ask which symbol is which."""
    return bool(getattr(divergence, "unnamed", False))


def tempered(logits: Float[Tensor, "*rows symbols"], temperature: float) -> Float[Tensor, "*rows symbols"]:
    """Log-probabilities of softmax(logits / temperature), in at least float32 whatever the logits' precision."""
    return torch.log_softmax(softened(logits, temperature), dim=-1)


@monotone
def kl(teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]) -> Float[Tensor, "*rows"]:
    """KL(teacher || student), the divergence whose minimum in the student is cross-entropy with soft targets.

    A symbol the teacher gives probability zero adds nothing, whatever the student gives it.
    """
    probability = teacher.exp()
    # Left out before the product and not after it, or a symbol with the logit -inf would have the gradient NaN.
    gap = torch.where(probability > 0, teacher - student, 0.0)
    return (probability * gap).sum(dim=-1)


@monotone
def reverse_kl(
    teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]
) -> Float[Tensor, "*rows"]:
    """KL(student || teacher): a student that leaves out some of what the teacher says pays little, one that adds much.

    A symbol the student gives probability zero adds nothing, whatever the teacher gives it.
    """
    return kl(student, teacher)


@monotone
def total_variation(
    teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]
) -> Float[Tensor, "*rows"]:
    """Half the sum of the differences between probabilities, each without its sign: from 0 to 1, and not in nats."""
    return (teacher.exp() - student.exp()).abs().sum(dim=-1) / 2


@unnamed
def sorted_distance(
    teacher: Float[Tensor, "*rows theirs"], student: Float[Tensor, "*rows ours"]
) -> Float[Tensor, "*rows"]:
    """The sum of the differences, without sign, between probabilities of the same rank: from 0 to 2, not in nats.

    Where one model has more symbols, the other's last ranks have probability zero. It is the least cost of moving the
    one distribution onto the other where every two symbols are equally far apart, whatever they are called.
    """
    theirs, ours = (said.exp().sort(dim=-1, descending=True).values for said in (teacher, student))
    longest = max(theirs.shape[-1], ours.shape[-1])
    padded = [functional.pad(said, (0, longest - said.shape[-1])) for said in (theirs, ours)]
    return (padded[0] - padded[1]).abs().sum(dim=-1)


@monotone
@dataclass(frozen=True)
class JensenShannon:
    """beta · KL(teacher || m) + (1 − beta) · KL(student || m), where m = beta · teacher + (1 − beta) · student.

    Symmetric at 1/2, and never above the entropy of (beta, 1 − beta). Divided by beta it tends to KL(teacher ||
    student) as beta falls to 0; divided by 1 − beta, to KL(student || teacher) as beta rises to 1.

    Args:
        beta: The teacher's share, above 0 and below 1.
    """

    beta: float

    @property
    def __name__(self) -> str:
        return f"jensen_shannon(beta={self.beta:g})"

    def __call__(
        self, teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]
    ) -> Float[Tensor, "*rows"]:
        mixed = _mixed(teacher, student, self.beta)
        return self.beta * kl(teacher, mixed) + (1 - self.beta) * kl(student, mixed)


@monotone
@dataclass(frozen=True)
class SkewKL:
    """KL(teacher || m), where m = skew · teacher + (1 − skew) · student; reversed, with the two in each other's place.

    What is compared has a share in what it is compared with: the value is never above −log(skew), also where the other
    gives nothing to a symbol.

    Args:
        skew: That share, at least 0 (no skew) and below 1.
        reverse: KL(student || skew · student + (1 − skew) · teacher).
    """

    skew: float
    reverse: bool = False

    @property
    def __name__(self) -> str:
        return f"skew_{'reverse_' * self.reverse}kl(skew={self.skew:g})"

    def __call__(
        self, teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]
    ) -> Float[Tensor, "*rows"]:
        first, second = (student, teacher) if self.reverse else (teacher, student)
        return kl(first, _mixed(first, second, self.skew))


@dataclass(frozen=True)
class AdaptiveKL:
    """share · KL(teacher || student) + (1 − share) · KL(student || teacher), a share for each row, without gradient.

    The share is the part of the total difference between probabilities that lies in the head: the teacher's likeliest
    symbols, as many as together do not exceed `head`, and the likeliest in any case. Equal models have the share 1/2.

    Merging symbols can raise it: each KL falls, but the head is another one, and the share may move to the larger KL.

    Args:
        head: Above 0 and below 1.
    """

    head: float

    @property
    def __name__(self) -> str:
        return f"adaptive_kl(head={self.head:g})"

    def __call__(
        self, teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]
    ) -> Float[Tensor, "*rows"]:
        share = self._share(teacher.detach(), student.detach())
        return share * kl(teacher, student) + (1 - share) * kl(student, teacher)

    def _share(
        self, teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]
    ) -> Float[Tensor, "*rows"]:
        likely, order = teacher.exp().sort(dim=-1, descending=True, stable=True)
        gaps = (likely - student.exp().gather(-1, order)).abs()
        in_tail = likely.cumsum(dim=-1) > self.head
        in_tail[..., 0] = False
        total = gaps.sum(dim=-1)
        of_head = torch.where(in_tail, 0.0, gaps).sum(dim=-1)
        return torch.where(total > 0, of_head / torch.where(total > 0, total, 1.0), 0.5)


def standardised(logits: Float[Tensor, "*rows symbols"]) -> Float[Tensor, "*rows symbols"]:
    """Logits with mean 0 and standard deviation 1 (of the population) over the symbols of each row, at least float32.

    Where all logits of a row are alike but for rounding, they become 0 and get no gradient.
    """
    values = wide(logits)
    centred = values - values.mean(dim=-1, keepdim=True)
    # A unit changes nothing in the result, also nothing in its gradient, and keeps the squares within range.
    largest, size = (found.detach().abs().amax(dim=-1, keepdim=True) for found in (centred, values))
    varies = largest > _ROUNDINGS * torch.finfo(values.dtype).eps * size
    centred = centred / torch.where(varies, largest, 1.0)
    variance = torch.where(varies, centred.square().mean(dim=-1, keepdim=True), 1.0)
    return torch.where(varies, centred / variance.sqrt(), 0.0)


def binary_kl(
    teacher: Float[Tensor, "*events"], student: Float[Tensor, "*events"], temperature: float = 1.0
) -> Float[Tensor, "*events"]:
    """KL(teacher || student) in nats of something that happens or does not, from its logits divided by a temperature.

    From the logits and not from probabilities, which reach 1 long before the teacher's certainty does.

    Args:
        teacher: Logits of what happens.
        student: The same.
        temperature: Above 0.
    """
    ours, theirs = (logits / temperature for logits in (wide(student), wide(teacher)))
    happens = torch.sigmoid(theirs) * (functional.logsigmoid(theirs) - functional.logsigmoid(ours))
    stays_away = torch.sigmoid(-theirs) * (functional.logsigmoid(-theirs) - functional.logsigmoid(-ours))
    return happens + stays_away


def without(values: Float[Tensor, "*rows symbols"], symbol: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows others"]:
    """The values of all symbols but one, in their order.

    Taken out, not set to a large negative number, which other logits may be as low as.

    Args:
        values: Logits or log-probabilities.
        symbol: The one to leave out in each row.
    """
    places = torch.arange(values.shape[-1] - 1, device=values.device)
    return values.gather(-1, places + (places >= symbol[..., None]))


def log_mean(
    logits: Sequence[Float[Tensor, "*rows classes"]], weights: Sequence[float]
) -> Float[Tensor, "*rows classes"]:
    """Log of the weighted mean of softmax(logits), computed without leaving log space.

    Args:
        logits: One tensor for each model.
        weights: One weight for each model, greater than 0, that sum to 1.
    """
    return _log_mean([tempered(model, 1.0) for model in logits], weights)


def binary_mean(logits: Sequence[Float[Tensor, "*events"]], weights: Sequence[float]) -> Float[Tensor, "*events"]:
    """The logit of the weighted mean of sigmoid(logits), computed without leaving log space.

    Args:
        logits: One tensor for each model.
        weights: One weight for each model, greater than 0, that sum to 1.
    """
    found = [wide(model) for model in logits]
    happens, stays_away = ([functional.logsigmoid(sign * model) for model in found] for sign in (1, -1))
    return _log_mean(happens, weights) - _log_mean(stays_away, weights)


def _mixed(
    first: Float[Tensor, "*rows symbols"], second: Float[Tensor, "*rows symbols"], share: float
) -> Float[Tensor, "*rows symbols"]:
    """Log-probabilities of share · first + (1 − share) · second."""
    # Of a symbol that neither has, the logarithm of a sum would have the gradient NaN, were it not for the floor.
    return _log_mean([said.clamp(min=torch.finfo(said.dtype).min) for said in (first, second)], [share, 1 - share])


def _log_mean(logarithms: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    stacked = torch.stack(list(logarithms))
    shares = torch.tensor(weights, dtype=stacked.dtype, device=stacked.device).log()
    return torch.logsumexp(stacked + shares.view(-1, *[1] * (stacked.dim() - 1)), dim=0)
