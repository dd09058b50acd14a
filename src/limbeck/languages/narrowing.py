"""Students cut out of a larger model in its width: heads, inner neurons and channels that matter, with their weights.

Muralidharan et al., 2024 (Minitron), https://arxiv.org/abs/2407.14679, section 2.2: what matters is read off
activations on some text: the norm of what a head puts out, the size of what an inner neuron does, and that of a channel
after the norms. Read: memory. Deviations: means over all tokens, of sizes without sign; query heads that share keys and
values are cut together. A norm divides by the root of a mean over channels: its weights, and what is added to the mean,
are changed as though the channels that are gone were zero, so that cutting such channels changes nothing. (Of a family
with norms of queries and keys the addend stays, since theirs is the same: 1e-6 of the mean as a rule.)
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from limbeck.errors import ModelError
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.places import quiet, transformers
from limbeck.model import answering

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "granite")
"""Families whose blocks are of one form: grouped attention, a gated inner layer, and norms by the mean square."""

_NORMS = ("input_layernorm", "post_attention_layernorm", "norm")


@dataclass(frozen=True)
class Importance:
    """How much each part did on some text, as means over the tokens.

    Args:
        heads: For each block, the norm of what each head puts out, in the order of the query heads.
        inner: For each block, the size of each inner neuron's answer.
        channels: The size of each channel after a norm, summed over all norms.
    """

    heads: Float[Tensor, "layers heads"]
    inner: Float[Tensor, "layers inner"]
    channels: Float[Tensor, " channels"]


@dataclass(frozen=True)
class _Kept:
    """Which rows and columns are kept: channels of the whole network, the rest by block."""

    channels: Tensor
    queries: list[Tensor]
    keys: list[Tensor]
    inner: list[Tensor]


def narrow(
    network: LanguageNetwork, importance: Importance, *, width: int = 0, heads: int = 0, ffn: int = 0
) -> LanguageNetwork:
    """A new network of the parts of another that matter most, with copies of their weights.

    Args:
        network: It stays as it is.
        importance: As `importance` measured it.
        width: Channels kept, of embedding and blocks; 0 for all.
        heads: Query heads kept in each block, with the keys and values that go with them; 0 for all.
        ffn: Inner neurons kept in each block; 0 for all.

    Raises:
        ModelError: When there are not so many, heads would be parted from those that share their keys, or the family
            is of another form.
    """
    _refuse_family(network)
    config = network.config
    group = config.num_attention_heads // config.num_key_value_heads
    width = _asked("width", width, config.hidden_size)
    heads = _asked("heads", heads, config.num_attention_heads)
    ffn = _asked("ffn", ffn, config.intermediate_size)
    if heads % group:
        raise ModelError(
            f"shrink was asked for heads={heads}, and {group} query heads share their keys and values",
            expected=f"a multiple of {group}",
        )
    if width % heads:
        raise ModelError(
            f"shrink was asked for width={width} with {heads} heads",
            expected="a width that is a multiple of the heads, as the family's configuration asks for",
        )
    kept = _chosen(importance, config, width, heads // group, ffn)
    said = network.description()["config"]
    family = said.pop("model_type")
    said |= {
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // group,
        "head_dim": _head(config),
    }
    if not any("q_norm" in name for name, _ in network.body.named_modules()):
        said["rms_norm_eps"] = config.rms_norm_eps * config.hidden_size / width
    with quiet():
        made = transformers().AutoModelForCausalLM.from_config(
            transformers().AutoConfig.for_model(family, **said),
            attn_implementation=config._attn_implementation,
            dtype=network.head.weight.dtype,
        )
    scale = math.sqrt(config.hidden_size / width)
    body = made.get_submodule(made.base_model_prefix)
    tensors = network.body.state_dict()
    body.load_state_dict({name: _cut(name, tensor, kept, scale) for name, tensor in tensors.items()})
    made.get_output_embeddings().load_state_dict(
        {name: tensor[:, kept.channels] if name == "weight" else tensor for name, tensor in _head_of(network).items()}
    )
    made.tie_weights()
    return LanguageNetwork(made.train(network.training).to(network.head.weight.device))


@torch.no_grad()
def importance(network: LanguageNetwork, rows: Int[Tensor, "rows 2 length"]) -> Importance:
    """How much heads, inner neurons and channels do on some rows.

    Raises:
        ModelError: When the family is of another form.
    """
    _refuse_family(network)
    body: Any = network.body
    counted = rows[:, 1] > 0
    heads, inner = ([torch.empty(0)] * len(body.layers) for _ in range(2))
    channels: list[Tensor] = []
    size = _head(network.config)

    def of_heads(place: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            said = inputs[0][counted].double()
            heads[place] = said.unflatten(-1, (-1, size)).norm(dim=-1).mean(dim=0)

        return hook

    def of_inner(place: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            inner[place] = inputs[0][counted].double().abs().mean(dim=0)

        return hook

    def of_channels(module: nn.Module, inputs: tuple[Tensor, ...], said: Tensor) -> None:
        channels.append(said[counted].double().abs().mean(dim=0))

    with ExitStack() as stack:
        stack.enter_context(answering(network))
        for place, block in enumerate(body.layers):
            stack.callback(block.self_attn.o_proj.register_forward_pre_hook(of_heads(place)).remove)
            stack.callback(block.mlp.down_proj.register_forward_pre_hook(of_inner(place)).remove)
        for name, module in body.named_modules():
            if name.rpartition(".")[2] in _NORMS:
                stack.callback(module.register_forward_hook(of_channels).remove)
        network.hidden(rows)
    return Importance(torch.stack(heads), torch.stack(inner), torch.stack(channels).sum(dim=0))


def _refuse_family(network: LanguageNetwork) -> None:
    if network.family not in FAMILIES:
        raise ModelError(
            f"the width of a {network.family} model cannot be cut",
            expected=f"a family of the form of llama: {', '.join(FAMILIES)}",
            remedy="shrink(..., layers=...) cuts its depth",
        )


def _asked(name: str, value: int, most: int) -> int:
    if not 0 <= value <= most:
        raise ModelError(f"shrink was asked for {name}={value}", expected=f"1 to {most}, as many as there are")
    return value or most


def _head(config: Any) -> int:
    size = getattr(config, "head_dim", None)
    return int(size or config.hidden_size // config.num_attention_heads)


def _chosen(found: Importance, config: Any, width: int, groups: int, ffn: int) -> _Kept:
    """The largest of each, in the order in which they stand."""
    size, group = _head(config), config.num_attention_heads // config.num_key_value_heads
    queries, keys, inner = [], [], []
    for heads, neurons in zip(found.heads, found.inner, strict=True):
        best = _largest(heads.view(-1, group).sum(dim=1), groups)
        queries.append(_expanded(best, group * size))
        keys.append(_expanded(best, size))
        inner.append(_largest(neurons, ffn))
    return _Kept(_largest(found.channels, width), queries, keys, inner)


def _largest(values: Tensor, count: int) -> Tensor:
    return values.argsort(descending=True, stable=True)[:count].sort().values


def _expanded(places: Sequence[int] | Tensor, size: int) -> Tensor:
    """The numbers of all parts of some of the blocks of that size."""
    return (torch.as_tensor(places)[:, None] * size + torch.arange(size)).flatten()


def _cut(name: str, tensor: Tensor, kept: _Kept, scale: float) -> Tensor:
    """The rows and columns that are kept of a tensor of the body.

    Raises:
        ModelError: When no block of llama's has such a tensor.
    """
    parts = name.split(".")
    owner, kind = parts[-2] if len(parts) > 1 else "", parts[-1]
    block = int(parts[1]) if parts[0] == "layers" else 0
    if owner in _NORMS:
        return tensor[kept.channels] * scale
    if owner == "embed_tokens":
        return tensor[:, kept.channels]
    if owner in ("q_norm", "k_norm"):
        return tensor
    rows: Mapping[str, Tensor] = {
        "q_proj": kept.queries[block],
        "k_proj": kept.keys[block],
        "v_proj": kept.keys[block],
        "o_proj": kept.channels,
        "gate_proj": kept.inner[block],
        "up_proj": kept.inner[block],
        "down_proj": kept.channels,
    }
    columns = {"o_proj": kept.queries[block], "down_proj": kept.inner[block]}
    if owner not in rows:
        raise ModelError(f"{name} is no part of a block of llama's form", expected=f"one of {', '.join(rows)}")
    taken = tensor[rows[owner]]
    return taken if kind == "bias" else taken[:, columns.get(owner, kept.channels)]


def _head_of(network: LanguageNetwork) -> dict[str, Tensor]:
    found: dict[str, Tensor] = network.head.state_dict()
    return found
