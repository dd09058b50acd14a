"""How a training asks its teacher: in the precision that was settled; what it says is heard in float32.

Which precision that is follows from a short measurement of the teacher itself, not of the student: the one may be a
network for which this processor is fast in bfloat16, and the other not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch

from limbeck.errors import RecipeError
from limbeck.objective import Needs
from limbeck.precision import asked_in, wide
from limbeck.signals import Batch, Signals
from limbeck.targets.dense import DenseTargets
from limbeck.teachers.protocol import Compilable, Teacher
from limbeck.training.compilation import frozen, missing
from limbeck.training.plan import Precision

SECONDS = 1.0
ROUNDS = 7
GAIN = 0.85  # as for the student: fewer digits must save more than chance
HOPELESS = 4.0


def question(teacher: Teacher | None, precision: str, compile: bool = False) -> Callable[[Batch], Signals]:
    """A function that asks a teacher about batches, and gives what it says in at least float32; nothing without one.

    Args:
        teacher: Live or recorded; a recording answers as it was made.
        precision: "float32" or "bfloat16".
        compile: Whether the teacher is asked through torch.compile, where it can be.
    """
    if teacher is None:
        return lambda batch: Signals()
    ask: Callable[[Batch], Signals] = teacher.signals
    if compile and isinstance(teacher, Compilable):
        ask = teacher.compiled(frozen)
    low = precision if teacher.views is None else "float32"

    @torch.no_grad()
    def asked(batch: Batch) -> Signals:
        with asked_in(low, batch.inputs.device):
            return heard(ask(batch))

    return asked


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


def uncompilable(teacher: Teacher, needs: Needs, device: torch.device) -> str | None:
    """What hinders a teacher from being asked through torch.compile; None when nothing does."""
    if not isinstance(teacher, Compilable):
        return f"the teacher {teacher.name} is not one network of torch's"
    if needs.teacher_layers:
        return f"the objective listens to the teacher's layer {min(needs.teacher_layers)}"
    package = missing(device)
    return None if package is None else f"{package} is not here"


def refuse_uncompilable(teacher: Teacher, needs: Needs, device: torch.device) -> None:
    """Refuses to ask a teacher through torch.compile where something hinders it.

    Raises:
        RecipeError: What.
    """
    if (lacking := uncompilable(teacher, needs, device)) is not None:
        raise RecipeError(
            f"training.teacher_compile: true was asked for, and {lacking}",
            expected="one network of torch's, an objective on its outputs, a C++ compiler (on a GPU triton)",
            remedy="training.teacher_compile: auto, which goes on without",
        )


@dataclass(frozen=True)
class Gain:
    """Wall seconds a batch as it is and compiled, and what compiling took."""

    plain: float
    compiled: float
    seconds: float


def faster_compiled(teacher: Teacher, batch: Batch, precision: str) -> Gain:
    """Compiles a teacher, and asks it about a batch with and without, in turns.

    Raises:
        TrainingError: When torch cannot compile it.
    """
    plain, fast = (question(teacher, precision, compile) for compile in (False, True))

    def timed(ask: Callable[[Batch], Signals]) -> float:
        started = time.perf_counter()
        ask(batch)
        if batch.inputs.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    timed(plain)
    first = timed(fast)
    seconds = max(first - timed(fast), 0.0)
    times: tuple[list[float], list[float]] = ([], [])
    until = time.perf_counter() + SECONDS
    while not times[0] or (len(times[0]) < ROUNDS and time.perf_counter() < until):
        for ask, values in zip((plain, fast), times, strict=True):
            values.append(timed(ask))
    return Gain(median(times[0]), median(times[1]), seconds)


@torch.no_grad()
def faster(teacher: Teacher, batch: Batch) -> Faster:
    """Asks a teacher about a batch in both precisions, in turns, for about a second.

    Args:
        teacher: One whose answers are computed here (`computed`), prepared for what it will be asked.
        batch: A full batch.
    """
    device = batch.inputs.device

    clock = time.process_time if device.type == "cpu" else time.perf_counter  # as the student's probe has it

    def timed(precision: str) -> float:
        started = clock()
        with asked_in(precision, device):
            teacher.signals(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - started

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
