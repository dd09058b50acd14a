"""All logits of each row: the form that answers everything."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.divergences import Divergence, tempered
from limbeck.targets.protocol import Places


@dataclass(frozen=True)
class DenseTargets:
    """All logits: answers every divergence at every temperature."""

    logits: Float[Tensor, "*rows classes"]

    @property
    def kept(self) -> str:
        return f"all {self.logits.shape[-1]} logits"

    @property
    def temperatures(self) -> tuple[float, ...]:
        return ()

    def refuses(self, divergence: Divergence, temperature: float) -> str | None:
        """Dense targets refuse nothing."""
        return None

    def divergence(
        self, divergence: Divergence, student: Float[Tensor, "*rows classes"], temperature: float
    ) -> Float[Tensor, "*rows"]:
        """The divergence over all classes; no gradient reaches the teacher."""
        return divergence(tempered(self.logits.detach(), temperature), tempered(student, temperature))

    def rows(self, index: Places) -> "DenseTargets":
        """The same targets for some of the rows."""
        return DenseTargets(self.logits[index])

    def to(self, device: torch.device) -> "DenseTargets":
        """The same logits on another device."""
        return DenseTargets(self.logits.to(device, non_blocking=True))
