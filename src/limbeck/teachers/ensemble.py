"""Several teachers as one: the weighted mean of their answers, as the task takes a mean."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import TeacherError
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals
from limbeck.targets.protocol import without_logits
from limbeck.teachers.protocol import Forgiven, Teacher, computed


class EnsembleTeacher:
    """A weighted mean of teachers, which is a teacher.

    Its answer is what the task says is the mean: of numbers (each step, each quantile) their mean, of classes and of
    events the mean of the members' probabilities at temperature 1 (an arithmetic mean: Hinton, Vinyals and Dean 2015,
    https://arxiv.org/abs/1503.02531, section 5.3, take either the arithmetic or the geometric one; read: memory). Its
    logits are those of that mean. At another temperature these logits are softened, as any teacher's are, which is not
    the mean of the softened members. About a row on which a member is silent it says nothing: the mean of
    the others would be another teacher's answer. A method that weighs the members by itself hears each of them
    (`Signals.members`).

    Args:
        members: Pairs of a weight (> 0; they are normalised to sum to 1) and a teacher, which may be an ensemble.
        name: What reports call it; made of the members' names when left out.

    Raises:
        TeacherError: When there are no members, or a weight is not a positive number.
    """

    def __init__(self, members: Sequence[tuple[float, Teacher]], name: str | None = None) -> None:
        if not members:
            raise TeacherError("the ensemble has no members", expected="one teacher or more")
        for weight, teacher in members:
            if not 0 < weight < float("inf"):
                raise TeacherError(
                    f"the weight {weight} of {teacher.name} in the ensemble is not a positive number",
                    expected="weights greater than 0",
                    remedy=f"leave {teacher.name} out to give it no weight",
                )
        total = sum(weight for weight, _ in members)
        self.weights = tuple(weight / total for weight, _ in members)
        self.members = tuple(teacher for _, teacher in members)
        self.name = name or f"ensemble({', '.join(teacher.name for teacher in self.members)})"
        self.fingerprint = self._combined()
        self._heard_apart = False
        # An ensemble can show only the views that all its recorded members have.
        self.views = min((teacher.views for teacher in self.members if teacher.views is not None), default=None)

    @property
    def computes(self) -> bool:
        """Whether torch computes a member's answers here."""
        return any(computed(teacher) for teacher in self.members)

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Prepares every member to say all its logits.

        Raises:
            TeacherError: When features are asked for, or a member cannot serve the data.
        """
        if needs.teacher_layers:
            raise TeacherError(
                f"{self.name} is asked for the features of {', '.join(sorted(needs.teacher_layers))}",
                expected="an objective that reads the teacher's answers alone: members need not have a layer in common",
                remedy="use one teacher alone for feature distillation",
            )
        for teacher in self.members:
            teacher.prepare(replace(needs, soft=frozenset(), logits=True, members=False), classes)
        self._heard_apart = needs.members
        self.fingerprint = self._combined()

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """Asks every member.

        Raises:
            RecordingError: When a recorded member is of other rows or another augmentation.
        """
        for teacher in self.members:
            teacher.fits(rows, augment, augment_seed)
        self.fingerprint = self._combined()

    def signals(self, batch: Batch) -> Signals:
        """The members' mean answer, in at least float32.

        Raises:
            TeacherError: When a member moved, or has no dense logits.
        """
        answers = [teacher.signals(batch) for teacher in self.members]
        logits = [self._logits(teacher, said) for teacher, said in zip(self.members, answers, strict=True)]
        spoke = [said.said for said in answers if said.said is not None]
        together = Signals.dense(
            batch.task.mean(logits, self.weights), said=torch.stack(spoke).all(dim=0) if spoke else None
        )
        return replace(together, members=tuple(answers)) if self._heard_apart else together

    def to(self, device: torch.device) -> "EnsembleTeacher":
        """Moves every member to a device, and returns itself."""
        self.members = tuple(teacher.to(device) for teacher in self.members)
        return self

    def recall(self, silent: Mapping[int, Int[Tensor, " silent"]]) -> None:
        """Tells every member that may be silent; whose silence it was is not recorded, so it counts against each."""
        for teacher in self.members:
            if isinstance(teacher, Forgiven):
                teacher.recall(silent)

    def _logits(self, teacher: Teacher, said: Signals) -> Tensor:
        if said.logits is None:
            raise without_logits(f"{teacher.name} in {self.name} says no dense logits", said.targets)
        return said.logits

    def _combined(self) -> str:
        members = zip(self.weights, self.members, strict=True)
        parts = [f"{weight.hex()}*{teacher.fingerprint}" for weight, teacher in members]
        return hashlib.sha256("|".join(["ensemble", *parts]).encode()).hexdigest()[:32]
