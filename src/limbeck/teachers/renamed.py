"""A teacher whose classes have other names than the data's, or are finer: `{cat: tabby, dog: [beagle, pug]}`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import TeacherError, did_you_mean
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals
from limbeck.targets.protocol import without_logits
from limbeck.teachers.protocol import Forgiven, Teacher, computed


class RenamedTeacher:
    """A teacher that is asked for classes by its own names.

    Where a class of the data stands for several of the teacher's, their probabilities at temperature 1 are summed: its
    logit is the logarithm of the sum of their exponentials. At another temperature that logit is softened, as any
    teacher's is, as though the teacher had been trained on the merged classes; this is not the sum of the softened
    probabilities.

    Args:
        teacher: The teacher, which names its classes.
        classes: From a class of the data to the teacher's classes that it stands for; a class that is not named is
            called alike.
    """

    def __init__(self, teacher: Teacher, classes: Mapping[str, Sequence[str]]) -> None:
        self.teacher = teacher
        self.classes = {
            name: (theirs,) if isinstance(theirs, str) else tuple(theirs) for name, theirs in classes.items()
        }
        self.name = teacher.name
        self.views = teacher.views
        self.fingerprint = self._combined()
        self._counts: list[int] = []

    @property
    def computes(self) -> bool:
        """Whether torch computes the teacher's answers here."""
        return computed(self.teacher)

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Prepares the teacher for its own classes.

        Raises:
            TeacherError: When a name is no class of the data or of the teacher, or a teacher's class is named twice.
        """
        for name, theirs in self.classes.items():
            if name not in classes:
                raise TeacherError(
                    f"the classes of the teacher {self.name} name {name!r}, which is no class of the data",
                    expected="CLASS OF THE DATA: CLASS OF THE TEACHER, or a list of them",
                    remedy=did_you_mean(name, classes),
                )
            if not theirs:
                raise TeacherError(f"the class {name!r} stands for no class of {self.name}", expected="one or more")
        asked = [word for name in classes for word in self.classes.get(name, (name,))]
        if twice := next((word for place, word in enumerate(asked) if word in asked[:place]), None):
            raise TeacherError(
                f"the class {twice!r} of the teacher {self.name} is asked for twice",
                expected="each of its classes in one class of the data",
                remedy="name another class for one of the two in teacher.classes",
            )
        self.teacher.prepare(replace(needs, soft=frozenset(), logits=True), asked)
        self.fingerprint = self._combined()
        self._counts = [len(self.classes.get(name, (name,))) for name in classes]

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """Asks the teacher.

        Raises:
            RecordingError: When it is a recording of other rows or another augmentation.
        """
        self.teacher.fits(rows, augment, augment_seed)
        self.fingerprint = self._combined()

    def signals(self, batch: Batch) -> Signals:
        """The teacher's logits in the data's classes, and its features as they are.

        Raises:
            TeacherError: When the teacher moved, or has no dense logits.
        """
        said = self.teacher.signals(batch)
        if said.logits is None:
            raise without_logits(f"{self.name} says no dense logits", said.targets)
        return Signals.dense(merged(said.logits, self._counts), said.features, said.said)

    def to(self, device: torch.device) -> "RenamedTeacher":
        """Moves the teacher to a device, and returns itself."""
        self.teacher = self.teacher.to(device)
        return self

    def recall(self, silent: Mapping[int, Int[Tensor, " silent"]]) -> None:
        """Tells the teacher, if it may be silent."""
        if isinstance(self.teacher, Forgiven):
            self.teacher.recall(silent)

    def _combined(self) -> str:
        content = json.dumps([self.teacher.fingerprint, self.classes], sort_keys=True)
        return hashlib.sha256(f"renamed|{content}".encode()).hexdigest()[:32]


def merged(logits: Float[Tensor, "*rows theirs"], counts: Sequence[int]) -> Float[Tensor, "*rows classes"]:
    """The logarithm of the summed exponentials of so many neighbours each; one alone is left as it is.

    Args:
        logits: The teacher's, those that are merged side by side.
        counts: How many make up each class; their sum is the number of logits.
    """
    parts = [
        part if part.shape[-1] == 1 else torch.logsumexp(part.float(), dim=-1, keepdim=True).to(part.dtype)
        for part in logits.split(list(counts), dim=-1)
    ]
    return torch.cat(parts, dim=-1)
