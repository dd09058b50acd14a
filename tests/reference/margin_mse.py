"""Hofstätter et al., 2020, section 3: MSE(S(q, p+) - S(q, p-), T(q, p+) - T(q, p-)), here over all p- of a query.

Written in the errors e = S - T, which hold the same: the mean of (e+ - e-)². Of a row that is mixed (mixup), both
labels in turn, weighted by their shares.
"""

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [case(seed=1), case(seed=2, mixed=True), case(seed=3, classes=2)]


def counted(batch: Batch) -> list[bool]:
    rows = []
    for row in range(len(batch)):
        counts = bool(batch.mask[row]) and bool(batch.known[row])
        rows.append(counts and (batch.partner is None or bool(batch.partner.known[row])))
    return rows


def distance(errors: list[float], right: int) -> float:
    squares = [(errors[right] - error) ** 2 for place, error in enumerate(errors) if place != right]
    return sum(squares) / len(squares)


def value(student: Said, teacher: Said, batch: Batch, weights: Weights) -> Numbers:
    assert batch.labels is not None
    values = []
    for row, (said, taught) in enumerate(zip(student.logits, teacher.logits, strict=True)):
        errors = [ours - theirs for ours, theirs in zip(said, taught, strict=True)]
        found = distance(errors, int(batch.labels[row]))
        if batch.partner is not None:
            share = float(batch.partner.share[row])
            found = share * found + (1 - share) * distance(errors, int(batch.partner.labels[row]))
        values.append(found)
    return values
