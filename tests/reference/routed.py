"""Each row taught by one teacher: the one with the smallest loss on its label, or the one with the surest answer."""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal to one of several teachers is not equal to all of them.
PROMISES = Promises(zero_when_equal=False)


def cases() -> list[Case]:
    return [
        case(seed=4, members=3),
        case({"temperature": 2.0, "by": "confidence"}, seed=2, members=2),
        case(seed=3, members=2, mixed=True),
    ]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def likelihood(logits: list[float], row: int, batch: Batch) -> float:
    """Of the label; of a mixed row the geometric mean of both by their shares, which orders as the losses do."""
    assert batch.labels is not None
    found = softened(logits, 1.0)
    own = found[int(batch.labels[row])]
    if batch.partner is None:
        return own
    share = float(batch.partner.share[row])
    return own**share * found[int(batch.partner.labels[row])] ** (1 - share)


def value(
    student: Said, teacher: Said, batch: Batch, weights: Weights, *, temperature: float = 4.0, by: str = "labels"
) -> Numbers:
    values = []
    for row, said in enumerate(student.logits):
        known = bool(batch.mask[row]) and bool(batch.known[row])
        known = known and (batch.partner is None or bool(batch.partner.known[row]))
        best, chosen = -1.0, teacher.members[0]
        for member in teacher.members:
            answer = member.logits[row]
            worth = likelihood(answer, row, batch) if known and by == "labels" else max(softened(answer, 1.0))
            if worth > best:
                best, chosen = worth, member
        divergence = 0.0
        for p, q in zip(softened(chosen.logits[row], temperature), softened(said, temperature), strict=True):
            divergence += p * (math.log(p) - math.log(q))
        values.append(temperature * temperature * divergence)
    return values
