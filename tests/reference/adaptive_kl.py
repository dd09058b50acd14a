"""Wu et al., 2025, section 4: g_head / (g_head + g_tail) KL(p || q) + g_tail / (g_head + g_tail) KL(q || p), times T².

g sums |p - q| over the head (the teacher's likeliest symbols, while their sum is at most mu, and the first of them) and
over the tail. The two ratios are numbers, through which no gradient flows: `constants` gives them.
"""

import math

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    return [case(seed=1), case({"head": 0.9, "temperature": 3.0}, seed=2)]


def softened(logits: list[float], temperature: float) -> list[float]:
    exponentials = [math.exp(logit / temperature) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def head_of(p: list[float], mu: float) -> list[int]:
    found: list[int] = []
    for symbol in sorted(range(len(p)), key=lambda symbol: -p[symbol]):
        if found and sum(p[each] for each in found) + p[symbol] > mu:
            break
        found.append(symbol)
    return found


def constants(
    student: Said, teacher: Said, batch: Batch, *, head: float = 0.5, temperature: float = 1.0
) -> dict[str, Numbers]:
    ratios = []
    for said, taught in zip(student.logits, teacher.logits, strict=True):
        q, p = softened(said, temperature), softened(taught, temperature)
        inside = head_of(p, head)
        gaps = [abs(theirs - ours) for ours, theirs in zip(q, p, strict=True)]
        of_head = sum(gaps[symbol] for symbol in inside)
        of_tail = sum(gaps[symbol] for symbol in range(len(p)) if symbol not in inside)
        ratios.append([of_head / (of_head + of_tail), of_tail / (of_head + of_tail)])
    return {"ratios": ratios}


def value(
    student: Said, teacher: Said, batch: Batch, weights: Weights, *, head: float = 0.5, temperature: float = 1.0
) -> Numbers:
    values = []
    for said, taught, (of_head, of_tail) in zip(student.logits, teacher.logits, weights["ratios"], strict=True):
        q, p = softened(said, temperature), softened(taught, temperature)
        forward = sum(theirs * math.log(theirs / ours) for ours, theirs in zip(q, p, strict=True))
        backward = sum(ours * math.log(ours / theirs) for ours, theirs in zip(q, p, strict=True))
        values.append(temperature * temperature * (of_head * forward + of_tail * backward))
    return values
