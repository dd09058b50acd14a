"""The `training` of a recipe: how steps are made."""

from typing import Literal

from pydantic import Field

from limbeck.recipe.data import Strict
from limbeck.recipe.speaking import OwnText


class TrainingSpec(Strict):
    """How steps are made.

    Attributes:
        batch: Rows of a step, 1 or more.
        optimizer: "adamw", or "sgd" with Nesterov momentum.
        lr: Highest learning rate, above 0.
        momentum: Of sgd, 0 up to (not including) 1; adamw does not read it.
        weight_decay: 0 or more, decoupled for adamw.
        schedule: "cosine" falls to 0 at the last step; "constant" stays.
        warmup: Share of the steps in which the rate rises from 0, 0 up to (not including) 1.
        clip: Longest gradient (Euclidean norm), above 0; None for no clipping.
        ema: Decay of a moving average of the weights, between 0 and 1, such as 0.999; None for none.
        precision: "auto" measures and says what it chose.
        teacher_precision: In which the teacher is asked, live or to be recorded; it is judged in float32 whatever
            stands here. "auto" is float32 where `precision` is, else measured and said; a recording that was begun
            keeps its own.
        channels_last: Memory layout of images; "auto" measures and says what it chose.
        compile: Whether torch.compile makes the student's steps faster; "auto" measures where the training is long
            enough to pay for it, and says what it chose. It needs a C++ compiler, Python's headers, and an objective
            that listens to no layer of the student.
        teacher_compile: The same for the teacher. "auto" measures where it is asked live in so many steps that it may
            pay, and is false where it is recorded; a recording that was begun keeps its own.
        threads: Threads of the processor, 1 or more; None takes as many as torch does, and the run's recipe keeps how
            many that were, because another number sums in another order and gives other last bits.
        own_text: The share of batches whose texts are the student's own, with the keys of `OwnText`; None for none.
    """

    batch: int = Field(default=128, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=0.002, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    clip: float | None = Field(default=1.0, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    teacher_precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: Literal["auto", True, False] = "auto"
    compile: Literal["auto", True, False] = "auto"
    teacher_compile: Literal["auto", True, False] = "auto"
    threads: int | None = Field(default=None, ge=1)
    own_text: OwnText | None = None
