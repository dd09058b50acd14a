"""Divergences between two distributions over the same symbols, one value in nats for each row.

A divergence is a plain function of two tensors of log-probabilities, teacher first, and knows nothing of temperature,
storage or masks. `targets` decides over which symbols it is taken (all of them, or the top k and the tail), so a
divergence written here is right for every kind of recording that can serve it.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


@runtime_checkable
class Divergence(Protocol):
    """A named function (teacher log-probabilities, student log-probabilities) -> nats, one value per row."""

    __name__: str

    def __call__(
        self, teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]
    ) -> Float[Tensor, "*rows"]: ...


def tempered(logits: Float[Tensor, "*rows symbols"], temperature: float) -> Float[Tensor, "*rows symbols"]:
    """Log-probabilities of softmax(logits / temperature), in at least float32 whatever the logits' precision."""
    return torch.log_softmax(_wide(logits) / temperature, dim=-1)


def kl(teacher: Float[Tensor, "*rows symbols"], student: Float[Tensor, "*rows symbols"]) -> Float[Tensor, "*rows"]:
    """KL(teacher || student), the divergence whose minimum in the student is cross-entropy with soft targets.

    A symbol the teacher gives probability zero adds nothing, whatever the student gives it.
    """
    probability = teacher.exp()
    terms = probability * (teacher - student)
    return torch.where(probability > 0, terms, torch.zeros_like(terms)).sum(dim=-1)


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
    ours, theirs = (logits / temperature for logits in (_wide(student), _wide(teacher)))
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
    found = [_wide(model) for model in logits]
    happens, stays_away = ([functional.logsigmoid(sign * model) for model in found] for sign in (1, -1))
    return _log_mean(happens, weights) - _log_mean(stays_away, weights)


def _log_mean(logarithms: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    stacked = torch.stack(list(logarithms))
    shares = torch.tensor(weights, dtype=stacked.dtype, device=stacked.device).log()
    return torch.logsumexp(stacked + shares.view(-1, *[1] * (stacked.dim() - 1)), dim=0)


def _wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
