"""Distillation across tokenizers: probabilities are compared by their rank, whatever their symbols are called.

Boizard, El Haddad, Hudelot, Colombo, TMLR 2025 (Universal Logit Distillation), https://arxiv.org/abs/2402.12030,
section 3.2: the sum of |p_(i) − q_(i)| over ranks i, the shorter of both vocabularies padded with zeros, which is the
Wasserstein distance for a cost that is the same for every two symbols. Read: memory.
The paper adds it to cross-entropy with the weight 1.5: `labels + 1.5 * uld`.
What a rank means is not known to both models; where their vocabularies have tokens in common, a divergence over these
says more: kd(temperature=1) with a `retokenised` teacher.
Deviations:
- the paper compares the t-th token of the one with the t-th of the other, until the shorter ends. With a `retokenised`
  teacher, positions are compared at which both begin a token at the same byte; inside of a span of several tokens the
  next token and all others in one are the two symbols;
- the mean over the positions is taken, as of every method here, and not their sum.
"""

from jaxtyping import Float
from torch import Tensor

from limbeck.divergences import sorted_distance
from limbeck.objective import Needs, Objective
from limbeck.signals import Batch, Signals


class ULD(Objective):
    """The sum of the differences between both models' probabilities of the same rank; their vocabularies may differ."""

    family = "soft targets"
    formula = "Σ |p_(i) − q_(i)| over ranks i"

    def needs(self) -> Needs:
        """Targets that answer the distance of sorted probabilities."""
        return Needs(soft=frozenset({(sorted_distance, 1.0)}), meaning=frozenset({"classes"}))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Float[Tensor, "*rows"]:
        """The distance of each row, from 0 to 2."""
        assert student.logits is not None and teacher.targets is not None
        return teacher.targets.divergence(sorted_distance, student.logits, 1.0)
