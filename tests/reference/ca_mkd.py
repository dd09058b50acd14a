"""Zhang, Chen, Wang, 2022, equations 2 to 4: each teacher weighted by one minus its share of all teachers' losses."""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal to one of several teachers is not equal to all of them.
PROMISES = Promises(zero_when_equal=False)


def cases() -> list[Case]:
    return [
        case(seed=1, members=2),
        case({"temperature": 1.5}, seed=2, members=3),
        case({"temperature": 2.0}, seed=3, members=2, mixed=True),
    ]


def probabilities(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def label_loss(logits: list[float], row: int, batch: Batch) -> float:
    assert batch.labels is not None
    found = probabilities(logits, 1.0)
    loss = -math.log(found[int(batch.labels[row])])
    if batch.partner is not None:
        share = float(batch.partner.share[row])
        loss = share * loss - (1 - share) * math.log(found[int(batch.partner.labels[row])])
    return loss


def labelled(row: int, batch: Batch) -> bool:
    partner = batch.partner is None or bool(batch.partner.known[row])
    return bool(batch.mask[row]) and bool(batch.known[row]) and partner


def value(student: Said, teacher: Said, batch: Batch, weights: Weights, *, temperature: float = 4.0) -> Numbers:
    values, count = [], len(teacher.members)
    for row, said in enumerate(student.logits):
        shares = [1 / count] * count
        if labelled(row, batch):
            grown = [math.exp(label_loss(member.logits[row], row, batch)) for member in teacher.members]
            shares = [(1 - each / sum(grown)) / (count - 1) for each in grown]
        total, q = 0.0, probabilities(said, temperature)
        for share, member in zip(shares, teacher.members, strict=True):
            p = probabilities(member.logits[row], temperature)
            total += share * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        values.append(temperature**2 * total)
    return values
