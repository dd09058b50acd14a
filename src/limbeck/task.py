"""What a task must know, so that nothing else needs to: its label loss, its metrics, its decoding, its panels."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from limbeck.records import Panel


@runtime_checkable
class Task(Protocol):
    """One file in `tasks/` holds one class that keeps this protocol; everything else speaks to it through these words.

    `outputs` are whatever the student says for a row (logits for classification); `known` marks the rows whose label
    is known. `selection` names the validation metric by which weights are chosen, `higher_is_better` its direction.
    """

    name: ClassVar[str]
    selection: ClassVar[str]
    higher_is_better: ClassVar[bool]
    headline: ClassVar[tuple[str, ...]]

    def check_labels(self, labels: Shaped[Tensor, "..."], known: Bool[Tensor, "..."], classes: Sequence[str]) -> None:
        """Raises `DataError` when a known label cannot be one of this task's."""
        ...

    def output_size(self, classes: Sequence[str]) -> int:
        """How many numbers the last layer of a student must give for each row."""
        ...

    def label_loss(
        self, outputs: Float[Tensor, "*rows classes"], labels: Shaped[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows"]:
        """Loss against the labels, one value for each row (rows with unknown labels may hold anything finite)."""
        ...

    def metrics(
        self, outputs: Float[Tensor, "rows classes"], labels: Shaped[Tensor, "rows"], known: Bool[Tensor, "rows"]
    ) -> dict[str, float]:
        """Metrics over the rows whose label is known."""
        ...

    def likeness(
        self, outputs: Float[Tensor, "rows classes"], teacher: Float[Tensor, "rows classes"]
    ) -> dict[str, float]:
        """How like its teacher a student is: agreement and KL(teacher || student) for classification."""
        ...

    def decode(self, outputs: Float[Tensor, "rows classes"], classes: Sequence[str]) -> list[Mapping[str, object]]:
        """Answers a person can read, one mapping for each row."""
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
        """A few examples with the teacher's answer at T=1 and at the run's temperature, as plain data."""
        ...
