"""What a task must know, so that nothing else needs to: its label loss, its metrics, its decoding, its panels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from limbeck.records import Panel

LabelKind = Literal["single", "several", "steps", "values", "tokens"]
"""How labels are read, a file of `data/labels/` each: one class a row, several classes a row, one class at each step of
a row, numbers, or the next token at each position of a text."""

Meaning = Literal["classes", "binary", "values", "event"]
"""What outputs stand for: logits of classes of which one is true, logits of classes that are true or not each for
itself, numbers in the labels' unit, or the logit of an event."""

LABEL_DIMENSIONS: Mapping[LabelKind, int] = {"single": 0, "several": 1, "steps": 0, "values": 1, "tokens": 0}
"""How many of the labels' last dimensions belong to one position; the others count positions."""

UNLABELLED_COUNT: Mapping[LabelKind, bool] = {
    "single": True,
    "several": True,
    "steps": True,
    "values": True,
    "tokens": False,
}
"""Whether a position without a label is one to learn at from a teacher. In a text it is not: without a label are
padding, prompts and the last token of a document, and every method sees the same positions."""

OF_NAMES: Mapping[LabelKind, bool] = {
    "single": False,
    "several": False,
    "steps": False,
    "values": False,
    "tokens": True,
}
"""Whether rows are made of the numbers of names, which have neither mean nor range, and no two of which are near."""


def counted(known: Bool[Tensor, "*rows"], kind: LabelKind) -> Bool[Tensor, "*rows"]:
    """Which positions count (the mask of a batch), given those whose label is known."""
    return known.new_ones(known.shape) if UNLABELLED_COUNT[kind] else known


@runtime_checkable
class Task(Protocol):
    """One file in `tasks/` holds one class that keeps this protocol; everything else speaks to it through these words.

    `outputs` are whatever the student says for a row (logits for classification); `known` marks the positions whose
    label is known: rows, or the steps of a sequence where each has a label of its own. `classes` are the names of the
    labels: classes, or the quantities of a regression. `selection` names the validation metric by which weights are
    chosen, `higher_is_better` its direction; `objective` is what a student with a teacher learns by where a recipe
    leaves that to `auto`.

    A task with arguments keeps each under its own name; `repr` writes the task down as a recipe does, and the catalog
    reads it back. `learnt` are the arguments that `fitted` may fill in.
    """

    name: ClassVar[str]
    labels: ClassVar[LabelKind]
    learnt: ClassVar[frozenset[str]]
    baseline_name: ClassVar[str]

    # What depends on a task's arguments: as properties, so that a class may also say it once for all.
    @property
    def says(self) -> frozenset[Meaning]: ...
    @property
    def selection(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...
    @property
    def headline(self) -> tuple[str, ...]: ...
    @property
    def objective(self) -> str: ...

    def fitted(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."]) -> "Task":
        """The task with what it must know of the training labels (such as their scale), as arguments of its own.

        A task that needs nothing, or was told already, returns itself.
        """
        ...

    def restore(self) -> nn.Module | None:
        """From a network's own outputs, and the raw inputs, to outputs in the labels' unit; None leaves them alone."""
        ...

    def check_labels(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."], classes: Sequence[str]) -> None:
        """Raises `DataError` when a known label cannot be one of this task's."""
        ...

    def output_size(self, classes: Sequence[str]) -> int:
        """How many numbers the last layer of a student must give for each row."""
        ...

    def mean(self, answers: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
        """What several models say together, their outputs weighted by numbers above 0 that sum to 1.

        The mean of numbers, and for classes and events the logits of the mean probability, in at least float32.
        """
        ...

    def label_loss(
        self, outputs: Float[Tensor, "*rows classes"], labels: Shaped[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows"]:
        """Loss against the labels, one value for each position (unknown labels may hold anything finite)."""
        ...

    def metrics(
        self,
        outputs: Float[Tensor, "rows classes"],
        labels: Shaped[Tensor, "rows"],
        known: Bool[Tensor, "rows"],
        classes: Sequence[str] = (),
    ) -> dict[str, float]:
        """Metrics over the rows whose label is known; `classes` name those that a task gives for each quantity."""
        ...

    def baseline(self, inputs: Shaped[Tensor, "rows ..."]) -> Float[Tensor, "rows outputs"]:
        """What can be said without any learning, as outputs; asked only where `baseline_name` says what it is."""
        ...

    def likeness(
        self, outputs: Float[Tensor, "rows classes"], teacher: Float[Tensor, "rows classes"]
    ) -> dict[str, float]:
        """How like its teacher a student is: agreement and KL(teacher || student) for classification."""
        ...

    def decode(self, outputs: Float[Tensor, "rows classes"], classes: Sequence[str]) -> list[Mapping[str, object]]:
        """Answers a person can read, one mapping for each row."""
        ...

    def reading(self, classes: Sequence[str]) -> Mapping[str, object] | None:
        """How a device without torch reads outputs: JSON with a `kind` that `limbeck_runtime.decoding` knows.

        None where outputs are nothing a device reads, as those of a language model.
        """
        ...

    def panels(
        self,
        outputs: Float[Tensor, "rows classes"],
        labels: Shaped[Tensor, "rows"],
        known: Bool[Tensor, "rows"],
        classes: Sequence[str],
    ) -> list[Panel]:
        """Tables, matrices and curves for the report, as plain data."""
        ...

    def teacher_saw(
        self,
        inputs: Shaped[Tensor, "rows ..."],
        teacher: Float[Tensor, "rows classes"],
        labels: Shaped[Tensor, "rows"],
        known: Bool[Tensor, "rows"],
        classes: Sequence[str],
        temperature: float,
    ) -> Panel:
        """A few examples with the teacher's answer (and, for classes, at the run's temperature), as plain data."""
        ...


@runtime_checkable
class SaysValues(Protocol):
    """What a task with the meaning "values" offers to the methods that compare numbers."""

    def numbers(self, outputs: Float[Tensor, "*rows outputs"]) -> Float[Tensor, "*rows numbers"]:
        """Every number the outputs say (of a forecast each step, each quantile), in units of the task's scale."""
        ...

    def errors(
        self, outputs: Float[Tensor, "*rows outputs"], labels: Float[Tensor, "*rows quantities"]
    ) -> tuple[Float[Tensor, "*rows quantities"], Bool[Tensor, "*rows quantities"]]:
        """The outputs' distances from the labels in units of the scale, 0 where no label is known; and where one is."""
        ...


@runtime_checkable
class SaysEvent(Protocol):
    """What a task with the meaning "event" offers."""

    def event(self, outputs: Float[Tensor, "*rows outputs"]) -> Float[Tensor, "*rows"]:
        """The logit of the event."""
        ...

    def event_labels(
        self, labels: Float[Tensor, "*rows quantities"]
    ) -> tuple[Float[Tensor, "*rows"], Bool[Tensor, "*rows"]]:
        """Whether it happens (1 or 0), and where that is known."""
        ...


@dataclass(frozen=True)
class Prompting:
    """How models are asked to go on with what they are shown.

    Args:
        reads: The text of the tokenizer of the data.
        ends: The texts of the tokens with which the data's documents end.
        prompts: How many are asked.
        length: Tokens of an answer at most.
        temperature: Of the draws.
        seed: Of the draws.
    """

    reads: str
    ends: tuple[str, ...]
    prompts: int
    length: int
    temperature: float
    seed: int


@runtime_checkable
class Speaks(Task, Protocol):
    """What a task offers whose models go on with what they are shown, as with the beginning of a text."""

    def speech(
        self,
        models: Mapping[str, nn.Module],
        inputs: Shaped[Tensor, "rows ..."],
        known: Bool[Tensor, "rows ..."],
        classes: Sequence[str],
        how: Prompting,
    ) -> tuple[list[dict[str, object]], Panel | None]:
        """What models go on with after the beginnings of some rows, for a person to read, and a table of figures.

        Args:
            models: By who they are; those that cannot go on with anything are left out.
            inputs: Rows nobody has learnt from.
            known: Where the next symbol is known.
            classes: Of the data.
            how: How they are asked.

        Returns:
            One mapping for each prompt and way of going on, as JSON; and a panel of kind `table`, None where nothing
            was said.
        """
        ...


@runtime_checkable
class Digests(Task, Protocol):
    """What a task offers whose outputs are too many to be kept until they are scored, as those over a vocabulary are.

    Wherever such a task is asked about the outputs of rows (`metrics`, `likeness`, `panels`, `teacher_saw`), it gets
    digests, which are 0 at positions whose label is not known.
    """

    def places(self, inputs: Shaped[Tensor, "rows ..."]) -> Int[Tensor, "rows positions"]:
        """Where each position of some rows stands, for digests to remember: of a text, how far in its document."""
        ...

    def digest(
        self,
        outputs: Float[Tensor, "positions outputs"],
        labels: Shaped[Tensor, "positions"],
        places: Int[Tensor, "positions"],
        teacher: Float[Tensor, "positions kept"] | None,
    ) -> Float[Tensor, "positions kept"]:
        """What is kept of some positions' outputs, in float32.

        Args:
            outputs: Whatever a model says there.
            labels: All known.
            places: Where these positions stand.
            teacher: The digests of its teacher's outputs for the same positions, where there are any.
        """
        ...
