"""rkd at batches larger than its reference is quick enough for: the same numbers, in little memory."""

from typing import Any

import pytest
import torch
from method_cases import same
from torch import Tensor
from torch.nn.functional import huber_loss
from torch.utils._python_dispatch import TorchDispatchMode

from limbeck.objectives.rkd import RKD
from limbeck.signals import Batch, Signals
from limbeck.tasks.classification import Classification


def laid_out(learnt: Tensor, taught: Tensor) -> Tensor:
    """Section 3.2 with all differences laid out, n² vectors and n³ cosines; default weights."""
    other = ~torch.eye(len(learnt), dtype=torch.bool)
    triplets = other[:, :, None] & other[:, None, :] & other[None, :, :]
    distances, cosines = [], []
    for rows in (learnt, taught):
        differences = rows[None] - rows[:, None]
        squares = differences.square().sum(dim=2)
        lengths = torch.where(squares > 0, torch.where(squares > 0, squares, 1.0).sqrt(), 0.0)
        distances.append((lengths / lengths[other].mean())[other])
        apart = (lengths > 0)[:, :, None]
        directions = torch.where(apart, differences / torch.where(apart, lengths[:, :, None], 1.0), 0.0)
        cosines.append((directions @ directions.mT)[triplets])
    return 25 * huber_loss(*distances) + 50 * huber_loss(*cosines)


def points(rows: int, width: int, seed: int) -> Tensor:
    """Features after a ReLU, far from the origin beside their spread; rows 3 and 5 are one point."""
    drawn = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).relu() + 5
    drawn[5] = drawn[3]
    return drawn


def compared(learnt: Tensor, taught: Tensor) -> tuple[Tensor, Tensor]:
    """The method's value and its gradient by the student's rows."""
    leaf = learnt.clone().requires_grad_()
    batch = Batch.of(torch.zeros(len(leaf), 1), torch.zeros(len(leaf), dtype=torch.int64), Classification())
    value = RKD().loss(Signals.dense(leaf), Signals.dense(taught), batch).total
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


# 2 rows are looked at together: 33 leave a remainder.
@pytest.mark.parametrize(("rows", "width"), [(8, 3), (30, 40), (33, 2)])
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-6)])
def test_value_and_gradient_are_those_of_all_differences(
    rows: int, width: int, precision: torch.dtype, tolerance: float
) -> None:
    learnt, taught = points(rows, width, seed=1), points(rows, width, seed=2)
    taught[7] = taught[2]
    learnt, taught = learnt.to(precision).double(), taught.to(precision).double()
    leaf = learnt.clone().requires_grad_()
    expected = laid_out(leaf, taught)
    expected.backward()
    assert leaf.grad is not None
    value, gradient = compared(learnt.to(precision), taught.to(precision))
    same(value.double(), expected.detach(), tolerance)
    scale = leaf.grad.abs().max()
    same(gradient.double() / scale, leaf.grad / scale, tolerance)


@pytest.mark.parametrize("distance", [1e-9, 1e-20, 1e-40])
def test_rows_that_almost_touch_keep_the_loss_in_its_range(distance: float) -> None:
    """The products of the rows hold no digit of such a distance: the angles of that pair may count as none, no more."""
    learnt, taught = points(12, 4, seed=1), points(12, 4, seed=2)
    learnt[[3, 5], 0] = 0.0
    one_point, _ = compared(learnt, taught)
    learnt[5, 0] = distance
    value, gradient = compared(learnt, taught)
    # 4 / (12 · 11) of the triplets look along the pair, and the Huber loss of two cosines is at most 3/2.
    assert value.item() == pytest.approx(one_point.item(), abs=50 * 1.5 * 4 / (12 * 11))
    assert gradient.isfinite().all()


class Largest(TorchDispatchMode):
    """The numbers of the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, list | tuple) else [made]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_memory_grows_with_the_square_of_the_rows() -> None:
    rows, width = 96, 200
    with Largest() as largest:
        compared(points(rows, width, seed=1).float(), points(rows, width, seed=2).float())
    assert rows * width <= largest.numbers <= 2 * rows * max(rows, width)
