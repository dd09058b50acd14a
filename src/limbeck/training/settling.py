"""From a recipe with `auto` in it to one where everything is settled, and from that to a plan."""

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch

from limbeck.budget import Budget
from limbeck.data.loader import steps_per_epoch
from limbeck.errors import ModelError, ObjectiveError, RecipeError, TrainingError
from limbeck.model import Model
from limbeck.recipe import Recipe, TrainingSpec
from limbeck.signals import Batch
from limbeck.teachers.protocol import Teacher
from limbeck.training.asking import Gain, faster_compiled, question, uncompilable
from limbeck.training.compilation import missing, pays_back, worth_trying
from limbeck.training.engine import threads
from limbeck.training.layout import unsafe_channels_last
from limbeck.training.loop import Lesson
from limbeck.training.plan import Plan
from limbeck.training.probe import Compiled, probe, probe_compiled

VALIDATIONS = 50


def plan_of(recipe: Recipe, seed: int, rows: int) -> Plan:
    """The plan of a settled recipe.

    Validation comes once an epoch, but at most 50 times: with few rows it would cost more than training.
    """
    training = recipe.training
    assert training.precision != "auto" and training.channels_last != "auto"
    epoch = steps_per_epoch(rows, training.batch)
    steps = Budget.parse(recipe.budget).steps(epoch)
    return Plan(
        steps=steps,
        steps_per_epoch=epoch,
        batch_size=training.batch,
        seed=seed,
        optimizer=training.optimizer,
        lr=training.lr,
        momentum=training.momentum,
        weight_decay=training.weight_decay,
        schedule=training.schedule,
        warmup=training.warmup,
        clip=training.clip,
        ema=training.ema,
        precision=training.precision,
        channels_last=training.channels_last,
        # A run that was settled before there was a choice was not compiled.
        compile=training.compile is True,
        teacher_compile=training.teacher_compile is True,
        teacher_precision="bfloat16" if training.teacher_precision == "bfloat16" else "float32",
        validate_every=epoch * max(1, math.ceil(steps / epoch / VALIDATIONS)),
    )


@dataclass
class _Settling:
    """A recipe on its way from `auto` to numbers; each method closes some of what is open and says so in `said`."""

    recipe: Recipe
    student: Model
    lesson: Lesson
    batch: Batch
    device: torch.device
    said: list[str] = field(default_factory=list)
    seconds_per_step: float | None = None

    @property
    def training(self) -> TrainingSpec:
        return self.recipe.training

    @property
    def budget(self) -> Budget:
        return Budget.parse(self.recipe.budget)

    @property
    def epoch(self) -> int:
        return steps_per_epoch(len(self.lesson.train), self.training.batch)

    def choose(self, **settled: Any) -> None:
        """Puts what was found in the place of `auto`."""
        self.recipe = self.recipe.model_copy(update={"training": self.training.model_copy(update=settled)})

    def draft(self) -> Plan:
        """A plan of one step, for measurements; what is still open is as plain as can be."""
        plain = {"precision": "float32", "channels_last": False, "compile": False}
        settled = {name: value for name, value in plain.items() if getattr(self.training, name) == "auto"}
        training, rows = self.training.model_copy(update=settled), len(self.lesson.train)
        return plan_of(self.recipe.model_copy(update={"training": training, "budget": "1 steps"}), 0, rows)

    def layout(self) -> None:
        """Refuses or avoids the layout in which the student cannot be trained."""
        unsafe = unsafe_channels_last(self.student)
        if unsafe and self.training.channels_last is True:
            raise ModelError(
                f"the student's layer {unsafe} cannot be trained in the channels-last layout: torch corrupts memory "
                "there",
                remedy="training.channels_last: false, or input channels of that layer that are a multiple of 8",
            )
        if unsafe and self.training.channels_last == "auto":
            self.said.append(
                f"layout: the default one, because torch corrupts memory in {unsafe} when channels come last"
            )

    def precision(self) -> None:
        """Measures a step, where anything depends on how long one takes."""
        training = self.training
        if "auto" not in (training.precision, training.channels_last, training.compile) and (
            self.budget.unit != "seconds"
        ):
            return
        asked = None if training.precision == "auto" else training.precision
        layout = None if training.channels_last == "auto" else training.channels_last
        found = probe(self.student, self.lesson, self.draft(), self.batch, self.device, asked, layout)
        self.seconds_per_step = found.seconds_per_step
        if asked is None or layout is None:
            self.said.append(found.sentence())
            self.choose(precision=found.precision, channels_last=found.channels_last if layout is None else layout)

    def compile(self) -> None:
        """Decides on torch.compile, which is tried only where the training is long enough to pay for the trial."""
        wanted = self.training.compile
        listens = sorted(self.lesson.objective.needs().student_layers)
        lacking = f"the objective listens to the student's layer {listens[0]}" if listens else None
        if wanted is not False and not lacking and (package := missing(self.device)):
            lacking = f"{package} is not here"
        if wanted is True and lacking:
            raise RecipeError(
                f"training.compile: true was asked for, and {lacking}",
                expected="an objective on the student's outputs, a C++ compiler (on a GPU triton), Python's headers",
                remedy="training.compile: auto, which goes on without",
            )
        if wanted == "auto":
            self._try_compiling(lacking)
        elif wanted and self.budget.unit == "seconds":
            self._measure_compiled()

    def _try_compiling(self, lacking: str | None) -> None:
        assert self.seconds_per_step is not None
        steps, chosen = self.budget.steps(self.epoch, self.seconds_per_step), False
        length = f"{steps:,} steps of {1e3 * self.seconds_per_step:.1f} ms"
        if not worth_trying(steps, self.seconds_per_step):
            self.said.append(f"compile: no ({length} are over before it would have paid back)")
        elif lacking:
            self.said.append(f"compile: no ({lacking}; it might have saved time in {length})")
        else:
            self.said.append(f"compile: measuring, because the training is long enough ({length})")
            before = self.seconds_per_step
            try:
                found = self._measure_compiled()
            except TrainingError as error:
                self.said.append(f"compile: no ({error.happened})")
            else:
                chosen = pays_back(steps, found.plain, found.compiled, found.seconds)
                self.seconds_per_step = self.seconds_per_step if chosen else before
                self.said.append(
                    f"compile: {'yes' if chosen else 'no'} (measured a step: {1e3 * found.plain:.1f} ms without, "
                    f"{1e3 * found.compiled:.1f} ms with; compiling took {found.seconds:.0f} s)"
                )
        self.choose(compile=chosen)

    def compile_teacher(self) -> None:
        """Decides on torch.compile for a teacher that is asked live in so many steps that it may pay for the trial."""
        teacher = self.lesson.teacher
        if self.training.teacher_compile != "auto" or teacher is None or teacher.views is not None:
            return
        chosen, precision = False, self.training.teacher_precision
        if not self.recipe.record and uncompilable(teacher, self.lesson.objective.needs(), self.device) is None:
            found = self._measure_teacher(teacher, "bfloat16" if precision == "bfloat16" else "float32")
            steps = self.budget.steps(self.epoch, self.seconds_per_step)
            chosen = found is not None and pays_back(steps, found.plain, found.compiled, found.seconds)
            if found is not None:
                if chosen and self.seconds_per_step is not None:
                    self.seconds_per_step -= found.plain - found.compiled
                verdict = "compiled" if chosen else "not compiled"
                self.said.append(
                    f"teacher: {verdict} (measured a batch: {1e3 * found.plain:.1f} ms without, "
                    f"{1e3 * found.compiled:.1f} ms with; compiling took {found.seconds:.0f} s)"
                )
        self.choose(teacher_compile=chosen)

    def _measure_teacher(self, teacher: Teacher, precision: str) -> Gain | None:
        """What compiling the teacher gains; None where it is not tried, or torch cannot."""
        ask, batch = question(teacher, precision), self.batch.to(self.device)
        ask(batch)
        started = time.perf_counter()
        ask(batch)
        seconds = time.perf_counter() - started
        if not worth_trying(self.budget.steps(self.epoch, self.seconds_per_step), seconds):
            return None
        try:
            return faster_compiled(teacher, batch, precision)
        except TrainingError as error:
            self.said.append(f"teacher: not compiled ({error.happened})")
            return None

    def _measure_compiled(self) -> Compiled:
        assert self.seconds_per_step is not None
        found = probe_compiled(self.student, self.lesson, self.draft(), self.batch, self.device)
        each = max(self.seconds_per_step - found.plain, 0.0) + found.compiled
        if self.budget.unit == "seconds":
            # A budget in time is for everything: what is left after compiling makes the steps.
            left = max(self.budget.amount - found.seconds, each)
            each *= self.budget.amount / left
        self.seconds_per_step = each
        return found


def settle(
    recipe: Recipe, student: Model, lesson: Lesson, batch: Batch, device: torch.device
) -> tuple[Recipe, list[str]]:
    """Replaces what `auto` and a budget in time leave open by what a short measurement on the real student gives.

    Returns:
        The settled recipe, and what was chosen and why, in sentences.

    Raises:
        ModelError: When the recipe asks for a layout in which the student cannot be trained.
        ObjectiveError: When a schedule of the objective is longer than the budget.
        RecipeError: When the recipe asks to compile, and the machine lacks what that needs.
    """
    settling = _Settling(recipe, student, lesson, batch, device)
    with threads(recipe.training.threads):
        settling.layout()
        settling.precision()
        settling.compile()
        settling.compile_teacher()
    budget, epoch = settling.budget, settling.epoch
    steps = budget.steps(epoch, settling.seconds_per_step)
    if budget.unit == "seconds":
        assert settling.seconds_per_step is not None
        settling.said.append(f"budget: {budget} is {steps} steps at {1e3 * settling.seconds_per_step:.1f} ms a step")
    settling.choose(threads=recipe.training.threads or torch.get_num_threads())
    for schedule in lesson.objective.schedules():
        if schedule.over is not None and schedule.length(steps, epoch) > steps:
            raise ObjectiveError(
                f"{schedule!r} takes {schedule.length(steps, epoch):,} steps, and the training has {steps:,}",
                expected="a schedule that ends within the budget",
                remedy="leave `over` out: the schedule then takes the whole training",
            )
    where = device.type if device.type in ("cpu", "cuda") else recipe.device
    return settling.recipe.model_copy(update={"budget": f"{steps} steps", "device": where}), settling.said
