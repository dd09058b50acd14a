"""Small transformer encoders for series (Vaswani et al., 2017), whose tokens are patches (Nie et al., 2023)."""

import math
from collections import OrderedDict

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from limbeck.errors import ModelError


class Stem(nn.Module):
    """Cuts the series into patches, maps each to a token, and adds where it stands."""

    positions: Float[Tensor, "tokens size"]

    def __init__(self, channels: int, steps: int, size: int, patch: int, dropout: float) -> None:
        super().__init__()
        self.patch = patch
        self.embedding = nn.Conv1d(channels, size, patch, stride=patch)
        self.dropout = nn.Dropout(dropout)
        # Not among the weights: they follow from the arguments.
        self.register_buffer("positions", _sinusoids(math.ceil(steps / patch), size), persistent=False)

    def forward(self, series: Float[Tensor, "rows channels steps"]) -> Float[Tensor, "rows tokens size"]:
        """One token a patch; a last patch that is not full is filled with zeros."""
        tokens = self.embedding(pad(series, (0, -series.shape[-1] % self.patch))).transpose(1, 2)
        if tokens.shape[1] > self.positions.shape[0]:
            raise ModelError(
                f"the transformer was shown a series of {series.shape[-1]} steps",
                expected=f"at most {self.positions.shape[0] * self.patch}, for which it was built",
                remedy="build it for the longest series",
            )
        return self.dropout(tokens + self.positions[: tokens.shape[1]])


class Attention(nn.Module):
    """Self-attention with several heads, over all tokens or, if causal, over a token and those before it."""

    def __init__(self, size: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        # A bias of the keys moves all scores of a query alike, and so none; the bias of `out` does what the values'
        # would do.
        self.projections = nn.Linear(size, 3 * size, bias=False)
        self.out = nn.Linear(size, size)

    def forward(self, tokens: Float[Tensor, "rows tokens size"]) -> Float[Tensor, "rows tokens size"]:
        """What each token took from those it may look at."""
        rows, length, size = tokens.shape
        parts = self.projections(tokens).view(rows, length, 3, self.heads, size // self.heads)
        query, key, value = (part.transpose(1, 2) for part in parts.unbind(2))
        mixed = scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, size))


class EncoderLayer(nn.Module):
    """Attention, then two linear maps with a ReLU between; each is normalised before and added to its input."""

    def __init__(self, size: int, heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(size)
        self.attention = Attention(size, heads, causal)
        self.expansion_norm = nn.LayerNorm(size)
        self.expansion = nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU(), nn.Linear(2 * size, size))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "rows tokens size"]) -> Float[Tensor, "rows tokens size"]:
        """The tokens, each with what it learnt from others."""
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens)))
        return tokens + self.dropout(self.expansion(self.expansion_norm(tokens)))


class RowHead(nn.Module):
    """One answer for the row: from the mean of its tokens, or from the last one if only that has seen them all."""

    def __init__(self, size: int, outputs: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.norm = nn.LayerNorm(size)
        self.answer = nn.Linear(size, outputs)

    def forward(self, tokens: Float[Tensor, "rows tokens size"]) -> Float[Tensor, "rows outputs"]:
        """The row's answer."""
        tokens = self.norm(tokens)
        return self.answer(tokens[:, -1] if self.causal else tokens.mean(dim=1))


class StepHead(nn.Module):
    """One answer for each step: every token answers for as many steps as its patch has, each by a map of its own.

    If not causal, a token answers for the steps of its patch. If causal, it answers from the last step of its patch on,
    when all of the patch is known, until the next patch is full; for the steps before the first patch is full there is
    one learnt answer each.
    """

    def __init__(self, size: int, outputs: int, patch: int, causal: bool) -> None:
        super().__init__()
        self.outputs = outputs
        self.norm = nn.LayerNorm(size)
        self.answer = nn.Linear(size, patch * outputs)
        self.first = nn.Parameter(torch.zeros(patch - 1, outputs)) if causal and patch > 1 else None

    def forward(self, tokens: Float[Tensor, "rows tokens size"]) -> Float[Tensor, "rows padded outputs"]:
        """Answers for a whole number of patches, and `patch` - 1 more if causal; the first ones are the steps'."""
        answers = self.answer(self.norm(tokens)).reshape(tokens.shape[0], -1, self.outputs)
        if self.first is None:
            return answers
        return torch.cat([self.first.expand(tokens.shape[0], -1, -1).to(answers.dtype), answers], dim=1)


class Transformer(nn.Sequential):
    """Stem, layers and head in this order; answers for steps that only filled a patch are cut off."""

    def __init__(self, layers: OrderedDict[str, nn.Module], per_step: bool) -> None:
        super().__init__(layers)
        self.per_step = per_step

    def forward(self, series: Float[Tensor, "rows channels steps"]) -> Float[Tensor, "rows *steps outputs"]:
        """One answer a row, or one a step."""
        said = series
        for layer in self:
            said = layer(said)
        return said[:, : series.shape[-1]] if self.per_step else said


def build(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    size: int = 64,
    depth: int = 3,
    heads: int = 4,
    patch: int = 8,
    dropout: float = 0.0,
    causal: bool = False,
    per_step: bool = False,
) -> nn.Module:
    """Builds a pre-norm encoder of `depth` layers over patches of `patch` steps that do not overlap.

    The submodules are `stem`, `layer1` to `layer<depth>` and `head`; all but the head say one token a patch,
    (rows, tokens, size) with tokens = steps / `patch` rounded up, and no token besides: a row's answer comes from the
    mean of the tokens, not from a class token, so that token i is always steps i * `patch` and after, which is what a
    hint from or to another network relies on, and which costs a token less. With `causal` it comes from the last
    token, the one that has seen all others. Positions are sinusoids: small data need not learn them, and they are no
    weights to ship.

    With `per_step`, each token answers for `patch` steps through maps of its own. With `causal` as well, an answer at a
    step never depends on a later step: it knows the patches that are full by then, so it lags behind the series by up
    to `patch` - 1 steps, and not at all with `patch=1`.

    With C channels, s = `size`, p = `patch` and d = `depth` it has Cps + s + 8d(s² + s) + 2s + (s + 1) outputs
    parameters for a row's answer: 101,194 for (1, 128), 10 outputs and the defaults. With `per_step` the last term is
    p(s + 1) outputs, and with `causal` too there are (p - 1) outputs more.

    Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3, and Nie, Nguyen, Sinthong, Kalagnanam, 2023
    (PatchTST), https://arxiv.org/abs/2211.14730, section 3.1, whose layers expand twofold. Read: memory. Deviations:
    - the norm stands before each part (Xiong et al., 2020, https://arxiv.org/abs/2002.04745), which trains without
      warm-up;
    - a token holds all channels of its steps, where PatchTST runs each channel alone;
    - queries, keys and values have no biases; attention weights are not dropped.

    Args:
        inputs: Shape of one row: channels, steps; shorter rows may follow, longer ones may not.
        outputs: How many logits, or values.
        size: Width of a token, a multiple of `heads`; the one dial.
        depth: Encoder layers.
        heads: Attention heads of each layer.
        patch: Steps in a token; a row whose length is no multiple is filled up with zeros at its end.
        dropout: Chance that a number is dropped in training, after the stem and each part of a layer.
        causal: Whether a token looks at earlier ones only.
        per_step: Whether every step is answered, (rows, steps, outputs), or the row, (rows, outputs).

    Raises:
        ModelError: If a row is not a series, or a number is out of range.
    """
    _check_row(inputs, patch if causal and per_step else 1)
    _check_numbers({"outputs": outputs, "size": size, "depth": depth, "heads": heads, "patch": patch}, dropout)
    channels, steps = inputs
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=Stem(channels, steps, size, patch, dropout))
    for number in range(1, depth + 1):
        layers[f"layer{number}"] = EncoderLayer(size, heads, dropout, causal)
    layers["head"] = StepHead(size, outputs, patch, causal) if per_step else RowHead(size, outputs, causal)
    return Transformer(layers, per_step)


def _sinusoids(tokens: int, size: int) -> Float[Tensor, "tokens size"]:
    """Vaswani et al., section 3.5: sines and cosines of wavelengths from 2π to 10,000 · 2π, in alternation."""
    places = torch.arange(tokens)[:, None] * 10_000.0 ** (-torch.arange(0, size, 2) / size)
    return torch.stack([places.sin(), places.cos()], dim=-1).flatten(1)[:, :size]


def _check_row(inputs: tuple[int, ...], shortest: int) -> None:
    if len(inputs) != 2 or min(inputs) < 1:
        raise ModelError(
            f"transformer was asked for rows of shape {tuple(inputs)}",
            expected="a series: (channels, steps), such as (1, 128)",
            remedy="use the student mlp for flat rows and cnn for images; a single series has 1 channel",
        )
    if inputs[1] < shortest:
        raise ModelError(
            f"transformer was asked for causal answers to {inputs[1]} steps with patch={shortest}",
            expected="at least one full patch, since an answer knows only the patches that are full",
            remedy="lower patch; with patch=1 no answer lags",
        )


def _check_numbers(counts: dict[str, int], dropout: float) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ModelError(f"transformer was asked for {name}={count}", expected="1 or more", remedy=f"raise {name}")
    if counts["size"] % counts["heads"]:
        raise ModelError(
            f"transformer was asked for size={counts['size']} with heads={counts['heads']}",
            expected="a size that the heads can share evenly",
            remedy="raise size to a multiple of heads, or use heads=1",
        )
    if not 0.0 <= dropout < 1.0:
        raise ModelError(
            f"transformer was asked for dropout={dropout}",
            expected="a chance from 0 up to, not including, 1",
            remedy="use dropout=0 for none",
        )
