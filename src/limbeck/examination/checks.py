"""Which checks are made when: those that take a moment before every run, the others where a doctor was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.data.windows import WindowInputs
from limbeck.errors import DataError, LimbeckError, TeacherError
from limbeck.evaluation import Answers, teacher_answers
from limbeck.examination import accuracy, expense, inputs, misreading, overlap, steadiness, trial
from limbeck.examination.balance import balance, relations
from limbeck.examination.capacity import capacity
from limbeck.examination.case import Case, claim, teachers_training
from limbeck.examination.classes import class_order
from limbeck.examination.content import Content, contents, size
from limbeck.examination.duplicates import duplicates
from limbeck.examination.label_noise import ROWS, label_noise
from limbeck.examination.likeness import near_duplicates, pictures
from limbeck.examination.rarity import rarity
from limbeck.examination.reading import reading
from limbeck.examination.speakers import speakers
from limbeck.examination.temperature import temperature
from limbeck.examination.values import values
from limbeck.measures.complexity import cost
from limbeck.records import Finding
from limbeck.task import OF_NAMES, Task
from limbeck.teachers.protocol import judged
from limbeck.training.diagnosis import Diagnosis, fixed_rows
from limbeck.training.plan import Precision
from limbeck.training.probe import probe
from limbeck.training.settling import plan_of
from limbeck.training.step import Step

# Reading and hashing a gigabyte takes a few seconds; beyond, only the doctor does it.
MOST_BYTES = 1_000_000_000
# Digests of so many rows take about half a second.
MOST_ROWS = 200_000


@dataclass(frozen=True)
class Digested:
    """Digests of each split's rows; none for windows, which are compared by their places, and for too many rows."""

    contents: dict[str, Content] | None
    findings: list[Finding]


def before_data(data: Data, task: Task) -> list[Finding]:
    """What is found in the data before every run: warnings alone.

    Raises:
        DataError: For the first error.
    """
    return _refused(of_data(data, task, limited=True).findings, DataError)


def before_run(case: Case) -> list[Finding]:
    """What is found in teacher, student and objective before every run: what the preflight found, and warnings.

    Raises:
        TeacherError: For the first error.
    """
    return [*case.found, *_refused(of_case(case), TeacherError)]


def of_data(data: Data, task: Task, *, limited: bool) -> Digested:
    """Numbers, overlap, duplicates and rarity.

    Args:
        data: The splits.
        task: Says what labels mean.
        limited: Whether rows may be too many to be read, and there is no time to look at pictures.
    """
    found = inputs.broken_numbers(data.splits()) if not limited or _small(data) else []
    if found:
        return Digested(None, found)
    if windowed(data):
        found = [*overlap.same_people(data), *overlap.same_time(data), *rarity(data, task)]
        return Digested(None, found)
    if limited and not _small(data):
        skipped = Finding(
            "warning",
            "the rows were not compared",
            f"{sum(map(size, data.splits().values())) / 1e9:.3g} GB in {len(data.train):,} training rows are too many "
            "to look for equal rows in two splits before every run",
            "limbeck doctor looks once",
        )
        return Digested(None, [*overlap.same_people(data), *rarity(data, task), skipped])
    names = OF_NAMES[data.labels]
    digests = contents(data.splits(), documents=names)
    found = [
        *([] if names else inputs.constant_numbers(data.train)),
        *([] if names else inputs.cast_numbers(data.train)),
        *overlap.same_rows(digests),
        *overlap.same_people(data),
        *duplicates(digests["train"], data.train),
        *rarity(data, task),
    ]
    if not limited and not names and pictures(data.splits()):
        found += near_duplicates(data.splits(), digests)
    return Digested(digests, found)


def of_case(case: Case, digests: dict[str, Content] | None = None) -> list[Finding]:
    """The teacher first, then the student, the objective and whether the teacher was trained on rows that judge it."""
    found = [*_of_teacher(case)] if case.teacher is not None else []
    found += _of_student(case)
    found += relations(case.lesson.objective, len(case.batch))
    theirs = teachers_training(case.recipe)
    if theirs and not windowed(case.data):
        ours = digests or contents(case.data.splits(), documents=OF_NAMES[case.data.labels])
        for name, rows in theirs.items():
            found += overlap.teachers_rows(rows, ours, name)
    return found


def thorough(case: Case, seconds: float, say: Callable[[str], None]) -> list[Finding]:
    """What takes longer: label noise, the balance of the terms, time and memory, and a training of so many seconds.

    Args:
        case: One without errors that would make training pointless.
        seconds: How long the student may train; 0 for not at all.
        say: Is told what is being done.
    """
    found: list[Finding] = []
    lesson, batch = case.lesson, case.batch
    if accuracy.of_classes(case.task) and case.task.labels == "single":
        say("looking for wrong labels")
        found += _noise(case)
    say("measuring a few steps")
    settled = case.recipe.training.model_copy(update={"precision": "float32", "channels_last": False, "compile": False})
    draft = plan_of(case.recipe.model_copy(update={"training": settled, "budget": "1 steps"}), 0, len(lesson.train))
    asked = case.recipe.training.precision
    chosen = probe(case.student, lesson, draft, batch, case.device, None if asked == "auto" else asked)
    precision: Precision = "bfloat16" if chosen.precision == "bfloat16" else "float32"
    plan = replace(draft, precision=precision, channels_last=chosen.channels_last)
    named = list(lesson.objective.named_terms())
    if len(named) > 1:
        layers = sorted(lesson.objective.needs().student_layers)
        rows = fixed_rows(iter([batch]), lesson.objective.needs().rows, labelled=lesson.objective.needs().labels)
        step = Step(case.student, lesson.objective, layers, "float32")
        found += balance(Diagnosis.of(step, rows, lesson.teacher).measure()["norms"], lesson.objective)
    teachers = [] if lesson.teacher is None else list(steadiness.modules(lesson.teacher))
    spent = expense.measured(case.student, lesson, plan, batch, teachers)
    live = lesson.teacher is not None and lesson.teacher.views is None and not case.recipe.record
    found += expense.time_needed(spent, case.recipe, len(lesson.train), live, lesson.teacher is not None)
    found += expense.memory_needed(spent, sum(map(size, case.data.splits().values())), case.device)
    if seconds > 0 and lesson.teacher is not None and accuracy.of_classes(case.task):
        taught = trial.lesson(lesson.teacher, lesson.train, lesson.valid, case.task, len(batch), case.device)
        if taught is not None:
            say(f"training the student for up to {seconds:g} s")
            looks = trial.trial(case.student, lesson.objective, plan, taught, seconds)
            found += trial.followed(looks, len(taught.batches))
    return found


def windowed(data: Data) -> bool:
    """Whether rows are windows of longer series, which are compared by their places and not by what they hold."""
    return isinstance(data.train.inputs, WindowInputs)


def _of_teacher(case: Case) -> list[Finding]:
    teacher, task, said = case.teacher, case.task, case.said
    assert teacher is not None
    found: list[Finding] = []
    if said is not None:
        if broken := inputs.finite_answers(said.outputs[_answered(said)], "teacher", case.where):
            return broken
        found += _scored(case, said)
    live = teacher.views is None
    if live and said is not None:
        found += steadiness.steadiness(teacher, case.rows, task, case.device)
    found += steadiness.strangers(case.student, teacher)
    found += reading(case) + speakers(case)
    row = case.batch.inputs[:1]
    for model in steadiness.modules(teacher):
        found += inputs.transformed_numbers(model, case.data.train, "teacher", case.device)
        found += capacity(cost(case.student, row), cost(model, row))
    if said is not None and accuracy.of_classes(task):
        asked = [value for _, value in case.lesson.objective.needs().soft]
        found += temperature(said.outputs[_answered(said)], asked, case.where)
    return found


def _scored(case: Case, said: Answers) -> list[Finding]:
    task, teacher = case.task, case.teacher
    assert teacher is not None
    if "values" in task.says:
        rows = case.rows.take(torch.arange(len(case.rows))).inputs
        return [
            *accuracy.accuracy(said, task, claim(case.recipe, task), case.where),
            *values(said, rows, task, case.where),
        ]
    found = accuracy.accuracy(said, task, claim(case.recipe, task), case.where)
    if not accuracy.of_classes(task):
        return found
    logits, truth = accuracy.positions(said)
    order = class_order(logits, truth, case.data.classes)
    right = float((logits.argmax(dim=1) == truth).float().mean()) if len(truth) else 1.0
    frequent = float(torch.bincount(truth).max()) / len(truth) if len(truth) else 1.0
    poor = right < (1 + frequent) / 2 or any(finding.severity != "note" for finding in found)
    if accuracy.known_to_be_so(found, claim(case.recipe, task)):
        return [*found, *(replace(finding, severity="warning") for finding in order)]
    if not order and poor and teacher.views is None:
        return [*found, *misreading.misreading(teacher, case.rows, task, case.mean, case.deviation, case.device)]
    return [*found, *order]


def _of_student(case: Case) -> list[Finding]:
    found = inputs.transformed_numbers(case.student, case.data.train, "student", case.device)
    batch, task = case.batch, case.task
    if accuracy.of_classes(task) and batch.labels is not None and bool(batch.known.any()):
        with torch.no_grad(), torch.random.fork_rng():
            first = case.student.eval()(batch.inputs)
        loss = task.label_loss(first[batch.known], batch.labels[batch.known]).mean()
        found += inputs.first_loss(float(loss), len(case.data.classes))
    return found


def _noise(case: Case) -> list[Finding]:
    train = case.data.train
    known = train.known.nonzero().flatten()
    places = known[torch.linspace(0, len(known) - 1, min(ROWS, len(known))).long()] if len(known) else known
    piece = train.take(places)
    if piece.labels is None:
        return []
    logits = None
    if case.teacher is not None and judged(case.teacher):
        rows = TensorRows(piece.inputs, piece.labels, piece.known, piece.ids)
        logits = teacher_answers(case.teacher, rows, case.task, device=case.device).outputs
    return label_noise(piece.inputs.cpu(), piece.labels.cpu(), piece.ids.cpu(), logits, case.data.classes)


def _answered(said: Answers) -> torch.Tensor:
    return torch.ones(len(said.outputs), dtype=torch.bool) if said.said is None else said.said


def _small(data: Data) -> bool:
    splits = data.splits().values()
    return sum(map(len, splits)) <= MOST_ROWS and sum(map(size, splits)) <= MOST_BYTES


def _refused(found: Sequence[Finding], kind: type[LimbeckError]) -> list[Finding]:
    for finding in found:
        if finding.severity == "error":
            raise kind(f"{finding.subject}: {finding.evidence}", remedy=finding.remedy)
    return [finding for finding in found if finding.severity != "note"]
