"""How a run's teacher is recorded: how many views of each row, in what form, and by which of the run's processes."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from limbeck.data.augment import Augmentation
from limbeck.data.loader import in_order, steps_per_epoch
from limbeck.data.source import Data
from limbeck.errors import RecipeError
from limbeck.inquiry import COMPILED, asked_of, views_that_fit
from limbeck.objective import Needs
from limbeck.progress import Progress, RowsDone
from limbeck.recipe import Recipe
from limbeck.recorder import Work, record
from limbeck.recordings.form import parse
from limbeck.recordings.manifest import FILE, read_manifest
from limbeck.recordings.writer import Share
from limbeck.task import Task
from limbeck.teachers.protocol import Teacher, computed
from limbeck.teachers.recording import RecordedTeacher
from limbeck.training.asking import faster, refuse_uncompilable
from limbeck.training.compilation import frozen
from limbeck.training.engine import meet, threads


@dataclass(frozen=True)
class Archive:
    """What decides the recordings of one run."""

    recipe: Recipe
    data: Data
    task: Task
    augment: Augmentation | None
    accelerator: Accelerator
    watcher: Progress

    def settled(self, teacher: Teacher, needs: Needs, place: Path) -> Recipe:
        """The recipe with a precision of the teacher, and a number of views, in the place of `auto`.

        The number is one for each epoch, or as many as fit on the disk.

        Args:
            teacher: Who would be recorded.
            needs: What will be asked of the recording.
            place: Where the recording would lie; it need not exist.

        Raises:
            RecipeError: When the budget is still in time, so that its epochs are not known.
        """
        return replace(self, recipe=self.attuned(teacher, needs, place))._with_views(teacher, needs, place)

    def _with_views(self, teacher: Teacher, needs: Needs, place: Path) -> Recipe:
        if self.recipe.record != "auto":
            return self.recipe
        if self.augment is None or teacher.views is not None:
            return self.recipe.replace(record=1)
        epochs = self.recipe.epochs(steps_per_epoch(len(self.data.train), self.recipe.training.batch))
        if epochs is None:
            raise RecipeError("record: auto with a budget in time", expected="a budget in epochs or steps")
        views, size = views_that_fit(
            asked_of(teacher, self.data.train, self.task, **self._asking(needs, views=1)), epochs, place
        )
        why = "one for each epoch" if views == epochs else f"what half of the free disk holds, of {epochs} epochs"
        self.watcher.say(f"record: auto is {views} views of each row ({why}; about {views * size / 1e6:.1f} MB)")
        return self.recipe.replace(record=views)

    def attuned(self, teacher: Teacher, needs: Needs, place: Path | None = None) -> Recipe:
        """The recipe with how a teacher is asked in the place of `auto`: in which precision, and compiled if recorded.

        Several processes of one launch agree on what the first one found.

        Args:
            teacher: Who will be asked.
            needs: What will be asked of it.
            place: Where it will be recorded; a recording that was begun there is gone on with as it was begun.

        Raises:
            RecipeError: When the teacher shall be compiled and cannot be.
        """
        training = self.recipe.training
        if teacher.views is not None:
            return self.recipe
        if training.teacher_compile is True:
            refuse_uncompilable(teacher, needs, self.accelerator.device)
        begun = place is not None and (place / FILE).is_file()
        before = read_manifest(place).identity.precision if place is not None and begun else ""
        settled: dict[str, str | bool] = {}
        if training.teacher_precision == "auto":
            known = "bfloat16" if "bfloat16" in before else "float32"
            settled["teacher_precision"] = known if begun else self._precision(teacher, needs)
        if training.teacher_compile == "auto" and self.recipe.record:
            settled["teacher_compile"] = before.endswith(COMPILED)
        if settled and self.accelerator.num_processes > 1:
            (settled,) = broadcast_object_list([settled])
        return self.recipe.replace(training=training.model_dump(mode="json") | settled) if settled else self.recipe

    def _precision(self, teacher: Teacher, needs: Needs) -> str:
        """In which precision a live teacher is asked, where nobody said it."""
        training = self.recipe.training
        if training.precision == "float32" or not computed(teacher):
            return "float32"
        teacher.prepare(needs, self.data.classes)
        first = next(iter(in_order(self.data.train, self.task, batch_size=training.batch)))
        with threads(training.threads):
            measured = faster(teacher, first.to(self.accelerator.device))
        self.watcher.say(measured.sentence())
        return measured.precision

    def record(self, teacher: Teacher, needs: Needs, place: Path, share: Share | None = None) -> Path:
        """Records what will be asked of the teacher about every training row, in every view the recipe asks for.

        Several processes of one launch take shards in turn; all return when the recording is finished.

        Args:
            teacher: Who is recorded.
            needs: What will be asked of the recording.
            place: Where.
            share: Which shards, where only a share of the recording is made here.
        """
        several = share is None and self.accelerator.num_processes > 1
        self._say_what_is_kept(needs)
        made = record(
            teacher,
            self.data.train,
            self.task,
            to=place,
            **self._asking(needs, self.views),
            share=Share(self.accelerator.process_index, self.accelerator.num_processes) if several else share,
            together=partial(meet, self.accelerator) if several else None,
            progress=RowsDone(self.watcher, f"recording {teacher.name}"),
        )
        self.watcher.done()
        return made

    def work(self, teacher: Teacher, needs: Needs, place: Path) -> Work:
        """The recording that `record` makes, for the process that leads those which write its shards, and for them.

        Args:
            teacher: Who is recorded.
            needs: What will be asked of the recording.
            place: Where.
        """
        self._say_what_is_kept(needs)
        asked = asked_of(teacher, self.data.train, self.task, **self._asking(needs, self.views))
        asked.prepare()
        return Work(asked, place, progress=RowsDone(self.watcher, f"recording {teacher.name}"))

    def recorded(self, teacher: Teacher, needs: Needs, place: Path) -> RecordedTeacher:
        """As `record`; the finished recording, ready for these needs, on the run's device."""
        found = RecordedTeacher(self.record(teacher, needs, place))
        found.prepare(needs, self.data.classes)
        found.to(self.accelerator.device)
        return found

    @property
    def views(self) -> int:
        """How many views are recorded; without augmentation all views are one."""
        assert self.recipe.record != "auto", "settled() comes first"
        return int(self.recipe.record or 1) if self.augment is not None else 1

    def _say_what_is_kept(self, needs: Needs) -> None:
        asked = parse(self.recipe.keep)
        settled = asked.settled(needs, positions=self.data.train.known.ndim > 1)
        if settled != asked:
            self.watcher.say(
                f"keep: {self.recipe.keep} is {settled!r} (what was left open follows from the objective, and from how "
                "many positions a row has)"
            )

    def _asking(self, needs: Needs, views: int) -> dict[str, Any]:
        """How `asked_of` is told what this run asks of a teacher."""
        return {
            "needs": needs,
            "classes": self.data.classes,
            "keep": self.recipe.keep,
            "views": views,
            "augment": self.augment,
            "augment_seed": self.recipe.data.seed,
            "device": self.accelerator.device,
            "precision": self.recipe.training.teacher_precision,
            "through": frozen if self.recipe.training.teacher_compile is True else None,
        }
