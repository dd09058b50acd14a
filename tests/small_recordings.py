"""Small teachers, and recordings of them that a test can change one word of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.data.augment import Augmentation, parse
from limbeck.data.rows import TensorRows
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.recorder import record
from limbeck.recordings.writer import Share
from limbeck.signals import Batch
from limbeck.students import cnn
from limbeck.tasks.classification import Classification
from limbeck.teachers.module import ModuleTeacher

TASK = Classification()
LOGITS = Needs(logits=True)
LAYERS = Needs(logits=True, teacher_layers=frozenset({"layer2"}))
CROP_MIXUP = parse("crop(padding=1) + mixup(alpha=0.4)")


class Sixteenths(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float() / 16


def network(seed: int = 0, size: int = 4) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return cnn.build((1, 8, 8), 10, size=size, depth=1)


def live(seed: int = 0) -> ModuleTeacher:
    return ModuleTeacher(Model(network(seed), Sixteenths()), f"cnn {seed}")


@dataclass
class Wanted:
    """A call of `record` that a test can change one word of."""

    rows: TensorRows
    to: Path
    teacher: Any = field(default_factory=live)
    classes: tuple[str, ...] = tuple("0123456789")
    needs: Needs = LAYERS
    keep: str = "dense"
    views: int | None = 2
    augment: Augmentation | None = CROP_MIXUP
    augment_seed: int = 5
    batch_size: int = 32
    shard_bytes: int = 1 << 16
    save_seconds: float = 20.0
    share: Share | None = None
    progress: Callable[[int, int], None] | None = None

    def record(self) -> Path:
        words = {name: value for name, value in vars(self).items() if name not in ("teacher", "rows")}
        return record(self.teacher, self.rows, TASK, **words)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """A recording's files; the note of how long it took is not part of what must be equal."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "timing.json"}


def pieces(rows: TensorRows, wanted: Wanted, view: int, size: int) -> Iterator[Batch]:
    """The rows in the order of their ids, in batches of a size."""
    order = rows.ids.argsort()
    for start in range(0, len(rows), size):
        places = order[start : start + size]
        if wanted.augment is None:
            piece = rows.take(places)
            inputs, labels, known, ids, partner = piece.inputs, piece.labels, piece.known, piece.ids, None
        else:
            inputs, labels, known, ids, partner = wanted.augment.apply(rows, places, view, wanted.augment_seed)
        yield Batch(inputs, labels, torch.ones_like(known), known, ids, torch.full_like(ids, view), TASK, partner)
