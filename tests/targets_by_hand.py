"""Divergences over all symbols, and over some and all others as one, in loops over plain Python floats (float64).

Written from the definitions; shares no mathematics with Limbeck. A distribution is a list of log-probabilities.
"""

import math
from collections.abc import Callable, Sequence

from limbeck.divergences import AdaptiveKL, Divergence, JensenShannon, SkewKL, kl, reverse_kl, total_variation

Logs = list[float]


def log_sum(logs: Sequence[float]) -> float:
    """log Σ exp, −inf of nothing."""
    top = max(logs, default=-math.inf)
    return -math.inf if top == -math.inf else top + math.log(math.fsum(math.exp(each - top) for each in logs))


def softmax(logits: Sequence[float], temperature: float = 1.0) -> Logs:
    soft = [logit / temperature for logit in logits]
    whole = log_sum(soft)
    return [each - whole for each in soft]


def merged(logits: Sequence[float], symbols: Sequence[int], temperature: float) -> Logs:
    """The probabilities of some symbols, in their order, then that of all others together; each is softened first."""
    logs = softmax(logits, temperature)
    others = [logs[symbol] for symbol in range(len(logs)) if symbol not in symbols]
    return [*(logs[symbol] for symbol in symbols), log_sum(others)]


def forward(p: Logs, q: Logs) -> float:
    """Σ p log(p / q)."""
    return math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True) if a > -math.inf)


def mixture(p: Logs, q: Logs, share: float) -> Logs:
    def weighed(log: float, weight: float) -> float:
        return log + math.log(weight) if weight > 0 else -math.inf

    return [log_sum([weighed(a, share), weighed(b, 1 - share)]) for a, b in zip(p, q, strict=True)]


def head_share(p: Logs, q: Logs, head: float) -> float:
    """The part of Σ |p − q| that lies in the likeliest symbols whose sum is at most `head`, and the first of all."""
    order = sorted(range(len(p)), key=lambda symbol: -p[symbol])
    inside, total = [order[0]], math.exp(p[order[0]])
    for symbol in order[1:]:
        total += math.exp(p[symbol])
        if total > head:
            break
        inside.append(symbol)
    gaps = [abs(math.exp(a) - math.exp(b)) for a, b in zip(p, q, strict=True)]
    return math.fsum(gaps[symbol] for symbol in inside) / math.fsum(gaps) if any(gaps) else 0.5


def by_hand(divergence: Divergence, p: Logs, q: Logs, held: Logs | None = None) -> float:
    """The divergence of teacher p and student q; what has no gradient is taken at `held`, the student as it stands."""
    if isinstance(divergence, JensenShannon):
        m = mixture(p, q, divergence.beta)
        return divergence.beta * forward(p, m) + (1 - divergence.beta) * forward(q, m)
    if isinstance(divergence, SkewKL):
        first, second = (q, p) if divergence.reverse else (p, q)
        return forward(first, mixture(first, second, divergence.skew))
    if isinstance(divergence, AdaptiveKL):
        share = head_share(p, held or q, divergence.head)
        return share * forward(p, q) + (1 - share) * forward(q, p)
    plain: dict[Divergence, Callable[[Logs, Logs], float]] = {
        kl: forward,
        reverse_kl: lambda p, q: forward(q, p),
        total_variation: lambda p, q: math.fsum(abs(math.exp(a) - math.exp(b)) for a, b in zip(p, q, strict=True)) / 2,
    }
    return plain[divergence](p, q)


def slope(value: Callable[[Sequence[float]], float], at: Sequence[float], stride: float = 1e-4) -> list[float]:
    """The gradient by central differences of fourth order: the error is of the order stride⁴."""

    def moved(place: int, by: float) -> float:
        return value([each + by * (number == place) for number, each in enumerate(at)])

    return [
        (8 * (moved(n, stride) - moved(n, -stride)) - (moved(n, 2 * stride) - moved(n, -2 * stride))) / (12 * stride)
        for n in range(len(at))
    ]
