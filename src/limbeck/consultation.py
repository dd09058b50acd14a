"""`doctor`: looks at teacher, student, data and objective together, and says what would have cost days."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from limbeck.distillation import RESUME, written_down
from limbeck.errors import TeacherError
from limbeck.examination.accuracy import of_classes
from limbeck.examination.checks import of_case, of_data, thorough
from limbeck.matching import Pair, propose
from limbeck.progress import Progress, Silent
from limbeck.recipe import Recipe
from limbeck.records import Finding
from limbeck.teachers.module import ModuleTeacher
from limbeck.training.engine import threads
from limbeck.workshop import Given, Workshop

PROBE_SECONDS = 60.0
_ORDER = ("error", "warning", "note")


def doctor(
    teacher: Any,
    student: Any = None,
    data: Any = None,
    objective: Any = None,
    *,
    claims: float | None = None,
    probe: float = PROBE_SECONDS,
    progress: Progress | None = None,
    **as_distill: Any,
) -> list[Finding]:
    """Examines what `distill` would be called with, without training it or writing anything.

    First the data, then the teacher's score against its claim and against guessing, then everything else;
    docs/doctor.md says what and with which thresholds. What only takes a moment is examined before every `distill` too.

    Args:
        teacher: As `distill` takes it; or a `Recipe` alone, which says everything.
        student: As `distill` takes it.
        data: As `distill` takes it.
        objective: As `distill` takes it.
        claims: What the teacher should score in the task's chosen metric, such as 0.93 for 93 % accuracy.
        probe: Seconds the student is trained for to see whether it can follow, 0 or more; 0 leaves that out.
        progress: Is told what is being looked at.
        **as_distill: Any other keyword of `distill`.

    Raises:
        LimbeckError: When it cannot even be opened: a file that is missing, a name that is unknown, shapes that do not
            fit.

    Returns:
        Findings, errors first, then warnings, then notes.
    """
    if isinstance(teacher, Recipe):
        return examine(teacher, probe=probe, progress=progress)
    recipe, given = written_down(teacher, student, data, objective=objective, claims=claims, **as_distill)
    return examine(recipe, given=given, probe=probe, progress=progress)


def examine(
    recipe: Recipe, *, given: Given | None = None, probe: float = PROBE_SECONDS, progress: Progress | None = None
) -> list[Finding]:
    """Examines a recipe without a chain.

    Args:
        recipe: What would be run.
        given: Objects in place of the recipe's texts.
        probe: Seconds of the training that shows whether the student can follow; 0 for none.
        progress: Is told what is being looked at.

    Raises:
        LimbeckError: As `doctor`.
    """
    watcher = progress or Silent()
    with torch.random.fork_rng(), threads(recipe.training.threads):
        watcher.say("reading the data")
        shop = Workshop.open(recipe, given or Given(), recipe.folder, watcher, RESUME)
        watcher.say("looking at the data")
        digested = of_data(shop.data, shop.task, limited=False)
        if any("NaN" in finding.subject or "all the same" in finding.subject for finding in digested.findings):
            return ordered(digested.findings)  # whatever a model says about such rows is about nothing
        watcher.say("asking the teacher")
        case = shop.case()
        found = [*of_case(case, digested.contents), *digested.findings, *case.found]
        if any(finding.subject == "the teacher answers NaN" for finding in found):
            return ordered(found)
        return ordered([*found, *thorough(case, probe if of_classes(shop.task) else 0.0, watcher.say)])


def layers(recipe: Recipe, *, given: Given | None = None, progress: Progress | None = None) -> list[Pair]:
    """Proposes which layers of a recipe's student may learn from which of its teacher's, on one training batch.

    Args:
        recipe: Names student, teacher and data; its objective is not read.
        given: Objects in place of the recipe's texts.
        progress: Is told what is being looked at.

    Raises:
        TeacherError: When the teacher is no single network whose layers can be heard.
        LimbeckError: When data or models do not fit.
    """
    watcher = progress or Silent()
    with torch.random.fork_rng(), threads(recipe.training.threads):
        watcher.say("reading the data")
        plain = recipe.replace(objective="labels", record=None)
        case = Workshop.open(plain, given or Given(), recipe.folder, watcher, RESUME).case()
        teacher = case.lesson.teacher
        if not isinstance(teacher, ModuleTeacher):
            raise TeacherError(
                "the recipe has no teacher" if teacher is None else f"the layers of {teacher.name} cannot be heard",
                expected="one network in PyTorch: a module, a run folder, timm: or torchvision:",
            )
        watcher.say("listening to both networks")
        return propose(case.student, teacher.model, case.batch)


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; each kind in the order in which it was found."""
    return sorted(findings, key=lambda finding: _ORDER.index(finding.severity))


def links_to_examine(recipe: Recipe) -> list[tuple[str, Recipe, str]]:
    """What of a recipe can be examined: its links by name, or itself.

    Returns:
        For each the name, the recipe, and why it cannot be examined yet: its teacher is a link that has not been run.
    """
    links = recipe.links()
    if not links:
        return [(recipe.name or recipe.folder.name, recipe, "")]
    unmade = {str(link.folder) for link in links if not _finished(link.folder)}
    found = []
    for link in links:
        missing = [member.model for member in link.teacher if member.model in unmade]
        reason = f"its teacher {missing[0]} is a link that has not been run" if missing else ""
        found.append((link.name or link.folder.name, link, reason))
    return found


def _finished(folder: Path) -> bool:
    from limbeck.runfolder import finished

    return (folder / "run.json").is_file() and finished(folder)
