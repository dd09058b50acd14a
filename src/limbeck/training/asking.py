"""How a training asks its teacher: in the precision that was settled; what it says is heard in float32.

Which precision that is follows from a short measurement of the teacher itself, not of the student: the one may be a
network for which this processor is fast in bfloat16, and the other not.
"""

import time
from dataclasses import dataclass, replace
from statistics import median

import torch

from limbeck.precision import asked_in, wide
from limbeck.signals import Batch, Signals
from limbeck.targets.dense import DenseTargets
from limbeck.teachers.protocol import Teacher
from limbeck.training.plan import Precision

SECONDS = 1.0
ROUNDS = 7
GAIN = 0.75  # as for the student: fewer digits must save a quarter, because less comes by chance on a busy machine
HOPELESS = 4.0


@torch.no_grad()
def asked(teacher: Teacher | None, batch: Batch, precision: str) -> Signals:
    """What a teacher says about a batch, in at least float32; nothing where there is none.

    Args:
        teacher: Live or recorded; a recording answers in the precision it was made in.
        batch: The rows.
        precision: "float32" or "bfloat16".
    """
    if teacher is None:
        return Signals()
    with asked_in(precision if teacher.views is None else "float32", batch.inputs.device):
        return heard(teacher.signals(batch))


def heard(said: Signals) -> Signals:
    """A teacher's signals in at least float32; what is not logits or features yet is made in float32 later."""
    half = said.logits is not None and said.logits.dtype in (torch.bfloat16, torch.float16)
    if not half and not said.features and not said.members:
        return said
    logits = None if said.logits is None else wide(said.logits)
    dense = logits is not None and isinstance(said.targets, DenseTargets)
    return replace(
        said,
        logits=logits,
        targets=DenseTargets(logits) if dense and logits is not None else said.targets,
        features={name: wide(feature) for name, feature in said.features.items()},
        members=tuple(heard(member) for member in said.members),
    )


@dataclass(frozen=True)
class Faster:
    """The precision in which a teacher is asked, and what it was chosen from: milliseconds a batch in each."""

    precision: Precision
    milliseconds: dict[str, float]

    def sentence(self) -> str:
        """The choice and its reason, to be said aloud."""
        measured = ", ".join(f"{name} {value:.1f} ms" for name, value in self.milliseconds.items())
        return f"teacher: asked in {self.precision} (measured a batch: {measured})"


@torch.no_grad()
def faster(teacher: Teacher, batch: Batch) -> Faster:
    """Asks a teacher about a batch in both precisions, in turns, for about a second.

    Args:
        teacher: One whose answers are computed here (`computed`), prepared for what it will be asked.
        batch: A full batch.
    """
    device = batch.inputs.device

    def timed(precision: str) -> float:
        started = time.perf_counter()
        with asked_in(precision, device):
            teacher.signals(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    choices: tuple[Precision, ...] = ("float32", "bfloat16")
    first = {precision: timed(precision) for precision in choices}  # warms up, and shows what is only emulated
    if first["bfloat16"] > HOPELESS * first["float32"]:
        return Faster("float32", {name: 1e3 * seconds for name, seconds in first.items()})
    times: dict[Precision, list[float]] = {precision: [] for precision in choices}
    until = time.perf_counter() + SECONDS
    while not times["float32"] or (len(times["float32"]) < ROUNDS and time.perf_counter() < until):
        for precision in choices:
            times[precision].append(timed(precision))
    typical = {precision: median(values) for precision, values in times.items()}
    best: Precision = "bfloat16" if typical["bfloat16"] < GAIN * typical["float32"] else "float32"
    return Faster(best, {name: 1e3 * seconds for name, seconds in typical.items()})
