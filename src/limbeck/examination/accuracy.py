"""How good the teacher is, against what is claimed for it and against knowing nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from limbeck.evaluation import Answers
from limbeck.records import Finding
from limbeck.task import Task

# Three standard errors: chance alone goes beyond them once in 700 times on either side.
ERRORS = 3.0
# A teacher a hundredth below its claim is worth a question, one a tenth below is not the teacher that was meant.
DOUBT, WRONG = 0.01, 0.1
# For errors, where there is no share to go by: a tenth more, and half as much again.
MORE, MUCH_MORE = 1.1, 1.5


@dataclass(frozen=True)
class Claim:
    """What a teacher is said to score, in the task's chosen metric, who says so, and whether that is a person."""

    value: float
    source: str
    said: bool = False


def positions(said: Answers) -> tuple[Float[Tensor, "known classes"], Int[Tensor, " known"]]:
    """Logits and class numbers of every position (row, or step of a row) whose label is known."""
    return said.outputs[said.known], said.labels[said.known]


def of_classes(task: Task) -> bool:
    """Whether each position has one class of several."""
    return "classes" in task.says and task.labels in ("single", "steps")


def accuracy(said: Answers, task: Task, claim: Claim | None, where: str) -> list[Finding]:
    """The teacher's score as a note; against its claim; and, for classes, against the most frequent class.

    An error: a tenth (and three standard errors) below the claim, or three standard errors below the most frequent
    class. A warning: a hundredth below the claim, or no better than the most frequent class; such teachers are at times
    taken on purpose.

    Args:
        said: Its answers.
        task: Its chosen metric is compared.
        claim: What it should score.
        where: Which rows were asked, in words.

    A claim below the most frequent class makes a warning of it: the person knows.
    """
    if not bool(said.known.any()):
        return []
    value = task.metrics(said.outputs, said.labels, said.known).get(task.selection)
    if value is None:
        return []
    rows, name = int(said.known.sum()), task.selection
    told = "nothing is claimed" if claim is None else f"{claim.source} claims {claim.value:.4g}"
    found = [
        Finding(
            "note",
            f"the teacher's {name}",
            f"{value:.4g} on {rows:,} {where}; {told}",
            ""
            if claim is not None
            else "say what it should be and this is checked: teacher: {model: ..., claims: 0.93}",
        )
    ]
    if claim is not None:
        found += _against(value, claim, rows, task, where)
    if of_classes(task) and name == "accuracy":
        found += _against_majority(value, said, where, claim)
    return found


def known_to_be_so(found: Sequence[Finding], claim: Claim | None) -> bool:
    """Whether a person said that the teacher is as it is: a bad one may be wanted, and then it is no error."""
    return claim is not None and claim.said and not any("worse than claimed" in finding.subject for finding in found)


def _against(value: float, claim: Claim, rows: int, task: Task, where: str) -> list[Finding]:
    severity: Literal["error", "warning"] | None
    if task.higher_is_better:
        noise = ERRORS * math.sqrt(max(claim.value * (1 - claim.value), 0.0) / rows)
        short = claim.value - value
        severity = "error" if short > max(WRONG, noise) else "warning" if short > max(DOUBT, noise) else None
        said = f"{short:.3f} less, where chance explains {noise:.3f}"
    else:
        ratio = value / claim.value if claim.value > 0 else 1.0
        severity = "error" if ratio > MUCH_MORE else "warning" if ratio > MORE else None
        said = f"{ratio:.2f} times as much"
    if severity is None:
        return []
    return [
        Finding(
            severity,
            "the teacher is worse than claimed",
            f"{task.selection} {value:.4g} on {rows:,} {where}, and {claim.source} claims {claim.value:.4g}: {said}",
            "class order and the scale of its inputs are examined beside this; if neither restores it: is it the right "
            "file, and does it belong to this data? Else correct the claim",
        )
    ]


def _against_majority(value: float, said: Answers, where: str, claim: Claim | None) -> list[Finding]:
    _, truth = positions(said)
    share = float(torch.bincount(truth).max()) / len(truth)
    noise = ERRORS * math.sqrt(share * (1 - share) / len(truth))
    if value > share:
        return []
    below = value < share - noise and not (claim is not None and claim.said and claim.value <= share)
    return [
        Finding(
            "error" if below else "warning",
            "the teacher is no better than the most frequent class",
            f"accuracy {value:.4g} on {len(truth):,} {where}; always saying the most frequent class gives {share:.4g}",
            "a trained teacher: is it the right file, with its own transform and in its own class order? "
            "If it is meant to be like that, say so: claims: 0",
        )
    ]
