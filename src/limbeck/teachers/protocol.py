"""The one seam through which every kind of teacher speaks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import TeacherError
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals


@runtime_checkable
class Teacher(Protocol):
    """Anything that answers a batch with signals: a live module, an ensemble, a recording, a server.

    `fingerprint` changes whenever the answers could; `views` is None for a teacher that can answer any augmented view
    and the number of recorded views otherwise (training then cycles through them).
    """

    name: str
    fingerprint: str
    views: int | None

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Gets ready to serve these needs for data with these classes, before training.

        Raises:
            TeacherError: When this teacher cannot, saying what it can and what to do.
        """
        ...

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """Makes sure, once and before training, that the batches to come are ones this teacher can answer.

        Args:
            rows: The rows that will be trained on.
            augment: Their augmentation, None without one.
            augment_seed: The seed of the augmentation; it says nothing without one.

        Raises:
            RecordingError: When this is a recording of other rows, or of another augmentation or seed.
        """
        ...

    def signals(self, batch: Batch) -> Signals:
        """What the teacher says about a batch: without gradient, in eval mode, its weights untouched.

        Raises:
            TeacherError: When somebody moved the teacher or switched it to train mode.
        """
        ...

    def to(self, device: torch.device) -> "Teacher":
        """The same teacher on a device."""
        ...


@runtime_checkable
class Forgiven(Protocol):
    """A teacher that is forgiven a share of rows about which it says nothing, and keeps count of them."""

    def recall(self, silent: Mapping[int, Int[Tensor, " silent"]]) -> None:
        """Counts rows that an earlier sitting of a recording found it silent about, by view."""
        ...


@runtime_checkable
class Partial(Protocol):
    """A teacher that says some of the logits alone: a student learns from them, and nobody can be scored by them."""

    partial: bool


@runtime_checkable
class Computing(Protocol):
    """A teacher whose answers torch computes in this process, so that `torch.autocast` decides their precision."""

    computes: bool


@runtime_checkable
class Compilable(Protocol):
    """A teacher that can be asked through a compiled function."""

    def compiled(self, how: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[Batch], Signals]:
        """What asks it like `signals`, within rounding of it, through a function that `how` has compiled.

        Where layers are listened to, it is `signals` itself: the hooks would cut the network into pieces.
        """
        ...


def computed(teacher: Teacher) -> bool:
    """Whether a teacher answers otherwise, and perhaps sooner, when it is asked under `torch.autocast`."""
    return teacher.views is None and isinstance(teacher, Computing) and teacher.computes


def judged(teacher: Teacher) -> bool:
    """Whether a teacher can be scored on any rows: not a recording, which has answers to its own, nor a partial one."""
    return teacher.views is None and not (isinstance(teacher, Partial) and teacher.partial)


@runtime_checkable
class Headed(Protocol):
    """A teacher whose linear layers can be read, so that hidden states can be kept in the place of logits."""

    def linear(self, layer: str) -> tuple[Float[Tensor, "classes width"], Float[Tensor, " classes"] | None]:
        """The weight and the bias of a linear layer that gives the logits, in the data's class order.

        Raises:
            TeacherError: When there is no such layer, or it gives something else.
        """
        ...


def linear_layer(
    teacher: Teacher,
) -> Callable[[str], tuple[Float[Tensor, "classes width"], Float[Tensor, " classes"] | None]]:
    """How to read a teacher's linear layers; asking one that has none says so."""
    if isinstance(teacher, Headed):
        return teacher.linear

    def refuse(layer: str) -> tuple[Tensor, Tensor | None]:
        raise TeacherError(
            f"the layer {layer!r} of {teacher.name} cannot be read",
            expected="a network of torch's",
            remedy="keep: dense, or topk(k=64)",
        )

    return refuse
