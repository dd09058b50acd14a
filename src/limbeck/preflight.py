"""What can be known to be wrong before training starts, and the dry batch that proves the shapes."""

from collections.abc import Sequence

import torch

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import DataError, LimbeckError, ModelError, ObjectiveError, TeacherError
from limbeck.model import Model, answering
from limbeck.objective import Objective
from limbeck.records import Finding
from limbeck.signals import Batch, Signals
from limbeck.taps import listen
from limbeck.targets.hidden import HiddenTargets
from limbeck.targets.protocol import insist, without_logits
from limbeck.task import Task
from limbeck.teachers.protocol import Teacher

DRY_ROWS = 8


def check(
    student: Model,
    teacher: Teacher | None,
    objective: Objective,
    task: Task,
    classes: Sequence[str],
    batch: Batch,
    train: Rows,
    augment: Augmentation | None = None,
    augment_seed: int = 0,
) -> list[Finding]:
    """Holds objective, teacher, student and data against each other on one dry batch, and builds the projectors.

    The dry batch moves nothing: networks answer in eval mode without gradient, and the random state is put back.

    Args:
        student: The model to be trained.
        teacher: None for plain training.
        objective: Its `setup` is called.
        task: Says how many outputs there must be and which labels there can be.
        classes: The data's classes.
        batch: A full training batch; its first rows become the dry batch.
        train: The training rows.
        augment: Their augmentation; a recording of another one is refused.
        augment_seed: The seed of the augmentation, likewise.

    Raises:
        ObjectiveError, TeacherError, ModelError, DataError, RecordingError: The first thing that makes it pointless.

    Returns:
        What is not wrong but worth knowing.
    """
    needs = objective.needs()
    _can_train(student, objective, teacher, len(batch))
    _meanings(objective, task)
    findings = _labels(needs.labels, task, classes, train)
    if teacher is not None:
        teacher.prepare(needs, classes)
        teacher.fits(train, augment, augment_seed)
    dry = batch.rows(slice(0, max(DRY_ROWS, needs.rows)))
    with torch.random.fork_rng(), torch.no_grad():
        said = _student(student, dry, sorted(needs.student_layers))
        _outputs(said.outputs, (*dry.mask.shape, task.output_size(classes)), dry.mask.ndim > 1)
        heard = Signals() if teacher is None else teacher.signals(dry)
        _refuse_infinite(said, "student", ModelError)
        _refuse_infinite(heard, "teacher", TeacherError)
        _targets(objective, said, heard)
        objective.setup(said, heard, dry)
        objective.to(dry.inputs.device)
        loss = objective.loss(said, heard, dry)
    if not bool(torch.isfinite(loss.total)):
        broken = [name for name, value in loss.terms.items() if not bool(torch.isfinite(value))]
        raise ObjectiveError(
            f"{', '.join(broken)} is not a number on the first rows", remedy="look at the inputs' scale"
        )
    return findings


def _can_train(student: Model, objective: Objective, teacher: Teacher | None, rows: int) -> None:
    needs = objective.needs()
    if not any(weight > 0 and not term.idle for weight, term in objective.terms()) and not any(objective.schedules()):
        raise ObjectiveError(f"every weight in {objective!r} is zero", expected="at least one weight above 0")
    if needs.teacher and teacher is None:
        raise ObjectiveError(
            f"{objective!r} needs a teacher and there is none",
            remedy="teacher: a run folder, a module or a recording; or objective: labels for plain training",
        )
    if not any(parameter.requires_grad for parameter in student.parameters()):
        raise ModelError(
            "the student has no trainable parameter",
            expected="at least one parameter with requires_grad",
            remedy="was it frozen, or is it the teacher itself?",
        )
    if objective.remembers and _processes() > 1:
        raise ObjectiveError(
            f"{objective!r} keeps a memory from step to step, and each of {_processes()} processes would keep its own",
            expected="one process",
            remedy="train in a single process, or leave that term out",
        )
    if rows < needs.rows:
        raise ObjectiveError(
            f"{objective!r} compares rows with each other, and a batch has {rows}",
            expected=f"batches of at least {needs.rows} rows",
            remedy=f"training.batch: {needs.rows} or more, and as many training rows",
        )


def _processes() -> int:
    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _meanings(objective: Objective, task: Task) -> None:
    """Refuses a method that takes the outputs for something else than the task does."""
    for _, term in objective.terms():
        if missing := sorted(term.needs().meaning - task.says):
            said = " and ".join(sorted(task.says))
            raise ObjectiveError(
                f"{term!r} takes outputs for {' and '.join(missing)}, and {task!r} has {said}",
                expected="a method for this task",
                remedy="`limbeck methods` lists them: regression for values, event_kd for an event, kd for classes",
            )


def _labels(needed: bool, task: Task, classes: Sequence[str], train: Rows) -> list[Finding]:
    if train.labels is not None:
        task.check_labels(train.labels, train.known, classes)
    # A row with several positions counts as labelled where any of them is.
    known = int(train.known.reshape(len(train), -1).any(dim=1).sum())
    if needed and known == 0:
        raise DataError(
            "the objective uses labels and no training row has one",
            remedy="leave labels out: objective: kd(temperature=4)",
        )
    if known < len(train):
        evidence = f"{known} of {len(train)} training rows have a label; the others carry the teacher's signals only"
        return [Finding("note", "labels", evidence, "the control learns from the labelled rows alone")]
    return []


def _student(student: Model, dry: Batch, layers: Sequence[str]) -> Signals:
    try:
        with answering(student):
            return listen(student, dry.inputs, layers)
    except LimbeckError:
        raise
    except Exception as error:
        raise ModelError(
            f"the student cannot read rows of shape {tuple(dry.inputs.shape[1:])}: {error}",
            remedy="does its first layer fit the data's shape?",
        ) from error


def _outputs(shape: tuple[int, ...] | None, expected: tuple[int, ...], by_step: bool) -> None:
    if shape is None:
        raise ModelError("the student gives no outputs", expected="logits, or numbers in the labels' unit")
    if shape == expected:
        return
    wanted, given = expected[1:], shape[1:]
    shown = str(given[0]) if len(given) == 1 else f"an array of shape {given}"
    raise ModelError(
        f"the student gives {shown} {'outputs ' if len(given) == 1 else ''}a row",
        expected=f"{wanted[0]}, one for each class or quantity" if len(wanted) == 1 else f"(steps, outputs): {wanted}",
        remedy="per_step=True for a built-in series student" if by_step else "set the size of its last layer",
    )


def _refuse_infinite(signals: Signals, who: str, error: type[LimbeckError]) -> None:
    """Before the loss is blamed for them: outputs that are no numbers, of rows about which something was said."""
    said = signals.targets.hidden if isinstance(signals.targets, HiddenTargets) else signals.logits
    if said is None:
        return
    outputs = said if signals.said is None else said[signals.said]
    if not bool(torch.isfinite(outputs).all()):
        raise error(
            f"the {who} says NaN or infinity about the first rows",
            expected="finite outputs",
            remedy="look at its weights, and at the scale of the inputs it was made for",
        )


def _targets(objective: Objective, said: Signals, heard: Signals) -> None:
    needs = objective.needs()
    for divergence, temperature in sorted(needs.soft, key=lambda pair: (pair[0].__name__, pair[1])):
        if heard.targets is None:
            raise TeacherError(f"the teacher gives no soft targets, and {objective!r} needs them")
        insist(heard.targets, divergence, temperature)
    for divergence, temperature in sorted(needs.between, key=lambda pair: (pair[0].__name__, pair[1])):
        if heard.targets is not None and heard.targets.refuses(divergence, temperature) is not None:
            raise TeacherError(
                f"a schedule in {objective!r} moves through what the teacher's targets cannot answer, "
                f"{divergence.__name__} at T={temperature:g} among others; what was kept is {heard.targets.kept}",
                expected="targets that answer at every temperature",
                remedy='record the teacher again with keep="dense", into another folder; or let the temperature stand',
            )
    if needs.members and not heard.members:
        raise TeacherError(
            f"{objective!r} weighs several teachers, and there is one",
            expected="an ensemble whose members can be heard apart",
            remedy="teacher: a list of two or more; each of them may be a recording",
        )
    for _, term in objective.terms():
        # A student that says hidden states is asked through its head, and makes its teacher's logits on the way.
        if term.needs().logits and heard.logits is None and (said.logits is not None or heard.outputs is None):
            raise without_logits(f"the teacher gives no dense logits, and {term!r} reads them", heard.targets)
    if heard.outputs is not None and said.outputs is not None and heard.outputs[1:] != said.outputs[1:]:
        raise TeacherError(
            f"the teacher gives outputs of shape {heard.outputs[1:]} a row",
            expected=f"what the student gives: {said.outputs[1:]}",
            remedy="a teacher of the same task, or a module around it that brings its outputs into this shape",
        )
