"""What attention sees: the tokens that count, split into heads, and the relations between them.

Queries, keys and values are what layers say, by name. A tuple of several names is one layer each, such as
`("attention.self.query", "attention.self.key", "attention.self.value")` in Hugging Face's BERT; a tuple of one name is
a fused layer that says all three side by side, (rows, tokens, 3 · width) with queries first and values last, such as
`("blocks.11.attn.qkv",)` in timm's ViT and `("layer3.attention.projections",)` in Limbeck's transformer. What a network
adds later, such as rotary or relative positions, is not in them.

Where the mask counts positions, a token stands for each of them after the leading ones (the prefix), and positions that
it does not count are neither attended to nor compared. Where it counts rows, all tokens after the prefix are.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Protocol, runtime_checkable

import torch
from annotated_types import MinLen
from jaxtyping import Bool, Float
from torch import Tensor

from limbeck.alignment import check_sequence
from limbeck.errors import ObjectiveError
from limbeck.objective import Needs
from limbeck.precision import wide
from limbeck.signals import Batch, Signals

Name = Annotated[str, MinLen(1)]
Projections = Annotated[tuple[Name, ...], MinLen(1)]
"""Layers of one attention: one for each of its queries, keys (and values), or one that says all three side by side."""


@runtime_checkable
class OfTokens(Protocol):
    """A method that compares tokens of two transformers."""

    student_prefix: int
    teacher_prefix: int

    def needs(self) -> Needs:
        """Its layers."""
        ...


def check_tokens(method: OfTokens, student: Signals, teacher: Signals, batch: Batch) -> None:
    """Checks that all layers of a method say the same tokens.

    Raises:
        ObjectiveError: When one says no sequence, or another number of tokens than the others or the mask.
    """
    needs, lengths = method.needs(), {}
    for side, said, layers, prefix in (
        ("student", student, needs.student_layers, method.student_prefix),
        ("teacher", teacher, needs.teacher_layers, method.teacher_prefix),
    ):
        for layer in sorted(layers):
            features = said.features[layer]
            if features.ndim != 3:
                raise ObjectiveError(
                    f"{method!r} compares tokens, and the {side}'s {layer} says {tuple(features.shape)}",
                    expected="(rows, tokens, width)",
                    remedy="name a layer of a transformer; its named_modules() lists them",
                )
            check_sequence(features, layer, "tokens", prefix)
            lengths[f"{side}'s {layer}"] = features.shape[1] - prefix
    wanted = batch.mask.shape[1] if batch.mask.ndim > 1 else next(iter(lengths.values()))
    if odd := {name: length for name, length in lengths.items() if length != wanted}:
        name, length = next(iter(odd.items()))
        raise ObjectiveError(
            f"{method!r} compares token with token: after the prefix the {name} says {length} tokens",
            expected=f"{wanted}, as {'the mask has positions' if batch.mask.ndim > 1 else next(iter(lengths))}",
            remedy="say student_prefix or teacher_prefix where a model has tokens of its own, such as a class token",
        )


def tokens(signals: Signals, layer: str, prefix: int, batch: Batch) -> Float[Tensor, "rows tokens width"]:
    """What a layer says after the prefix, in at least float32; zeros where the mask does not count.

    Args:
        signals: Of one model.
        layer: Its layer.
        prefix: Leading tokens to leave out.
        batch: The rows.
    """
    said = wide(signals.features[layer])[:, prefix:]
    return torch.where(_places(batch)[..., None], said, 0.0)


def projected(
    signals: Signals, layers: Sequence[str], prefix: int, batch: Batch
) -> tuple[Float[Tensor, "rows tokens _"], ...]:
    """Queries, keys and, where they are said, values.

    Args:
        signals: Of one model.
        layers: One for each, or a fused one for all three.
        prefix: Leading tokens to leave out.
        batch: The rows.

    Raises:
        ObjectiveError: When a fused layer's width is no multiple of three.
    """
    said = [tokens(signals, layer, prefix, batch) for layer in layers]
    if len(said) > 1:
        return tuple(said)
    width = said[0].shape[-1]
    if width % 3:
        raise ObjectiveError(
            f"the layer {layers[0]} says {width} numbers a token, which are no queries, keys and values side by side",
            expected="a multiple of 3",
            remedy="name the layers of queries, keys and values, one each: (queries, keys, values)",
        )
    return said[0].split(width // 3, dim=-1)


def relations(
    first: Float[Tensor, "rows tokens width"], second: Float[Tensor, "rows tokens width2"], heads: int
) -> Float[Tensor, "rows heads tokens tokens"]:
    """Scaled dot products of each token of the first with each of the second, in each head.

    Raises:
        ObjectiveError: When the heads cannot share the width, or the widths differ.
    """
    width = first.shape[-1]
    if width % heads or second.shape[-1] != width:
        raise ObjectiveError(
            f"{heads} heads cannot relate tokens of {width} numbers to tokens of {second.shape[-1]}",
            expected="two equal widths that are a multiple of the heads",
            remedy="say the number of heads; where keys have fewer heads than queries, compare each with itself "
            "(minilmv2)",
        )
    left, right = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (first, second))
    return left @ right.mT / math.sqrt(width // heads)


def visible(batch: Batch, count: int, causal: bool) -> Bool[Tensor, "_ 1 tokens tokens"]:
    """Which tokens a token attends to: those that count, of these the earlier ones if causal; itself always.

    Args:
        batch: The rows.
        count: Tokens.
        causal: Whether a token looks at itself and earlier ones only.
    """
    device = batch.mask.device
    seen = torch.ones(1, count, count, dtype=torch.bool, device=device)
    if batch.mask.ndim > 1:
        seen = seen & batch.mask[:, None, :]
    if causal:
        seen = seen.tril()
    return (seen | torch.eye(count, dtype=torch.bool, device=device))[:, None]


def attended(
    scores: Float[Tensor, "rows heads tokens tokens"], seen: Bool[Tensor, "_ 1 tokens tokens"]
) -> Float[Tensor, "rows heads tokens tokens"]:
    """Log-probabilities with which each token attends to each that it sees."""
    return torch.log_softmax(scores.masked_fill(~seen, -torch.inf), dim=-1)


def by_place(values: Float[Tensor, "rows tokens"], batch: Batch) -> Float[Tensor, "*places"]:
    """One value for each place of the mask: the tokens' own, or their mean where it counts rows."""
    return values if batch.mask.ndim > 1 else values.mean(dim=1)


def _places(batch: Batch) -> Bool[Tensor, "rows _"]:
    return batch.mask if batch.mask.ndim > 1 else batch.mask[:, None]
