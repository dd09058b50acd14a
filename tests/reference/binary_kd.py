"""Yang et al., 2023, section 3: for each label the divergence of (p, 1 - p) from (q, 1 - q), summed over labels.

With Hinton's temperature (2015, section 2), written as cross-entropy minus the teacher's entropy, times T².
"""

import math

from limbeck.signals import Batch
from limbeck.tasks.multilabel import Multilabel
from reference import Case, Numbers, Promises, Said, Weights, case_of

PROMISES = Promises()


def cases() -> list[Case]:
    return [
        case_of(Multilabel(), outputs=4, quantities=4, seed=1),
        case_of(Multilabel(), {"temperature": 2.5}, outputs=3, quantities=3, seed=2),
    ]


def value(student: Said, teacher: Said, batch: Batch, weights: Weights, *, temperature: float = 1.0) -> Numbers:
    values = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        total = 0.0
        for z, t in zip(said, taught, strict=True):
            p = 1 / (1 + math.exp(-t / temperature))
            log_q, log_not_q = (-math.log(1 + math.exp(sign * z / temperature)) for sign in (-1, 1))
            entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
            total += -(p * log_q + (1 - p) * log_not_q) - entropy
        values.append(temperature * temperature * total)
    return values
