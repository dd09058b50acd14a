"""A recording as a teacher: what it said once, it says again, for nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import RecordingError, TeacherError, did_you_mean
from limbeck.objective import Needs
from limbeck.recordings.form import refuse_unanswered
from limbeck.recordings.manifest import refuse_other
from limbeck.recordings.store import Recording, digest_of
from limbeck.records import Panel
from limbeck.signals import Batch, Signals


class RecordedTeacher:
    """Answers from a recording, by the rows' ids and views.

    It cannot see what is in a batch, so `fits` must be asked once whether the recording is of the rows and the
    augmentation that will be trained on.

    Rows asked in the batches they were recorded in get the live teacher's answer bit for bit. In other batches a live
    teacher rounds differently, and a small float32 cnn (tested on the CPU, batches of 1, 7 and 100) stays within
    1e-5 of the recording, times the largest value in the answer where that exceeds 1.

    Args:
        path: The recording's folder.
        verify: Whether to compare every shard with its SHA-256 first, which reads the whole recording once.

    Raises:
        RecordingError: When it is no recording, not finished, damaged, or of a newer Limbeck.
    """

    def __init__(self, path: Path | str, *, verify: bool = True) -> None:
        self.recording = Recording(path, verify=verify)
        identity = self.recording.manifest.identity
        self.name = self.recording.manifest.teacher_name
        self.fingerprint = self.recording.fingerprint
        self.views: int | None = identity.views
        self._identity = identity
        self._layers: tuple[str, ...] = ()
        self._dense = False

    @property
    def seconds(self) -> float:
        """Wall seconds that recording took, all its sittings together; not a number when the note of it is gone."""
        return self.recording.seconds

    @property
    def bytes(self) -> int:
        """Size of the recorded answers on disk, in bytes."""
        return self.recording.bytes

    def lost(self, needs: Needs) -> dict[str, Panel]:
        """A table of how far what was kept is from all logits at what is asked; none where nothing was lost."""
        fidelity = self.recording.manifest.fidelity
        if fidelity is None or not needs.soft:
            return {}
        name = f"kept-{self.fingerprint[:8]}"
        return {name: fidelity.panel(name, self.name, needs.soft)}

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """Refuses rows or an augmentation that are not the recorded ones.

        Args:
            rows: The rows that will be trained on.
            augment: Their augmentation, None without one.
            augment_seed: The seed of the augmentation; it says nothing without one.

        Raises:
            RecordingError: Which of them differs.
        """
        wanted = replace(
            self._identity,
            data=rows.inputs_fingerprint,
            ids=digest_of(rows.ids.sort().values),
            rows=len(rows),
            augment="none" if augment is None else augment.fingerprint,
            augment_seed=0 if augment is None else augment_seed,
        )
        refuse_other(self._identity, wanted, self.recording.path)

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Checks that the classes are the recorded ones and that all layers asked for were recorded.

        Raises:
            TeacherError: When a layer was not recorded.
            RecordingError: When the data has other classes, or answers kept like these cannot serve the needs.
        """
        recorded = self._identity.classes
        if tuple(classes) != recorded:
            raise RecordingError(
                f"the recording {self.recording.path} was made for the classes {', '.join(recorded[:12])}",
                expected=f"the classes {', '.join(classes[:12])}, in this order",
                remedy="record the teacher on this data, into another folder",
            )
        for layer in sorted(needs.teacher_layers):
            if layer not in self._identity.layers:
                known = self._identity.layers
                raise TeacherError(
                    f"the recording {self.recording.path} holds no features of the layer {layer!r}",
                    expected=did_you_mean(layer, known) if known else "an objective that needs no layers",
                    remedy="record the teacher again with this layer, into another folder",
                )
        self._layers, self._dense = tuple(sorted(needs.teacher_layers)), needs.logits
        first = self.recording.signals(
            self.recording.ids[:1], torch.zeros(1, dtype=torch.int64), self._layers, dense=self._dense
        )
        refuse_unanswered(self.recording.keep, needs, first, f"the recording {self.recording.path}")

    def signals(self, batch: Batch) -> Signals:
        """What was recorded for these rows and views, on this teacher's device.

        Hand it batches that are still on the CPU: looking up ids that lie on another device waits for that device.

        Raises:
            RecordingError: When a row or a view was not recorded.
        """
        return self.recording.signals(batch.ids, batch.views, self._layers, dense=self._dense)

    def to(self, device: torch.device) -> "RecordedTeacher":
        """Puts the answers on a device from now on, and returns itself; the recording stays where it is."""
        self.recording.to(device)
        return self
