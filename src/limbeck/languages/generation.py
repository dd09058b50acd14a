"""Going on with prompts: greedily, or by draws that follow from a seed, the text's number and the place in it.

Each draw takes one number of its own (`limbeck.replay`) and the token whose share of the distribution it falls into, so
that a text does not depend on which others are made at the same time, but for the rounding of logits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from limbeck.errors import ModelError
from limbeck.replay import Draw


@dataclass(frozen=True)
class Sampling:
    """How a text goes on.

    Args:
        length: Tokens at most, after the prompt.
        end: The tokens after which nothing follows; none: every text has the full length.
        temperature: Divides the logits before a draw; 0: the likeliest token each time. It has nothing to do with the
            temperature of a loss.
        nucleus: Only the likeliest tokens that together have this share of the probability are drawn from.
        seed: Of the draws; the same seed, numbers, prompts and machine give the same texts.
    """

    length: int
    end: tuple[int, ...] = ()
    temperature: float = 0.0
    nucleus: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, right, expected in (
            ("length", self.length, self.length >= 1, "1 or more"),
            ("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 or more"),
            ("nucleus", self.nucleus, 0 < self.nucleus <= 1, "above 0, at most 1"),
        ):
            if not right:
                raise ModelError(f"a text cannot go on with {name}={value}", expected=expected)


def continued(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    device: torch.device,
    numbers: Sequence[int] | None = None,
) -> list[list[int]]:
    """The tokens after each prompt, up to and with the one that ends it.

    Args:
        model: A causal model of transformers, in eval mode.
        prompts: At least one token each; padded on the left, where nobody sees it.
        sampling: How.
        device: The model's.
        numbers: A number of 64 bits for each prompt, from which its draws follow; its place when left out.

    Raises:
        ModelError: When a prompt is empty.
    """
    import transformers

    configuration: Any = transformers.GenerationConfig
    if empty := [place for place, prompt in enumerate(prompts) if not len(prompt)]:
        raise ModelError(
            f"the prompt {empty[0]} of {len(prompts)} has no tokens",
            expected="one at least",
            remedy="begin with the tokenizer's first token (bos_token_id)",
        )
    if not prompts:
        return []
    longest = max(map(len, prompts))
    # Any token will do where the mask is 0; the texts are cut at their end here, not by a token that fills up.
    tokens = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    how = configuration(
        max_new_tokens=sampling.length,
        eos_token_id=list(sampling.end) or None,
        pad_token_id=0,
        do_sample=False,
        use_cache=True,
    )
    draws = _Draws(sampling, torch.tensor(range(len(prompts)) if numbers is None else numbers), longest)
    kept = model.generation_config
    model.generation_config = configuration()  # what a model's folder says of sampling is not what was asked for
    try:
        said = model.generate(
            torch.tensor(tokens, device=device),
            attention_mask=torch.tensor(mask, device=device),
            generation_config=how,
            logits_processor=[draws] if sampling.temperature > 0 else [],
        )
    finally:
        model.generation_config = kept
    return [_ended(row[longest:], sampling.end) for row in said.tolist()]


@dataclass(frozen=True)
class _Draws:
    """Turns logits into a choice: all tokens but the drawn one become impossible."""

    sampling: Sampling
    numbers: Int[Tensor, " texts"]
    first: int

    def __call__(
        self, tokens: Int[Tensor, "texts length"], logits: Float[Tensor, "texts symbols"]
    ) -> Float[Tensor, "texts symbols"]:
        step = tokens.shape[1] - self.first
        uniform = Draw.of(self.numbers, self.sampling.seed, step, "continued").uniforms(1).to(logits.device)
        shares = torch.softmax(logits.double() / self.sampling.temperature, dim=-1)
        if self.sampling.nucleus < 1:
            shares = _nucleus(shares, self.sampling.nucleus)
        edges = shares.cumsum(dim=-1)
        # Scaled to the last edge, which is 1 but for rounding, and to the share of what a nucleus left.
        drawn = torch.searchsorted(edges, uniform * edges[:, -1:], right=True).clamp(max=logits.shape[1] - 1)
        return torch.full_like(logits, -torch.inf).scatter_(1, drawn, 0.0)


def _nucleus(shares: Float[Tensor, "texts symbols"], least: float) -> Float[Tensor, "texts symbols"]:
    """The likeliest tokens that together have at least this share, as few as it takes; 0 for the others."""
    ordered, places = shares.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    return torch.zeros_like(shares).scatter_(1, places, ordered.masked_fill(before >= least, 0.0))


def _ended(tokens: list[int], end: Sequence[int]) -> list[int]:
    """The tokens up to and with the first that ends a text."""
    last = next((place for place, token in enumerate(tokens) if token in end), len(tokens))
    return tokens[: last + 1]
