"""What a training's own lines show to be amiss: rules over `metrics.jsonl`, so that a resumed run finds the same.

Three rules, each judged once, at a step that depends on the plan alone:

- *One term drowns another*, after the first 3 points of the diagnosis: the lengths of the weighted terms' gradients,
  each averaged over these points (geometric mean), differ by more than 100.
- *Two terms pull against each other*, at half of the training: at the points of the first half the cosine of their
  gradients is below zero so often that chance would do it less than once in 20 times (one-sided sign test), and its
  median is below -0.1. The second half says nothing: where a sum of terms is at its minimum its gradients cancel each
  other, so that opposed gradients late are what arriving looks like.
- *The student has stopped learning from the teacher*, at the end: from the middle third of the training to its last
  third it has come no nearer. Nearness is measured by every term that reads the teacher (mean over the steps between
  two validations) and by KL on validation rows, all zero for a student that equals its teacher. Each of them must have
  fallen by less than 2 % of what was left in the middle third, even when two standard errors of that fall are added,
  and these two errors must be less than 10 % of it: so noise keeps the rule silent and does not set it off. Agreement,
  too coarse for such a bound, must not have grown by more than two of its standard errors. Noise is estimated from the
  differences of neighbours, which a slow trend hardly touches. A cosine schedule alone passes, because its last third,
  with small steps, brings every term further down than that; a student that is flat from the middle on does not. At
  least 3 validations in each of the two thirds are asked for, else nothing is said.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean, median
from typing import Any

from limbeck.objective import Objective
from limbeck.records import Finding
from limbeck.training.diagnosis import points
from limbeck.training.plan import Plan

APART = 100.0
FIRST_POINTS = 3
OPPOSED = -0.1
CHANCE = 0.05
GAIN = 0.02
NOISE = 0.1
ERRORS = 2.0
VALIDATIONS_IN_A_THIRD = 3
NEGLIGIBLE_SHARE = 0.05

# How to read a likeness as a distance from the teacher; others are not judged, for their direction is not known here.
_SMOOTH, _COARSE = "kl", "agreement"

Lines = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Symptoms:
    """What is looked for in one training's lines.

    Args:
        weights: The weight of each term, by its name.
        taught: The terms that read the teacher.
        plan: Steps and validations.
    """

    weights: Mapping[str, float]
    taught: tuple[str, ...]
    plan: Plan

    @classmethod
    def of(cls, objective: Objective, plan: Plan) -> "Symptoms":
        """What to look for when a student trains on this objective."""
        terms = [(name, weight, term.needs().teacher) for name, weight, term in objective.named_terms() if weight > 0]
        return cls(
            {name: weight for name, weight, _ in terms}, tuple(name for name, _, taught in terms if taught), plan
        )

    def found(self, lines: Lines) -> list[Finding]:
        """The findings that the lines so far justify; more lines never take one back.

        Args:
            lines: All that one training wrote, in the order of its steps.
        """
        return [*self._drowned(lines), *self._opposed(lines), *self._stopped(lines)]

    def _drowned(self, lines: Lines) -> Iterator[Finding]:
        early = [line for line in lines if line["event"] == "diagnosis"][:FIRST_POINTS]
        if len(early) < min(FIRST_POINTS, len(points(self.plan))):
            return
        lengths = {}
        for name in self.weights:
            values = [line["norms"].get(name) for line in early]
            if values and all(values):  # neither absent nor zero: of no length, no ratio
                lengths[name] = math.exp(fmean(math.log(value) for value in values))
        if not lengths:
            return
        loud = max(lengths, key=lengths.__getitem__)
        for quiet, length in lengths.items():
            ratio = lengths[loud] / length
            if ratio > APART:
                up, down = _written(self.weights[quiet] * ratio), _written(self.weights[loud] / ratio)
                yield Finding(
                    "warning",
                    f"{loud} drowns {quiet}",
                    f"over steps {early[0]['step']:,} to {early[-1]['step']:,} the weighted gradient of {loud} was "
                    f"{ratio:,.0f} times as long as that of {quiet}, which has next to no say in what is learnt",
                    f"a weight of about {up} for {quiet} (it has {self.weights[quiet]:g}), or of about {down} for "
                    f"{loud} (it has {self.weights[loud]:g}): either makes both gradients equally long",
                )

    def _opposed(self, lines: Lines) -> Iterator[Finding]:
        half = self.plan.steps / 2
        if not lines or lines[-1]["step"] < half:
            return
        early = [line for line in lines if line["event"] == "diagnosis" and line["step"] <= half]
        for first, second in combinations(self.weights, 2):
            cosines = [line["cosines"].get(first, {}).get(second) for line in early]
            known = [cosine for cosine in cosines if cosine is not None]
            against = sum(cosine < 0 for cosine in known)
            if not known or _chance(against, len(known)) > CHANCE or median(known) > OPPOSED:
                continue
            yield Finding(
                "warning",
                f"{first} and {second} pull against each other",
                f"in the first half of the training their gradients conflicted at {against} of {len(known)} points; "
                f"the median cosine was {median(known):.2f}",
                f"less weight for the one that matters less ({first} has {self.weights[first]:g}, {second} "
                f"{self.weights[second]:g}), or train without it and compare; look whether the teacher's classes and "
                f"answers fit these labels",
            )

    def _stopped(self, lines: Lines) -> Iterator[Finding]:
        if not self.taught or not lines or lines[-1]["step"] < self.plan.steps:
            return
        valid = [line for line in lines if line["event"] == "valid"]
        smooth = {name: _means_between(lines, name) for name in self.taught}
        smooth[f"{_SMOOTH} on validation rows"] = _likeness(valid, _SMOOTH)
        stretches = {name: self._thirds(series) for name, series in smooth.items() if series}
        if not stretches or not all(_flat(stretch) for stretch in stretches.values()):
            return
        agreement = self._thirds(_likeness(valid, _COARSE))
        if agreement.enough and -agreement.gain > ERRORS * agreement.error:
            return
        if agreement.enough:
            stretches = {f"{_COARSE} on validation rows": agreement, **stretches}
        said = ", ".join(f"{name} {stretch.middle:.3g} and {stretch.last:.3g}" for name, stretch in stretches.items())
        yield Finding(
            "warning",
            "the student has stopped learning from the teacher",
            f"it came no nearer from the middle third of its {self.plan.steps:,} steps to the last: {said}",
            self._remedy(lines),
        )

    def _remedy(self, lines: Lines) -> str:
        shares = [
            sum(line["shares"].get(name) or 0.0 for name in self.taught)
            for line in lines
            if line["event"] == "diagnosis"
        ]
        if shares and fmean(shares) < NEGLIGIBLE_SHARE:
            return (
                f"more weight for {', '.join(self.taught)}: of the lengths of all gradients, what reads the teacher "
                f"had {fmean(shares):.1%}".replace("%", " %")
            )
        return (
            "a larger student, if it should be more like its teacher; a higher learning rate, if it was flat early; "
            "a smaller budget, if this is near enough"
        )

    def _thirds(self, series: Sequence[tuple[int, float]]) -> "Stretch":
        third = self.plan.steps / 3
        return Stretch.of(
            [value for step, value in series if third < step <= 2 * third],
            [value for step, value in series if step > 2 * third],
        )


@dataclass(frozen=True)
class Stretch:
    """The means of a quantity over the middle and the last third, and the standard error of their difference."""

    middle: float
    last: float
    error: float
    enough: bool

    @classmethod
    def of(cls, middle: Sequence[float], last: Sequence[float]) -> "Stretch":
        """Taken from the values of both thirds; not `enough` where there are too few to judge."""
        if min(len(middle), len(last)) < VALIDATIONS_IN_A_THIRD:
            return cls(math.nan, math.nan, math.nan, False)
        error = math.sqrt(_noise(middle) / len(middle) + _noise(last) / len(last))
        return cls(fmean(middle), fmean(last), error, True)

    @property
    def gain(self) -> float:
        """By how much it fell."""
        return self.middle - self.last


def merged(by_seed: Mapping[int, Sequence[Finding]]) -> list[Finding]:
    """The findings of all seeds, each subject once: as the first seed with it tells it, and the others' numbers."""
    tellers: dict[str, list[tuple[int, Finding]]] = {}
    for seed, findings in by_seed.items():
        for finding in findings:
            tellers.setdefault(finding.subject, []).append((seed, finding))
    together = []
    for subject, told in tellers.items():
        (seed, first), *others = told
        where = f"seed {seed}: " if len(by_seed) > 1 else ""
        also = f" (also: seed {', '.join(str(other) for other, _ in others)})" if others else ""
        together.append(Finding(first.severity, subject, f"{where}{first.evidence}{also}", first.remedy))
    return together


def _flat(stretch: Stretch) -> bool:
    """Whether even an optimistic reading of the gain is less than what counts, and the noise lets it be read."""
    uncertain = ERRORS * stretch.error
    return stretch.enough and stretch.gain + uncertain < GAIN * stretch.middle and uncertain < NOISE * stretch.middle


def _noise(values: Sequence[float]) -> float:
    """The variance of independent noise on a slow trend: half the mean square of the neighbours' differences."""
    return fmean((after - before) ** 2 for before, after in pairwise(values)) / 2


def _likeness(valid: Lines, name: str) -> list[tuple[int, float]]:
    values = [(int(line["step"]), line.get("likeness", {}).get(name)) for line in valid]
    return [(step, float(value)) for step, value in values if value is not None]


def _means_between(lines: Lines, term: str) -> list[tuple[int, float]]:
    """A term's mean over the steps between two validations, whatever lines these steps were written in.

    An interruption closes a line early; weighted by its steps, it changes nothing here.
    """
    series: list[tuple[int, float]] = []
    total, steps, last = 0.0, 0, 0
    for line in lines:
        if line["event"] == "train":
            taken = line["step"] - last
            total, steps, last = total + taken * line["terms"][term], steps + taken, line["step"]
        elif line["event"] == "valid" and steps:
            series.append((int(line["step"]), total / steps))
            total, steps = 0.0, 0
    return series


def _chance(against: int, of: int) -> float:
    """The probability of so many or more heads among so many tosses of a fair coin."""
    return sum(math.comb(of, k) for k in range(against, of + 1)) / 2**of


def _written(weight: float) -> str:
    """A suggestion has no more than one digit that means something."""
    return f"{float(f'{weight:.1g}'):g}"
