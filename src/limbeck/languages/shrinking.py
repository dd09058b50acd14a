"""Students cut out of a larger model: some of its blocks, with their weights."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from limbeck.errors import ModelError
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.places import quiet, transformers
from limbeck.model import answering

# What a configuration calls its number of blocks, and what a block knows of its place, which changes by design.
_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_PLACES = {"layer_idx", "layer_id", "layer_number", "training"}


def evenly(depth: int, layers: int) -> tuple[int, ...]:
    """Numbers of `layers` of `depth` blocks, as far apart as can be: the first, the last and those between."""
    if layers == 1:
        return (0,)
    return tuple((2 * number * (depth - 1) + layers - 1) // (2 * (layers - 1)) for number in range(layers))


def shrink(network: LanguageNetwork, layers: int | None = None, keep: Sequence[int] = ()) -> LanguageNetwork:
    """A new network of some of the blocks of another, with copies of their weights, of its embedding and of its head.

    Args:
        network: It stays as it is.
        layers: How many blocks; evenly from the first to the last.
        keep: Or which, by their numbers from 0, in order.

    Raises:
        ModelError: When there are no such blocks, or the family builds a block otherwise at another depth.
    """
    name, blocks = _blocks(network)
    kept = tuple(keep) if keep else evenly(len(blocks), _checked(layers, len(blocks)))
    if keep and (list(kept) != sorted(set(kept)) or min(kept) < 0 or max(kept) >= len(blocks)):
        raise ModelError(f"shrink was asked for keep={kept}", expected=f"numbers from 0 to {len(blocks) - 1}, in order")
    config = _config(network, kept, len(blocks))
    with quiet():
        made = transformers().AutoModelForCausalLM.from_config(
            config, attn_implementation=network.config._attn_implementation, dtype=network.head.weight.dtype
        )
    inner = dict(made.get_submodule(made.base_model_prefix).named_modules())[name]
    for place, number in enumerate(kept):
        _refuse_other_block(blocks[number], inner[place], number, place, network.family)
    body = made.get_submodule(made.base_model_prefix)
    body.load_state_dict(_moved(network.body.state_dict(), name, kept))
    made.get_output_embeddings().load_state_dict(network.head.state_dict())
    made.tie_weights()
    return LanguageNetwork(made.train(network.training).to(network.head.weight.device))


@torch.no_grad()
def influence(network: LanguageNetwork, rows: Int[Tensor, "rows 2 length"]) -> Float[Tensor, " layers"]:
    """How much each block turns what it is given: 1 - cosine of its input and output, on average over the tokens.

    Men et al., 2024, https://arxiv.org/abs/2403.03853, section 3.1 ("block influence"). Read: memory. Blocks of the
    least influence are those that are missed least.
    """
    turned: dict[int, Tensor] = {}

    def heard(place: int) -> Any:
        def hook(block: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            given = inputs[0] if inputs else keywords["hidden_states"]
            said = output[0] if isinstance(output, tuple) else output
            turned[place] = 1 - nn.functional.cosine_similarity(given.double(), said.double(), dim=-1)[rows[:, 1] > 0]

        return hook

    blocks = _blocks(network)[1]
    with ExitStack() as stack:
        stack.enter_context(answering(network))
        for place, block in enumerate(blocks):
            handle = block.register_forward_hook(heard(place), with_kwargs=True)
            stack.callback(handle.remove)
        network.hidden(rows)
    return torch.stack([turned[place].mean() for place in range(len(blocks))])


def most_influential(network: LanguageNetwork, rows: Int[Tensor, "rows 2 length"], layers: int) -> tuple[int, ...]:
    """The blocks of the largest influence, in the order in which they stand."""
    said = influence(network, rows)
    chosen = said.argsort(descending=True, stable=True)[: _checked(layers, len(said))]
    return tuple(sorted(chosen.tolist()))


def _checked(layers: int | None, depth: int) -> int:
    if layers is None or not 1 <= layers <= depth:
        raise ModelError(f"shrink was asked for layers={layers}", expected=f"1 to {depth}, as many as there are")
    return layers


def _blocks(network: LanguageNetwork) -> tuple[str, nn.ModuleList]:
    """The blocks of a network, and their name in its body."""
    config = network.config.get_text_config()
    depth = next((getattr(config, each) for each in _DEPTHS if isinstance(getattr(config, each, None), int)), None)
    for name, module in network.body.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return name, module
    raise ModelError(f"no list of {depth} blocks is found in this {network.family} model", expected="one")


def _config(network: LanguageNetwork, kept: Sequence[int], depth: int) -> Any:
    """The configuration of the kept blocks: their number, and of every list with an entry for each block theirs."""
    said = network.description()["config"]
    family = said.pop("model_type")
    for key, value in list(said.items()):
        if key in _DEPTHS and value == depth:
            said[key] = len(kept)
        elif isinstance(value, list) and len(value) == depth:
            said[key] = [value[number] for number in kept]
    return transformers().AutoConfig.for_model(family, **said)


def _moved(tensors: dict[str, Tensor], name: str, kept: Sequence[int]) -> dict[str, Tensor]:
    """A body's tensors with the kept blocks in their new places."""
    place, moved = {number: new for new, number in enumerate(kept)}, {}
    for key, tensor in tensors.items():
        if key.startswith(f"{name}."):
            number, _, rest = key.removeprefix(f"{name}.").partition(".")
            if int(number) in place:
                moved[f"{name}.{place[int(number)]}.{rest}"] = tensor
        else:
            moved[key] = tensor
    return moved


def _refuse_other_block(old: nn.Module, new: nn.Module, number: int, place: int, family: str) -> None:
    """A family may build a block by its place (every fourth without positions): then it would not be the same block."""
    for one, other in zip(_facts(old), _facts(new), strict=False):
        if one != other:
            raise ModelError(
                f"block {number} of this {family} model would be another one as block {place}: {one[1]} of "
                f"{one[0] or 'it'} is {one[2]}, and {other[2]} there",
                expected="blocks that are the same at every depth",
                remedy="keep=(...) with blocks whose kinds come in the same order",
            )


def _facts(block: nn.Module) -> Iterator[tuple[str, str, str]]:
    """What a block's parts are, apart from their numbers and their place."""
    for name, module in block.named_modules():
        yield name, "kind", type(module).__name__
        for key, value in sorted(vars(module).items()):
            if key not in _PLACES and not key.startswith("_") and isinstance(value, bool | int | float | str | None):
                yield name, key, repr(value)
