"""Methods held against each other, seed by seed: paired differences with intervals, and which of them are not chance.

Every contender trained the same student from the same initial weights, on the same rows in the same order, so that two
contenders differ by the method alone and are compared within each seed (a paired t test, which takes the differences
for normal). Of many methods some look good by chance; Holm's correction (Holm 1979, "A simple sequentially rejective
multiple test procedure") keeps the chance of a single false finding in a column at 5 %. Read: memory.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from limbeck.records import RunRecord, spread

ALONE = "alone"
LEVEL = 0.05


@dataclass(frozen=True)
class Contender:
    """What one method reached: the selection metric of each seed on validation rows and on test rows.

    `seconds` are wall seconds of training of each seed.
    """

    name: str
    objective: str
    valid: Mapping[int, float]
    test: Mapping[int, float]
    seconds: Mapping[int, float]


@dataclass(frozen=True)
class Difference:
    """A contender less another, over the seeds both have: mean, 95 % interval, and p before and after Holm.

    An interval and p are not numbers where there is one seed only.
    """

    mean: float
    low: float
    high: float
    p: float
    holm: float
    seeds: int

    @property
    def settled(self) -> bool:
        """Whether it is outside chance at 5 %, all methods of the table counted."""
        return self.holm < LEVEL


@dataclass(frozen=True)
class Ranking:
    """All contenders, best on validation rows first, each against the baseline and against the student alone."""

    metric: str
    baseline: str
    contenders: tuple[Contender, ...]
    against_baseline: Mapping[str, Difference]
    against_alone: Mapping[str, Difference]


def ranking(runs: Mapping[str, Sequence[RunRecord]], baseline: str, *, higher_is_better: bool) -> Ranking:
    """Ranks methods by their mean on validation rows over the seeds that all of them have.

    Args:
        runs: The runs of each method, by its name; those of the baseline hold the controls, which become "alone".
        baseline: The method that the others are held against.
        higher_is_better: Of the selection metric.
    """
    contenders = [_contender(name, records) for name, records in runs.items()]
    if (alone := _alone(runs[baseline])) is not None:
        contenders.append(alone)
    common = set.intersection(*(set(contender.valid) for contender in contenders))
    direction = -1 if higher_is_better else 1

    def place(contender: Contender) -> float:
        return direction * sum(contender.valid[seed] for seed in common) / max(len(common), 1)

    ranked = tuple(sorted(contenders, key=place))
    metric = runs[baseline][0].selection
    named = {contender.name: contender for contender in ranked}
    return Ranking(
        metric, baseline, ranked, differences(ranked, named[baseline]), differences(ranked, named.get(ALONE))
    )


def differences(contenders: Sequence[Contender], other: Contender | None) -> dict[str, Difference]:
    """Every contender less another one on the test rows, with p values corrected over all of them."""
    if other is None:
        return {}
    raw = {each.name: _paired(each.test, other.test) for each in contenders if each.name != other.name}
    corrected = holm([p for *_, p, _ in raw.values()])
    return {
        name: Difference(mean, low, high, p, adjusted, seeds)
        for (name, (mean, low, high, p, seeds)), adjusted in zip(raw.items(), corrected, strict=True)
    }


def holm(values: Sequence[float]) -> list[float]:
    """Holm's corrected p values, in the order given; those that are not numbers stay so and count among the tests."""
    known = sorted((p, place) for place, p in enumerate(values) if not math.isnan(p))
    corrected, highest = list(values), 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(values) - rank) * p))
        corrected[place] = highest
    return corrected


def _paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> tuple[float, float, float, float, int]:
    seeds = sorted(ours.keys() & theirs.keys())
    mean, deviation = spread([ours[seed] - theirs[seed] for seed in seeds])
    if len(seeds) < 2:
        return mean, math.nan, math.nan, math.nan, len(seeds)
    if deviation <= 1e-9 * abs(mean):  # no spread, no t: the same difference everywhere is one, if it is not zero
        return mean, mean, mean, 1.0 if mean == 0 else 0.0, len(seeds)
    tested = stats.ttest_rel([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
    interval = tested.confidence_interval(1 - LEVEL)
    return mean, float(interval.low), float(interval.high), float(tested.pvalue), len(seeds)


def _contender(name: str, records: Sequence[RunRecord]) -> Contender:
    results = [result for record in records for result in record.results]
    metric = records[0].selection
    return Contender(
        name,
        str(records[0].recipe.get("objective", "")),
        {result.seed: result.validation for result in results},
        {result.seed: result.student.metrics[metric] for result in results},
        {result.seed: result.seconds for result in results},
    )


def _alone(records: Sequence[RunRecord]) -> Contender | None:
    results = [result for record in records for result in record.results if result.control is not None]
    metric = records[0].selection
    if not results:
        return None
    return Contender(
        ALONE,
        "labels",
        {r.seed: r.control_validation for r in results if r.control_validation is not None},
        {r.seed: r.control.metrics[metric] for r in results if r.control is not None},
        {r.seed: r.control_seconds for r in results if r.control_seconds is not None},
    )
