"""What a model answers on rows it has not learnt from, and how good the answers are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from limbeck.data.loader import in_order, rows_at_once
from limbeck.data.rows import Rows
from limbeck.measures.complexity import cost
from limbeck.model import Model, answering
from limbeck.records import Panel, Scores
from limbeck.signals import Batch, Signals
from limbeck.taps import listen
from limbeck.targets.protocol import without_logits
from limbeck.task import Digests, Prompting, Speaks, Task
from limbeck.teachers.protocol import Teacher

_CPU = torch.device("cpu")

# Where outputs are digested, so many positions' outputs exist at once.
SLICE = 256


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
    ask: Callable[[Batch], Signals],
    rows: Rows,
    task: Task,
    *,
    batch_size: int,
    device: torch.device,
    teacher: Answers | None = None,
) -> Answers:
    """Asks for every row once, in order, unaugmented.

    Args:
        ask: From a batch to what is said about it.
        rows: Any split.
        task: Gives batches their meaning; where it digests outputs, digests are collected in their place.
        batch_size: Rows asked at once; fewer where outputs are digested and a row has many positions.
        device: Where batches go.
        teacher: Answers to the same rows, for digests.
    """
    outputs: list[Tensor] = []
    labels: list[Tensor] = []
    known: list[Tensor] = []
    spoke: list[Tensor] = []
    start = 0
    size = rows_at_once(rows, batch_size) if isinstance(task, Digests) else batch_size
    for batch in in_order(rows, task, batch_size=size):
        beside = None if teacher is None else teacher.outputs[start : start + len(batch)]
        start += len(batch)
        said = ask(batch.to(device))
        outputs.append(_outputs(said, batch, task, beside).float().cpu())
        labels.append(torch.zeros(batch.known.shape, dtype=torch.int64) if batch.labels is None else batch.labels.cpu())
        known.append(batch.known.cpu())
        if said.said is not None:
            spoke.append(said.said.cpu())
    answered = torch.cat(spoke) if spoke else None
    there = torch.cat(known)
    if answered is not None:
        there = there & answered.view(*answered.shape, *[1] * (there.ndim - answered.ndim))
        answered = answered.reshape(len(answered), -1).any(dim=1)
    return Answers(torch.cat(outputs), torch.cat(labels), there, answered)


def _outputs(said: Signals, batch: Batch, task: Task, teacher: Tensor | None) -> Tensor:
    """All outputs about a batch, or their digests."""
    if not isinstance(task, Digests):
        return said.of_logits(lambda logits: (logits,))[0]
    heard = batch.known if said.said is None or said.said.ndim == 1 else batch.known & said.said
    places = heard.nonzero(as_tuple=True)
    assert batch.labels is not None
    stand = task.places(batch.inputs)
    whole: Tensor | None = None
    # Where nothing is known, an empty slice tells how wide a digest is.
    for start in range(0, max(1, len(places[0])), SLICE):
        at = tuple(place[start : start + SLICE] for place in places)
        here = tuple(place.cpu() for place in at)
        beside = None if teacher is None else teacher[here]
        logits = said.logits_at(at)
        digest = task.digest(logits, batch.labels[at].to(logits.device), stand[at], beside).cpu()
        if whole is None:
            whole = digest.new_zeros(*batch.known.shape, digest.shape[-1])
        whole[here] = digest
    assert whole is not None
    return whole


def answers(
    model: nn.Module,
    rows: Rows,
    task: Task,
    *,
    batch_size: int = 512,
    device: torch.device | None = None,
    teacher: Answers | None = None,
) -> Answers:
    """A model's answers in eval mode; its mode is put back.

    Args:
        model: Takes raw inputs, as `Model` does.
        rows: Any split.
        task: Gives batches their meaning.
        batch_size: Rows asked at once.
        device: Where the model is; by default where its first parameter is.
        teacher: Its teacher's answers to the same rows, for a task that keeps digests.
    """
    where = device or next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def ask(batch: Batch) -> Signals:
        return listen(model, batch.inputs) if isinstance(model, Model) else Signals.dense(model(batch.inputs))

    with answering(model):
        return collect(ask, rows, task, batch_size=batch_size, device=where, teacher=teacher)


def teacher_answers(
    teacher: Teacher, rows: Rows, task: Task, *, batch_size: int = 512, device: torch.device | None = None
) -> Answers:
    """A teacher's answers.

    Raises:
        TeacherError: When it has none for these rows: a recording answers only what was recorded.
    """

    def ask(batch: Batch) -> Signals:
        heard = teacher.signals(batch)
        if heard.outputs is None:
            raise without_logits(f"{teacher.name} gives no dense logits to be scored by", heard.targets)
        return heard

    return collect(ask, rows, task, batch_size=batch_size, device=device or _CPU)


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


def spoken(
    models: Mapping[str, nn.Module], rows: Rows, task: Speaks, classes: Sequence[str], how: Prompting
) -> tuple[list[dict[str, object]], Panel | None]:
    """What models go on with after the beginnings of some rows, which are taken evenly from all; see `Speaks`."""
    count = min(len(rows), how.prompts)
    piece = rows.take(torch.linspace(0, len(rows) - 1, count).round().long())
    return task.speech(models, piece.inputs, piece.known, classes, how)


def baseline_scores(rows: Rows, task: Task, classes: Sequence[str], *, batch_size: int = 512) -> Scores | None:
    """What the task's answer without any learning scores, such as the last reading said again; None without one."""
    if not task.baseline_name:
        return None
    said = collect(
        lambda batch: Signals.dense(task.baseline(batch.inputs)), rows, task, batch_size=batch_size, device=_CPU
    )
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
    said = answers(model, rows, task, batch_size=batch_size, teacher=beside)
    scores = score(said, task, classes, teacher=beside)
    row = rows.take(torch.tensor([0])).inputs
    return Scores(scores.rows, scores.metrics, cost(model, row), scores.panels)
