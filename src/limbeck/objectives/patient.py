"""Patient distillation: the class token of several layers of the student points where the teacher's does.

Sun, Cheng, Gan, Liu, 2019 (BERT-PKD), https://arxiv.org/abs/1908.09355, section 3.2, equation 7: squared distance of
the two states, each of length 1, summed over the layers. Read: memory.
Which layers is the reader's to say: the paper's PKD-Skip takes every second of twelve, PKD-Last the last ones; the last
layer of all is left to the soft targets. Its weight beside them was 10 to 1000.
Deviations:
- where there is no class token, the mean over the tokens stands for the row;
- the authors' code divides by the width, the paper does not; this follows the paper;
- a state of zeros has no direction: it counts as zeros and gets no gradient.
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, MinLen
from jaxtyping import Float
from pydantic import validate_call
from torch import Tensor

from limbeck.alignment import check_sequence, unit
from limbeck.errors import ObjectiveError
from limbeck.heads import Name, check_tokens, tokens
from limbeck.objective import Needs, Objective
from limbeck.precision import wide
from limbeck.signals import Batch, Signals


class Patient(Objective):
    """Squared distance between directions of hidden states, one for a row, summed over pairs of layers.

    The two models are of the same width, as in the paper; `hint` has a projector. Where the mask counts positions, the
    mean is over those that count, and each of them carries its row's value.

    Args:
        student_layers: Layers of the student, each saying (rows, tokens, width).
        teacher_layers: As many layers of the teacher, in the same order.
        of: "class" takes the first token, "mean" the mean of the tokens after the prefix.
        student_prefix: Leading tokens of the student that a mean leaves out.
        teacher_prefix: The same of the teacher.
    """

    family = "transformers"
    formula = "Σ over layers of ‖student / ‖student‖ − teacher / ‖teacher‖‖²"

    @validate_call
    def __init__(
        self,
        student_layers: Annotated[tuple[Name, ...], MinLen(1)],
        teacher_layers: Annotated[tuple[Name, ...], MinLen(1)],
        of: Literal["class", "mean"] = "class",
        student_prefix: Annotated[int, Ge(0)] = 0,
        teacher_prefix: Annotated[int, Ge(0)] = 0,
    ) -> None:
        super().__init__()
        if len(student_layers) != len(teacher_layers):
            raise ObjectiveError(
                f"patient was given student_layers={student_layers} and teacher_layers={teacher_layers}",
                expected="pairs of layers: as many of the one as of the other",
            )
        if of == "class" and (student_prefix or teacher_prefix):
            raise ObjectiveError(
                "patient(of='class') takes the first token and leaves none out",
                expected="of='mean' where a prefix is given",
                remedy="leave the prefix out",
            )
        self.student_layers, self.teacher_layers, self.of = student_layers, teacher_layers, of
        self.student_prefix, self.teacher_prefix = student_prefix, teacher_prefix

    def needs(self) -> Needs:
        """The layers of both models."""
        return Needs(student_layers=frozenset(self.student_layers), teacher_layers=frozenset(self.teacher_layers))

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Checks that the layers of a pair can be compared.

        Raises:
            ObjectiveError: When they cannot.
        """
        if self.of == "mean" and batch.mask.ndim > 1:
            check_tokens(self, student, teacher, batch)
        for ours, theirs in zip(self.student_layers, self.teacher_layers, strict=True):
            learnt, taught = student.features[ours], teacher.features[theirs]
            if learnt.ndim != 3 or taught.ndim != 3 or learnt.shape[2] != taught.shape[2]:
                raise ObjectiveError(
                    f"{self!r} cannot compare {ours} {tuple(learnt.shape)} with {theirs} {tuple(taught.shape)}",
                    expected="(rows, tokens, width) of the same width",
                    remedy="hint compares layers of different widths through a projector",
                )
            check_sequence(learnt, ours, "tokens", self.student_prefix)
            check_sequence(taught, theirs, "tokens", self.teacher_prefix)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The summed distances of each row; every position has its row's where the mask counts positions."""
        total = torch.zeros((), device=batch.mask.device)
        for ours, theirs in zip(self.student_layers, self.teacher_layers, strict=True):
            learnt = self._state(student, ours, self.student_prefix, batch)
            taught = self._state(teacher, theirs, self.teacher_prefix, batch).detach().to(learnt.dtype)
            total = total + (unit(learnt) - unit(taught)).square().sum(dim=-1)
        return total if batch.mask.ndim == 1 else total[:, None].expand(batch.mask.shape)

    def _state(self, signals: Signals, layer: str, prefix: int, batch: Batch) -> Float[Tensor, "rows width"]:
        if self.of == "mean":
            # The sum points where the mean does.
            return tokens(signals, layer, prefix, batch).sum(dim=1)
        rows = batch.mask.any(dim=1) if batch.mask.ndim > 1 else batch.mask
        return torch.where(rows[:, None], wide(signals.features[layer])[:, 0], 0.0)
