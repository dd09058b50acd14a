"""Cross-entropy with the label, in nats; for mixed rows (mixup, Zhang et al., 2017, section 2) with both labels."""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises(zero_when_equal=False)


def cases() -> list[Case]:
    return [case(seed=1), case(seed=2, mixed=True)]


def counted(batch: Batch) -> list[bool]:
    rows = []
    for row in range(len(batch)):
        counts = bool(batch.mask[row]) and bool(batch.known[row])
        rows.append(counts and (batch.partner is None or bool(batch.partner.known[row])))
    return rows


def value(student: Said, teacher: Said, batch: Batch, weights: Weights) -> Numbers:
    assert batch.labels is not None
    values = []
    for row, logits in enumerate(student.logits):
        target = [0.0] * len(logits)
        share = 1.0 if batch.partner is None else float(batch.partner.share[row])
        target[int(batch.labels[row])] += share
        if batch.partner is not None:
            target[int(batch.partner.labels[row])] += 1 - share
        total = sum(math.exp(logit) for logit in logits)
        values.append(-sum(t * math.log(math.exp(z) / total) for t, z in zip(target, logits, strict=True)))
    return values
