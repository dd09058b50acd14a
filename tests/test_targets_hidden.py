"""Hidden states with a head as targets: as dense ones answer, a slice at a time, and without a graph of the teacher."""

import torch
from torch import Tensor

from limbeck.divergences import kl
from limbeck.signals import Signals
from limbeck.targets.dense import DenseTargets
from limbeck.targets.hidden import HiddenTargets, slices

SYMBOLS, WIDTH = 7, 5


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hidden_states_answer_as_dense_over_several_chunks() -> None:
    rows, symbols = 150, 50_000
    hidden, head = normal(2, rows, WIDTH, seed=1), normal(symbols, WIDTH, seed=2)
    targets, student = HiddenTargets(hidden, head), normal(2, rows, symbols, seed=3).requires_grad_()
    assert len(list(slices(2 * rows, symbols, hidden.device))) == 2
    weights = normal(2, rows, seed=4)
    found = []
    for each in (targets, DenseTargets(hidden @ head.T)):
        value = each.divergence(kl, student, 2.0)
        found.append((value.detach(), *torch.autograd.grad((weights * value).sum(), student)))
    for ours, dense in zip(*found, strict=True):
        assert torch.allclose(ours, dense, rtol=1e-10, atol=1e-14)
    assert torch.allclose(targets.made_logits(), hidden @ head.T, rtol=1e-12)


def test_hidden_states_keep_no_graph_of_the_teacher_and_answer_twice() -> None:
    hidden, head = normal(4, WIDTH, seed=1).requires_grad_(), normal(SYMBOLS, WIDTH, seed=2).requires_grad_()
    student = normal(4, SYMBOLS, seed=3).requires_grad_()
    value = HiddenTargets(hidden, head).divergence(kl, student, 2.0)
    first, second = (torch.autograd.grad(value.sum(), student, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    value.sum().backward()
    assert hidden.grad is None and head.grad is None
    with torch.no_grad():
        assert torch.equal(HiddenTargets(hidden, head).divergence(kl, student, 2.0), value)
    assert HiddenTargets(hidden[:0], head).divergence(kl, student[:0], 2.0).shape == (0,)


def test_what_hidden_states_are_is_asked_without_making_their_logits() -> None:
    """A trillion of them would not fit: whether they can be made, and in which shape, is said beforehand."""
    size = 1 << 20
    said = Signals.hidden(torch.zeros(size, 1), torch.zeros(size, 1))
    assert said.outputs == (size, size)
    assert said.logits_at(torch.tensor([3])).shape == (1, size)


def test_hidden_states_of_half_the_precision_meet_a_head_in_its_own() -> None:
    hidden, head = normal(4, WIDTH, seed=1).half(), normal(SYMBOLS, WIDTH, seed=2).float()
    assert torch.equal(HiddenTargets(hidden, head).made_logits(), hidden.float() @ head.T)
    assert HiddenTargets(hidden, head.half()).made_logits().dtype == torch.float16
