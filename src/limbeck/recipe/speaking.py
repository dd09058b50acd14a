"""What a recipe says of texts that models make: those they learn from, and those that are shown at the end."""

import math
from typing import Annotated

from pydantic import BeforeValidator, Field

from limbeck.recipe.data import Strict


class Generations(Strict):
    """What teacher, student and control are asked to go on with when the run ends, for the report.

    Each goes on with every prompt twice, greedily and by draws: at most 2 * prompts * length tokens a model, all
    prompts at once.

    Attributes:
        prompts: Held-out documents whose beginning is gone on with, 0 or more; 0 for none.
        length: Tokens of an answer at most, 1 or more; fewer where the context is full.
        temperature: Of the draws, above 0.
    """

    prompts: int = Field(default=8, ge=0)
    length: int = Field(default=64, ge=1)
    temperature: float = Field(default=1.0, gt=0, lt=math.inf)


def _prompts(value: object) -> object:
    """A lone number is one of prompts."""
    return {"prompts": value} if isinstance(value, int) and not isinstance(value, bool) else value


Shown = Annotated[Generations | None, BeforeValidator(_prompts)]
"""Generations as a person may spell them."""


class OwnText(Strict):
    """Learning from what the student itself says, judged by the teacher (GKD, Agarwal et al. 2024, algorithm 1).

    The completions of some batches are the student's own, drawn as it stands at that step; prompts and order stay those
    of the data. Terms that read labels pass these batches over.

    Attributes:
        share: Of the batches, 0 to 1: the probability with which a batch is one of the student's own.
        temperature: Of the draws, 0 or more; 0 takes the likeliest token each time. It is no temperature of the loss.
        length: Tokens of a completion at most, 1 or more; fewer where the row is full.
    """

    share: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=1.0, ge=0, lt=math.inf)
    length: int = Field(default=64, ge=1)
