"""Zhang et al., 2018, section 2.3: L_k = L_Ck + 1 / (K - 1) * sum over l != k of D_KL(p_l || p_k), summed over all k.

What a peer is taught is held constant: `constants` gives the peers' logits. The divergence is the cross-entropy of the
two minus the entropy of the first. A row without a known label has no L_C.
"""

import math
from itertools import permutations

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal peers still differ from the label, and there is no teacher to be equal to.
PROMISES = Promises(zero_when_equal=False)


def cases() -> list[Case]:
    three = ("a", "c", "b")
    return [
        case(student={"peers.0": (4,), "peers.1": (4,)}, seed=1),
        case({"layers": three}, student={"a": (4,), "b": (4,), "c": (4,)}, seed=2, mixed=True),
    ]


def probabilities(logits: list[float]) -> list[float]:
    exponentials = [math.exp(logit) for logit in logits]
    return [exponential / sum(exponentials) for exponential in exponentials]


def constants(student: Said, teacher: Said, batch: Batch, **arguments: object) -> dict[str, Numbers]:
    return dict(student.features)


def on_label(said: list[float], row: int, batch: Batch) -> float:
    assert batch.labels is not None
    known = bool(batch.mask[row]) and bool(batch.known[row])
    if not known or (batch.partner is not None and not batch.partner.known[row]):
        return 0.0
    own = -math.log(said[int(batch.labels[row])])
    if batch.partner is None:
        return own
    share = float(batch.partner.share[row])
    return share * own - (1 - share) * math.log(said[int(batch.partner.labels[row])])


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    layers: tuple[str, ...] = ("peers.0", "peers.1"),
) -> Numbers:
    values = []
    for row in range(len(student.logits)):
        now = {layer: probabilities(student.features[layer][row]) for layer in layers}
        held = {layer: probabilities(weights[layer][row]) for layer in layers}
        total = sum(on_label(said, row, batch) for said in now.values())
        for taught, teaching in permutations(layers, 2):
            crossed = -sum(p * math.log(q) for p, q in zip(held[teaching], now[taught], strict=True))
            entropy = -sum(p * math.log(p) for p in held[teaching])
            total += (crossed - entropy) / (len(layers) - 1)
        values.append(total)
    return values
