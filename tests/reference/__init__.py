"""What a method's reference is, and the words it is written in.

`reference/NAME.py` proves `objectives/NAME.py`. It is written from the paper, in loops over plain Python floats
(float64), and shares no mathematics with Limbeck. It offers:

    PROMISES                        what the method promises, for the shared laws
    cases() -> list[Case]           constructor arguments, each with signals to try them on
    value(student, teacher, batch, weights, **arguments)
                                    the equation: a float for each row, or one float for a relation of the batch;
                                    `weights` are the method's own parameters by name, as nested lists
    counted(batch) -> list[bool]    only where the method counts other rows than the mask does
    constants(student, teacher, batch, **arguments)
                                    only where the method holds numbers that depend on the student constant, so that
                                    no gradient flows through them: nested lists, which `value` finds in its weights
    reversal(**arguments)           only where a parameter is not to go down the value's gradient: by its name, the
                                    number by which the gradient is multiplied (negative for one that climbs)

`test_objectives.py` finds both files by name, takes the reference's gradient by central differences, and compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from limbeck.signals import Batch, Partner, Signals
from limbeck.task import Task
from limbeck.tasks.classification import Classification

Numbers = list[Any]
Weights = Mapping[str, Numbers]
Shapes = Mapping[str, tuple[int, ...]]


def flat(row: Any) -> list[float]:
    """All numbers of nested lists, in order."""
    return [number for part in row for number in flat(part)] if isinstance(row, list) else [row]


@dataclass(frozen=True)
class Promises:
    """Which laws hold for a method besides those that hold for all.

    `drawn` says that its first weights are drawn at random, so that another seed gives others; else every seed gives
    the same.
    """

    non_negative: bool = True
    zero_when_equal: bool = True
    drawn: bool = True


@dataclass(frozen=True)
class Said:
    """What a network said, as nested lists of floats: `logits[row][symbol]`, `features[layer][row]...`.

    `members` are what each of several teachers said.
    """

    logits: Numbers
    features: Mapping[str, Numbers] = field(default_factory=dict)
    members: "tuple[Said, ...]" = ()

    @classmethod
    def of(cls, signals: Signals) -> "Said":
        assert signals.logits is not None
        features = {name: feature.tolist() for name, feature in signals.features.items()}
        return cls(signals.logits.tolist(), features, tuple(map(cls.of, signals.members)))


@dataclass(frozen=True)
class Case:
    """Constructor arguments, and float64 signals of six rows to try them on.

    Where a method is zero for equal models, its layers are listed in the same order for both.
    """

    arguments: Mapping[str, Any]
    student: Signals
    teacher: Signals
    batch: Batch

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.arguments.items()), "mixed" * self.mixed])

    @property
    def mixed(self) -> bool:
        return self.batch.partner is not None


def case(
    arguments: Mapping[str, Any] | None = None,
    *,
    student: Shapes | None = None,
    teacher: Shapes | None = None,
    mixed: bool = False,
    members: int = 0,
    rows: int = 6,
    classes: int = 4,
    seed: int = 0,
) -> Case:
    """Random signals: logits and the named layers, given by the shape of one row; row 2 has no known label.

    With `members` the teacher is an ensemble of so many, whose own logits are those of the first.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def signals(shapes: Shapes | None) -> Signals:
        features = {name: normal(rows, *shape) for name, shape in (shapes or {}).items()}
        return Signals.dense(2 * normal(rows, classes), features)

    def labels() -> torch.Tensor:
        return torch.randint(classes, (rows,), generator=generator)

    known = torch.arange(rows) != 2
    own = torch.where(known, labels(), 0)
    share = torch.rand(rows, generator=generator, dtype=torch.float64)
    partner = Partner(labels(), torch.arange(rows) != 3, share) if mixed else None
    batch = replace(Batch.of(torch.zeros(rows, 1), own, Classification()), known=known, partner=partner)
    heard = signals(teacher)
    if members:
        others = tuple(signals(None) for _ in range(members - 1))
        heard = replace(heard, members=(replace(heard), *others))
    return Case(arguments or {}, signals(student), heard, batch)


def case_of(
    task: Task,
    arguments: Mapping[str, Any] | None = None,
    *,
    outputs: int,
    quantities: int,
    rows: int = 6,
    seed: int = 0,
) -> Case:
    """Random signals for a task whose labels are several numbers; row 2 has none that is known, row 4 lacks one.

    For a task of several classes the numbers are 0 and 1, and only row 2 is unknown.
    """
    generator = torch.Generator().manual_seed(seed)
    student, teacher, labels = (
        2 * torch.randn(rows, width, generator=generator, dtype=torch.float64)
        for width in (outputs, outputs, quantities)
    )
    known = torch.arange(rows) != 2
    if task.labels == "several":
        labels = torch.where(known[:, None], (labels > 0).double(), 0.0)
    else:
        labels[2], labels[4, 0] = torch.nan, torch.nan
    batch = replace(Batch.of(torch.zeros(rows, 1), labels, task), known=known)
    return Case(arguments or {}, Signals.dense(student), Signals.dense(teacher), batch)
