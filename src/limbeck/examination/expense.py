"""What the run will take: time for its budget and memory, estimated from a few real steps on this machine."""

import copy
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from limbeck.budget import Budget
from limbeck.data.loader import steps_per_epoch
from limbeck.data.rows import TensorRows
from limbeck.evaluation import answers
from limbeck.measures.complexity import weight_bytes
from limbeck.model import Model
from limbeck.recipe import Recipe
from limbeck.records import Finding
from limbeck.signals import Batch, Signals
from limbeck.training.loop import Lesson
from limbeck.training.plan import Plan
from limbeck.training.settling import VALIDATIONS
from limbeck.training.step import Step

# Beyond a day a person wants to be asked; beyond nine tenths of memory the system begins to swap or to kill.
LONG_SECONDS = 86_400.0
FULL, TIGHT = 0.9, 0.6
# Less than a pass leaves rows unseen; ten steps do not even warm a learning rate up.
FEWEST_STEPS = 10
_STEPS = 3


@dataclass(frozen=True)
class Expense:
    """Measured: seconds of a step, of asking the teacher about a batch, and of validating once; bytes at the peak."""

    step: float
    asking: float
    validation: float
    bytes: float
    how: str


def measured(student: Model, lesson: Lesson, plan: Plan, batch: Batch, teachers: Sequence[nn.Module]) -> Expense:
    """Makes a few real steps on a copy of the student.

    On CUDA memory is what torch says it held at most; on the processor it is the sum of weights, gradients and
    optimiser state, and of what the forward pass keeps for the backward one.
    """
    device = batch.inputs.device
    teacher = lesson.teacher
    asking = 0.0 if teacher is None else _timed(lambda: teacher.signals(batch), device)
    with torch.random.fork_rng():
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with torch.no_grad():
            said = Signals() if teacher is None else teacher.signals(batch)
        layers = sorted(lesson.objective.needs().student_layers)
        step = plan.placed(
            Step(copy.deepcopy(student), copy.deepcopy(lesson.objective), layers, plan.precision), device
        )
        step.train()
        optimizer = plan.build_optimizer(step)
        kept = _Kept()

        def once() -> None:
            with kept.hooks():
                total, _ = step(batch, said, None)
            total.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        seconds = _timed(once, device)
    rows = min(512, len(lesson.valid))
    checking = _timed(lambda: _validated(student, lesson, rows, device), device) * len(lesson.valid) / rows
    learning = sum(p.numel() * p.element_size() for p in step.parameters() if p.requires_grad)
    copies = 1 + (2 if plan.optimizer == "adamw" else 1 if plan.momentum else 0)
    held = weight_bytes(step) + copies * learning + kept.bytes + sum(map(weight_bytes, teachers))
    if device.type == "cuda":
        return Expense(seconds, asking, checking, float(torch.cuda.max_memory_allocated(device)), "measured by torch")
    return Expense(seconds, asking, checking, float(held), "weights, gradients, optimiser and activations added up")


def time_needed(spent: Expense, recipe: Recipe, rows: int, live: bool, taught: bool) -> list[Finding]:
    """Whether the budget is one: an error for a time that holds less than 10 steps, a warning for less than a pass.

    Args:
        spent: As measured.
        recipe: Budget, seeds, control and recording.
        rows: Training rows.
        live: Whether the teacher is asked in every step.
        taught: Whether there is a teacher at all.
    """
    budget, epoch = Budget.parse(recipe.budget), steps_per_epoch(rows, recipe.training.batch)
    each = spent.step + (spent.asking if live else 0.0)
    steps = budget.steps(epoch, each)
    once, seeds = recipe.control and taught, len(recipe.all_seeds())
    recording = 0.0 if live or not taught else spent.asking * epoch * _views(recipe, steps, epoch)
    validating = min(VALIDATIONS, math.ceil(steps / epoch)) * spent.validation
    training = steps * each + validating + (steps * spent.step + validating if once else 0.0)
    total = recording + training * seeds
    evidence = (
        f"estimate: {budget} is {steps:,} steps ({steps / epoch:.3g} passes over {rows:,} rows); a step takes "
        f"{1e3 * spent.step:.3g} ms and the teacher {1e3 * spent.asking:.3g} ms a batch, measured here; with "
        f"{'its control, ' if once else ''}{seeds} seed{'' if seeds == 1 else 's'}"
        f"{f', a recording of {_time(recording)}' if recording else ''} and validation about {_time(total)}"
    )
    if budget.unit == "seconds" and steps < max(FEWEST_STEPS, epoch):
        wanted = _budget(5 * epoch * each)
        return [
            Finding(
                "error" if steps < FEWEST_STEPS else "warning",
                "the budget is too short",
                evidence,
                f"budget: {wanted} makes five passes; or larger batches, a faster teacher (record: 1), fewer rows",
            )
        ]
    if steps < epoch:
        return [Finding("warning", "the budget is less than a pass", evidence, "budget: 5 epochs or more")]
    if total > LONG_SECONDS:
        return [
            Finding(
                "warning", "the run takes more than a day", evidence, "record: 1 asks the teacher once; fewer seeds"
            )
        ]
    return [Finding("note", "the expected time", evidence, "")]


def _views(recipe: Recipe, steps: int, epoch: int) -> int:
    """How many views of each row would be recorded, at most."""
    return math.ceil(steps / epoch) if recipe.record == "auto" else int(recipe.record or 1)


def memory_needed(spent: Expense, data_bytes: int, device: torch.device) -> list[Finding]:
    """Memory at the peak beside what the machine has: an error beyond 90 % of it, a warning beyond 60 %."""
    total = _memory(device)
    needed = spent.bytes + (data_bytes if device.type == "cpu" else 0)
    if total is None:
        return []
    share = needed / total
    with_data = "; data included" if device.type == "cpu" else ""
    evidence = (
        f"estimate: {_size(needed)} at the peak of a step ({spent.how}{with_data}) of the {_size(total)} that "
        f"{device.type} has: {share:.1%}"
    )
    if share <= TIGHT:
        return [Finding("note", "the expected memory", evidence, "")]
    severity: Literal["error", "warning"] = "error" if share > FULL else "warning"
    return [
        Finding(severity, "the memory", evidence, "a smaller training.batch, a smaller student, or precision: bfloat16")
    ]


class _Kept:
    """Bytes that forward passes keep for the backward pass, each storage once; the largest of all passes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._seen: dict[int, int] = {}

    def hooks(self) -> torch.autograd.graph.saved_tensors_hooks:
        self._seen = {}
        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            self._seen[storage.data_ptr()] = storage.nbytes()
            self.bytes = max(self.bytes, sum(self._seen.values()))
        return tensor.detach()  # an operation that keeps its own output would else never be freed


def _validated(student: Model, lesson: Lesson, rows: int, device: torch.device) -> object:
    piece = lesson.valid.take(torch.arange(rows))
    return answers(student, TensorRows(piece.inputs, piece.labels, piece.known, piece.ids), lesson.task, device=device)


def _timed(action: Callable[[], object], device: torch.device) -> float:
    """The median of a few calls after one that warms up, in seconds."""
    taken = []
    for turn in range(_STEPS + 1):
        started = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn:
            taken.append(time.perf_counter() - started)
    return sorted(taken)[len(taken) // 2]


def _memory(device: torch.device) -> float | None:
    """Bytes there are in all; of the processor's what the container is allowed."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    there = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return min(there, float(allowed)) if allowed.isdigit() else there


def _size(amount: float) -> str:
    return f"{amount / 1e9:.3g} GB" if amount >= 1e9 else f"{amount / 1e6:.3g} MB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _budget(seconds: float) -> str:
    return f"{math.ceil(seconds)}s" if seconds < 120 else f"{math.ceil(seconds / 60)}m"
