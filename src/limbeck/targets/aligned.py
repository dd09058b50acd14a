"""What a teacher with another vocabulary says at the positions of the student's: its tokens told in the student's.

Where both readings of a text begin a token at the same byte, each token of the teacher counts for the student's token
of the same bytes, or for the first of the student's tokens of its text. The student's next token has at least the
probability that the teacher gives to the whole span it begins, which is the product of what it gives to each of its own
tokens there. Inside of a span the teacher says one thing alone: how likely the student's tokens go on as they do, such
that the product over the span is again the teacher's. These are two symbols, that token and all others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from limbeck.divergences import Divergence, is_monotone, is_unnamed, tempered
from limbeck.targets.protocol import Places, insist

# Of everything a teacher can say that it is sure of one symbol the hardest: a student never is.
_SURE, _UNSURE = (0.0, -torch.inf), (-0.6931471805599453, -0.6931471805599453)


@dataclass(frozen=True)
class AlignedTargets:
    """A teacher's hidden states and head in its own vocabulary, and what they mean in the student's.

    Args:
        hidden: What the teacher's head was given where it tells the token that begins at the same byte as the
            student's next one; zeros where nothing begins.
        weight: The head's.
        bias: The head's; -inf for tokens that the student cannot say, at which the teacher is not asked.
        meant: For each of the teacher's tokens the student's.
        token: The student's next token.
        begins: Whether a span begins with it.
        share: Where a span begins, the logarithm of the probability that `token` takes over from `source`, -inf for
            none; elsewhere that of `token`. At most 0.
        source: The student's token for the teacher's next one.
        size: How many tokens the student has.
    """

    hidden: Float[Tensor, "*rows width"]
    weight: Float[Tensor, "theirs width"]
    bias: Float[Tensor, " theirs"]
    meant: Int[Tensor, " theirs"]
    token: Int[Tensor, "*rows"]
    begins: Bool[Tensor, "*rows"]
    share: Float[Tensor, "*rows"]
    source: Int[Tensor, "*rows"]
    size: int

    @property
    def kept(self) -> str:
        return f"{len(self.weight)} symbols of the teacher's own, told in the {self.size} of the student's"

    @property
    def temperatures(self) -> tuple[float, ...]:
        return (1.0,)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of all logits in the student's vocabulary."""
        return (*self.token.shape, self.size)

    def refuses(self, divergence: Divergence, temperature: float) -> str | None:
        """Another temperature than 1; what merging symbols may raise, or what an impossible symbol makes infinite."""
        if temperature != 1:
            return (
                "the probabilities of the tokens in a span are multiplied, which is right at the temperature 1 alone; "
                "ask for temperature=1"
            )
        if is_unnamed(divergence):
            return None
        if not is_monotone(divergence):
            return "inside of a span all symbols but one are merged, which may raise it; kd(temperature=1) may be asked"
        sure, unsure = torch.tensor(_SURE), torch.tensor(_UNSURE)
        if not bool(torch.isfinite(divergence(sure, unsure))):
            return (
                "tokens that no token of the teacher's begins with have probability 0, which makes it infinite; "
                "jensen_shannon(temperature=1) or skew_kl(temperature=1, reverse=True) stay finite"
            )
        return None

    def divergence(
        self, divergence: Divergence, student: Float[Tensor, "*rows classes"], temperature: float
    ) -> Float[Tensor, "*rows"]:
        """The divergence for each row, over the student's symbols or, inside of a span, over two.

        One that does not ask which symbol is which compares with the teacher's own symbols.

        Raises:
            TeacherError: When the divergence or the temperature is one that these targets refuse.
        """
        insist(self, divergence, temperature)
        ours = tempered(student, 1.0).flatten(0, -2)
        flat = self._flat()
        at, inside = flat.begins.nonzero()[:, 0], (~flat.begins).nonzero()[:, 0]
        begun = flat.rows(at)
        theirs = begun._own() if is_unnamed(divergence) else begun._told()
        values = divergence(theirs, ours[at]), divergence(*flat.rows(inside)._two(ours[inside]))
        order = torch.cat([at, inside]).argsort()
        return torch.cat([value.to(ours.dtype) for value in values])[order].view(student.shape[:-1])

    @torch.no_grad()
    def made_logits(self) -> Float[Tensor, "*rows classes"]:
        """Log-probabilities of all the student's symbols; inside of a span those not known share evenly."""
        flat = self._flat()
        _, rest = _pair(flat.share)
        said = (rest - math.log(max(self.size - 1, 1)))[:, None].repeat(1, self.size)
        said.scatter_(-1, flat.token[:, None], flat.share[:, None])
        said[flat.begins] = flat.rows(flat.begins.nonzero()[:, 0])._told().to(said)
        return said.view(self.shape)

    def rows(self, index: Places) -> "AlignedTargets":
        """The same targets for some of the rows."""
        return self._each(lambda tensor: tensor[index], "hidden", "token", "begins", "share", "source")

    def to(self, device: torch.device) -> "AlignedTargets":
        """The same targets on another device."""
        names = [each.name for each in fields(self) if each.name != "size"]
        return self._each(lambda tensor: tensor.to(device, non_blocking=True), *names)

    def _each(self, change: Callable[[Tensor], Tensor], *names: str) -> "AlignedTargets":
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in names}
        return replace(self, **changed)

    def _flat(self) -> "AlignedTargets":
        if self.token.ndim == 1:
            return self
        rows = self.token.ndim
        return self._each(lambda tensor: tensor.flatten(0, rows - 1), "hidden", "token", "begins", "share", "source")

    def _own(self) -> Float[Tensor, "rows theirs"]:
        """Log-probabilities of the teacher's own symbols."""
        precision = torch.promote_types(self.hidden.dtype, self.weight.dtype)
        said = functional.linear(self.hidden.to(precision), self.weight.to(precision), self.bias.to(precision))
        return tempered(said.detach(), 1.0)

    @torch.no_grad()
    def _told(self) -> Float[Tensor, "rows ours"]:
        """Log-probabilities of the student's symbols where a span begins."""
        said = summed(self._own(), self.meant, self.size)
        taken = self.share.exp().to(said)[:, None]
        said.scatter_add_(-1, self.source[:, None], -taken)
        said.scatter_add_(-1, self.token[:, None], taken)
        return said.clamp(min=0).log()

    def _two(self, ours: Float[Tensor, "rows ours"]) -> tuple[Float[Tensor, "rows two"], Float[Tensor, "rows two"]]:
        """Log-probabilities of the next token and of all others in one, the teacher's and the student's."""
        theirs = torch.stack(_pair(self.share.to(ours.dtype)), dim=-1)
        token = self.token[:, None]
        others = torch.logsumexp(ours.scatter(-1, token, -torch.inf), dim=-1, keepdim=True)
        return theirs, torch.cat([ours.gather(-1, token), others], dim=-1)


def summed(said: Float[Tensor, "rows theirs"], meant: Int[Tensor, " theirs"], size: int) -> Float[Tensor, "rows ours"]:
    """Probabilities of the student's symbols: of those of the teacher's that mean them, added up.

    Args:
        said: Log-probabilities.
        meant: For each of the teacher's symbols the student's.
        size: How many the student has.
    """
    return said.new_zeros(len(said), size).index_add_(-1, meant, said.exp())


def _pair(share: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithms of a probability and of what it leaves."""
    return share, torch.log(-torch.expm1(share))
