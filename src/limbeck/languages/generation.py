"""Going on with prompts: greedily, or by draws from a seed of their own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from limbeck.errors import ModelError


@dataclass(frozen=True)
class Sampling:
    """How a text goes on.

    Args:
        length: Tokens at most, after the prompt.
        end: The tokens after which nothing follows; none: every text has the full length.
        temperature: Divides the logits before a draw; 0: the likeliest token each time. It has nothing to do with the
            temperature of a loss.
        nucleus: Only the likeliest tokens that together have this share of the probability are drawn from.
        seed: Of the draws; the same seed, prompts and machine give the same texts.
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
    model: Any, prompts: Sequence[Sequence[int]], sampling: Sampling, device: torch.device
) -> list[list[int]]:
    """The tokens after each prompt, up to and with the one that ends it.

    Args:
        model: A causal model of transformers, in eval mode.
        prompts: At least one token each; padded on the left, where nobody sees it.
        sampling: How.
        device: The model's.

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
    drawn = sampling.temperature > 0
    how = configuration(
        max_new_tokens=sampling.length,
        eos_token_id=list(sampling.end) or None,
        pad_token_id=0,
        do_sample=drawn,
        use_cache=True,
        **({"temperature": sampling.temperature, "top_p": sampling.nucleus, "top_k": 0} if drawn else {}),
    )
    kept = model.generation_config
    model.generation_config = configuration()  # what a model's folder says of sampling is not what was asked for
    try:
        with torch.random.fork_rng():
            torch.manual_seed(sampling.seed)
            said = model.generate(
                torch.tensor(tokens, device=device),
                attention_mask=torch.tensor(mask, device=device),
                generation_config=how,
            )
    finally:
        model.generation_config = kept
    return [_ended(row[longest:], sampling.end) for row in said.tolist()]


def _ended(tokens: list[int], end: Sequence[int]) -> list[int]:
    """The tokens up to and with the first that ends a text."""
    last = next((place for place, token in enumerate(tokens) if token in end), len(tokens))
    return tokens[: last + 1]
