"""Whether the teacher would be good if it got the inputs otherwise: another scale, other channels, another layout."""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from limbeck.data.rows import Rows, TensorRows
from limbeck.errors import LimbeckError
from limbeck.evaluation import teacher_answers
from limbeck.records import Finding
from limbeck.task import Task
from limbeck.teachers.protocol import Forgiven, Teacher

ROWS = 512
GAIN = 0.1
# Colours of ImageNet, which most pretrained image networks were standardised with.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Reading:
    """One other way of handing over the inputs, and how to make it last."""

    name: str
    change: Callable[[Shaped[Tensor, "rows ..."]], Float[Tensor, "rows ..."]]
    remedy: str


def misreading(
    teacher: Teacher,
    rows: Rows,
    task: Task,
    mean: Float[Tensor, "..."],
    deviation: Float[Tensor, "..."],
    device: torch.device,
) -> list[Finding]:
    """Asks a teacher about some rows in other readings, and says which of them makes it good.

    An error where one gains more than 0.1 and three standard errors, and comes above one half.

    Args:
        teacher: It scores worse than it should.
        rows: Rows with labels; up to 512 are asked.
        task: Its chosen metric is compared, a share of which more is better.
        mean: Of the training rows by channel, in their own unit.
        deviation: The same.
        device: Where the teacher is.
    """
    piece = rows.take(torch.linspace(0, len(rows) - 1, min(ROWS, len(rows))).long())
    plain = TensorRows(piece.inputs, piece.labels, piece.known, piece.ids)
    now = _scored(teacher, plain, task, device)
    if now is None or not task.higher_is_better:
        return []
    best: tuple[float, Reading] | None = None
    # What a function fails on is counted against it, so it is not handed pictures lying on their side.
    readings = [*_scales(piece.inputs, mean, deviation)]
    readings += [] if isinstance(teacher, Forgiven) else [*_layouts(piece.inputs)]
    for reading in readings:
        other = TensorRows(reading.change(piece.inputs).contiguous(), piece.labels, piece.known, piece.ids)
        value = _scored(teacher, other, task, device)
        if value is not None and (best is None or value > best[0]):
            best = value, reading
    if best is None:
        return []
    value, reading = best
    noise = 3 * math.sqrt(max(value * (1 - value), 0) / len(plain))
    if value - now <= max(GAIN, noise) or value < 0.5:
        return []
    return [
        Finding(
            "error",
            "the teacher's inputs",
            f"{task.selection} {now:.4g} on {len(plain):,} rows as it gets them, and {value:.4g} when it gets them "
            f"{reading.name}",
            reading.remedy,
        )
    ]


def _scored(teacher: Teacher, rows: TensorRows, task: Task, device: torch.device) -> float | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = teacher_answers(teacher, rows, task, device=device)
            return task.metrics(said.outputs, said.labels, said.known).get(task.selection)
    except (LimbeckError, RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        return None  # a reading that the teacher cannot read at all is not the right one


def _scales(inputs: Tensor, mean: Tensor, deviation: Tensor) -> Iterator[Reading]:
    high = float(inputs.max())
    yield _affine("divided by 255", torch.zeros(1), torch.full((1,), 255.0))
    yield _affine("multiplied by 255", torch.zeros(1), torch.full((1,), 1 / 255))
    if high > 0 and high not in (1.0, 255.0):
        yield _affine(f"divided by {high:g}, their greatest", torch.zeros(1), torch.full((1,), high))
    if high > 0:
        yield _affine("brought to -1..1", torch.full((1,), high / 2), torch.full((1,), high / 2))
        yield Reading(
            "turned into their negative (light and dark swapped)",
            lambda x: high - x.float(),
            f"the teacher learnt the negative: a transform that gives {high:g} - inputs",
        )
    if len(mean) and inputs.ndim > 1:
        yield _affine("standardised with the training rows' mean and deviation", mean, deviation)
        yield _affine("with that standardisation undone", -mean / deviation, 1 / deviation)
    if inputs.ndim == 4 and inputs.shape[1] == 3 and high > 0:
        colours, spread = (torch.tensor(values) * max(high, 1.0) for values in _IMAGENET)
        yield _affine("standardised as ImageNet's colours", colours, spread)


def _affine(name: str, mean: Tensor, deviation: Tensor) -> Reading:
    def change(x: Tensor) -> Tensor:
        shape = (-1, *(1 for _ in x.shape[2:]))
        return (x.float() - mean.reshape(shape)) / deviation.reshape(shape)

    return Reading(
        name,
        change,
        f"put it before the teacher's own transform: Standardise(torch.tensor({_numbers(mean)}), "
        f"torch.tensor({_numbers(deviation)})) from limbeck.data.standardise",
    )


def _layouts(inputs: Tensor) -> Iterator[Reading]:
    if inputs.ndim != 4:
        return
    if inputs.shape[1] == 3:
        reverse = "the teacher's transform must swap red and blue: inputs.flip(1)"
        yield Reading("with red and blue swapped", lambda x: x.float().flip(1), reverse)
    yield Reading(
        "with rows and columns swapped", lambda x: x.float().transpose(2, 3), "its transform must transpose(2, 3)"
    )
    yield Reading(
        "with channels last", lambda x: x.float().permute(0, 2, 3, 1), "its transform must permute(0, 2, 3, 1)"
    )
    yield Reading(
        "with channels first", lambda x: x.float().permute(0, 3, 1, 2), "its transform must permute(0, 3, 1, 2)"
    )


def _numbers(values: Tensor) -> str:
    shown = [float(f"{value:.6g}") for value in values.tolist()]
    return str(shown) if len(shown) <= 4 else f"[{shown[0]}, ..., {shown[-1]}]"
