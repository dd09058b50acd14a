"""Shing et al., 2025, section 3: p_t = softmax((1 - t) logit_q' + t logit_p), J = KL(p_t || q), times T².

q' is the student held constant: `constants` gives its logits. A softmax of mixed logits is the normalised product of
powers of the two models' probabilities, which is how it is computed here.
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [case(seed=1), case({"share": 1.0, "temperature": 4.0}, seed=2), case({"share": 0.7}, seed=3)]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def constants(student: Said, teacher: Said, batch: Batch, **arguments: float) -> dict[str, Numbers]:
    return {"own": student.logits}


def value(
    student: Said, teacher: Said, batch: Batch, weights: Weights, *, share: float = 0.4, temperature: float = 1.0
) -> Numbers:
    values = []
    for said, held, taught in zip(student.logits, weights["own"], teacher.logits, strict=True):
        own, p = softened(held, temperature), softened(taught, temperature)
        product = [ours ** (1 - share) * theirs**share for ours, theirs in zip(own, p, strict=True)]
        total = 0.0
        for each, q in zip(product, softened(said, temperature), strict=True):
            target = each / sum(product)
            total += target * math.log(target / q)
        values.append(temperature * temperature * total)
    return values
