"""A short measurement on the real student: which precision and layout is fast here, and how long a step takes.

On the processor candidates are compared by the process's CPU time: what else the machine does then decides less. How
long a step takes is wall time, since that is what a budget is made of.
"""

import copy
import time
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import nn

from limbeck.model import Model
from limbeck.signals import Batch, Signals
from limbeck.training.asking import question
from limbeck.training.layout import unsafe_channels_last
from limbeck.training.loop import Lesson
from limbeck.training.plan import Plan, Precision
from limbeck.training.step import Step

SECONDS = 1.5
ROUNDS = 15
HOPELESS = 4.0
GAIN = 0.9  # a layout must save a tenth of the time before it replaces a plainer one: less is noise here
GAIN_OF_PRECISION = 0.85  # fewer digits must save more than chance: by the wall a tenth came by chance


@dataclass(frozen=True)
class Probed:
    """The choice, what it was made from (milliseconds a step of each candidate), and a step's wall seconds in all."""

    precision: str
    channels_last: bool
    milliseconds: dict[str, float]
    seconds_per_step: float

    def sentence(self) -> str:
        """The choice and its reason, to be said aloud."""
        measured = ", ".join(f"{name} {value:.1f} ms" for name, value in self.milliseconds.items())
        layout = ", channels last" if self.channels_last else ""
        return f"precision: {self.precision}{layout} (measured a step: {measured})"


def probe(
    model: Model,
    lesson: Lesson,
    plan: Plan,
    batch: Batch,
    device: torch.device,
    precision: str | None = None,
    channels_last: bool | None = None,
) -> Probed:
    """Times training steps on copies of the student, in turns, for about two seconds.

    Args:
        model: The student; it is copied, never touched.
        lesson: What it will learn from; the teacher answers the batch once.
        plan: Optimiser and clipping are taken from it.
        batch: A full training batch.
        device: Where training will run.
        precision: Only this precision when it is given.
        channels_last: Only this layout when it is given.
    """
    ready = batch.to(device)
    started = time.perf_counter()
    said = question(lesson.teacher, plan.teacher_precision)(ready)
    asking = time.perf_counter() - started
    layouts = any(isinstance(module, nn.Conv2d) for module in model.modules()) and not unsafe_channels_last(model)
    with torch.random.fork_rng():
        names: tuple[Precision, ...] = ("float32", "bfloat16")
        choices = [
            (name, layout)
            for name in names
            for layout in (False, True)
            if precision in (None, name) and channels_last in (None, layout) and (layouts or not layout)
        ]
        steps: dict[tuple[Precision, bool], _Candidate] = {}
        times: dict[tuple[Precision, bool], list[Took]] = {}
        for key in choices:
            candidate = _Candidate(model, lesson, replace(plan, precision=key[0], channels_last=key[1]), ready, said)
            first = candidate.time().work  # warms up, and shows a precision that this processor only emulates
            if times and first > HOPELESS * min(min(each.work for each in values) for values in times.values()):
                continue
            steps[key], times[key] = candidate, [candidate.time()]
        deadline = time.perf_counter() + SECONDS
        while len(next(iter(times.values()))) < ROUNDS and time.perf_counter() < deadline:
            for key, candidate in steps.items():
                times[key].append(candidate.time())
    typical = {key: median(each.work for each in values) for key, values in times.items()}
    best = next(iter(typical))
    for key, value in typical.items():
        if value < (GAIN if key[0] == best[0] else GAIN_OF_PRECISION) * typical[best]:
            best = key
    shown = {f"{name}{' channels last' if layout else ''}": 1e3 * value for (name, layout), value in typical.items()}
    return Probed(best[0], best[1], shown, median(each.wall for each in times[best]) + asking)


@dataclass(frozen=True)
class Compiled:
    """Wall seconds of a step as it is and compiled, and what compiling took."""

    plain: float
    compiled: float
    seconds: float


def probe_compiled(model: Model, lesson: Lesson, plan: Plan, batch: Batch, device: torch.device) -> Compiled:
    """Compiles a copy of the student and times its steps against those of another copy that is not, in turns.

    Args:
        model: The student; it is copied, never touched.
        lesson: What it will learn from; the teacher answers the batch once.
        plan: Precision and layout are settled.
        batch: A full training batch.
        device: Where training will run.

    Raises:
        TrainingError: When torch cannot compile it.
    """
    ready = batch.to(device)
    with torch.random.fork_rng():
        said = question(lesson.teacher, plan.teacher_precision)(ready)
        plain, compiled = (
            _Candidate(model, lesson, replace(plan, compile=compile), ready, said) for compile in (False, True)
        )
        plain.time()
        started = time.perf_counter()
        first = compiled.time().wall
        seconds = max(first - compiled.time().wall, 0.0)
        times: tuple[list[float], list[float]] = ([], [])
        while len(times[0]) < ROUNDS and (not times[0] or time.perf_counter() - started - first < SECONDS):
            for candidate, values in zip((plain, compiled), times, strict=True):
                values.append(candidate.time().wall)
    return Compiled(median(times[0]), median(times[1]), seconds)


@dataclass(frozen=True)
class Took:
    """Seconds of a step: on the wall, and of work, which is the process's CPU time where the processor does it."""

    wall: float
    work: float


class _Candidate:
    """One precision and layout, ready to be timed a step at a time."""

    def __init__(self, model: Model, lesson: Lesson, plan: Plan, batch: Batch, said: Signals) -> None:
        device = batch.inputs.device
        layers = sorted(lesson.objective.needs().student_layers)
        step = Step(copy.deepcopy(model), copy.deepcopy(lesson.objective), layers, plan.precision, compile=plan.compile)
        self.module = plan.placed(step, device).train()
        self.optimizer = plan.build_optimizer(self.module)
        self.batch, self.said = batch, said

    def time(self) -> "Took":
        started, worked = time.perf_counter(), time.process_time()
        total, _ = self.module(self.batch, self.said, None)
        total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.batch.inputs.device.type == "cuda":
            torch.cuda.synchronize()
        wall = time.perf_counter() - started
        on_processor = self.batch.inputs.device.type == "cpu"
        return Took(wall, time.process_time() - worked if on_processor else wall)
