"""How soft the teacher's targets are at the temperatures they are asked at."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.divergences import tempered
from limbeck.records import Finding

# As shares of ln(classes), the entropy of a guess. At 2 % a target says little more than a label; at 95 % it says
# little about any class. Both are arguments, not measurements: which temperature is best is a matter of trying.
HARD, FLAT, MIDDLE = 0.02, 0.95, 0.5
_ROWS = 4096
_LOWEST, _HIGHEST = 0.01, 1000.0


def temperature(logits: Float[Tensor, "*rows classes"], temperatures: Sequence[float], where: str) -> list[Finding]:
    """The mean entropy of the softened targets as a share of ln(classes): a warning where they are one-hot or flat.

    Args:
        logits: The teacher's.
        temperatures: Those the objective asks for.
        where: Which rows were asked, in words.
    """
    flat = logits.reshape(-1, logits.shape[-1])[:_ROWS]
    if flat.shape[-1] < 2 or not len(flat) or not bool(torch.isfinite(flat).all()):
        return []
    found = []
    for value in sorted(set(temperatures)):
        share = entropy_share(flat, value)
        evidence = (
            f"at T={value:g} the teacher's targets have {share:.1%} of the greatest entropy, ln({flat.shape[-1]}) = "
            f"{math.log(flat.shape[-1]):.3g} nats (mean over {len(flat):,} {where})"
        )
        middle = middle_temperature(flat)
        other = (
            f"temperature={middle:.2g} gives {MIDDLE:.0%}; compare the two on validation rows"
            if middle is not None
            else "no temperature changes that: look at the teacher's logits"
        )
        if share < HARD:
            found.append(Finding("warning", "the targets are nearly one-hot", evidence, other))
        elif share > FLAT:
            found.append(Finding("warning", "the targets are nearly flat", evidence, other))
        else:
            found.append(Finding("note", "the softness of the targets", evidence, other))
    return found


def entropy_share(logits: Float[Tensor, "rows classes"], temperature: float) -> float:
    """Mean entropy of softmax(logits / T) divided by ln(classes): 0 for one-hot targets, 1 for flat ones."""
    logarithms = tempered(logits.double(), temperature)
    entropy = -(logarithms.exp() * logarithms).nan_to_num().sum(dim=-1).mean()
    return float(entropy) / math.log(logits.shape[-1])


def middle_temperature(logits: Float[Tensor, "rows classes"], share: float = MIDDLE) -> float | None:
    """The temperature (0.01 to 1,000) at which targets have a share of the greatest entropy, by bisection.

    Entropy grows with the temperature. None where no temperature in the range gives the share.
    """
    low, high = math.log(_LOWEST), math.log(_HIGHEST)
    if not entropy_share(logits, _LOWEST) <= share <= entropy_share(logits, _HIGHEST):
        return None
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if entropy_share(logits, math.exp(middle)) < share else (low, middle)
    return math.exp((low + high) / 2)
