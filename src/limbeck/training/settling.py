"""From a recipe with `auto` in it to one where everything is settled, and from that to a plan."""

import math

import torch

from limbeck.budget import Budget
from limbeck.data.loader import steps_per_epoch
from limbeck.errors import ModelError, ObjectiveError
from limbeck.model import Model
from limbeck.recipe import Recipe
from limbeck.signals import Batch
from limbeck.training.layout import unsafe_channels_last
from limbeck.training.loop import Lesson
from limbeck.training.plan import Plan
from limbeck.training.probe import probe

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
        validate_every=epoch * max(1, math.ceil(steps / epoch / VALIDATIONS)),
    )


def settle(
    recipe: Recipe, student: Model, lesson: Lesson, batch: Batch, device: torch.device
) -> tuple[Recipe, list[str]]:
    """Replaces what `auto` and a budget in time leave open by what a short measurement on the real student gives.

    Returns:
        The settled recipe, and what was chosen and why, in sentences.

    Raises:
        ModelError: When the recipe asks for a layout in which the student cannot be trained.
        ObjectiveError: When a schedule of the objective is longer than the budget.
    """
    training, budget = recipe.training, Budget.parse(recipe.budget)
    epoch = steps_per_epoch(len(lesson.train), training.batch)
    open_ended = training.precision == "auto" or training.channels_last == "auto" or budget.unit == "seconds"
    said = []
    unsafe = unsafe_channels_last(student)
    if unsafe and training.channels_last is True:
        raise ModelError(
            f"the student's layer {unsafe} cannot be trained in the channels-last layout: torch corrupts memory there",
            remedy="training.channels_last: false, or input channels of that layer that are a multiple of 8",
        )
    if unsafe and training.channels_last == "auto":
        said.append(f"layout: the default one, because torch corrupts memory in {unsafe} when channels come last")
    if open_ended:
        settled = training.model_copy(update={"precision": "float32", "channels_last": False})
        draft = plan_of(recipe.model_copy(update={"training": settled, "budget": "1 steps"}), 0, len(lesson.train))
        asked = None if training.precision == "auto" else training.precision
        found = probe(student, lesson, draft, batch, device, asked)
        said.append(found.sentence())
        chosen = {"precision": found.precision, "channels_last": found.channels_last}
        if training.channels_last != "auto":
            chosen["channels_last"] = training.channels_last
        training = training.model_copy(update=chosen)
        steps = budget.steps(epoch, found.seconds_per_step)
        if budget.unit == "seconds":
            said.append(f"budget: {budget} is {steps} steps at {1e3 * found.seconds_per_step:.1f} ms a step")
    else:
        steps = budget.steps(epoch)
    training = training.model_copy(update={"threads": training.threads or torch.get_num_threads()})
    for schedule in lesson.objective.schedules():
        if schedule.over is not None and schedule.length(steps, epoch) > steps:
            raise ObjectiveError(
                f"{schedule!r} takes {schedule.length(steps, epoch):,} steps, and the training has {steps:,}",
                expected="a schedule that ends within the budget",
                remedy="leave `over` out: the schedule then takes the whole training",
            )
    where = device.type if device.type in ("cpu", "cuda") else recipe.device
    return recipe.model_copy(update={"training": training, "budget": f"{steps} steps", "device": where}), said
