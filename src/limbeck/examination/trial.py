"""A minute of training on the teacher's answers: can the student follow at all, and does it follow on unseen rows?"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data.loader import order
from limbeck.data.rows import Rows
from limbeck.model import Model, answering
from limbeck.objective import Objective
from limbeck.records import Finding
from limbeck.signals import Batch, Signals
from limbeck.task import Task, counted
from limbeck.teachers.protocol import Teacher, judged
from limbeck.training.plan import Plan
from limbeck.training.step import Step

ROWS = 2048
LOOKS = 12
# Rows it trains on again and again: a student that has room for its teacher agrees on nearly all of them.
FOLLOWS = 0.9
FLAT = 0.02
APART = 0.1
# Fewer passes say nothing of capacity, however flat the curve looks.
FEWEST_EPOCHS = 5


@dataclass(frozen=True)
class Look:
    """Agreement with the teacher (0 to 1) after some seconds, on rows trained on and on others."""

    seconds: float
    steps: int
    seen: float
    unseen: float


@dataclass(frozen=True)
class Lesson:
    """What the trial learns from: fixed batches and what the teacher said about them once."""

    batches: Sequence[Batch]
    said: Sequence[Signals]
    unseen: Batch
    unseen_said: Signals


def lesson(teacher: Teacher, train: Rows, valid: Rows, task: Task, batch: int, device: torch.device) -> Lesson | None:
    """Asks the teacher about up to 2,048 training rows in batches, and about up to 512 validation rows.

    None where the teacher, a recording, can say nothing about rows it has not recorded, or says too little anyway.
    """
    if not judged(teacher):
        return None
    places = order(len(train), 0, 0)[: max(min(ROWS, len(train)) // batch, 1) * batch]
    batches = [_batch(train, part, task).to(device) for part in places.split(batch)]
    unseen = _batch(valid, torch.arange(min(512, len(valid))), task).to(device)
    with torch.no_grad():
        said = [teacher.signals(each) for each in batches]
        about = teacher.signals(unseen)
    return (
        None
        if about.logits is None or any(each.logits is None for each in said)
        else Lesson(batches, said, unseen, about)
    )


def trial(student: Model, objective: Objective, plan: Plan, taught: Lesson, seconds: float) -> list[Look]:
    """Trains a copy of the student for at most so many seconds, and looks at it a dozen times.

    It stops before its time when it agrees on 98 % of the rows it trains on. The learning rate is the plan's, without a
    schedule: that would end where the time does, and not where the learning does.
    """
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        device = taught.unseen.inputs.device
        layers = sorted(objective.needs().student_layers)
        step = plan.placed(Step(copy.deepcopy(student), copy.deepcopy(objective), layers, plan.precision), device)
        optimizer = plan.build_optimizer(step)
        looks, steps, started = [_look(step.model, taught, 0.0, 0)], 0, time.perf_counter()
        while looks[-1].seconds < seconds and looks[-1].seen < 0.98:
            until = started + seconds * len(looks) / LOOKS
            while True:
                for place in torch.randperm(len(taught.batches)).tolist():
                    step.train()
                    total, _ = step(taught.batches[place], taught.said[place], None)
                    total.backward()
                    torch.nn.utils.clip_grad_norm_(step.parameters(), plan.clip or 1e9)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                    steps += 1
                    if time.perf_counter() > started + seconds:
                        break
                if time.perf_counter() > until:
                    break
            looks.append(_look(step.model, taught, time.perf_counter() - started, steps))
    return looks


def followed(looks: Sequence[Look], batches: int) -> list[Finding]:
    """What a trial shows.

    A warning where the student agrees with its teacher on less than 90 % even of the rows it trains on, and has gained
    less than 2 points in the last third of the time: it has no room for what it is taught. Else a note with the
    numbers: whether it still rises, or knows the rows it saw far better than others.

    Args:
        looks: In their order, the first before training.
        batches: How many there were, for the number of passes.
    """
    last = looks[-1]
    before = [look for look in looks if look.seconds <= last.seconds * 2 / 3][-1]
    epochs = last.steps / max(1, batches)
    earlier = f"; after {before.seconds:.0f} s it was {before.seen:.1%} and {before.unseen:.1%}" if before.steps else ""
    evidence = (
        f"after {last.seconds:.0f} s ({last.steps:,} steps, {epochs:.0f} passes) it agrees with its teacher on "
        f"{last.seen:.1%} of the rows it trained on and {last.unseen:.1%} of others "
        f"({looks[0].unseen:.1%} untrained){earlier}"
    )
    rising = last.seen - before.seen >= FLAT or last.unseen - before.unseen >= FLAT
    if last.seen < FOLLOWS and not rising and epochs >= FEWEST_EPOCHS:
        return [
            Finding(
                "warning",
                "the student is too small for its teacher",
                f"{evidence}: it cannot even follow where it trains, and has stopped gaining",
                "a larger student (size, depth), a higher training.lr if that is timid, or a chain with one in between",
            )
        ]
    if last.seen < FOLLOWS:
        hint = "it still gains: the minute was too short to judge its capacity" if rising else "too few passes to judge"
    elif last.seen - last.unseen > APART:
        hint = "it knows what it saw better than other rows: augmentation or more rows help, unlabelled ones too"
    else:
        hint = "it follows"
    return [Finding("note", "the capacity probe", f"{evidence}: {hint}", "")]


def _batch(rows: Rows, places: Tensor, task: Task) -> Batch:
    piece = rows.take(places)
    known = piece.known
    return Batch(
        piece.inputs,
        piece.labels,
        counted(known, task.labels),
        known,
        piece.ids,
        torch.zeros_like(piece.ids),
        task,
        rationale=piece.rationale,
    )


@torch.no_grad()
def _look(model: Model, taught: Lesson, seconds: float, steps: int) -> Look:
    with answering(model):
        seen = [_agreement(model(b.inputs), said.logits) for b, said in zip(taught.batches, taught.said, strict=True)]
        unseen = _agreement(model(taught.unseen.inputs), taught.unseen_said.logits)
    return Look(seconds, steps, sum(seen) / len(seen), unseen)


def _agreement(ours: Tensor, theirs: Tensor | None) -> float:
    assert theirs is not None
    return float((ours.argmax(dim=-1) == theirs.argmax(dim=-1)).float().mean())
