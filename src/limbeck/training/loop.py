"""The loop: steps, validation, selection, checkpoints. It knows neither the task nor the method it trains with."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from limbeck import checkpoint
from limbeck.data.augment import Augmentation
from limbeck.data.loader import batches
from limbeck.data.rows import Rows
from limbeck.errors import DataError, Interrupted, RunError, TrainingError
from limbeck.evaluation import Answers, answers, likeness
from limbeck.model import Model
from limbeck.objective import Objective
from limbeck.progress import Progress
from limbeck.records import Finding
from limbeck.schedules import Moment
from limbeck.signals import Batch, Signals
from limbeck.task import Task
from limbeck.teachers.protocol import Teacher
from limbeck.training.asking import question
from limbeck.training.checkup import Checkup
from limbeck.training.engine import meet
from limbeck.training.interruption import heard
from limbeck.training.journal import Journal, finite
from limbeck.training.plan import Plan
from limbeck.training.practice import Practice
from limbeck.training.step import Step

SECONDS_BETWEEN_CHECKPOINTS = 30.0  # law 5 promises that a kill costs at most 60
STEPS_BETWEEN_LINES = 25


@dataclass(frozen=True)
class Lesson:
    """What is learnt from: data, its views, the teacher and the objective. The control's lesson has no teacher.

    `valid_teacher` is what the teacher says about the validation rows, by which student and control are compared with
    it; None where it says nothing about them, as a recording of the training rows does. `practice` makes something else
    of some batches before they are learnt from; the control has none.
    """

    train: Rows
    valid: Rows
    task: Task
    objective: Objective
    teacher: Teacher | None
    augment: Augmentation | None
    augment_seed: int
    views: int | None
    valid_teacher: Answers | None = None
    practice: Practice | None = None

    def view(self, epoch: int) -> int:
        """Which view of every row an epoch reads: the plain one, the epoch's own, or the recorded ones in turn."""
        if self.augment is None:
            return 0
        return epoch if self.views is None else epoch % self.views


@dataclass(frozen=True)
class Fit:
    """What a finished training says of itself; kept in the header of its weights."""

    steps: int
    selected_step: int
    validation: float
    seconds: float


class Trainer:
    """One training of one model, resumable at any instant.

    Args:
        model: The student, with its initial weights; holds the selected weights afterwards.
        lesson: What it learns from.
        plan: How.
        folder: Where weights, checkpoint and journal go.
        who: `student` or `control`: the weights become `WHO.safetensors`.
        identity: Hash of recipe, data and teacher; a checkpoint of another identity is refused.
        accelerator: Devices and processes.
        progress: Told of every few steps.
        resume_command: What a person types to go on after an interruption.
    """

    def __init__(
        self,
        model: Model,
        lesson: Lesson,
        plan: Plan,
        *,
        folder: Path,
        who: str,
        identity: str,
        accelerator: Accelerator,
        progress: Progress,
        resume_command: str,
    ) -> None:
        self.model, self.lesson, self.plan = model, lesson, plan
        self.weights_path = folder / f"{who}.safetensors"
        self.checkpoint_path = folder / "checkpoint" / f"{who}.safetensors"
        self.who, self.identity, self.accelerator = who, identity, accelerator
        self.progress, self.resume_command = progress, resume_command
        self.journal = Journal(
            folder / "metrics.jsonl", who, plan.seed, accelerator, writes=accelerator.is_main_process
        )
        layers = sorted(lesson.objective.needs().student_layers)
        step = Step(model, lesson.objective, layers, plan.precision, compile=plan.compile)
        self.step = module = plan.placed(step, accelerator.device)
        self.ask = question(lesson.teacher, plan.teacher_precision, plan.teacher_compile)
        self.names = [name for name, _, _ in lesson.objective.named_terms()]
        self.optimizer = plan.build_optimizer(module)
        self.checkup = Checkup(module, lesson.objective, lesson.teacher, plan, self.journal, progress)
        self.step_module = accelerator.prepare(module) if accelerator.num_processes > 1 else module
        self.parameters = list(self.step_module.parameters())
        self.average = self._averaged() if plan.ema else None
        self.best: dict[str, Tensor] = {}
        self.best_step, self.best_value, self.seconds = 0, math.nan, 0.0

    def fit(self) -> Fit:
        """Trains from the start, or from the checkpoint, or returns at once when the weights are there already.

        Raises:
            TrainingError: When a term of the loss or a weight is no longer a number.
            Interrupted: After Ctrl-C or SIGTERM, once the state is saved.
        """
        facts = checkpoint.read_facts(self.weights_path)
        if facts is not None:
            return self._finished(facts)
        step = self._restore()
        self.journal.rewind(step)
        self.checkup.resume()
        self.progress.start(self.who, self.plan.steps)
        with torch.random.fork_rng(), heard() as interruption:
            self._run(step, lambda: interruption.asked)
        self.progress.done()
        fit = Fit(self.plan.steps, self.best_step, self.best_value, self.seconds)
        checkpoint.load_weights(self.model, {n: t.to(self.accelerator.device) for n, t in self.best.items()}, self.who)
        if self.accelerator.is_main_process:
            checkpoint.save(self.weights_path, self.model.state_dict(), {"identity": self.identity, "fit": asdict(fit)})
            self.checkpoint_path.unlink(missing_ok=True)
        meet(self.accelerator)
        if interruption.asked:
            raise self._stopped(self.plan.steps)
        return fit

    @property
    def findings(self) -> list[Finding]:
        """What was found amiss so far, in this training and before it was resumed; known to the main process only."""
        return self.checkup.findings

    def _stopped(self, done: int) -> Interrupted:
        return Interrupted(f"{self.who} stopped after step {done}; everything is saved", remedy=self.resume_command)

    def _finished(self, facts: Mapping[str, Any]) -> Fit:
        self._refuse_other(facts, self.weights_path)
        self.journal.read()
        checkpoint.load_weights(self.model, checkpoint.load(self.weights_path)[0], str(self.weights_path))
        return Fit(**facts["fit"])

    def _run(self, first: int, stop: Callable[[], bool]) -> None:
        started = saved = time.monotonic()
        before = self.seconds
        self.step_module.train()
        window: list[Tensor] = []
        seen = 0
        for step, batch in zip(range(first, self.plan.steps), self._batches(first), strict=False):
            window.append(self._step(step, batch))
            seen += len(batch)
            done = step + 1
            now = time.monotonic()
            self.seconds = before + now - started
            stopping = self._agreed(stop(), done)
            due = stopping or self._agreed(now - saved > SECONDS_BETWEEN_CHECKPOINTS, done)
            validate = done % self.plan.validate_every == 0 or done == self.plan.steps
            if done % STEPS_BETWEEN_LINES == 0 or validate or due:
                self._report(done, window, seen / max(self.seconds - before, 1e-9))
                window = []
            if validate:
                self._validate(done)
                if self.accelerator.is_main_process:
                    self.checkup.after(done, self._batches(0), self.accelerator.device)
            if due and done < self.plan.steps:
                self._save(done)
                saved = time.monotonic()
            if stopping and done < self.plan.steps:
                raise self._stopped(done)

    def _agreed(self, wish: bool, done: int) -> bool:
        """Whether any process wishes it; several processes ask each other only at steps all of them know."""
        if self.accelerator.num_processes == 1:
            return wish
        if done % STEPS_BETWEEN_LINES:
            return False
        return bool(self.accelerator.reduce(torch.tensor(float(wish), device=self.accelerator.device), "sum") > 0)

    def _batches(self, first: int) -> Iterator[Batch]:
        lesson, plan = self.lesson, self.plan
        epoch, skip = divmod(first, plan.steps_per_epoch)
        while True:
            yield from batches(
                lesson.train,
                lesson.task,
                batch_size=plan.batch_size,
                seed=plan.seed,
                epoch=epoch,
                view=lesson.view(epoch),
                augment=lesson.augment,
                augment_seed=lesson.augment_seed,
                first=skip,
            )
            epoch, skip = epoch + 1, 0

    def _step(self, step: int, batch: Batch) -> Tensor:
        """One optimiser step; returns the terms' means, still on the device."""
        # Dropout draws from a generator that depends on nothing but (seed, step): the same for student and control,
        # and the same after a resume, without storing generator states.
        self._seed(self.plan.seed * 1_000_003 + step)
        whole = self._practised(batch.to(self.accelerator.device), step)
        here = whole.rows(slice(self.accelerator.process_index, None, self.accelerator.num_processes))
        said = self.ask(here)
        # One process sees the whole batch, and counting it apart would make the device wait at every step.
        counts = self._counts(whole, here, said) if self.accelerator.num_processes > 1 else None
        if not (self.step_module.training and self.model.training):  # asks every layer, which costs as much as a loss
            self.step_module.train()
        self.lesson.objective.advance(Moment(step, self.plan.steps, self.plan.steps_per_epoch))
        total, terms = self.step_module(here, said, counts)
        # Gradients are averaged over processes, and the processes' losses sum to the loss of the whole batch.
        self.accelerator.backward(total * self.accelerator.num_processes)
        if self.plan.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.plan.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.lr_at(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step.remember(said, here)
        return torch.stack([terms[name] for name in self.names])

    def _practised(self, drawn: Batch, step: int) -> Batch:
        """What this step learns from."""
        if self.lesson.practice is None:
            return drawn
        low = self.plan.precision == "bfloat16"
        with torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16, enabled=low):
            return self.lesson.practice.batch(drawn, self.model, self.plan.seed, step)

    def _seed(self, seed: int) -> None:
        """Seeds the generators a step may draw from; torch.manual_seed asks for all devices, and takes far longer."""
        torch.default_generator.manual_seed(seed)
        if self.accelerator.device.type != "cpu":
            torch.get_device_module(self.accelerator.device).manual_seed(seed)

    def _counts(self, whole: Batch, here: Batch, said: Signals) -> dict[str, float]:
        """Rows of the whole batch behind each term; where the teacher may be silent, the processes ask each other."""
        if said.said is None:
            return self.lesson.objective.counts(whole)
        own = self.lesson.objective.counts(here, said)
        summed = self.accelerator.reduce(torch.tensor(list(own.values()), device=self.accelerator.device), "sum")
        return dict(zip(own, summed.tolist(), strict=True))

    def _report(self, done: int, window: list[Tensor], rows_per_second: float) -> None:
        if not window:
            return
        values = self.accelerator.reduce(torch.stack(window), "sum").cpu()
        bad = (~torch.isfinite(values)).nonzero()
        if len(bad):
            row, column = (int(i) for i in bad[0])
            kept = "" if not self.checkpoint_path.is_file() else f"; the checkpoint in {self.checkpoint_path} is good"
            raise TrainingError(
                f"the term {self.names[column]} of the {self.who} became {values[row, column]:g} at step "
                f"{done - len(window) + row + 1}{kept}",
                expected="a finite loss",
                remedy="a lower learning rate, training.clip: 1.0, or precision: float32, in a new folder",
            )
        means = values.mean(dim=0).tolist()
        terms = self.lesson.objective.named_terms()
        weighted = {name: weight * mean for (name, weight, _), mean in zip(terms, means, strict=True)}
        total = sum(weighted.values())
        size = sum(abs(value) for value in weighted.values()) or 1.0
        shares = {name: value / size for name, value in weighted.items()}
        self.journal.write(
            "train",
            done,
            done / self.plan.steps_per_epoch,
            loss=total,
            terms=dict(zip(self.names, means, strict=True)),
            shares=shares,
            lr=self.plan.lr_at(done - 1),
            rows_per_second=round(rows_per_second, 1),
        )
        left = (self.plan.steps - done) * self.plan.batch_size / max(rows_per_second, 1e-9)
        self.progress.step(done, total, shares, rows_per_second, left)

    def _validate(self, done: int) -> None:
        lesson = self.lesson
        model = self.model if self.average is None else self.average.module
        theirs = lesson.valid_teacher
        said = answers(model, lesson.valid, lesson.task, device=self.accelerator.device, teacher=theirs)
        metrics = lesson.task.metrics(said.outputs, said.labels, said.known)
        facts: dict[str, Any] = {"metrics": metrics}
        if theirs is not None:
            facts["likeness"] = finite(likeness(said, theirs, lesson.task))
        self.journal.write("valid", done, done / self.plan.steps_per_epoch, **facts)
        value = self._selected(metrics)
        better = value > self.best_value if lesson.task.higher_is_better else value < self.best_value
        if math.isnan(self.best_value) or better:
            self.best_step, self.best_value = done, value
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}

    def _selected(self, metrics: Mapping[str, float]) -> float:
        name = self.lesson.task.selection
        if name not in metrics:
            raise DataError(
                f"the validation rows do not give {name}, by which {self.lesson.task!r} chooses weights",
                expected="validation rows of every kind: with and without the event, the last reading known",
                remedy="more validation rows, another split, or another select=",
            )
        return metrics[name]

    def _averaged(self) -> AveragedModel:
        assert self.plan.ema is not None
        return AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(self.plan.ema), use_buffers=True)

    def _save(self, done: int) -> None:
        if not self.accelerator.is_main_process:
            return
        state = {**self.model.state_dict(), **self.lesson.objective.state_dict()}
        broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
        if broken:
            raise TrainingError(
                f"the weight {broken[0]} of the {self.who} is no longer a number at step {done}",
                remedy="a lower learning rate, training.clip: 1.0, or precision: float32",
            )
        tensors = checkpoint.prefixed("model", self.model.state_dict())
        tensors |= checkpoint.prefixed("objective", self.lesson.objective.state_dict())
        tensors |= checkpoint.prefixed("optimizer", checkpoint.optimizer_tensors(self.optimizer))
        tensors |= checkpoint.prefixed("best", self.best)
        if self.average is not None:
            tensors |= checkpoint.prefixed("average", self.average.state_dict())
        facts = {
            "identity": self.identity,
            "step": done,
            "best_step": self.best_step,
            "best_value": self.best_value,
            "seconds": self.seconds,
        }
        checkpoint.save(self.checkpoint_path, tensors, facts)

    def _restore(self) -> int:
        if not self.checkpoint_path.is_file():
            return 0
        tensors, facts = checkpoint.load(self.checkpoint_path)
        self._refuse_other(facts, self.checkpoint_path)
        where = str(self.checkpoint_path)
        checkpoint.load_weights(self.model, checkpoint.under("model", tensors), where)
        checkpoint.load_weights(self.lesson.objective, checkpoint.under("objective", tensors), where)
        checkpoint.restore_optimizer(self.optimizer, checkpoint.under("optimizer", tensors))
        if self.average is not None:
            checkpoint.load_weights(self.average, checkpoint.under("average", tensors), where)
        self.best = checkpoint.under("best", tensors)
        self.best_step, self.best_value = facts["best_step"], facts["best_value"]
        self.seconds = facts["seconds"]
        self.progress.say(f"{self.who}: resuming after step {facts['step']}")
        return int(facts["step"])

    def _refuse_other(self, facts: Mapping[str, Any], path: Path) -> None:
        if facts.get("identity") != self.identity:
            raise RunError(
                f"{path} belongs to another recipe, teacher or data set",
                expected="the same recipe, teacher and data as when it was written",
                remedy="choose another `to:` folder, or put back what changed",
            )
