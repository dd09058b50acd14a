"""What a causal model does that its configuration does not say: measured on a few tokens, not looked up by family.

Two questions decide whether a model can be read as hidden states and a head, and whether documents may share a row.
Both have silent wrong answers (a cap on the logits, a mask that ignores where a document begins), and transformers
holds hundreds of families, so that a list of them would be wrong next month. The model itself is asked, when it is
taken in.
"""

import copy
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limbeck.errors import ModelError

Packing = Literal["positions", "mask"]
"""How a family keeps the documents of a row apart: by positions that begin anew, or by a mask that it is handed."""

# A document of three tokens and one of five, in one row.
_FIRST, _TOKENS = 3, 8
_LARGE = 64.0


def read_through_head(model: Any, head: nn.Linear, hidden: Tensor, tokens: Tensor) -> float:
    """The factor between what the head says and the model's logits, once it is certain that there is nothing else.

    Args:
        model: The whole model.
        head: Its last linear layer.
        hidden: What the body says of these tokens.
        tokens: One row of them.

    Raises:
        ModelError: When the head is given anything but what the body says, or its answers become logits by anything
            but a factor.
    """
    marks = torch.linspace(-_LARGE, _LARGE, head.out_features, device=tokens.device)
    given: list[Tensor] = []

    def replaced(layer: nn.Module, inputs: tuple[Tensor, ...], said: Tensor) -> Tensor:
        given.append(inputs[0])
        return marks.expand_as(said)

    handle = head.register_forward_hook(replaced)
    try:
        logits = model(input_ids=tokens, use_cache=False).logits
    finally:
        handle.remove()
    family = model.config.model_type
    if not given or given[0].shape != hidden.shape or not _near(given[0], hidden, 1e-4):
        raise ModelError(
            f"the head of this {family} model is not given what its last layer says",
            expected="a causal model whose logits are its head of its last hidden states",
            remedy="a masked language model, such as BERT, is none",
        )
    factor = float(logits[0, 0, -1]) / _LARGE
    if not _near(logits, factor * marks.expand_as(logits), 4 * torch.finfo(logits.dtype).eps):
        caps = {
            name: value
            for name, value in model.config.to_dict().items()
            if "cap" in name and value and not name.startswith("attn")
        }
        said = (
            ", ".join(f"{name}={value}" for name, value in caps.items()) or "its code, not its configuration, says how"
        )
        raise ModelError(
            f"this {family} model bends its logits after the head ({said})",
            expected="logits that are the head of the hidden states, up to a factor",
            remedy="a family without a cap on its logits, such as llama, qwen3 or gemma3",
        )
    return factor


def packing_of(network: nn.Module, hidden: Callable[..., Tensor], vocabulary: int, windows: bool) -> Packing | None:
    """How a network keeps documents in one row apart; None where it cannot.

    Args:
        network: For its device, and to be copied where its weights are too plain to show anything.
        hidden: From a network, tokens, documents and a way of packing to hidden states.
        vocabulary: How many tokens there are.
        windows: Whether some layer sees a window only, which a mask from outside would widen.

    Raises:
        ModelError: When a position changes with a token after it.
    """
    ask = _Questions(network, hidden, vocabulary)
    if not ask.heard("positions"):
        # New networks may begin with branches of zeros: nothing leaks through them, and nothing would tell.
        stirred = copy.deepcopy(network)
        generator = torch.Generator().manual_seed(0)
        for parameter in stirred.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.1
            parameter.data += noise.to(parameter)
        ask = _Questions(stirred, hidden, vocabulary)
    if not ask.later("positions"):
        raise ModelError(
            "the model lets a position see the tokens after it",
            expected="a causal model",
            remedy="a masked or bidirectional model cannot say the next token; name a causal one",
        )
    ways: tuple[Packing, ...] = ("positions",) if windows else ("positions", "mask")
    return next((way for way in ways if ask.apart(way)), None)


class _Questions:
    """What changes at one place of a row when another is changed."""

    def __init__(self, network: nn.Module, hidden: Callable[..., Tensor], vocabulary: int) -> None:
        device = next(network.parameters()).device
        places = torch.arange(_TOKENS, device=device)
        self.tokens = ((7 * places + 3) % vocabulary)[None]
        self.documents = (1 + (places >= _FIRST).long())[None]
        self.vocabulary = vocabulary
        self.network, self.hidden = network, hidden

    def say(self, tokens: Tensor, documents: Tensor, way: Packing) -> Tensor:
        """What the network says of one row."""
        said: Tensor = self.hidden(self.network, tokens, documents, way)[0]
        return said

    def changed(self, place: int) -> Tensor:
        """The same row with another token at one place."""
        tokens = self.tokens.clone()
        tokens[0, place] = (tokens[0, place] + 1) % self.vocabulary
        return tokens

    def heard(self, way: Packing) -> bool:
        """Whether a document's last token is told otherwise when its first is another."""
        before = self.say(self.tokens, self.documents, way)
        return not _near(self.say(self.changed(_FIRST), self.documents, way)[-1], before[-1], _tolerance(before))

    def later(self, way: Packing) -> bool:
        """Whether all tokens but the last are told alike when the last is another."""
        before = self.say(self.tokens, self.documents, way)[:-1]
        return _near(self.say(self.changed(_TOKENS - 1), self.documents, way)[:-1], before, _tolerance(before))

    def apart(self, way: Packing) -> bool:
        """Whether the second document does not notice the first, and is told as if it stood alone."""
        try:
            before = self.say(self.tokens, self.documents, way)[_FIRST:]
            others = [self.say(self.changed(place), self.documents, way)[_FIRST:] for place in range(_FIRST)]
        except (ValueError, RuntimeError, TypeError, IndexError, AttributeError):
            return False  # its own mask code does not take one of four dimensions
        alone = self.say(self.tokens[:, _FIRST:], self.documents[:, _FIRST:], "positions")
        # Weights of positions that are masked are exact zeros; only experts, which share their products, round.
        leaks = any(not _near(other, before, _tolerance(before)) for other in others)
        return not leaks and _near(before, alone, 16 * max(_tolerance(before), 1e-5))


def _tolerance(said: Tensor) -> float:
    return max(1e-5, 4 * torch.finfo(said.dtype).eps) if said.dtype != torch.float64 else 1e-7


def _near(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether two tensors differ by no more than a share of the largest number in them."""
    one, other = one.double(), other.double()
    return bool((one - other).abs().max() <= tolerance * other.abs().max().clamp(min=1e-12))
