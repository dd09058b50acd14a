"""Recording a teacher: every row, every view, once, so that no student has to wait for it again.

The rows are asked in the order of their ids, in batches of one size whatever the machine is doing, so that on one
machine the same call writes the same bytes. Killed at any instant and called again, it goes on and ends in the bytes of
an uninterrupted recording; at most `save_seconds` of work and one batch are done twice. Rows the teacher said nothing
about are kept as such, counted, and said aloud at the end; they are not asked again. A finished recording of the same
teacher and data is left as it is, after its shards were compared with their hashes. The teacher answers in the
precision that is asked for, else in that of the caller's `torch.autocast`, and so it is kept.
"""

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limbeck.data.rows import Rows
from limbeck.errors import Interrupted, TeacherError, TeacherStopped
from limbeck.inquiry import Asked, asked_of, first_look
from limbeck.recordings.index import Index
from limbeck.recordings.integrity import compare, compare_index, finished
from limbeck.recordings.manifest import Manifest, Place, read_manifest, refuse_other
from limbeck.recordings.store import note_seconds, seconds_noted
from limbeck.recordings.writer import Share, Writer, begun_manifest, conclude
from limbeck.storage import sole_writer
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
    shard_bytes: int = SHARD_BYTES,
    save_seconds: float = SAVE_SECONDS,
    share: Share | None = None,
    together: Callable[[], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **asking: Any,
) -> Path:
    """Records what a teacher says, and the features asked for, for every row in every view.

    Args:
        teacher: Any teacher that says all its logits.
        rows: The rows, each with an id of its own.
        task: The task that batches of these rows are for.
        to: The recording's folder: new, empty, or holding the beginning of this same recording.
        shard_bytes: About how large a shard becomes, in bytes; at least one batch goes into each.
        save_seconds: How often the shard in work is saved, in seconds; 0 saves after every batch.
        share: Which shards to write, where others write the rest: into folders of their own, to be merged (see
            `recordings.merging`), or, with `together`, into this one.
        together: Waits for the other processes that call this for the same folder; the first share's begins and
            concludes the recording.
        progress: Called with the rows of the share that are done, all views counted, and all rows of the share: when a
            shard is begun, after every batch, and once where the share was finished already.
        **asking: What is asked: `needs` and `classes`, and `keep`, `views`, `augment`, `augment_seed`, `batch_size`,
            `device` and `precision` as `limbeck.inquiry.asked_of` takes them.

    Returns:
        The recording's folder, for `RecordedTeacher` and `Recording` (which knows the bytes and the seconds it took).

    Raises:
        RecordingError: When the folder holds something else or is damaged, or when answers kept like this could not
            serve the needs.
        FolderInUse: When another process is writing to the folder.
        TeacherError: When the teacher cannot serve the needs, says no finite numbers, or was changed meanwhile.
        TeacherStopped: When the teacher went silent too often, after what was done has been saved.
        StorageError: When the disk is full or cannot be written; finished shards are kept.
        Interrupted: On Ctrl-C, after what was done has been saved.
    """
    asked = asked_of(teacher, rows, task, **asking)
    asked.prepare()
    work = Work(asked, Path(to), save_seconds, progress)
    work.done_by(share or Share(), together, shard_bytes)
    return Path(to)


@dataclass
class Work:
    """One recording being made: begun by one process, written by one or several in shares."""

    asked: Asked
    folder: Path
    save_seconds: float = SAVE_SECONDS
    progress: Callable[[int, int], None] | None = None

    def done_by(self, share: Share, together: Callable[[], None] | None, shard_bytes: int) -> None:
        """Begins, writes and concludes; of several processes `together` in one folder the first share's does the rest.

        Args:
            share: Which shards to write.
            together: Waits for the others; None where nobody else writes into the folder.
            shard_bytes: About how large a shard becomes.
        """
        wait = together or (lambda: None)
        leads = together is None or share.number == 0
        with sole_writer(self.folder) if leads else nullcontext():
            if leads:
                self.begin(shard_bytes)
            wait()
            self.write(share, leads)
            wait()
            if leads:
                conclude(self.folder)
            wait()

    def led(self, make: Callable[[Manifest], None], shard_bytes: int = SHARD_BYTES) -> None:
        """Begins and concludes a recording whose shards other processes write meanwhile, by `helped`.

        Args:
            make: Has all shards written that are not finished, and returns when they are; not called where all are.
            shard_bytes: About how large a shard becomes.
        """
        with sole_writer(self.folder):
            self.begin(shard_bytes)
            manifest = read_manifest(self.folder)
            compare(self.folder, manifest, finished(self.folder, manifest))
            before, start = seconds_noted(self.folder, 0.0), time.monotonic()
            try:
                if self.tell(manifest) < len(manifest.places()):
                    make(manifest)
            finally:
                note_seconds(self.folder, before + time.monotonic() - start)
            conclude(self.folder)

    def tell(self, manifest: Manifest) -> int:
        """Says how many rows others have finished by now; returns the number of finished shards."""
        there = finished(self.folder, manifest)
        places = manifest.places()
        if self.progress is not None:
            done = sum(place.rows for place in places if place.file in there)
            self.progress(done, sum(place.rows for place in places))
        return len(there)

    def helped(self, share: Share) -> None:
        """Writes a share into a recording that another process, perhaps on another machine, has begun and concludes.

        Args:
            share: Which shards.

        Raises:
            RecordingError: When the folder does not hold the beginning of this recording: another teacher, other data.
        """
        manifest = read_manifest(self.folder)
        refuse_other(manifest.identity, self.asked.identity(), self.folder)
        compare_index(self.folder, manifest)
        self.write(share, times=False)

    def begin(self, shard_bytes: int) -> None:
        """Writes the manifest and the index of a new recording, or makes sure that the one begun here is this one.

        Raises:
            RecordingError: When the folder holds something else, or the recording could not serve the needs.
        """
        manifest = begun_manifest(self.folder)
        if manifest is None:
            _lay_out(self.asked, self.folder, shard_bytes)
            return
        refuse_other(manifest.identity, self.asked.identity(), self.folder)
        compare_index(self.folder, manifest)

    def write(self, share: Share, times: bool) -> None:
        """Writes the shards of a share that are not finished; other processes may write other shares meanwhile.

        Args:
            share: Which shards.
            times: Whether to note how long it takes.
        """
        manifest = begun_manifest(self.folder)
        assert manifest is not None, "begin() comes first"
        index = Index.read(self.folder)
        writer = Writer(
            self.folder, manifest, index, self.asked.keep, save_seconds=self.save_seconds, share=share, times=times
        )
        if writer.places():
            _warn_other_machine(manifest, self.asked.device)
        if isinstance(self.asked.teacher, Forgiven):
            self.asked.teacher.recall(writer.silent())
        places = writer.places()
        if self.progress is not None and not places:
            total = sum(place.rows for place in share.places(manifest))
            self.progress(total, total)
        for place in places:
            # The first share's process holds the folder; one of its launch may have outlived it and still be writing.
            with sole_writer(self.folder, place.lock, f"the shard {self.folder / place.file}"):
                self._shard(writer, place)
                _refuse_moved(self.asked, manifest.identity.teacher)
                writer.finish(place)
        _warn_silent(self.asked, writer.silent(), self.folder)

    def _shard(self, writer: Writer, place: Place) -> None:
        """Asks the teacher about the rows of one shard that no earlier sitting has saved."""
        asked = self.asked
        total = sum(each.rows for each in writer.share.places(writer.manifest))
        before = total - sum(left.rows for left in writer.places())
        saved = writer.begin(place)
        if isinstance(asked.teacher, Forgiven):
            asked.teacher.recall(writer.silent_here(place))
        try:
            if self.progress is not None:
                self.progress(before + saved, total)
            for start in range(saved, place.rows, asked.batch_size):
                end = min(start + asked.batch_size, place.rows)
                batch = asked.batch(place.first + start, place.first + end, place.view)
                writer.add(batch, asked.said(batch), place)
                saved = end
                if self.progress is not None:
                    self.progress(before + end, total)
        except TeacherStopped:
            writer.save(place)
            raise
        except KeyboardInterrupt:
            writer.save(place)
            raise Interrupted(
                f"the recording was stopped at {before + saved} of {total} rows; they are kept in {writer.folder}",
                remedy="run the same command again: it goes on from there",
            ) from None


def _lay_out(asked: Asked, folder: Path, shard_bytes: int) -> None:
    """Writes the index and the manifest of a new recording, laid out for what the teacher says about its first rows."""
    look = first_look(asked)
    batches = max(1, shard_bytes // (look.row_bytes * asked.batch_size))
    manifest = Manifest(
        asked.identity(),
        asked.teacher.name,
        look.columns,
        batches * asked.batch_size,
        look.row_bytes,
        _machine(asked.device),
        look.index.write(folder),
        fidelity=look.fidelity(asked.needs),
    )
    manifest.write(folder)


def _refuse_moved(asked: Asked, fingerprint: str) -> None:
    """Refuses the shard in work when the teacher is no longer what it was; a write through `.data` shows only here."""
    teacher = asked.teacher
    teacher.prepare(asked.hears, asked.classes)
    if teacher.fingerprint != fingerprint:
        raise TeacherError(
            f"the teacher {teacher.name} was changed while it was recorded",
            expected=f"the fingerprint {fingerprint}; it is {teacher.fingerprint} now",
            remedy="find what writes to its weights, and record with the teacher as it was; this shard is not kept",
        )


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
