"""How hard each term of an objective pulls at the student, and which terms pull against each other.

At a few steps of a training (`points`) the terms' gradients are taken one by one on the same few training rows. Two
gradients conflict where their cosine is below zero: Yu, Kumar, Gupta, Levine, Hausman, Finn, 2020,
https://arxiv.org/abs/2001.06782, definition 1 in section 2. Read: memory.

Everything is computed on a copy of the student and the objective, under generators that are put back: a training ends
in the same bits with and without it.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.signals import Batch, Signals
from limbeck.teachers.protocol import Teacher
from limbeck.training.asking import question
from limbeck.training.plan import Plan
from limbeck.training.step import Step

ROWS = 64
MOST_POINTS = 16
FEWEST_POINTS = 8
# A point costs as much as one to four steps of training, so that this keeps the cost near one percent.
STEPS_FOR_A_POINT = 250
BATCHES_LOOKED_AT = 8
_DRAWS = 20_200_119  # dropout draws the same at every point, so that two points differ by the weights alone


def points(plan: Plan) -> frozenset[int]:
    """After which steps a training is diagnosed; a rule of the plan alone, so that a resumed run keeps it.

    These are steps at which it validates, the first and the last among them: one for every 250 steps, but no fewer
    than 8 and no more than 16, where there are as many validations. They lie denser early (as the squares of 0, 1, 2,
    ...), where gradients change most and a warning is still of use.
    """
    validations = [*range(plan.validate_every, plan.steps, plan.validate_every), plan.steps]
    last = len(validations) - 1
    wanted = min(len(validations), MOST_POINTS, max(FEWEST_POINTS, plan.steps // STEPS_FOR_A_POINT))
    return frozenset(
        validations[max(k, int(last * (k / max(1, wanted - 1)) ** 2 + 0.5)) if k else 0] for k in range(wanted)
    )


def fixed_rows(batches: Iterator[Batch], least: int, *, labelled: bool) -> Batch:
    """The rows that are asked at every point: up to 64 of the first training batch.

    Where labels count and few rows have one, rows with a label come first, and the next batches are looked at until
    one has any: a term that is averaged over no row would seem to have no gradient.

    Args:
        batches: The training's batches from its first step on.
        least: The smallest batch the objective can work on.
        labelled: Whether the objective reads labels.
    """
    batch = next(batches)
    if labelled and not bool(batch.known.any()):
        batch = next((other for other in islice(batches, BATCHES_LOOKED_AT - 1) if bool(other.known.any())), batch)
    by_row = batch.known.flatten(1).any(dim=1) if batch.known.ndim > 1 else batch.known
    first = torch.argsort((~by_row).to(torch.int8), stable=True) if labelled else torch.arange(len(batch))
    return batch.rows(first[: max(ROWS, least)])


class Diagnosis:
    """Measures the terms' gradients on rows that never change.

    Args:
        step: Student and objective as they train; they are copied at each measurement and never touched.
        batch: The rows, on the student's device.
        said: What the teacher says about them.
    """

    def __init__(self, step: Step, batch: Batch, said: Signals) -> None:
        self.step, self.batch, self.said = step, batch, said

    @classmethod
    def of(cls, step: Step, batch: Batch, teacher: Teacher | None, precision: str = "float32") -> "Diagnosis":
        """Asks the teacher about the rows once, in a precision; without a teacher, the objective must need none."""
        return cls(step, batch, question(teacher, precision)(batch))

    def measure(self) -> dict[str, Any]:
        """Each term's gradient at the student's present weights.

        The gradient is that of the weighted term, by the student's trainable parameters and not by the objective's
        own projectors, in train mode and in the precision of the training. What no number can be given for is None: a
        term that counted none of the rows has no gradient, and nothing has a cosine with a gradient of length 0.

        Returns:
            `norms` (lengths), `shares` (each length as a part of their sum) and `cosines` (of every two terms), by the
            terms' names; plain values for JSON.
        """
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(_DRAWS)
            products, counted = self._products()
        names = list(counted)
        lengths = [
            math.sqrt(value) if counted[name] and math.isfinite(value) else None
            for name, value in zip(names, products.diagonal().tolist(), strict=True)
        ]
        whole = sum(length for length in lengths if length is not None)
        cosines: dict[str, dict[str, float | None]] = {}
        for i, first in enumerate(names):
            for j in range(i + 1, len(names)):
                one, other = lengths[i], lengths[j]
                value = float(products[i, j]) / (one * other) if one and other else None
                cosines.setdefault(first, {})[names[j]] = None if value is None else max(-1.0, min(1.0, value))
        shares = {n: None if s is None or not whole else s / whole for n, s in zip(names, lengths, strict=True)}
        return {"norms": dict(zip(names, lengths, strict=True)), "shares": shares, "cosines": cosines}

    def _products(self) -> tuple[Float[Tensor, "terms terms"], Mapping[str, bool]]:
        """Inner products of the terms' gradients, and which terms counted any of the rows."""
        # A copy, for whatever a forward pass may move in train mode: statistics of normalisation, counters, `.grad`.
        step = copy.deepcopy(self.step).train()
        heard = step.student(self.batch)
        learning = [parameter for parameter in step.model.parameters() if parameter.requires_grad]
        gradients: list[list[Tensor | None]] = []
        # Of unlabelled rows, or of rows the teacher is silent about, a term may have counted none.
        counted = {name: rows > 0 for name, rows in step.objective.counts(self.batch, self.said).items()}
        for _, weight, term in step.objective.named_terms():
            value = weight * term.loss(heard, self.said, self.batch).total
            step.zero_grad(set_to_none=True)
            if value.requires_grad:
                # Not autograd.grad: networks that recompute their activations refuse it.
                value.backward(retain_graph=True)
            gradients.append([parameter.grad for parameter in learning])
        products = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
        for i, one in enumerate(gradients):
            for j, other in enumerate(gradients[i:], start=i):
                parts = [_product(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
                if parts:
                    products[i, j] = products[j, i] = torch.stack(parts).sum().cpu()
        return products, counted


def _product(first: Tensor, second: Tensor) -> Float[Tensor, ""]:
    a, b = (tensor.to_dense() if tensor.is_sparse else tensor for tensor in (first, second))
    return (a * b).sum(dtype=torch.float64)
