"""What is asked of a few symbols: held against autograd through all of them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.partial import likelihoods, merged, tails

SYMBOLS = 7
TEMPERATURES = (0.5, 1.0, 4.0)


def plain_likelihoods(logits: torch.Tensor, symbols: torch.Tensor, temperature: float) -> torch.Tensor:
    return torch.log_softmax(logits / temperature, dim=-1).gather(-1, symbols)


def plain_merged(logits: torch.Tensor, symbols: torch.Tensor, temperature: float) -> torch.Tensor:
    soft = logits / temperature
    there = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, symbols, True)
    rest = torch.logsumexp(soft.masked_fill(there, -math.inf), dim=-1, keepdim=True)
    return torch.cat([soft.gather(-1, symbols), rest], dim=-1)


def with_gradient(function, logits, symbols, temperature, weights):
    logits = logits.clone().requires_grad_()
    value = function(logits, symbols, temperature)
    (slope,) = torch.autograd.grad((value * weights).sum(), logits)
    return value.detach(), slope


def alike(ours, plain, logits, symbols, temperature) -> None:
    weights = torch.linspace(-1, 2, symbols.shape[-1] + (ours is merged), dtype=logits.dtype)
    found = with_gradient(ours, logits, symbols, temperature, weights)
    expected = with_gradient(plain, logits, symbols, temperature, weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@given(
    rows=st.lists(
        st.lists(st.floats(-200, 200, allow_nan=False), min_size=SYMBOLS, max_size=SYMBOLS), min_size=1, max_size=3
    ),
    asked=st.permutations(range(SYMBOLS)),
    count=st.integers(1, SYMBOLS - 1),
    temperature=st.sampled_from(TEMPERATURES),
)
@settings(deadline=None)
def test_values_and_gradients_are_those_of_all_symbols(rows, asked, count, temperature) -> None:
    logits = torch.tensor(rows, dtype=torch.float64)
    symbols = torch.tensor(asked[:count]).expand(len(rows), count)
    alike(merged, plain_merged, logits, symbols, temperature)
    alike(likelihoods, plain_likelihoods, logits, symbols, temperature)


def test_a_symbol_may_be_asked_for_twice() -> None:
    logits = torch.randn(2, 3, SYMBOLS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alike(likelihoods, plain_likelihoods, logits, torch.tensor([4, 1, 4]).expand(2, 3, 3), 2.0)


def test_a_rest_too_small_for_the_largest_has_its_digits() -> None:
    """exp(-300) is nothing beside 1, in any precision; as a logarithm it is -300."""
    logits = torch.tensor([[0.0, -300.0, -301.0]])
    found = merged(logits, torch.tensor([[0]]), 1.0)
    torch.testing.assert_close(found, torch.tensor([[0.0, -300.0 + math.log1p(math.exp(-1.0))]]))


@pytest.mark.parametrize("count", [2, 3])
def test_where_no_other_symbol_is_left_the_rest_is_nothing_and_moves_nothing(count: int) -> None:
    logits = torch.tensor([[1.0, 2.0] + [-math.inf] * (count - 2)], requires_grad=True)
    found = merged(logits, torch.tensor([[0, 1]]), 1.0)
    assert found[0, 2] == -math.inf
    (slope,) = torch.autograd.grad(found[:, :2].sum(), logits)
    assert slope.tolist() == [[1.0, 1.0] + [0.0] * (count - 2)]


@pytest.mark.parametrize("function", [likelihoods, merged])
def test_a_retained_graph_gives_the_same_gradient_twice(function) -> None:
    logits = torch.randn(2, SYMBOLS, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = function(logits, torch.tensor([[1], [3]]), 2.0)[..., -1].sum()
    first, second = (torch.autograd.grad(value, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_half_precision_is_widened_and_its_gradient_is_half_again() -> None:
    logits = torch.randn(2, SYMBOLS, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
    value = likelihoods(logits, torch.tensor([[1], [3]]))
    assert value.dtype == torch.float32
    (slope,) = torch.autograd.grad(value.sum(), logits)
    assert slope.dtype == torch.bfloat16


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_tails_at_several_temperatures_are_the_last_of_what_is_merged_at_each(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 40 * torch.randn(4, SYMBOLS, dtype=torch.float64, generator=generator)
    kept = torch.stack([torch.randperm(SYMBOLS, generator=generator)[:3] for _ in logits])
    before = logits.clone()
    expected = torch.stack([plain_merged(logits, kept, each)[:, -1] for each in TEMPERATURES], dim=-1)
    torch.testing.assert_close(tails(logits, kept, TEMPERATURES), expected, rtol=1e-9, atol=1e-12)
    assert torch.equal(logits, before)
    everything = torch.arange(SYMBOLS).expand(4, -1)
    assert bool((tails(logits, everything, TEMPERATURES) == -math.inf).all())
