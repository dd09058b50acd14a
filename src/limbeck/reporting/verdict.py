"""What a run found, in one plain sentence that holds for the seeds that were run and claims no more."""

import math
from dataclasses import dataclass
from typing import Literal

from limbeck.records import RunRecord, spread
from limbeck.reporting.units import Unit, metric


@dataclass(frozen=True)
class Verdict:
    """A finding in words.

    Args:
        kind: `better` or `worse` where all students lie on one side of all controls, `unclear` where they overlap,
            `single` for one seed, `unknown` where the metric has no known direction, `alone` for plain training,
            `uncontrolled` where there is no control to compare with, `unfinished` without results.
        title: The finding in one sentence.
        text: The evidence, and what would make it stronger.
    """

    kind: Literal["better", "worse", "unclear", "single", "unknown", "alone", "uncontrolled", "unfinished"]
    title: str
    text: str


def verdict(record: RunRecord) -> Verdict:
    """Compares students with their controls on the metric by which weights were chosen."""
    unit = metric(record.selection)
    if not record.results:
        return Verdict(
            "unfinished", "No test scores yet.", f"The run is {record.status}; below is what it has seen so far."
        )
    students = [result.student.metrics.get(record.selection, math.nan) for result in record.results]
    if all(result.control is None for result in record.results):
        return _without_control(record, unit, students)
    pairs = [
        (student, result.control.metrics.get(record.selection, math.nan))
        for student, result in zip(students, record.results, strict=True)
        if result.control is not None
    ]
    if any(math.isnan(value) for pair in pairs for value in pair):
        return Verdict("unknown", f"{unit.label} is not a number for some seed.", "No comparison can be made.")
    if len(pairs) == 1:
        return _one_seed(unit, *pairs[0])
    return _several_seeds(record, unit, pairs)


def sign_test(wins: int, losses: int) -> float:
    """Chance of at least so many wins if each seed's pair were decided by a fair coin (one-sided sign test)."""
    total = wins + losses
    return sum(math.comb(total, k) for k in range(wins, total + 1)) / float(2**total)


def _without_control(record: RunRecord, unit: Unit, students: list[float]) -> Verdict:
    mean, deviation = spread(students)
    known = f"over {len(students)} seeds" if len(students) > 1 else "in the only seed, so no spread is known"
    score = f"{unit.write(mean)} ± {unit.number(deviation)}" if len(students) > 1 else unit.write(mean)
    if record.teacher is None:
        return Verdict(
            "alone",
            f"Trained without a teacher: {unit.spoken} {score}.",
            f"Measured {known}. There is no teacher, so there is nothing to compare with.",
        )
    return Verdict(
        "uncontrolled",
        "Nothing here shows that the teacher helped.",
        f"The student reached {unit.spoken} {score} {known}, but the run has no control: the same student "
        "trained alone on the labels. Run it again with `control: true`.",
    )


def _one_seed(unit: Unit, student: float, control: float) -> Verdict:
    gain = _gain(unit, student - control)
    if unit.better is None:
        return _undirected(unit, unit.difference(student - control), 1)
    title = {
        1: f"{unit.difference(student - control)} of {unit.spoken} with the teacher, in one seed.",
        0: f"No difference in {unit.spoken} with the teacher, in one seed.",
        -1: f"{unit.difference(student - control)} of {unit.spoken}: worse than alone, in one seed.",
    }[gain]
    return Verdict(
        "single",
        title,
        f"Student {unit.write(student)}, student alone {unit.write(control)}. With a single seed no spread is known, "
        "so this may be chance: repeat it with `seeds: 5`.",
    )


def _several_seeds(record: RunRecord, unit: Unit, pairs: list[tuple[float, float]]) -> Verdict:
    differences = [student - control for student, control in pairs]
    mean, deviation = spread(differences)
    shown = f"{unit.difference(mean)} (± {unit.number(deviation, like=mean)})"
    if unit.better is None:
        return _undirected(unit, shown, len(pairs))
    sign = 1 if unit.better == "higher" else -1
    students, controls = [sign * s for s, _ in pairs], [sign * c for _, c in pairs]
    amount = f"{shown} of {unit.spoken}"
    count = len(pairs)
    if min(students) > max(controls):
        return Verdict(
            "better",
            f"Better with the teacher: {amount}.",
            f"Even the worst of {count} students ({unit.write(sign * min(students))}) beats the best student alone "
            f"({unit.write(sign * max(controls))}).{_gap(record, unit, mean, controls)}{_few(count)}",
        )
    if max(students) < min(controls):
        return Verdict(
            "worse",
            f"Worse with the teacher: {amount}.",
            f"Even the best of {count} students ({unit.write(sign * max(students))}) is worse than the worst student "
            f"alone ({unit.write(sign * min(controls))}). Look at the findings and the objective.{_few(count)}",
        )
    wins, losses = sum(_gain(unit, d) > 0 for d in differences), sum(_gain(unit, d) < 0 for d in differences)
    leaning = {1: "better on average", 0: "no different on average", -1: "worse on average"}[_gain(unit, mean)]
    return Verdict(
        "unclear",
        f"Not settled: {amount}, and the seeds overlap.",
        f"The student is {leaning}, but its worst seed ({unit.write(sign * min(students))}) does not beat the best "
        f"student alone ({unit.write(sign * max(controls))}). It wins in {wins} and loses in {losses} of {count} "
        "pairs. More seeds would say more.",
    )


def _gap(record: RunRecord, unit: Unit, mean: float, controls: list[float]) -> str:
    teacher = record.teacher.metrics.get(record.selection) if record.teacher is not None else None
    sign = 1 if unit.better == "higher" else -1
    if teacher is None:
        return ""
    gap = sign * teacher - sum(controls) / len(controls)
    # A share of a gap that is small or negative would be a large and meaningless number.
    if gap <= 0 or sign * mean > gap:
        return ""
    size = unit.difference(gap).lstrip("+")
    share = f"{100 * sign * mean / gap:.0f} %"
    return f" On average that closes {share} of the {size} between the student alone and its teacher."


def _few(count: int) -> str:
    # From five seeds on, chance alone puts all on one side at most once in 32 times.
    if count >= 5:
        return ""
    return f" With {count} seeds this is a hint: chance alone puts all pairs on this side once in {2**count} times."


def _undirected(unit: Unit, shown: str, count: int) -> Verdict:
    over = f"over {count} seeds" if count > 1 else "in one seed"
    return Verdict(
        "unknown",
        f"Student minus student alone: {shown} {unit.spoken}, {over}.",
        "The record does not say whether more of it is better, so it is not judged here.",
    )


def _gain(unit: Unit, difference: float) -> int:
    direction = -1 if unit.better == "lower" else 1
    return direction * ((difference > 0) - (difference < 0))
