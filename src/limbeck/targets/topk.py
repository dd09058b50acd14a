"""The k largest logits of each row, and the rest as one symbol whose probability is right at the stored temperatures.

Merging all other symbols into one keeps a divergence below its value over all symbols, and zero for equal models (see
`limbeck.divergences.monotone`). The merged symbol's probability at a temperature is a sum over what was merged, each
softened by itself: it cannot be had from the sum at another temperature. So that sum is stored for every temperature
that will be asked for, and no other is answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from limbeck.divergences import Divergence, is_monotone, tempered
from limbeck.partial import merged, softened, tails
from limbeck.targets.protocol import Places, insist


@dataclass(frozen=True)
class TopKTargets:
    """The largest logits of each row, and the logarithm of the sum of the others' exponentials at some temperatures.

    Answers divergences that declare themselves monotone, at the stored temperatures: exactly that of the distributions
    over k + 1 symbols, the last being all others in one. Where every symbol was kept nothing is merged, and they answer
    everything, as dense targets do.

    Args:
        symbols: Which symbols were kept, each once, in any order.
        logits: The teacher's logits of these, up to one constant c for each row.
        tails: For each temperature T, log Σ exp((logit − c) / T) over the symbols not kept; −inf where they all have
            probability 0 or none is left.
        temperatures: In the order of `tails`, each above 0.
        size: The number of symbols in all.
        partial: Whether a row may have fewer symbols than others, as the answers of a server do. Where one is missing
            stands a number of `size` or more, each once, with the logit −inf; what it might have been is in the tail.
    """

    symbols: Int[Tensor, "*rows kept"]
    logits: Float[Tensor, "*rows kept"]
    tails: Float[Tensor, "*rows temperatures"]
    temperatures: tuple[float, ...]
    size: int
    partial: bool = False

    def __post_init__(self) -> None:
        assert len(self.temperatures) == self.tails.shape[-1] and 1 <= self.symbols.shape[-1] <= self.size

    @classmethod
    @torch.no_grad()
    def of(
        cls, logits: Float[Tensor, "*rows classes"], k: int, temperatures: Sequence[float] = (1.0,)
    ) -> "TopKTargets":
        """Keeps the k largest of all logits, or all where there are no more; c is 0. The tails are at least float32.

        Args:
            logits: The teacher's, a finite one in each row.
            k: At least 1.
            temperatures: Those at which divergences can be asked for later, one at least, each above 0.
        """
        size = logits.shape[-1]
        symbols = logits.topk(min(k, size), dim=-1, sorted=False).indices.sort(dim=-1).values
        rest = tails(logits, symbols, temperatures)
        return cls(symbols, logits.gather(-1, symbols), rest, tuple(temperatures), size)

    @torch.no_grad()
    def fewer(self, k: int) -> "TopKTargets":
        """The k largest of what was kept, the others added to the tails; with c where the largest logit is 0.

        Args:
            k: From 1 to the number that was kept.
        """
        top = self.logits.amax(dim=-1, keepdim=True)
        # A row of which nothing is known but its tail has no largest logit.
        logits = self.logits - torch.where(top.isneginf(), 0.0, top)
        order = logits.argsort(dim=-1, descending=True, stable=True)
        kept, rest = order[..., :k].sort(dim=-1).values, logits.gather(-1, order[..., k:])
        tails = []
        for place, temperature in enumerate(self.temperatures):
            tail = self.tails[..., place] - torch.where(top.isneginf(), 0.0, top)[..., 0] / temperature
            tails.append(torch.logaddexp(tail, torch.logsumexp(softened(rest, temperature), dim=-1)))
        return replace(
            self, symbols=self.symbols.gather(-1, kept), logits=logits.gather(-1, kept), tails=torch.stack(tails, -1)
        )

    def at(self, temperatures: Sequence[float]) -> "TopKTargets":
        """The same targets with the tails at some of their temperatures."""
        places = [self.temperatures.index(temperature) for temperature in temperatures]
        return replace(self, tails=self.tails[..., places], temperatures=tuple(temperatures))

    @property
    def kept(self) -> str:
        count = self.symbols.shape[-1]
        return f"the {count} largest of {self.size} logits and their tails at T={self._stored}"

    def refuses(self, divergence: Divergence, temperature: float) -> str | None:
        """Refuses a temperature that was not stored, and a divergence that merging symbols can raise."""
        if self._everything:
            return None
        if not is_monotone(divergence):
            return (
                f"merging symbols can raise it (it does not declare itself monotone), and {self.kept} have all others "
                "in one symbol; record all logits, or take kl or another monotone divergence"
            )
        if temperature not in self.temperatures:
            return (
                f"the tails were stored at T={self._stored} alone; record the teacher again with "
                f"T={temperature:g} among the temperatures, or train at one of these"
            )
        return None

    def divergence(
        self, divergence: Divergence, student: Float[Tensor, "*rows classes"], temperature: float
    ) -> Float[Tensor, "*rows"]:
        """The divergence over the kept symbols and all others as one, for each row; no gradient reaches the teacher.

        Args:
            divergence: One that is not refused.
            student: All logits of the student.
            temperature: One of the stored temperatures.

        Raises:
            TeacherError: When the divergence or the temperature is one that these targets refuse.
        """
        insist(self, divergence, temperature)
        symbols, logits = self.symbols.long(), self.logits.detach()
        if self._everything:
            return divergence(
                tempered(torch.empty_like(logits).scatter(-1, symbols, logits), temperature),
                tempered(student, temperature),
            )
        tail = self.tails.detach()[..., self.temperatures.index(temperature), None]
        theirs = torch.cat([softened(logits, temperature), tail], dim=-1)
        ours = merged(student, symbols, temperature, missing=self.partial)
        return divergence(torch.log_softmax(theirs, dim=-1), torch.log_softmax(ours, dim=-1))

    def rows(self, index: Places) -> "TopKTargets":
        """The same targets for some of the rows."""
        return replace(self, symbols=self.symbols[index], logits=self.logits[index], tails=self.tails[index])

    def to(self, device: torch.device) -> "TopKTargets":
        """The same targets on another device."""
        symbols, logits, tails = (
            part.to(device, non_blocking=True) for part in (self.symbols, self.logits, self.tails)
        )
        return replace(self, symbols=symbols, logits=logits, tails=tails)

    @property
    def _everything(self) -> bool:
        return self.symbols.shape[-1] == self.size and not self.partial

    @property
    def _stored(self) -> str:
        return ", ".join(f"{temperature:g}" for temperature in self.temperatures)
