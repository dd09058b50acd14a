"""Whether the teacher answers the same row alike each time, and shares nothing with its student."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from limbeck.data.loader import rows_at_once
from limbeck.data.rows import Rows, TensorRows
from limbeck.evaluation import teacher_answers
from limbeck.model import Model
from limbeck.records import Finding
from limbeck.task import Digests, Task
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.protocol import Teacher

ROWS = 64
# In units of the answers' deviation. Other batch shapes round otherwise: bfloat16 keeps 8 bits, a step of 0.4 %.
TWICE, ELSEWHERE = 1e-3, 0.02
FLIPPED, FAR = 0.01, 0.1


@torch.no_grad()
def steadiness(teacher: Teacher, rows: Rows, task: Task, device: torch.device) -> list[Finding]:
    """Asks some rows twice, and once among other rows.

    Dropout in train mode answers otherwise each time; batch normalisation in train mode answers otherwise among other
    rows. An error where more than one answer in a hundred changes or answers move by a tenth of their deviation, a
    warning for less that rounding does not explain.
    """
    count = min(rows_at_once(rows, ROWS), 2 * (len(rows) // 3)) // 2 * 2
    if count < 4:
        return []
    asked = [_part(rows, 0, count), _part(rows, 0, count), _part(rows, count // 2, count)]
    first, again, among = (teacher_answers(teacher, part, task, device=device).outputs for part in asked)
    if not all(bool(torch.isfinite(outputs).all()) for outputs in (first, again, among)):
        return []
    twice = _moved(first, again, task)
    elsewhere = _moved(first[count // 2 :], among[: count // 2], task)
    if twice[0] > TWICE:
        return [_unsteady(*twice, "asked twice about the same rows", count)]
    if elsewhere[0] > ELSEWHERE:
        return [_unsteady(*elsewhere, "asked about the same rows among others", count // 2)]
    return []


def strangers(student: nn.Module, teacher: Teacher) -> list[Finding]:
    """Weights that student and teacher have in common: an error, because training the one moves the other."""
    theirs = {parameter.data_ptr() for module in modules(teacher) for parameter in module.parameters()}
    shared = [name for name, parameter in student.named_parameters() if parameter.data_ptr() in theirs]
    if not shared:
        return []
    return [
        Finding(
            "error",
            "student and teacher share weights",
            f"{len(shared)} of the student's tensors are the teacher's own (such as {shared[0]})",
            "copy.deepcopy(...) of the part they have in common",
        )
    ]


def modules(teacher: Teacher) -> Iterator[Model]:
    """The networks of a teacher, as far as it has any."""
    if isinstance(teacher, ModuleTeacher):
        yield teacher.model
    if isinstance(teacher, EnsembleTeacher):
        for member in teacher.members:
            yield from modules(member)


def _part(rows: Rows, first: int, count: int) -> TensorRows:
    piece = rows.take(torch.arange(first, first + count))
    return TensorRows(piece.inputs, piece.labels, piece.known, piece.ids)


def _moved(first: Tensor, other: Tensor, task: Task) -> tuple[float, float]:
    """The mean distance of answers in units of their deviation, and the share whose greatest output is another.

    Digests keep no outputs whose distance means anything; there the share stands for both.
    """
    if isinstance(task, Digests):
        share = 1 - task.likeness(first, other)["agreement"]
        return share, share
    scale = float(first.std()) or 1.0
    flipped = (first.argmax(dim=-1) != other.argmax(dim=-1)).float().mean() if first.shape[-1] > 1 else torch.zeros(())
    return float((first - other).abs().mean()) / scale, float(flipped)


def _unsteady(moved: float, flipped: float, how: str, count: int) -> Finding:
    far = "" if moved == flipped else f"its answers moved by {moved:.2g} of their deviation, and "
    return Finding(
        "error" if flipped > FLIPPED or moved > FAR else "warning",
        "the teacher answers differently each time",
        f"{how}, {count} of them, {far}the greatest output changed in {flipped:.1%}",
        "put it in eval mode: dropout or batch normalisation is at work in train mode (network.eval(), or dropout with "
        "training=False); an answer drawn at random can be recorded once: record: 1",
    )
