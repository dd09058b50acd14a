"""What one run is made with: everything found, checked and settled once, then used for every seed."""

import copy
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from accelerate import Accelerator

from limbeck import checkpoint, runfolder
from limbeck.archive import Archive
from limbeck.catalog.data import data_of
from limbeck.catalog.languages import export, keep
from limbeck.catalog.models import Shape, model, seeds_of
from limbeck.catalog.objectives import objective as find_objective
from limbeck.catalog.tasks import task as find_task
from limbeck.catalog.teachers import teacher as find_teacher
from limbeck.data.augment import Augmentation, parse
from limbeck.data.loader import batches
from limbeck.data.source import Data
from limbeck.data.standardise import statistics
from limbeck.errors import DataError
from limbeck.evaluation import Answers, baseline_scores, teacher_answers
from limbeck.examination.case import Case
from limbeck.examination.checks import before_data, before_run
from limbeck.hearing import Hearing, generations
from limbeck.measures.environment import environment
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.preflight import check
from limbeck.progress import Progress
from limbeck.recipe import Recipe
from limbeck.records import Finding, Panel, RunRecord, Scores, SeedResult, write_record
from limbeck.run import Run
from limbeck.signals import Batch
from limbeck.storage import copy_whole, write_text
from limbeck.task import Speaks, Task
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.protocol import Teacher, judged
from limbeck.teachers.recording import RecordedTeacher
from limbeck.training.engine import engine, meet
from limbeck.training.loop import Fit, Lesson, Trainer
from limbeck.training.own_text import own_text
from limbeck.training.settling import plan_of, settle
from limbeck.training.symptoms import merged
from limbeck.training.trackers import followed

# What decides nothing that is trained: names and places, and what is shown of the result.
_NOT_TRAINED_BY = ("name", "to", "trackers", "seed", "seeds", "device", "generations")


@dataclass(frozen=True)
class Given:
    """Objects a caller hands over in place of the recipe's texts."""

    teacher: Any = None
    student: Any = None
    data: Any = None


@dataclass
class Workshop:
    """Everything one run needs; each public method is one stretch of the spine."""

    recipe: Recipe
    given: Given
    folder: Path
    watcher: Progress
    resume_command: str
    data: Data
    task: Task
    shape: Shape
    accelerator: Accelerator
    augment: Augmentation | None
    findings: list[Finding] = field(default_factory=list)
    teacher_scores: Scores | None = None
    teacher_saw: Panel | None = None
    said: Panel | None = None
    lost: dict[str, Panel] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    recordings: dict[Path, float] = field(default_factory=dict)
    symptoms: dict[int, list[Finding]] = field(default_factory=dict)
    on_valid: dict[str, Answers] = field(default_factory=dict)
    found_teacher: tuple[int | None, Teacher] | None = None

    @classmethod
    def open(cls, recipe: Recipe, given: Given, folder: Path, watcher: Progress, resume_command: str) -> "Workshop":
        """Finds data, task, augmentation and device."""
        task = find_task(recipe.task)
        data = data_of(recipe.data, given.data, labels=task.labels)
        if data.labels != task.labels:
            raise DataError(
                f"the data was loaded with labels={data.labels!r}, and {task!r} reads {task.labels!r}",
                remedy=f"load(..., labels={task.labels!r})",
            )
        assert data.train.labels is not None
        task = task.fitted(data.train.labels, data.train.known)
        # The settled recipe says what the task knows of the labels, so that a saved run answers without its data.
        recipe = recipe.replace(task=repr(task))
        if recipe.objective == "auto":
            recipe = recipe.replace(objective=task.objective if recipe.teacher else "labels")
            watcher.say(f"objective: {recipe.objective} (auto, {'with' if recipe.teacher else 'without'} a teacher)")
        recipe = recipe.replace(generations=generations(recipe, task))
        row = data.train.take(torch.tensor([0])).inputs
        mean, deviation = statistics(data.train, data.labels)
        outputs = task.output_size(data.classes)
        shape = Shape(tuple(row.shape[1:]), outputs, data.classes, mean, deviation, task.restore)
        accelerator = engine(recipe.device, recipe.trackers, folder)
        augment = None if recipe.augment is None else parse(recipe.augment)
        return cls(recipe, given, folder, watcher, resume_command, data, task, shape, accelerator, augment)

    def preflight(self) -> None:
        """Finds what is wrong before anything is written or trained."""
        # Each process of a launch has looked at the folder before one of them writes to it.
        meet(self.accelerator)
        found = before_data(self.data, self.task)
        self.findings = [*found, *before_run(self.case())]

    def case(self) -> Case:
        """What the first seed will be made with, held against each other, for the doctor to examine."""
        seed = self.recipe.all_seeds()[0]
        student, lesson = self._student(seed), self._lesson(self.teacher(seed))
        found, shape = self._check(lesson, student, seed), self.shape
        said, batch = self._on_valid(lesson.teacher), self._batch(seed)
        return Case.of(self.recipe, self.data, student, lesson, batch, shape.mean, shape.deviation, said, found)

    def resolve(self) -> None:
        """Settles precision and steps by a short measurement, and writes the recipe that reproduces the run."""
        seed = self.recipe.all_seeds()[0]
        student, lesson = self._student(seed), self._lesson(self.teacher(seed))
        self._check(lesson, student, seed)
        if lesson.teacher is not None:
            self.recipe = self.archive().attuned(lesson.teacher, lesson.objective.needs())
        self.recipe, said = settle(self.recipe, student, lesson, self._batch(seed), self.accelerator.device)
        for sentence in said:
            self.watcher.say(sentence)
        if lesson.teacher is not None:
            self.recipe = self.archive().settled(lesson.teacher, lesson.objective.needs(), self.folder)
        if self.accelerator.is_main_process:
            write_text(self.folder / runfolder.RECIPE, self.recipe.yaml())
            reads = self.recipe.data.tokens
            keep(student.network, None if reads is None else reads.tokenizer, self.folder)
        meet(self.accelerator)
        # Each process measured for itself, and all train by what the main one found.
        self.recipe = Recipe.read(self.folder / runfolder.RECIPE)
        self.write("running", [])

    def followed(self) -> AbstractContextManager[None]:
        """Opens the trackers that were asked for, now that nothing is wrong any more."""
        name = self.recipe.name or self.folder.name
        return followed(self.accelerator, name, self.folder, self.recipe.model_dump(mode="json"))

    def apprentice(self, seed: int) -> SeedResult:
        """One seed: trains the student and its control from the same weights, and scores both on the test rows."""
        student, teacher = self._student(seed), self.teacher(seed)
        control = copy.deepcopy(student) if self.recipe.control and teacher is not None else None
        lesson = self._lesson(teacher)
        self._check(lesson, student, seed)
        lesson = replace(lesson, valid_teacher=self._on_valid(teacher))
        if teacher is not None and self.recipe.record and teacher.views is None:
            place = self.folder / "recording" / teacher.fingerprint[:12]
            lesson = replace(lesson, teacher=self.recorded(teacher, lesson.objective.needs(), place))
            lesson = replace(lesson, views=self.archive().views)
        if isinstance(lesson.teacher, RecordedTeacher):
            self.lost |= lesson.teacher.lost(lesson.objective.needs())
        fit = self._fit(student, lesson, seed, "student")
        alone = None
        if control is not None:
            # Law 2: everything but the teacher is the student's, the views of every epoch included.
            lesson = replace(lesson, teacher=None, objective=find_objective("labels"), practice=None)
            alone = self._fit(control, lesson, seed, "control")
        judged = None if teacher is None else self._judged(teacher)
        return SeedResult(
            seed=seed,
            student=self._hearing().student(student, judged),
            control=None if control is None else self._hearing().student(control, judged),
            steps=fit.steps,
            selected_step=fit.selected_step,
            validation=fit.validation,
            seconds=fit.seconds,
            control_seconds=None if alone is None else alone.seconds,
            control_validation=None if alone is None else alone.validation,
        )

    def finish(self, results: Sequence[SeedResult]) -> Run:
        """Chooses the seed by validation, measures latency side by side, writes weights and record."""
        direction = 1 if self.task.higher_is_better else -1
        chosen = max(results, key=lambda result: direction * result.validation)
        place = self._seed_folder(chosen.seed)
        if place != self.folder and self.accelerator.is_main_process:
            for path in place.glob("*.safetensors"):
                copy_whole(path, self.folder / path.name)
        meet(self.accelerator)
        if (teacher := self.teacher(chosen.seed)) is not None:
            # Where each seed has a teacher of its own, the one shown is the chosen seed's.
            teacher.prepare(Needs(), self.data.classes)
            self._judged(teacher)
        self._speech(chosen, teacher)
        times = self._latency(chosen, teacher)
        if self.teacher_scores is not None and "teacher" in times:
            self.teacher_scores = _timed(self.teacher_scores, times["teacher"])
        alone = None if chosen.control is None else _timed(chosen.control, times["control"])
        timed = replace(chosen, student=_timed(chosen.student, times["student"]), control=alone)
        self.write("finished", [timed if result is chosen else result for result in results], chosen.seed)
        meet(self.accelerator)
        return Run.open(self.folder)

    def recorded(self, teacher: Teacher, needs: Needs, place: Path) -> RecordedTeacher:
        """The teacher's recording in a folder, made now or on an earlier start, in every view the recipe asks for."""
        self.recipe = self.archive().settled(teacher, needs, place)
        found = self.archive().recorded(teacher, needs, place)
        self.recordings[place] = found.recording.seconds or 0.0
        self.seconds["recording"] = sum(self.recordings.values())
        return found

    def archive(self) -> Archive:
        """How this run's teacher is recorded."""
        return Archive(self.recipe, self.data, self.task, self.augment, self.accelerator, self.watcher)

    def write(
        self,
        status: Literal["running", "finished", "interrupted"],
        results: Sequence[SeedResult],
        chosen: int | None = None,
    ) -> None:
        """Writes `run.json` as it stands."""
        if not self.accelerator.is_main_process:
            return
        record = RunRecord(
            name=self.recipe.name or self.folder.name,
            status=status,
            task=self.recipe.task,
            selection=self.task.selection,
            headline=self.task.headline,
            classes=self.data.classes,
            recipe=yaml.safe_load(self.recipe.yaml()),
            environment=environment(self.accelerator.device),
            data={**self.data.description, "row": list(self.shape.row), "outputs": self.shape.outputs},
            teacher=self.teacher_scores,
            baseline=baseline_scores(self.data.test, self.task, self.data.classes) if status == "finished" else None,
            baseline_name=self.task.baseline_name,
            results=tuple(results),
            chosen_seed=chosen,
            findings=(*self.findings, *merged(self.symptoms)),
            panels=tuple(panel for panel in (self.said, self.teacher_saw, *self.lost.values()) if panel is not None),
            seconds=self.seconds,
        )
        write_record(record, self.folder)

    def _student(self, seed: int) -> Model:
        """The student with its initial weights, which depend on the seed alone."""
        given = self.given.student
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if given is None:
                given = self.recipe.student
            built = model(copy.deepcopy(given) if isinstance(given, str | torch.nn.Module) else given(), self.shape)
        built.align(self.data.classes)
        return built.to(self.accelerator.device)

    def teacher(self, seed: int) -> Teacher | None:
        """The teacher, found once for all seeds that it teaches; a run with several seeds teaches each with its own."""
        what = self.recipe.teacher_text() if self.given.teacher is None else self.given.teacher
        if what is None:
            return None
        own = seed if isinstance(what, str) and seed in seeds_of(what) else None
        if self.found_teacher is None or self.found_teacher[0] != own:
            if isinstance(what, str) and own is not None:
                found: Teacher = ModuleTeacher(model(what, self.shape, seed=own), f"{what} (seed {own})")
            else:
                found = find_teacher(what, self.shape)
            self.found_teacher = (own, found.to(self.accelerator.device))
        return self.found_teacher[1]

    def _lesson(self, teacher: Teacher | None) -> Lesson:
        return Lesson(
            train=self.data.train,
            valid=self.data.valid,
            task=self.task,
            objective=find_objective(self.recipe.objective),
            teacher=teacher,
            augment=self.augment,
            augment_seed=self.recipe.data.seed,
            views=None if teacher is None else teacher.views,
            practice=own_text(self.recipe.training.own_text, self.data, self.accelerator.num_processes),
        )

    def _check(self, lesson: Lesson, student: Model, seed: int) -> list[Finding]:
        """Preflight; under the seed, because projectors are initialised on the dry batch."""
        if lesson.practice is not None:
            lesson.practice.check(student, lesson.teacher, lesson.objective)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return check(
                student,
                lesson.teacher,
                lesson.objective,
                self.task,
                self.data.classes,
                self._batch(seed),
                lesson.train,
                lesson.augment,
                lesson.augment_seed,
            )

    def _batch(self, seed: int) -> Batch:
        first = batches(
            self.data.train,
            self.task,
            batch_size=self.recipe.training.batch,
            seed=seed,
            epoch=0,
            view=0,
            augment=self.augment,
            augment_seed=self.recipe.data.seed,
        )
        return next(iter(first)).to(self.accelerator.device)

    def _fit(self, student: Model, lesson: Lesson, seed: int, who: str) -> Fit:
        plan = plan_of(self.recipe, seed, len(self.data.train))
        facts = [
            self.recipe.model_dump(mode="json", exclude=set(_NOT_TRAINED_BY)),
            seed,
            who,
            self.data.fingerprint,
            None if lesson.teacher is None else lesson.teacher.fingerprint,
            student.fingerprint(),
        ]
        trainer = Trainer(
            student,
            lesson,
            plan,
            folder=self._seed_folder(seed),
            who=who,
            identity=hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(),
            accelerator=self.accelerator,
            progress=self.watcher,
            resume_command=self.resume_command,
        )
        try:
            return trainer.fit()
        finally:
            if who == "student":  # the control learns from nothing but labels, in which there is nothing to compare
                self.symptoms[seed] = trainer.findings

    def _seed_folder(self, seed: int) -> Path:
        return self.folder if len(self.recipe.all_seeds()) == 1 else self.folder / f"seed-{seed}"

    def _on_valid(self, teacher: Teacher | None) -> Answers | None:
        """A live teacher's answers on the validation rows, asked once for all seeds that it teaches."""
        if teacher is None or not judged(teacher):
            return None
        if teacher.fingerprint not in self.on_valid:
            said = teacher_answers(teacher, self.data.valid, self.task, device=self.accelerator.device)
            self.on_valid[teacher.fingerprint] = said
        return self.on_valid[teacher.fingerprint]

    def _judged(self, teacher: Teacher) -> Answers | None:
        """The teacher's answers on the test rows; none of a recording, or of who says too little."""
        if not judged(teacher):
            return None
        said, self.teacher_scores, self.teacher_saw = self._hearing().teacher(teacher)
        return said

    def _hearing(self) -> Hearing:
        """How models are asked about the test rows."""
        return Hearing(self.recipe, self.data, self.task, self.accelerator.device)

    def _speech(self, chosen: SeedResult, teacher: Teacher | None) -> None:
        """Where the task's models speak: what they go on with after held-out prompts, and the student for others."""
        if not isinstance(self.task, Speaks) or not self.accelerator.is_main_process:
            return
        started = time.monotonic()
        models = {"teacher": teacher.model} if isinstance(teacher, ModuleTeacher) else {}
        for who in ("student", *(["control"] if chosen.control is not None else [])):
            models[who] = self._student(chosen.seed)
            checkpoint.load_weights(models[who], checkpoint.load(self.folder / f"{who}.safetensors")[0], who)
        hearing, reads = self._hearing(), self.recipe.data.tokens
        self.said = hearing.speech(models, chosen.seed, self.folder)
        self.seconds["generations"] = time.monotonic() - started
        export(models["student"].network, None if reads is None else reads.tokenizer, hearing.ends, self.folder)

    def _latency(self, chosen: SeedResult, teacher: Teacher | None) -> dict[str, dict[str, float]]:
        timed = {"student": self._student(chosen.seed)}
        if chosen.control is not None:
            timed["control"] = self._student(chosen.seed)
        if isinstance(teacher, ModuleTeacher):
            timed["teacher"] = teacher.model
        return self._hearing().latency(timed)


def _timed(scores: Scores, times: Mapping[str, float]) -> Scores:
    return replace(scores, cost={**scores.cost, **times})
