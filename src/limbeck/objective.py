"""What a distillation method is: a value for every row, what it needs, and how it is written down.

The file `objectives/NAME.py` holds one subclass of `Objective`; its name in the grammar is the file's name. A method
computes, it never masks, weights or reduces: `Objective.loss` does that once, for every method.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from limbeck.divergences import Divergence
from limbeck.errors import ObjectiveError
from limbeck.notation import called, written
from limbeck.reduction import Loss, Part, reduced
from limbeck.schedules import Moment, Schedule
from limbeck.signals import Batch, Signals
from limbeck.task import Meaning


@dataclass(frozen=True)
class Needs:
    """What an objective demands, checked before training starts.

    `soft` lists the divergences it will ask of the teacher's targets, each with its temperature, and `between` one more
    where a schedule moves through others on its way from one to another; `logits` says that it reads the teacher's
    dense logits themselves, `members` that it reads those of each of several teachers; `meaning` lists what it takes
    outputs for (see `limbeck.task.Meaning`), so that a softmax over blood sugar is refused; the layers are names of
    modules; `labels` and `ids` say that it reads them; `rows` is the smallest batch it can work on.
    """

    soft: frozenset[tuple[Divergence, float]] = frozenset()
    between: frozenset[tuple[Divergence, float]] = frozenset()
    logits: bool = False
    meaning: frozenset[Meaning] = frozenset()
    student_layers: frozenset[str] = frozenset()
    teacher_layers: frozenset[str] = frozenset()
    labels: bool = False
    ids: bool = False
    rows: int = 1
    members: bool = False

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.soft | other.soft,
            self.between | other.between,
            self.logits or other.logits,
            self.meaning | other.meaning,
            self.student_layers | other.student_layers,
            self.teacher_layers | other.teacher_layers,
            self.labels or other.labels,
            self.ids or other.ids,
            max(self.rows, other.rows),
            self.members or other.members,
        )

    @property
    def teacher(self) -> bool:
        """Whether a teacher is needed at all."""
        return bool(self.soft or self.logits or self.members or self.teacher_layers)


class Objective(nn.Module, ABC):
    """A distillation method. Final are `loss`, `remember`, `terms`, `+`, `*` and `repr`; a method writes the rest.

    A subclass stores every constructor argument under its own name, so that `repr` can write the method down and the
    grammar can read it back; `weights` names those by which it weighs its parts, all of them, so that one whose weights
    are all zero is refused.
    """

    family: ClassVar[str]
    formula: ClassVar[str]
    factor: ClassVar[str] = "1"
    weights: ClassVar[tuple[str, ...]] = ()
    per_row: bool = True

    def __init__(self) -> None:
        # Without this, the signature of a method that takes nothing would be nn.Module's (*args, **kwargs).
        super().__init__()

    @abstractmethod
    def needs(self) -> Needs:
        """What this objective demands of teacher, student and data."""

    @abstractmethod
    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """One value for each row; or, where `per_row` is False, one number for the whole batch."""

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Builds what depends on shapes, such as projectors, from the signals of one dry batch."""

    def advance(self, moment: Moment) -> None:
        """Sets what changes over the training to where it stands at a moment; training calls it before each step.

        Until it is called, everything stands at its start.
        """
        for part in self.children():
            if isinstance(part, Objective):
                part.advance(moment)

    def schedules(self) -> Iterator[Schedule]:
        """What changes over the training, of terms that count for anything."""
        for part in self.children():
            if isinstance(part, Objective):
                yield from part.schedules()

    def keep(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Keeps what later steps need, such as a memory bank.

        `forward` keeps nothing, since it is called for a look as well: by the dry batch, the doctor and the diagnosis.
        What is kept stands in buffers, so that it is saved with the weights and a resumed training goes on with it.

        Args:
            student: What the student said in this step, detached.
            teacher: What the teacher said.
            batch: The rows, of which those count that this method is defined on.
        """

    @torch.no_grad()
    def remember(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        """Lets every term keep what it needs of a step; a training calls it once after each.

        Args:
            student: What the student said in this step.
            teacher: What the teacher said; a term that needs it does not count the rows about which it said nothing.
            batch: The rows.
        """
        for _, term in self.terms():
            term.keep(student, teacher, seen(term, teacher, batch))

    @property
    def remembers(self) -> bool:
        """Whether this objective keeps anything from step to step."""
        return any(term.keeps for _, term in self.terms())

    @property
    def keeps(self) -> bool:
        """Whether this method keeps anything from step to step."""
        return type(self).keep is not Objective.keep

    @property
    def idle(self) -> bool:
        """Whether all parts of this method weigh nothing."""
        return bool(self.weights) and not any(getattr(self, name) for name in self.weights)

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        """The rows this objective is defined on; its mean is taken over them."""
        return batch.mask

    def terms(self) -> Iterator[tuple[float, "Objective"]]:
        """The weighted methods this objective is the sum of."""
        yield 1.0, self

    def counts(self, batch: Batch, teacher: Signals | None = None) -> dict[str, float]:
        """How many rows each term is averaged over, by the term's name.

        Args:
            batch: The rows.
            teacher: What the teacher said about them, where it may have said nothing about some.
        """
        heard = teacher or Signals()
        return {name: float(term.counted(seen(term, heard, batch)).sum()) for name, _, term in self.named_terms()}

    def named_terms(self) -> Iterator[tuple[str, float, "Objective"]]:
        """The terms with a name each; a method that occurs twice is numbered."""
        met: dict[str, int] = {}
        for weight, term in self.terms():
            name = repr(term)
            met[name] = met.get(name, 0) + 1
            yield (name if met[name] == 1 else f"{name} #{met[name]}"), weight, term

    def loss(
        self,
        student: Signals,
        teacher: Signals,
        batch: Batch,
        *,
        counts: Mapping[str, float] | None = None,
    ) -> Loss:
        """The terms' values, masked, averaged and weighted (`limbeck.reduction`).

        Args:
            student: What the student said about the batch.
            teacher: What the teacher said about the same rows in the same order.
            batch: The rows themselves.
            counts: Rows each term is averaged over, when this batch is a slice of a larger one (accumulation, several
                processes); the slices' losses then sum to the loss of the whole. None means this batch is the whole.

        Returns:
            The weighted total, with gradient, and each term's mean, detached.
        """
        return reduced(list(self._reducible(student, teacher, batch, counts)), student, teacher)

    def _reducible(
        self, student: Signals, teacher: Signals, batch: Batch, counts: Mapping[str, float] | None
    ) -> Iterator[Part]:
        for name, weight, term in self.named_terms():
            rows = seen(term, teacher, batch)
            counted = term.counted(rows)
            # Asked at every step, and only where logits are still to be made.
            needs = term.needs() if student.headed else Needs()
            yield Part(
                name,
                weight,
                term,
                rows,
                counted,
                whole=counted.sum().clamp(min=1) if counts is None else max(counts[name], 1.0),
                per_row=term.per_row,
                # What listens to layers and takes outputs for nothing reads none.
                reads_outputs=not needs.student_layers or bool(needs.meaning),
                reads_logits=needs.logits or needs.members,
                parameters=[parameter for parameter in term.parameters() if parameter.requires_grad],
            )

    def __add__(self, other: "Objective") -> "Objective":
        return Sum(self, other)

    def __mul__(self, weight: float | Schedule) -> "Objective":
        return Weighted(weight, self)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return called(method_name(type(self)), self)


class Weighted(Objective):
    """An objective times a number that is not negative, fixed or changing over the training."""

    family, formula = "composition", "w · objective"

    def __init__(self, weight: float | Schedule, objective: Objective) -> None:
        super().__init__()
        ends = (weight.start, weight.end) if isinstance(weight, Schedule) else (weight,)
        if not all(0 <= end < math.inf for end in ends) or (len(ends) == 2 and not any(ends)):
            expected = "a finite weight of at least 0" + ", above it at one end" * (len(ends) - 1)
            raise ObjectiveError(f"{objective!r} has the weight {weight}", expected=expected)
        self.schedule = weight if isinstance(weight, Schedule) else None
        self.weight, self.objective = float(ends[0]), objective
        self.per_row = objective.per_row

    def needs(self) -> Needs:
        return self.objective.needs()

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        self.objective.setup(student, teacher, batch)

    def advance(self, moment: Moment) -> None:
        super().advance(moment)
        if self.schedule is not None:
            self.weight = self.schedule.at(moment)

    def schedules(self) -> Iterator[Schedule]:
        if self.schedule is not None:
            yield self.schedule
        if self.schedule is not None or self.weight > 0:
            yield from self.objective.schedules()

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        return self.weight * self.objective(student, teacher, batch)

    def terms(self) -> Iterator[tuple[float, Objective]]:
        for weight, term in self.objective.terms():
            yield self.weight * weight, term

    def __repr__(self) -> str:
        inner = f"({self.objective!r})" if isinstance(self.objective, Sum) else repr(self.objective)
        return f"{written(self.weight if self.schedule is None else self.schedule)} * {inner}"


class Sum(Objective):
    """The sum of two objectives."""

    family, formula = "composition", "a + b"

    def __init__(self, first: Objective, second: Objective) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.per_row = first.per_row and second.per_row

    def needs(self) -> Needs:
        return self.first.needs() | self.second.needs()

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        self.first.setup(student, teacher, batch)
        self.second.setup(student, teacher, batch)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        if self.per_row:
            return self.first(student, teacher, batch) + self.second(student, teacher, batch)
        return self.loss(student, teacher, batch).total

    def terms(self) -> Iterator[tuple[float, Objective]]:
        yield from self.first.terms()
        yield from self.second.terms()

    def __repr__(self) -> str:
        return f"{self.first!r} + {self.second!r}"


class Scheduled(Objective):
    """A method some of whose numbers change over the training.

    Args:
        method: Built with the values at the start.
        scheduled: The schedule of each argument that has one, by the argument's name.
    """

    family, formula = "composition", "method(argument = schedule)"

    def __init__(self, method: Objective, scheduled: Mapping[str, Schedule]) -> None:
        super().__init__()
        self.method, self.scheduled = method, dict(scheduled)
        self.per_row = method.per_row

    def needs(self) -> Needs:
        """What the method needs at both ends of its schedules, and between them."""
        now = {name: getattr(self.method, name) for name in self.scheduled}
        found = []
        for passed in (0.0, 1.0, 0.5):
            self._set({name: (1 - passed) * each.start + passed * each.end for name, each in self.scheduled.items()})
            found.append(self.method.needs())
        self._set(now)
        ends = found[0] | found[1]
        return replace(ends, between=found[2].soft - ends.soft)

    def setup(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        self.method.setup(student, teacher, batch)

    def advance(self, moment: Moment) -> None:
        super().advance(moment)
        self._set({name: schedule.at(moment) for name, schedule in self.scheduled.items()})

    def schedules(self) -> Iterator[Schedule]:
        yield from self.scheduled.values()

    def counted(self, batch: Batch) -> Bool[Tensor, "*rows"]:
        return self.method.counted(batch)

    def keep(self, student: Signals, teacher: Signals, batch: Batch) -> None:
        self.method.keep(student, teacher, batch)

    @property
    def keeps(self) -> bool:
        return self.method.keeps

    @property
    def idle(self) -> bool:
        return self.method.idle and not any(name in self.scheduled for name in self.method.weights)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        return self.method(student, teacher, batch)

    def _set(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            setattr(self.method, name, value)

    def __repr__(self) -> str:
        return called(method_name(type(self.method)), self.method, self.scheduled)


def seen(term: Objective, teacher: Signals, batch: Batch) -> Batch:
    """The batch as a term sees it: what needs the teacher does not count the rows it said nothing about."""
    return batch if teacher.said is None or not term.needs().teacher else batch.only(teacher.said)


def method_name(method: type[Objective]) -> str:
    """The name a method bears in the grammar: its file's name, or the dotted path of an outsider's class."""
    package, _, module = method.__module__.rpartition(".")
    if package == "limbeck.objectives":
        return module
    return f"{method.__module__}.{method.__qualname__}"
