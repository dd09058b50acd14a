"""Text -> tokenizer, and a tokenizer into a run's folder: from disk, unless a hub's name was written."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.errors import ModelError
from limbeck.grammar import arguments, parse_call
from limbeck.languages.places import Place, packaged, quiet, split, transformers
from limbeck.languages.trimming import counted, trimmed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FOLDER = "tokenizer"
"""Where a run's folder keeps its tokenizer."""


def tokenizer(what: str | Place) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model's folder, of a GGUF file, of a run's folder or of a model on the hub.

    No code that comes with a tokenizer is run.

    Args:
        what: `hf:PATH_OR_ID`, `gguf:PATH`, a folder of a run or a model, or `smollm2`, whose tokenizer is read out of
            its package without unpacking the model; or `trim(ONE OF THESE, corpus=FILE)`, some of its tokens.

    Raises:
        ModelError: When transformers is not installed, or there is no tokenizer.
    """
    if isinstance(what, str) and is_trimmed(what):
        return trim(what)[0]
    place = _place(what) if isinstance(what, str) else what
    arguments = place.arguments()
    if place.kind == "hf" and (Path(arguments["pretrained_model_name_or_path"]) / FOLDER).is_dir():
        arguments["pretrained_model_name_or_path"] += f"/{FOLDER}"
    with quiet():
        try:
            return transformers().AutoTokenizer.from_pretrained(**arguments, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
            raise ModelError(
                f"{place} has no tokenizer that can be loaded: {' '.join(str(error).split())[:300]}",
                expected="tokenizer.json and tokenizer_config.json, as save_pretrained writes them",
                remedy="copy the tokenizer's files beside the weights",
            ) from error


@dataclass(frozen=True)
class Trim:
    """Which tokenizer is trimmed, to the tokens of which text file, and to how many at most (0: all it uses)."""

    of: str
    corpus: str
    size: int = 0


def is_trimmed(what: str) -> bool:
    """Whether a text names a trimmed vocabulary."""
    return what.partition("(")[0].strip() == "trim"


def trimming(what: str) -> Trim:
    """What a text such as `trim('hf:PATH', corpus='FILE.txt', size=8000)` says.

    Raises:
        RecipeError: When it cannot be read.
    """
    return Trim(**arguments(parse_call(what, "language model"), Trim, what))


def trim(what: str) -> tuple["PreTrainedTokenizerBase", list[int]]:
    """The tokenizer that such a text names, and for each of its numbers the one that the token had.

    Raises:
        ModelError: When there is no tokenizer, or its rules are none that can be trimmed.
        DataError: When there is no text.
    """
    said = trimming(what)
    whole = tokenizer(said.of)
    found: tuple[PreTrainedTokenizerBase, list[int]] = trimmed(
        whole, counted(whole, Path(said.corpus).expanduser()), said.size
    )
    return found


def _place(what: str) -> Place:
    kind, path, _ = split(what)
    if kind.partition("(")[0] == "smollm2":
        return packaged()
    if kind == "hf" and path:
        return Place("hf", path)
    return Place("gguf", path) if kind == "gguf" and path else Place("hf", what)


def save_tokenizer(known: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Writes a tokenizer into a run's folder, whence `tokenizer` reads it back."""
    with quiet():
        known.save_pretrained(str(folder / FOLDER))
