"""Low-rank adapters, through peft: a few weights beside those of a model learn, and all others stay.

Hu et al., 2021 (LoRA), https://arxiv.org/abs/2106.09685, section 4.1: W x + (alpha / rank) B A x, with B zero at first.
Read: memory. The mathematics and the files are peft's.
"""

import copy
import importlib
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from limbeck.errors import ModelError, did_you_mean
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.places import quiet
from limbeck.storage import guarded


@dataclass(frozen=True)
class Adapter:
    """What is learnt beside a model's weights.

    Args:
        rank: Of each product of two matrices, 1 or more.
        alpha: The product is multiplied by alpha / rank.
        targets: Names of the linear layers beside which it stands, such as `q_proj`; none: all of the body.
        dropout: Share of the inputs of the products that is left out in training, from 0 up to, not including, 1.
    """

    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ()
    dropout: float = 0.0


def adapted(network: LanguageNetwork, adapter: Adapter) -> LanguageNetwork:
    """The same network, in place, with adapters that say nothing yet, of which alone the weights learn.

    Raises:
        ModelError: When peft is not installed, numbers are out of range, a layer does not exist, or it is the head or
            the embedding: the loss is taken through the head's own weights, and would not see an adapter there.
    """
    library = _peft()
    _refuse(network, adapter)
    config = library.LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=list(adapter.targets) or "all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
    with quiet(), warnings.catch_warnings():
        # peft of its own accord asks transformers for a name that is going to be another.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        # GPT-2's layers keep their weights transposed, and peft finds it out by itself.
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        tuned = library.get_peft_model(network.model, config, autocast_adapter_dtype=False)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    network.tuned(tuned, asdict(adapter))
    return network


def merged(network: LanguageNetwork) -> LanguageNetwork:
    """A plain network that answers as an adapted one does: the products are added to copies of the weights."""
    if network.tuner is None:
        return copy.deepcopy(network)
    return LanguageNetwork(copy.deepcopy(network.tuner).merge_and_unload())


def save_adapter(network: LanguageNetwork, folder: Path, base: str) -> None:
    """Writes the adapters alone, as peft loads them beside the model at `base`.

    Raises:
        ModelError: When the network has none.
        StorageError: When the disk is full.
    """
    if network.tuner is None:
        raise ModelError(
            "this network has no adapters", expected="one made by lora(...)", remedy="network.save(folder)"
        )
    tuner: Any = network.tuner
    tuner.peft_config["default"].base_model_name_or_path = base
    with guarded(folder), quiet():
        tuner.save_pretrained(str(folder), save_embedding_layers=False)


def _refuse(network: LanguageNetwork, adapter: Adapter) -> None:
    for name, value, right, expected in (
        ("rank", adapter.rank, adapter.rank >= 1, "1 or more"),
        ("alpha", adapter.alpha, adapter.alpha > 0, "above 0"),
        ("dropout", adapter.dropout, 0 <= adapter.dropout < 1, "from 0 up to, not including, 1"),
    ):
        if not right:
            raise ModelError(f"an adapter cannot have {name}={value}", expected=expected)
    if network.tuner is not None:
        raise ModelError("this network has adapters already", expected="lora(...) once")
    names = [name for name, _ in network.model.named_modules()]
    for target in adapter.targets:
        found = [name for name in names if name == target or name.endswith(f".{target}")]
        if not found:
            known = sorted({name.rpartition(".")[2] for name in names if name})
            raise ModelError(
                f"no layer of this {network.family} model is called {target!r}", remedy=did_you_mean(target, known)
            )
        modules = [network.model.get_submodule(name) for name in found]
        if any(module is network.head or module is network.embedding for module in modules):
            raise ModelError(
                f"an adapter beside {target!r} would not be seen: losses are taken through the head's own weights",
                expected="layers of the blocks, such as q_proj and v_proj",
                remedy="leave it out of targets",
            )


def _peft() -> Any:
    try:
        return importlib.import_module("peft")
    except ModuleNotFoundError as error:
        raise ModelError("lora needs peft, which is not installed", remedy="pip install 'limbeck[lora]'") from error
