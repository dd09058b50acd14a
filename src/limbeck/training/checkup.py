"""A training under observation: at each validation it is diagnosed where that is due, and told what is amiss."""

from collections.abc import Iterator

import torch

from limbeck.objective import Objective
from limbeck.progress import Progress
from limbeck.records import Finding
from limbeck.signals import Batch
from limbeck.teachers.protocol import Teacher
from limbeck.training.diagnosis import Diagnosis, fixed_rows, points
from limbeck.training.journal import Journal
from limbeck.training.plan import Plan
from limbeck.training.step import Step
from limbeck.training.symptoms import Symptoms


class Checkup:
    """Writes `diagnosis` lines and says findings, once each, also across resumes: both follow from the journal alone.

    Of several processes only the main one shall ask for it: the others could add nothing, since the weights are the
    same everywhere and the rows are few.

    Args:
        step: Student and objective as they train.
        objective: The objective, whose terms are compared; nothing is measured where it has only one.
        teacher: Answers the rows that are asked, once; None for a training without.
        plan: Decides when.
        journal: This training's lines, written and read.
        progress: Is told of each finding.
    """

    def __init__(
        self,
        step: Step,
        objective: Objective,
        teacher: Teacher | None,
        plan: Plan,
        journal: Journal,
        progress: Progress,
    ) -> None:
        self.step, self.objective, self.teacher, self.plan = step, objective, teacher, plan
        self.journal, self.progress = journal, progress
        self.symptoms = Symptoms.of(objective, plan)
        self.due = points(plan) if len(self.symptoms.weights) > 1 else frozenset[int]()
        self._diagnosis: Diagnosis | None = None
        self._said: set[str] = set()

    @property
    def findings(self) -> list[Finding]:
        """What this training's lines so far show to be amiss."""
        return self.symptoms.found(self.journal.entries)

    def resume(self) -> None:
        """Takes what the lines so far show as said already."""
        self._said = {finding.subject for finding in self.findings}

    def after(self, done: int, batches: Iterator[Batch], device: torch.device) -> None:
        """Looks at a training that has just validated.

        Args:
            done: Steps made so far.
            batches: The training's batches from its first step on; the rows to ask are taken from the first ones.
            device: Where the student is.
        """
        if done in self.due:
            self._measure(done, batches, device)
        for finding in self.findings:
            if finding.subject not in self._said:
                self._said.add(finding.subject)
                self.progress.say(f"warning: {finding.subject}: {finding.evidence}. Try: {finding.remedy}")

    def _measure(self, done: int, batches: Iterator[Batch], device: torch.device) -> None:
        try:
            if self._diagnosis is None:
                needs = self.objective.needs()
                rows = fixed_rows(batches, needs.rows, labelled=needs.labels).to(device)
                self._diagnosis = Diagnosis.of(self.step, rows, self.teacher, self.plan.teacher_precision)
            measured = self._diagnosis.measure()
        except torch.OutOfMemoryError:
            # A training that fits must not be lost to a look at it.
            self.progress.say("no memory is left to measure the terms' gradients: this training goes on without")
            self.due = frozenset()
            return
        self.journal.write("diagnosis", done, done / self.plan.steps_per_epoch, **measured)
