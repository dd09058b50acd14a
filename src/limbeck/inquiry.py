"""What a recording will ask, and of whom: which rows in which views, for which needs, kept in which form."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.loader import rows_at_once
from limbeck.data.rows import Rows
from limbeck.errors import RecordingError
from limbeck.objective import Needs
from limbeck.precision import asked_in
from limbeck.recordings import columns, form
from limbeck.recordings.fidelity import Fidelity, measured
from limbeck.recordings.index import Index
from limbeck.recordings.manifest import Identity
from limbeck.recordings.store import digest_of
from limbeck.signals import Batch, Signals
from limbeck.task import Task
from limbeck.teachers.protocol import Compilable, Teacher, linear_layer

BATCH = 256
FIRST_ROWS = 32
COMPILED = ", compiled"


def asked_of(
    teacher: Teacher,
    rows: Rows,
    task: Task,
    *,
    needs: Needs,
    classes: Sequence[str],
    keep: str = "dense",
    views: int | None = None,
    augment: Augmentation | None = None,
    augment_seed: int = 0,
    batch_size: int | None = None,
    device: torch.device | None = None,
    precision: str = "float32",
    through: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
) -> "Asked":
    """What a recording will ask and of whom.

    Args:
        teacher: Any teacher that says all its logits.
        rows: The rows, each with an id of its own.
        task: The task that batches of these rows are for.
        needs: What will be asked of the recording; the features of its `teacher_layers` are kept.
        classes: The classes of the data, in the order of the recorded logits.
        keep: How answers are kept, such as "dense", "topk(k=64)" or "dense + features(precision='float16')".
        views: How many augmented views of each row, numbered from 0. Without augmentation there is one; with it the
            number must be said: as many as epochs of training show the student nothing twice.
        augment: How views are made.
        augment_seed: The seed of the augmentation.
        batch_size: Rows the teacher answers at once; left out, 256, or fewer where a row has many positions.
        device: Where the teacher answers; the CPU when left out.
        precision: "bfloat16", or "float32" for that in which the caller's autocast has it.
        through: Compiles a function; the teacher is then asked through a compiled one, where that can be.

    Raises:
        RecipeError: When `keep` cannot be read.
        RecordingError: When the number of views is missing.
    """
    where = device or torch.device("cpu")
    views = _views(views, augment)
    found = teacher.to(where)
    return Asked(
        found,
        rows,
        task,
        needs,
        tuple(classes),
        form.parse(keep).settled(needs, positions=rows.known.ndim > 1),
        views,
        augment,
        augment_seed,
        rows_at_once(rows, BATCH) if batch_size is None else batch_size,
        where,
        precision,
        found.compiled(through) if through is not None and isinstance(found, Compilable) else None,
    )


def _views(views: int | None, augment: Augmentation | None) -> int:
    if views is None and augment is not None:
        raise RecordingError(
            f"how many views of each row {augment!r} makes was not said",
            expected="views: as many as the training has epochs, or what fits on the disk",
            remedy="views=20 for 20 epochs; fewer are shown again in turn",
        )
    return 1 if views is None else views


def views_that_fit(asked: "Asked", views: int, folder: Path) -> tuple[int, int]:
    """How many views of each row half of the free disk holds, at most `views`, and the bytes of one.

    Args:
        asked: What would be recorded; its first rows are asked about.
        views: As many as are wanted.
        folder: Where the recording would lie; it need not exist.
    """
    asked.prepare()
    size = first_look(asked).row_bytes * len(asked.rows)
    here = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return max(1, min(views, shutil.disk_usage(here).free // 2 // max(1, size))), size


@dataclass(frozen=True)
class Asked:
    """What is asked, and of whom: a teacher about rows in the order of their ids, view after view."""

    teacher: Teacher
    rows: Rows
    task: Task
    needs: Needs
    classes: tuple[str, ...]
    keep: form.Keep
    views: int
    augment: Augmentation | None
    augment_seed: int
    batch_size: int
    device: torch.device
    precision: str = "float32"
    ask: Callable[[Batch], Signals] | None = None

    @cached_property
    def order(self) -> Int[Tensor, " rows"]:
        """Positions of the rows in the order of their ids."""
        return self.rows.ids.cpu().argsort(stable=True)

    @cached_property
    def hears(self) -> Needs:
        """What the teacher is asked for: the needs, and the layers that the form keeps."""
        return replace(self.needs, teacher_layers=self.needs.teacher_layers | self.keep.form.layers())

    def prepare(self) -> None:
        """Refuses what cannot make a recording, and gets the teacher ready.

        Raises:
            RecordingError, TeacherError: Which, and why.
        """
        self._refuse_impossible()
        self.teacher.prepare(self.hears, self.classes)
        self.teacher.fits(self.rows, self.augment, self.augment_seed)

    def _refuse_impossible(self) -> None:
        for name, count in {"views": self.views, "batch_size": self.batch_size, "rows": len(self.rows)}.items():
            if count < 1:
                raise RecordingError(f"a recording of {name}={count} was asked for", expected="1 or more")
        if self.needs.members:
            raise RecordingError(
                "the objective weighs several teachers, and a recording of them all keeps their mean",
                expected="a recording of each teacher",
                remedy="leave record out to ask them live, or make a list of recordings the teacher",
            )
        if self.views > 1 and self.augment is None:
            raise RecordingError(
                f"{self.views} views were asked for without an augmentation, and would all be the same",
                expected="1 view, or an augmentation",
                remedy="leave views out, or give augment, such as crop(padding=2) + flip",
            )
        ids = self.rows.ids.cpu()[self.order]
        twice = ids[1:][ids[1:] == ids[:-1]]
        if len(twice):
            raise RecordingError(
                f"two rows have the id {int(twice[0])}", expected="an id of its own for each row: it is the row's key"
            )

    def identity(self) -> Identity:
        """What decides the bits of the recording; the teacher has been prepared."""
        return Identity(
            teacher=self.teacher.fingerprint,
            data=self.rows.inputs_fingerprint,
            ids=digest_of(self.rows.ids.cpu()[self.order]),
            rows=len(self.rows),
            classes=self.classes,
            augment="none" if self.augment is None else self.augment.fingerprint,
            augment_seed=0 if self.augment is None else self.augment_seed,
            views=self.views,
            keep=repr(self.keep),
            layers=tuple(sorted(self.needs.teacher_layers)),
            precision=_precision(self.device, self.precision) + (COMPILED if self.ask else ""),
            batch_size=self.batch_size,
        )

    def said(self, batch: Batch) -> Signals:
        """What the teacher says about a batch, in the precision in which it is asked."""
        with asked_in(self.precision, self.device):
            return self.teacher.signals(batch) if self.ask is None else self.ask(batch)

    def batch(self, first: int, last: int, view: int) -> Batch:
        """The rows from `first` up to, not including, `last` in the order of ids, as one view shows them.

        Labels are left out: what is recorded holds for the same inputs whatever is known of their labels.
        """
        positions = self.order[first:last]
        if self.augment is None:
            piece = self.rows.take(positions)
            inputs, known, ids = piece.inputs, piece.known, piece.ids
        else:
            inputs, _, known, ids, _ = self.augment.apply(self.rows, positions, view, self.augment_seed)
        nothing, everything = torch.zeros_like(known), torch.ones_like(known)
        return Batch(inputs, None, everything, nothing, ids, torch.full_like(ids, view), self.task).to(self.device)


@dataclass(frozen=True)
class FirstLook:
    """What the first rows show: index, columns, about how many bytes a row takes, what was said and what is kept."""

    index: Index
    columns: dict[str, columns.Column]
    row_bytes: int
    said: Signals
    kept: Signals

    def fidelity(self, needs: Needs) -> Fidelity | None:
        """How far what is kept of these rows is from all they were answered."""
        return None if self.kept.targets is None else measured(self.kept.targets, self.said, needs.soft)


def first_look(asked: Asked) -> FirstLook:
    """Asks about the first rows, as they will be recorded.

    Raises:
        RecordingError: When answers kept like this could not serve the needs.
    """
    layers = asked.identity().layers
    batch = asked.batch(0, min(rows_at_once(asked.rows, FIRST_ROWS), len(asked.rows)), 0)
    answer = asked.said(batch)
    form.refuse_unusable(answer, layers, asked.keep.form)
    index = Index(asked.rows.ids.cpu()[asked.order], asked.keep.form.tables(answer, linear_layer(asked.teacher)))
    kept = asked.keep.pack(answer, batch, layers, index.tables)
    heard = asked.keep.unpack(kept, layers, index.tables, asked.needs.logits)
    form.refuse_unanswered(asked.keep, asked.needs, heard, f"what {asked.teacher.name} says")
    return FirstLook(index, columns.described(kept), columns.row_bytes(kept), answer, heard)


def _precision(device: torch.device, asked: str) -> str:
    if asked == "bfloat16":
        return "autocast bfloat16"
    if not torch.is_autocast_enabled(device.type):
        return "float32"
    return f"autocast {str(torch.get_autocast_dtype(device.type)).removeprefix('torch.')}"
