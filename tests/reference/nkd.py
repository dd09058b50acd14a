"""Yang et al., 2023, section 3.1: L = -(T_t log S_t + gamma lambda² sum_{i != t} N(T_i) log N(S_i)).

T and S are softmax probabilities; N are those of the other classes alone, at temperature lambda, divided by their sum.
Of a row that is mixed (mixup), both labels in turn, weighted by their shares.
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises(zero_when_equal=False)


def cases() -> list[Case]:
    return [
        case(seed=1),
        case({"gamma": 0.5, "temperature": 3.0}, seed=2, mixed=True),
        case({"temperature": 2.0}, seed=3, classes=3),
    ]


def counted(batch: Batch) -> list[bool]:
    rows = []
    for row in range(len(batch)):
        counts = bool(batch.mask[row]) and bool(batch.known[row])
        rows.append(counts and (batch.partner is None or bool(batch.partner.known[row])))
    return rows


def powers(logits: list[float], temperature: float) -> list[float]:
    return [math.exp(logit / temperature) for logit in logits]


def normalised(said: list[float], taught: list[float], right: int, gamma: float, temperature: float) -> float:
    cold = [powers(logits, 1.0) for logits in (taught, said)]
    target = cold[0][right] / sum(cold[0]) * math.log(cold[1][right] / sum(cold[1]))
    warm = [powers(logits, temperature) for logits in (taught, said)]
    rest = [sum(numbers) - numbers[right] for numbers in warm]
    total = 0.0
    for i, (p, q) in enumerate(zip(*warm, strict=True)):
        if i != right:
            total += p / rest[0] * math.log(q / rest[1])
    return -(target + gamma * temperature * temperature * total)


def value(
    student: Said, teacher: Said, batch: Batch, weights: Weights, *, gamma: float = 1.5, temperature: float = 1.0
) -> Numbers:
    assert batch.labels is not None
    values = []
    for row, (said, taught) in enumerate(zip(student.logits, teacher.logits, strict=True)):
        found = normalised(said, taught, int(batch.labels[row]), gamma, temperature)
        if batch.partner is not None:
            share = float(batch.partner.share[row])
            other = normalised(said, taught, int(batch.partner.labels[row]), gamma, temperature)
            found = share * found + (1 - share) * other
        values.append(found)
    return values
