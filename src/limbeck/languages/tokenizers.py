"""Text -> tokenizer: `hf:PATH`, a folder that Hugging Face's `save_pretrained` wrote."""

from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenizer(what: str) -> "PreTrainedTokenizerBase":
    """Loads the tokenizer in a folder.

    Raises:
        ModelError: When transformers is not installed, or there is no tokenizer.
    """
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the tokenizer {what} needs transformers, which is not installed", remedy="pip install 'limbeck[language]'"
        ) from error
    folder = Path(what.removeprefix("hf:")).expanduser()
    if not folder.is_dir():
        raise ModelError(f"there is no folder {folder}", expected="hf:PATH, a folder with a tokenizer")
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder} holds no tokenizer: {error}", expected="tokenizer.json beside its config"
        ) from error
