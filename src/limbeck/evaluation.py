"""What a model answers on rows it has not learnt from, and how good the answers are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from limbeck.data.loader import in_order
from limbeck.data.rows import Rows
from limbeck.measures.complexity import cost
from limbeck.model import Model, answering
from limbeck.records import Scores
from limbeck.signals import Batch
from limbeck.targets.protocol import without_logits
from limbeck.task import Task
from limbeck.teachers.protocol import Teacher

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Answers:
    """A model's outputs for rows in their order, beside the labels; all on the CPU, in float32.

    `said` marks the rows that were answered, None when all were; of a teacher's answers, no other row is `known`.
    """

    outputs: Float[Tensor, "rows ..."]
    labels: Shaped[Tensor, "rows ..."]
    known: Bool[Tensor, "rows ..."]
    said: Bool[Tensor, " rows"] | None = None


@torch.no_grad()
def collect(
    answer: Callable[[Batch], Tensor], rows: Rows, task: Task, *, batch_size: int, device: torch.device
) -> Answers:
    """Asks for every row once, in order, unaugmented."""
    outputs, labels, known = [], [], []
    for batch in in_order(rows, task, batch_size=batch_size):
        outputs.append(answer(batch.to(device)).float().cpu())
        labels.append(torch.zeros(batch.known.shape, dtype=torch.int64) if batch.labels is None else batch.labels.cpu())
        known.append(batch.known.cpu())
    return Answers(torch.cat(outputs), torch.cat(labels), torch.cat(known))


def answers(
    model: nn.Module, rows: Rows, task: Task, *, batch_size: int = 512, device: torch.device | None = None
) -> Answers:
    """A model's answers in eval mode; its mode is put back.

    Args:
        model: Takes raw inputs, as `Model` does.
        rows: Any split.
        task: Gives batches their meaning.
        batch_size: Rows asked at once.
        device: Where the model is; by default where its first parameter is.
    """
    where = device or next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with answering(model):
        return collect(lambda batch: model(batch.inputs), rows, task, batch_size=batch_size, device=where)


def teacher_answers(
    teacher: Teacher, rows: Rows, task: Task, *, batch_size: int = 512, device: torch.device | None = None
) -> Answers:
    """A teacher's answers.

    Raises:
        TeacherError: When it has none for these rows: a recording answers only what was recorded.
    """
    spoke: list[Tensor] = []

    def said(batch: Batch) -> Tensor:
        heard = teacher.signals(batch)
        if heard.logits is None:
            raise without_logits(f"{teacher.name} gives no dense logits to be scored by", heard.targets)
        if heard.said is not None:
            spoke.append(heard.said.cpu())
        return heard.logits

    found = collect(said, rows, task, batch_size=batch_size, device=device or torch.device("cpu"))
    if not spoke:
        return found
    answered = torch.cat(spoke)
    known = found.known & answered.view(-1, *[1] * (found.known.ndim - 1))
    return Answers(found.outputs, found.labels, known, answered)


def likeness(said: Answers, teacher: Answers, task: Task) -> dict[str, float]:
    """How like its teacher's a model's answers to the same rows are, over the rows the teacher answered."""
    rows = slice(None) if teacher.said is None else teacher.said
    return task.likeness(said.outputs[rows], teacher.outputs[rows])


def score(
    said: Answers, task: Task, classes: Sequence[str], *, teacher: Answers | None = None, panels: bool = True
) -> Scores:
    """Metrics of some answers, beside the likeness to the teacher's where there is one."""
    metrics = task.metrics(said.outputs, said.labels, said.known, classes)
    if teacher is not None:
        metrics |= likeness(said, teacher, task)
    shown = tuple(task.panels(said.outputs, said.labels, said.known, classes)) if panels else ()
    return Scores(int(said.known.sum()), metrics, {}, shown)


def baseline_scores(rows: Rows, task: Task, classes: Sequence[str], *, batch_size: int = 512) -> Scores | None:
    """What the task's answer without any learning scores, such as the last reading said again; None without one."""
    if not task.baseline_name:
        return None
    said = collect(lambda batch: task.baseline(batch.inputs), rows, task, batch_size=batch_size, device=_CPU)
    return score(said, task, classes, panels=False)


def evaluate(
    model: Model | nn.Module,
    rows: Rows,
    task: Task,
    classes: Sequence[str],
    *,
    teacher: Model | nn.Module | None = None,
    batch_size: int = 512,
) -> Scores:
    """Scores a model on rows: metrics, likeness to a teacher, size and work.

    Args:
        model: Takes raw inputs and gives outputs in the order of `classes`.
        rows: Any split, for example `data.test`.
        task: Such as `Classification()`.
        classes: Names of the outputs.
        teacher: Answers the same rows, for agreement and KL(teacher || model).
        batch_size: Rows asked at once.

    Returns:
        Scores with metrics, `cost` (parameters, bytes, macs) and panels. Latency is measured beside other models, by
        `limbeck.measures.latency`.
    """
    beside = None if teacher is None else answers(teacher, rows, task, batch_size=batch_size)
    scores = score(answers(model, rows, task, batch_size=batch_size), task, classes, teacher=beside)
    row = rows.take(torch.tensor([0])).inputs
    return Scores(scores.rows, scores.metrics, cost(model, row), scores.panels)
