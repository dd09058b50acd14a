"""Listening to named layers of a network that nobody has to modify."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jaxtyping import Shaped
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from limbeck.errors import ModelError, did_you_mean
from limbeck.model import Model
from limbeck.signals import Signals

_PATH = re.compile(r"(?P<module>[^\[\]]+)(?P<keys>(\[[^\[\]]+\])*)")
_KEY = re.compile(r"\[([^\[\]]+)\]")
_UNFUSE = (
    "a fused attention never makes its map. Name the layers that say queries, keys and values, as minilm, minilmv2 and "
    "tinybert take them, such as ('blocks.0.attn.qkv',); or unfuse it: TIMM_FUSED_ATTN=0 in the environment for timm, "
    "attn_implementation='eager' for transformers, need_weights=True in the call of a torch.nn.MultiheadAttention"
)


@contextmanager
def taps(network: nn.Module, layers: Iterable[str]) -> Iterator[Mapping[str, Tensor]]:
    """Catches the outputs of some layers while the block runs; nothing stays behind on the network afterwards.

        with taps(network, ["encoder.2", "attention[0]"]) as caught:
            network(inputs)
        caught["encoder.2"]

    A layer is named as in `network.named_modules()`. Where it answers with a tuple, a list or a mapping, the name says
    which part: `attention[0]`, `encoder[last_hidden_state]`. A layer that runs several times keeps its last output.

    Args:
        network: Any module.
        layers: Names of its layers.

    Yields:
        A mapping from each name to what its layer said, filled as the network runs.

    Raises:
        ModelError: When a layer does not exist, never ran, said no tensor, or said one that a later layer overwrote.
    """
    caught: dict[str, Tensor] = {}
    versions: dict[str, int] = {}
    modules = dict(network.named_modules(remove_duplicate=False))
    handles: list[RemovableHandle] = []
    wanted = tuple(layers)
    try:
        for layer in wanted:
            module, keys = _located(layer, modules)
            handles.append(module.register_forward_hook(_catcher(layer, keys, caught, versions)))
        yield caught
    finally:
        for handle in handles:
            handle.remove()
    for layer in wanted:
        _check_caught(layer, caught, versions, modules)


def listen(model: Model, inputs: Shaped[Tensor, "rows ..."], layers: Iterable[str] = ()) -> Signals:
    """What a model says about raw inputs, in the data's class order, and the features of some layers.

    That is its logits; of a network that ends in a head and can stop before it, the hidden states and the head.

    Args:
        model: The model; whether it trains, and whether gradients are kept, is the caller's to decide.
        inputs: Raw inputs, as the data holds them.
        layers: Names of layers of the model's network, as `taps` understands them.

    Raises:
        ModelError: As `taps`.
    """
    with taps(model.network, layers) as caught:
        said = model.before_head(inputs) if model.headed else (model(inputs),)
    return Signals.dense(*said, caught) if len(said) == 1 else Signals.hidden(*said, caught)


def _located(layer: str, modules: Mapping[str, nn.Module]) -> tuple[nn.Module, tuple[str, ...]]:
    """The module a layer's name means, and the keys that pick one tensor from its output."""
    match = _PATH.fullmatch(layer)
    names = [name for name in modules if name]
    if match is None:
        raise ModelError(
            f"the layer name {layer!r} cannot be read", expected="such as 'encoder.2', 'attention[0]' or 'encoder[key]'"
        )
    if match["module"] not in names:
        _refuse_in_attention(match["module"], modules)
        raise ModelError(
            f"the network has no layer {match['module']!r}",
            expected="a name from network.named_modules()",
            remedy=did_you_mean(match["module"], names),
        )
    return modules[match["module"]], tuple(_KEY.findall(match["keys"]))


def _catcher(layer: str, keys: tuple[str, ...], caught: dict[str, Tensor], versions: dict[str, int]) -> Any:
    def catch(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(module, nn.MultiheadAttention) and not keys:
            raise _unsaid(layer, f"the layer {layer!r} said {_described(output, layer)} and")
        value = _picked(layer, keys, output)
        caught[layer] = value
        # Tensors of inference mode keep no version.
        versions[layer] = -1 if value.is_inference() else value._version

    return catch


def _picked(layer: str, keys: tuple[str, ...], output: object) -> Tensor:
    """Follows the keys into a layer's output, down to a tensor."""
    here = layer.partition("[")[0]
    for key in keys:
        if isinstance(output, Mapping) and key in output:
            output = output[key]
        elif isinstance(output, list | tuple) and key.isdecimal() and int(key) < len(output):
            output = output[int(key)]
        else:
            raise ModelError(f"the layer {here!r} said {_described(output, here)}, which has no part [{key}]")
        here = f"{here}[{key}]"
    if not isinstance(output, Tensor):
        raise ModelError(
            f"the layer {here!r} said {_described(output, here)}",
            expected="one tensor",
            remedy=_UNFUSE if output is None else f"name the part to listen to: {_parts(output, here)}",
        )
    return output


def _described(output: object, here: str) -> str:
    if isinstance(output, Mapping | list | tuple):
        return f"a {type(output).__name__} ({_parts(output, here)})"
    return f"a {type(output).__name__}"


def _parts(output: object, here: str) -> str:
    if isinstance(output, Mapping):
        return ", ".join(f"{here}[{key}]" for key in output) or "it is empty"
    if isinstance(output, list | tuple):
        return ", ".join(f"{here}[{place}]" for place in range(len(output))) or "it is empty"
    return "another layer"


def _check_caught(
    layer: str, caught: Mapping[str, Tensor], versions: Mapping[str, int], modules: Mapping[str, nn.Module]
) -> None:
    if layer not in caught:
        _refuse_in_attention(layer, modules)
        inside = any("attention" in type(module).__name__.lower() for module in _around(layer, modules))
        raise ModelError(
            f"the layer {layer!r} never ran",
            expected="a layer that the network's forward calls",
            remedy=_UNFUSE if inside else "name another",
        )
    if versions[layer] >= 0 and caught[layer]._version != versions[layer]:
        raise ModelError(
            f"what the layer {layer!r} said was overwritten in place by a later layer",
            expected="an output that stays as it was said",
            remedy="name the later layer (often a ReLU with inplace=True), or build it with inplace=False",
        )


def _around(layer: str, modules: Mapping[str, nn.Module]) -> Iterator[nn.Module]:
    """The modules that a layer is a part of, the innermost first."""
    parent = layer.partition("[")[0].rpartition(".")[0]
    while parent:
        if parent in modules:
            yield modules[parent]
        parent = parent.rpartition(".")[0]


def _refuse_in_attention(layer: str, modules: Mapping[str, nn.Module]) -> None:
    """Refuses names inside of torch's attention, which calls none of its parts."""
    parent = layer.rpartition(".")[0]
    while parent:
        if isinstance(modules.get(parent), nn.MultiheadAttention):
            raise _unsaid(parent, f"no part of the layer {parent!r} runs by itself, {layer!r} neither: it")
        parent = parent.rpartition(".")[0]


def _unsaid(layer: str, what: str) -> ModelError:
    return ModelError(
        f"{what} keeps its queries, keys and values in one parameter (it is a torch.nn.MultiheadAttention), so that no "
        "layer says them",
        expected=f"{layer}[0] for what it puts out, or a layer that says queries, keys and values",
        remedy="replace it by an attention with layers of its own for them, such as nn.Linear(size, 3 * size) before "
        "scaled_dot_product_attention, and copy in_proj_weight and in_proj_bias into it",
    )
