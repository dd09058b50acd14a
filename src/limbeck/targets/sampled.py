"""Some symbols drawn from the teacher's distribution: right on average, in a few bytes a row.

Anshumann, Zaidi, Kedia, Ahn, Kwon, Lee, Lee, Lee, ACL 2025 (Sparse Logit Sampling), https://arxiv.org/abs/2503.16870,
random sampling knowledge distillation. Read: memory. N symbols are drawn with replacement, and the teacher's
probability p(i) of a symbol is replaced by the share of the draws that fell on it, whose expectation is p(i). What is
linear in p, which is the cross-entropy and with it KL(teacher || student) in value and gradient, is then right on
average. Taking the N likeliest symbols as though they were all, and renormalising, is not, however large N.
Drawing from a proposal q ∝ p^proposal, each draw weighs p(i) / (N q(i)).
Deviations:
- the teacher's entropy is stored with the draws, so that the value is KL and not the cross-entropy; it is a constant;
- the weights of a proposal are not renormalised to the sum 1, which would bring a bias of the order 1 / N. As far as
  memory goes, the paper renormalises.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from limbeck.divergences import Divergence, kl, tempered
from limbeck.partial import likelihoods
from limbeck.targets.protocol import Places, insist


@dataclass(frozen=True)
class SampledTargets:
    """Draws with replacement from the teacher's softened distribution: estimates KL(teacher || student), without bias.

    The estimate of one row is noisy, may be below zero, and is not zero for equal models; its mean over draws is the
    dense value, and that of its gradient the dense gradient. Answers `kl` at the temperature of the draws alone: what
    is not linear in the teacher's probabilities has a bias of the noise's size.

    Args:
        symbols: The different symbols that were drawn, filled up with any.
        counts: How often each was drawn, 0 for what fills up; each row has one draw at least.
        entropy: Of the teacher's softened distribution, in nats.
        temperature: Of that distribution, above 0.
        size: The number of symbols in all.
        ratios: p / q of each symbol where the draws are from a proposal q; None where they are from the teacher's p.
    """

    symbols: Int[Tensor, "*rows drawn"]
    counts: Int[Tensor, "*rows drawn"]
    entropy: Float[Tensor, "*rows"]
    temperature: float
    size: int
    ratios: Float[Tensor, "*rows drawn"] | None = None

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        logits: Float[Tensor, "*rows classes"],
        uniforms: Float[Tensor, "*rows draws"],
        temperature: float = 1.0,
        proposal: float = 1.0,
    ) -> "SampledTargets":
        """Draws from all logits, one symbol for each of the random numbers given.

        Args:
            logits: The teacher's, a finite one in each row.
            uniforms: From 0 up to, not including, 1, in float64, from which the draws follow without any other chance:
                those of `limbeck.replay.Draw` are a function of seed, id, view and position.
            temperature: Divides the logits.
            proposal: The power of p to draw from, above 0; 1 is p itself, less draws unlikely symbols more often.
        """
        logs = tempered(logits.double(), temperature)
        drawn = logs if proposal == 1 else tempered(logs, 1 / proposal)
        below = drawn.exp().cumsum(dim=-1)
        # The first symbol whose cumulated probability is above the number has itself a probability above 0. The number
        # is below 1 by a rounding at least, and so below the last sum when it is multiplied by it.
        found = torch.searchsorted(below, (uniforms.double() * below[..., -1:]).contiguous(), right=True)
        symbols, counts = _counted(found)
        ratios = None if proposal == 1 else (logs - drawn).gather(-1, symbols).exp()
        entropy = -torch.where(logs > -math.inf, logs.exp() * logs, 0.0).sum(dim=-1)
        return cls(symbols, counts, entropy, temperature, logits.shape[-1], ratios)

    @property
    def kept(self) -> str:
        return f"draws from {self.size} symbols at T={self.temperature:g}"

    @property
    def temperatures(self) -> tuple[float, ...]:
        return (self.temperature,)

    def refuses(self, divergence: Divergence, temperature: float) -> str | None:
        """Refuses all divergences but `kl`, and all temperatures but that of the draws."""
        if divergence is not kl:
            return (
                "draws are right on average for what is linear in the teacher's probabilities, the forward kl alone; "
                "record the largest logits with their tails, or all logits"
            )
        if temperature != self.temperature:
            return (
                f"the draws are from the distribution at T={self.temperature:g}; record the teacher again with draws "
                f"at T={temperature:g}, or train at T={self.temperature:g}"
            )
        return None

    def divergence(
        self, divergence: Divergence, student: Float[Tensor, "*rows classes"], temperature: float
    ) -> Float[Tensor, "*rows"]:
        """An estimate of KL(teacher || student) for each row, in nats, without bias.

        Args:
            divergence: `kl`.
            student: All logits of the student.
            temperature: That of the draws.

        Raises:
            TeacherError: When the divergence or the temperature is another.
        """
        insist(self, divergence, temperature)
        said = likelihoods(student, self.symbols.long(), temperature)
        # What fills up is left out before the product: the student may rule out the symbol that stands there.
        surprise = torch.where(self.counts > 0, -said, 0.0)
        shares = self.counts.to(surprise.dtype) / self.counts.sum(dim=-1, keepdim=True)
        weights = shares if self.ratios is None else shares * self.ratios.to(surprise.dtype)
        return (weights * surprise).sum(dim=-1) - self.entropy.to(surprise.dtype)

    def rows(self, index: Places) -> "SampledTargets":
        """The same draws for some of the rows."""
        return self._each(lambda part: part[index])

    def to(self, device: torch.device) -> "SampledTargets":
        """The same draws on another device."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "SampledTargets":
        return replace(
            self,
            symbols=change(self.symbols),
            counts=change(self.counts),
            entropy=change(self.entropy),
            ratios=None if self.ratios is None else change(self.ratios),
        )


def _counted(
    drawn: Int[Tensor, "*rows draws"],
) -> tuple[Int[Tensor, "*rows drawn"], Int[Tensor, "*rows drawn"]]:
    """The different symbols of each row, ascending, and how often each was drawn; as wide as the widest row."""
    drawn = drawn.sort(dim=-1).values
    another = torch.ones_like(drawn)
    another[..., 1:] = (drawn[..., 1:] != drawn[..., :-1]).long()
    places = another.cumsum(dim=-1) - 1
    symbols = torch.zeros_like(drawn).scatter(-1, places, drawn)
    counts = torch.zeros_like(drawn).scatter_add(-1, places, torch.ones_like(drawn))
    width = int(places.max()) + 1 if places.numel() else 0
    return symbols[..., :width], counts[..., :width]
