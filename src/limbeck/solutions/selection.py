"""Which sound solutions are learnt: none twice, more of hard problems than of easy ones, and none of unusual length.

A problem that the teacher always solves gives one solution, one that it solves with the rate p gives the whole number
from keep * (1 - p) upwards, and one that it never solves gives none: so what is hard counts for more than its share of
right samples (difficulty-aware rejection sampling: Tong et al., 2024, DART-Math, https://arxiv.org/abs/2407.13690,
section 2; read: memory. Deviation: there hard problems are sampled until they have as many solutions, or more).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from limbeck.solutions.judging import Sample
from limbeck.verification import Verifier


@dataclass(frozen=True)
class Selection:
    """The solutions that are learnt, by the number of their problem, and what was left out why."""

    kept: Mapping[int, tuple[Sample, ...]]
    facts: Mapping[str, int]


def selected(
    samples: Sequence[Sample], verifier: Verifier, *, keep: int, prefer: Literal["median", "shortest"]
) -> Selection:
    """Chooses among the samples of all rounds.

    Args:
        samples: With verdicts.
        verifier: Says which solutions go the same way.
        keep: Solutions of a problem at most.
        prefer: Those near the median length of a problem's sound solutions, or the shortest ones.
    """
    of: dict[int, list[Sample]] = defaultdict(list)
    for each in samples:
        of[each.problem].append(each)
    facts = dict.fromkeys(("problems", "never", "sometimes", "always", "samples", "right", "sound", "same", "kept"), 0)
    kept: dict[int, tuple[Sample, ...]] = {}
    for problem, several in of.items():
        sound = [each for each in several if each.verdict is not None and each.verdict.sound]
        rate = len(sound) / len(several)
        facts["problems"] += 1
        facts["never" if not sound else "always" if len(sound) == len(several) else "sometimes"] += 1
        facts["samples"] += len(several)
        facts["right"] += sum(each.verdict is not None and each.verdict.right for each in several)
        facts["sound"] += len(sound)
        if not sound:
            continue
        once = list({verifier.digest(each.text): each for each in reversed(sound)}.values())[::-1]
        facts["same"] += len(sound) - len(once)
        middle = median(len(each.text) for each in once) if prefer == "median" else 0
        once.sort(key=lambda each: (abs(len(each.text) - middle), each.round, each.sample))
        kept[problem] = tuple(once[: allowance(rate, keep)])
        facts["kept"] += len(kept[problem])
    return Selection(kept, facts)


def allowance(rate: float, keep: int) -> int:
    """How many solutions of a problem are learnt, of which this share of the samples was sound."""
    return min(keep, max(1, math.ceil(keep * (1 - rate) - 1e-9)))
