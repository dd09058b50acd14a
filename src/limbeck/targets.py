"""What a teacher's answer can be compared with: the seam between how soft targets are kept and what is asked of them.

An objective never touches the teacher's numbers. It asks `targets.divergence(kl, student.logits, temperature)`; the
kind of target decides over which symbols that is right. Dense targets answer over all symbols; a top-k target answers
over k symbols and the tail; a sampled one answers the forward KL alone. What a kind cannot answer rightly it refuses by
name before training starts.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.divergences import Divergence, tempered


@runtime_checkable
class SoftTargets(Protocol):
    """The teacher's distributions for some rows, in whatever form they were kept."""

    def refuses(self, divergence: Divergence, temperature: float) -> str | None:
        """Returns why this kind of target cannot answer, and what to record instead; None when it can."""
        ...

    def divergence(
        self, divergence: Divergence, student: Float[Tensor, "*rows classes"], temperature: float
    ) -> Float[Tensor, "*rows"]:
        """The divergence in nats between teacher and student, both softened by `temperature` (> 0), for each row."""
        ...

    def rows(self, index: Tensor | slice) -> "SoftTargets":
        """The same targets for some of the rows."""
        ...

    def to(self, device: torch.device) -> "SoftTargets":
        """The same targets on a device; the copy may still be under way."""
        ...


@dataclass(frozen=True)
class DenseTargets:
    """All logits: answers every divergence at every temperature."""

    logits: Float[Tensor, "*rows classes"]

    def refuses(self, divergence: Divergence, temperature: float) -> str | None:
        """Dense targets refuse nothing."""
        return None

    def divergence(
        self, divergence: Divergence, student: Float[Tensor, "*rows classes"], temperature: float
    ) -> Float[Tensor, "*rows"]:
        """The divergence over all classes; no gradient reaches the teacher."""
        return divergence(tempered(self.logits.detach(), temperature), tempered(student, temperature))

    def rows(self, index: Tensor | slice) -> "DenseTargets":
        """The same targets for some of the rows."""
        return DenseTargets(self.logits[index])

    def to(self, device: torch.device) -> "DenseTargets":
        """The same targets on a device."""
        return DenseTargets(self.logits.to(device, non_blocking=True))
