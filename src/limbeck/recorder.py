"""Recording a teacher: every row, every view, once, so that no student has to wait for it again.

The rows are asked in the order of their ids, in batches of one size whatever the machine is doing, so that on one
machine the same call writes the same bytes. Killed at any instant and called again, it goes on and ends in the bytes of
an uninterrupted recording; at most `save_seconds` of work and one batch are done twice. Rows the teacher said nothing
about are kept as such, counted, and said aloud at the end; they are not asked again. A finished recording of the same
teacher and data is left as it is, after its shards were compared with their hashes. The teacher answers in the
precision it is in: under `torch.autocast` in that of the autocast, and so it is kept.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import Interrupted, RecordingError, TeacherError, TeacherStopped
from limbeck.objective import Needs
from limbeck.recordings import shards
from limbeck.recordings.folder import sole_writer
from limbeck.recordings.manifest import Identity, Manifest, Place, refuse_other
from limbeck.recordings.store import Writer, begun_manifest, digest_of
from limbeck.signals import Batch
from limbeck.task import Task
from limbeck.teachers.protocol import Forgiven, Teacher

SHARD_BYTES = 32 << 20
SAVE_SECONDS = 20.0


def record(
    teacher: Teacher,
    rows: Rows,
    task: Task,
    *,
    to: Path | str,
    needs: Needs,
    classes: Sequence[str],
    views: int = 1,
    augment: Augmentation | None = None,
    augment_seed: int = 0,
    batch_size: int = 256,
    device: torch.device | None = None,
    shard_bytes: int = SHARD_BYTES,
    save_seconds: float = SAVE_SECONDS,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Records all logits of a teacher, and the features asked for, for every row in every view.

    Args:
        teacher: Any teacher that says all its logits.
        rows: The rows, each with an id of its own.
        task: The task that batches of these rows are for.
        to: The recording's folder: new, empty, or holding the beginning of this same recording.
        needs: What will be asked of the recording; the features of its `teacher_layers` are kept.
        classes: The classes of the data, in the order of the recorded logits.
        views: How many augmented views of each row, numbered from 0; 1 without augmentation.
        augment: How views are made.
        augment_seed: The seed of the augmentation.
        batch_size: Rows the teacher answers at once.
        device: Where the teacher answers; the CPU when left out.
        shard_bytes: About how large a shard becomes, in bytes; at least one batch goes into each.
        save_seconds: How often the shard in work is saved, in seconds; 0 saves after every batch.
        progress: Called after every batch with the rows done, all views counted, and the rows in total.

    Returns:
        The recording's folder, for `RecordedTeacher` and `Recording` (which knows the bytes and the seconds it took).

    Raises:
        RecordingError: When the folder holds something else, is written to by another process, or is damaged.
        TeacherError: When the teacher cannot serve the needs, says no finite numbers, or was changed meanwhile.
        TeacherStopped: When the teacher went silent too often, after what was done has been saved.
        StorageError: When the disk is full or cannot be written; finished shards are kept.
        Interrupted: On Ctrl-C, after what was done has been saved.
    """
    where = device or torch.device("cpu")
    asked = Asked(teacher.to(where), rows, task, needs, tuple(classes), views, augment, augment_seed, batch_size, where)
    asked.refuse_impossible()
    asked.teacher.prepare(needs, classes)
    asked.teacher.fits(rows, augment, augment_seed)
    with sole_writer(Path(to)):
        _write(asked, Path(to), shard_bytes, save_seconds, progress)
    return Path(to)


@dataclass(frozen=True)
class Asked:
    """What is asked, and of whom: a teacher about rows in the order of their ids, view after view."""

    teacher: Teacher
    rows: Rows
    task: Task
    needs: Needs
    classes: tuple[str, ...]
    views: int
    augment: Augmentation | None
    augment_seed: int
    batch_size: int
    device: torch.device

    @cached_property
    def order(self) -> Int[Tensor, " rows"]:
        """Positions of the rows in the order of their ids."""
        return self.rows.ids.cpu().argsort(stable=True)

    def refuse_impossible(self) -> None:
        """Refuses numbers and rows that cannot make a recording.

        Raises:
            RecordingError: Which, and why.
        """
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
            data=self.rows.fingerprint,
            ids=digest_of(self.rows.ids.cpu()[self.order]),
            rows=len(self.rows),
            classes=self.classes,
            augment="none" if self.augment is None else self.augment.fingerprint,
            augment_seed=0 if self.augment is None else self.augment_seed,
            views=self.views,
            layers=tuple(sorted(self.needs.teacher_layers)),
            precision=_precision(self.device),
            batch_size=self.batch_size,
        )

    def batch(self, first: int, last: int, view: int) -> Batch:
        """The rows from `first` up to, not including, `last` in the order of ids, as one view shows them."""
        positions = self.order[first:last]
        partner = None
        if self.augment is None:
            piece = self.rows.take(positions)
            inputs, labels, known, ids = piece.inputs, piece.labels, piece.known, piece.ids
        else:
            inputs, labels, known, ids, partner = self.augment.apply(self.rows, positions, view, self.augment_seed)
        everything = torch.ones_like(known)
        batch = Batch(inputs, labels, everything, known, ids, torch.full_like(ids, view), self.task, partner)
        return batch.to(self.device)


def _write(
    asked: Asked, folder: Path, shard_bytes: int, save_seconds: float, progress: Callable[[int, int], None] | None
) -> None:
    """Writes the recording, or what is left of it, into a folder that nobody else is writing to."""
    identity = asked.identity()
    manifest = begun_manifest(folder)
    if manifest is None:
        manifest = _first_manifest(asked, identity, shard_bytes)
    refuse_other(manifest.identity, identity, folder)
    writer = Writer(folder, manifest, save_seconds=save_seconds)
    if writer.places():
        _warn_other_machine(manifest, asked.device)
    if isinstance(asked.teacher, Forgiven):
        asked.teacher.recall(writer.silent())
    for place in writer.places():
        _record_shard(asked, writer, place, progress)
        _refuse_moved(asked, identity.teacher)
        writer.finish(place)
    _warn_silent(asked, writer.silent(), folder)


def _record_shard(asked: Asked, writer: Writer, place: Place, progress: Callable[[int, int], None] | None) -> None:
    """Asks the teacher about the rows of one shard that no earlier sitting has saved."""
    total = len(asked.rows) * asked.views
    before = total - sum(left.rows for left in writer.places())
    saved = writer.begin(place)
    if isinstance(asked.teacher, Forgiven):
        asked.teacher.recall(writer.silent_here(place))
    try:
        for start in range(saved, place.rows, asked.batch_size):
            end = min(start + asked.batch_size, place.rows)
            batch = asked.batch(place.first + start, place.first + end, place.view)
            writer.add(batch.ids, asked.teacher.signals(batch), place)
            saved = end
            if progress is not None:
                progress(before + end, total)
    except TeacherStopped:
        writer.save(place)
        raise
    except KeyboardInterrupt:
        writer.save(place)
        raise Interrupted(
            f"the recording was stopped at {before + saved} of {total} rows; they are kept in {writer.folder}",
            remedy="run the same command again: it goes on from there",
        ) from None


def _refuse_moved(asked: Asked, fingerprint: str) -> None:
    """Refuses the shard in work when the teacher is no longer what it was; a write through `.data` shows only here."""
    teacher = asked.teacher
    teacher.prepare(asked.needs, asked.classes)
    if teacher.fingerprint != fingerprint:
        raise TeacherError(
            f"the teacher {teacher.name} was changed while it was recorded",
            expected=f"the fingerprint {fingerprint}; it is {teacher.fingerprint} now",
            remedy="find what writes to its weights, and record with the teacher as it was; this shard is not kept",
        )


def _first_manifest(asked: Asked, identity: Identity, shard_bytes: int) -> Manifest:
    """The manifest of a new recording, laid out for what the teacher says about its first row."""
    answer = asked.teacher.signals(asked.batch(0, 1, 0))
    columns = shards.describe(shards.columns(answer, identity.layers))
    batches = max(1, shard_bytes // (shards.row_bytes(columns) * identity.batch_size))
    return Manifest(
        identity, asked.teacher.name, shards.FORM, columns, batches * identity.batch_size, _machine(asked.device)
    )


def _precision(device: torch.device) -> str:
    if not torch.is_autocast_enabled(device.type):
        return "float32"
    return f"autocast {str(torch.get_autocast_dtype(device.type)).removeprefix('torch.')}"


def _machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "torch": torch.__version__,
        "device": name,
        "threads": str(torch.get_num_threads()),
        "matmul": torch.get_float32_matmul_precision(),
    }


def _warn_silent(asked: Asked, silent: Mapping[int, Tensor], folder: Path) -> None:
    if silent:
        count, first = sum(map(len, silent.values())), next(iter(silent.values()))[:5].tolist()
        warnings.warn(
            f"{asked.teacher.name} said nothing about {count} of {len(asked.rows) * asked.views} rows "
            f"(ids {', '.join(map(str, first))}{', ...' if count > len(first) else ''}): {folder} keeps them "
            "as silent, and they carry their labels only",
            stacklevel=4,
        )


def _warn_other_machine(manifest: Manifest, device: torch.device) -> None:
    now = _machine(device)
    changed = [f"{word} was {was}, is {now[word]}" for word, was in manifest.made_with.items() if was != now.get(word)]
    if changed:
        warnings.warn(
            f"the recording goes on under other conditions ({'; '.join(changed)}): "
            "its answers stay within rounding of one sitting's, but not the same bits",
            stacklevel=4,
        )
