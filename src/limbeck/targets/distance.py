"""How far what a kind of target answers is from the answer over all logits, in value and gradient."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.divergences import Divergence
from limbeck.targets.dense import DenseTargets
from limbeck.targets.protocol import SoftTargets


@dataclass(frozen=True)
class Distance:
    """One divergence's distance at one temperature, of some rows together.

    `divergence` is its name. `dense` and `kept` are the mean value over the rows, in nats, from all logits and from
    what was kept. `gradient` is the length of the difference of both gradients in the student's logits, divided by the
    length of the dense one: 0 where they are the same, 1 where the kept one is nothing. `cosine` is that of the angle
    between them, from −1 to 1.
    Where the dense gradient is 0, both are not a number unless the other is 0 too; then they are 0 and 1.
    """

    divergence: str
    temperature: float
    dense: float
    kept: float
    gradient: float
    cosine: float


def distances(
    targets: SoftTargets,
    teacher: Float[Tensor, "*rows classes"],
    student: Float[Tensor, "*rows classes"],
    divergence: Divergence,
    temperatures: Iterable[float],
) -> list[Distance]:
    """The distance from dense at each temperature.

    Args:
        targets: What was kept of the teacher's logits.
        teacher: All of them.
        student: The student's logits for the same rows; a student that is far away from the teacher says little, since
            what both models hold unlikely counts for nothing there.
        divergence: One that the targets answer.
        temperatures: Those at which they answer it.

    Raises:
        TeacherError: When the targets refuse the divergence at one of the temperatures.
    """
    found = []
    for temperature in temperatures:
        dense, kept = (_answer(each, student, divergence, temperature) for each in (DenseTargets(teacher), targets))
        found.append(Distance(divergence.__name__, temperature, dense[0], kept[0], *_apart(dense[1], kept[1])))
    return found


def _answer(
    targets: SoftTargets, student: Tensor, divergence: Divergence, temperature: float
) -> tuple[float, Float[Tensor, " numbers"]]:
    with torch.enable_grad():
        said = student.detach().double().requires_grad_()
        value = targets.divergence(divergence, said, temperature).double().mean()
        (gradient,) = torch.autograd.grad(value, said)
    return float(value.detach()), gradient.flatten()


def _apart(dense: Float[Tensor, " numbers"], kept: Float[Tensor, " numbers"]) -> tuple[float, float]:
    if not bool(dense.any()) and not bool(kept.any()):
        return 0.0, 1.0
    lengths = dense.norm() * kept.norm()
    cosine = dense @ kept / lengths if bool(lengths > 0) else torch.nan
    away = (kept - dense).norm() / dense.norm() if bool(dense.any()) else torch.nan
    return float(away), float(cosine)
