"""The seam between how soft targets are kept and what is asked of them, and the refusals on both sides of it."""

from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.divergences import Divergence
from limbeck.errors import TeacherError

Places: TypeAlias = Tensor | slice | tuple[Tensor, ...]
"""Which rows; or, as one tensor of places for each of the rows' dimensions, which positions of which rows."""


@runtime_checkable
class SoftTargets(Protocol):
    """The teacher's distributions for some rows, in whatever form they were kept."""

    @property
    def kept(self) -> str:
        """What was kept, in words that an error can go on with: "the 64 largest of 49152 logits, ..."."""
        ...

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The only temperatures at which these targets answer; none where they answer at any."""
        ...

    def refuses(self, divergence: Divergence, temperature: float) -> str | None:
        """Returns why this kind of target cannot answer, and what to record instead; None when it can."""
        ...

    def divergence(
        self, divergence: Divergence, student: Float[Tensor, "*rows classes"], temperature: float
    ) -> Float[Tensor, "*rows"]:
        """The divergence in nats between teacher and student, both softened by `temperature` (> 0), for each row.

        No gradient reaches the teacher.

        Raises:
            TeacherError: When it is one that these targets refuse.
        """
        ...

    def rows(self, index: Places) -> "SoftTargets":
        """The same targets for some of the rows."""
        ...

    def to(self, device: torch.device) -> "SoftTargets":
        """The same targets on another device, which is the student's when they are asked."""
        ...


@runtime_checkable
class MakesLogits(SoftTargets, Protocol):
    """Soft targets from which all logits of some rows can be made when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """That of all logits, the rows' dimensions first."""
        ...

    def made_logits(self) -> Float[Tensor, "*rows classes"]:
        """All logits of all rows.

        A method and no property: asking whether something is of this kind reads its properties.
        """
        ...

    def rows(self, index: Places) -> "MakesLogits":
        """The same targets for some of the rows."""
        ...


def insist(targets: SoftTargets, divergence: Divergence, temperature: float) -> None:
    """Raises a TeacherError when the targets refuse a divergence at a temperature; else does nothing."""
    reason = targets.refuses(divergence, temperature)
    if reason is not None:
        raise TeacherError(f"the teacher's targets cannot answer {divergence.__name__} at T={temperature:g}: {reason}")


def without_logits(happened: str, targets: SoftTargets | None) -> TeacherError:
    """The refusal of what reads dense logits, where the teacher gives none.

    Args:
        happened: Who reads them of whom, without a full stop.
        targets: What the teacher gives in their place.
    """
    if targets is None:
        return TeacherError(happened, expected="a teacher that says all its logits")
    return TeacherError(
        f"{happened}; what was kept is {targets.kept}",
        expected="all logits of each row",
        remedy='record the teacher again with keep="dense", into another folder; or leave out what reads them',
    )
