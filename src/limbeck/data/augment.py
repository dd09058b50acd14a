"""Augmentation of whole batches that can be replayed: what becomes of a row depends on (seed, id, view) alone."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from limbeck.data import augmentations
from limbeck.data.augmentations.mixup import Mixup
from limbeck.data.rows import Rows
from limbeck.errors import DataError, RecipeError, did_you_mean
from limbeck.grammar import Term, arguments, parse_sum
from limbeck.notation import called
from limbeck.replay import Draw
from limbeck.signals import Partner


@runtime_checkable
class Step(Protocol):
    """One file in `augmentations/` holds one such class: a frozen dataclass whose fields are its arguments."""

    def __call__(
        self, images: Shaped[Tensor, "rows channels height width"], draw: Draw
    ) -> Shaped[Tensor, "rows channels height width"]:
        """Images of the same type and shape, from these images and the rows' own random numbers."""
        ...


@dataclass(frozen=True)
class Augmentation:
    """Steps done in the order they are written, each on the result of the one before; `mixup` comes last.

    `repr` gives text that `parse` reads back to an equal augmentation.
    """

    steps: tuple[Step, ...]
    mixup: Mixup | None = None

    def apply(
        self, rows: Rows, positions: Int[Tensor, " taken"], view: int, seed: int
    ) -> tuple[
        Shaped[Tensor, "taken channels height width"],
        Int[Tensor, " taken"] | None,
        Bool[Tensor, " taken"],
        Int[Tensor, " taken"],
        Partner | None,
    ]:
        """Rows at these positions as this view shows them.

        With mixup the second half of a row's mixture is chosen from all of `rows`, and is itself augmented as its own
        id and the same view say, so that a row looks the same in whatever batch it is.

        Args:
            rows: Images, channels first.
            positions: Which rows.
            view: Number of the view.
            seed: Any whole number.

        Returns:
            Inputs (of the stored type; float32 after mixup), labels, which labels are known, ids, and the partner.

        Raises:
            DataError: When the rows are not images of shape (channels, height, width).
        """
        piece = rows.take(positions)
        if self.mixup is None:
            seen = self._seen(piece.inputs, piece.ids, view, seed)
            return seen, piece.labels, piece.known, piece.ids, None
        positions_of_others, share = self.mixup.partners(Draw.of(piece.ids, seed, view, "mixup"), len(rows))
        other = rows.take(positions_of_others)
        both = self._seen(torch.cat((piece.inputs, other.inputs)), torch.cat((piece.ids, other.ids)), view, seed)
        mixed = self.mixup.mixed(both[: len(share)], both[len(share) :], share)
        labels = other.labels if other.labels is not None else torch.zeros_like(other.ids)
        return mixed, piece.labels, piece.known, piece.ids, Partner(labels, other.known, share)

    def _seen(self, images: Tensor, ids: Tensor, view: int, seed: int) -> Tensor:
        if images.ndim != 4:
            raise DataError(
                f"{self!r} was asked of rows of shape {tuple(images.shape[1:])}",
                expected="images: (channels, height, width)",
                remedy="inputs.reshape(-1, 1, 8, 8) for flattened 8 x 8 images, or leave the augmentation out",
            )
        draw = Draw.of(ids, seed, view)
        for place, step in enumerate(self.steps):
            images = step(images, draw.named(f"{name_of(step)} {place}"))
        return images

    @property
    def fingerprint(self) -> str:
        """What a recording keeps to know the augmentation again."""
        return repr(self)

    def __repr__(self) -> str:
        return " + ".join(called(name_of(step), step) for step in (*self.steps, *((self.mixup,) if self.mixup else ())))


def known_names() -> list[str]:
    """The augmentations that can be asked for by name."""
    return sorted(module.name for module in pkgutil.iter_modules(augmentations.__path__))


def name_of(step: object) -> str:
    """The name a step bears in the grammar: that of its file."""
    return type(step).__module__.rpartition(".")[2]


def parse(text: str) -> Augmentation:
    """Reads an augmentation, such as "crop(padding=2) + flip + cutout(size=8) + mixup(alpha=0.2)".

    Raises:
        RecipeError: When a name or an argument is unknown or out of range, a step has a weight, or mixup is not last.
    """
    steps = [_step(term, text) for term in parse_sum(text, "augmentation")]
    for step in steps[:-1]:
        if isinstance(step, Mixup):
            raise RecipeError(f"mixup is not the last step of {text!r}", expected="mixup once, at the end")
    last = steps[-1]
    if isinstance(last, Mixup):
        return Augmentation(_plain(steps[:-1]), last)
    return Augmentation(_plain(steps))


def _plain(steps: Iterable[Step | Mixup]) -> tuple[Step, ...]:
    return tuple(step for step in steps if not isinstance(step, Mixup))


def _step(term: Term, text: str) -> Step | Mixup:
    name = term.call.name
    if term.weight != 1:
        raise RecipeError(
            f"{name} in the augmentation {text!r} has the weight {term.weight}",
            expected="steps without weights: each is always done",
        )
    if name not in known_names():
        raise RecipeError(f"no augmentation is called {name!r}", remedy=did_you_mean(name, known_names()))
    module = importlib.import_module(f"{augmentations.__name__}.{name}")
    kind: Any = next(v for v in vars(module).values() if inspect.isclass(v) and v.__module__ == module.__name__)
    step = kind(**arguments(term.call, kind, text))
    assert isinstance(step, Step | Mixup)
    return step
