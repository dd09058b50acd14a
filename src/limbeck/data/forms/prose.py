"""Text files, as a table with one column of texts: each file a document, or each paragraph in it.

A folder of them is searched through; it may hold folders named after splits, or files named after them.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from limbeck.data.forms import documents
from limbeck.data.forms.columns import Block
from limbeck.data.forms.splits import split_files, split_folders
from limbeck.data.forms.texts import opened
from limbeck.data.raw import Raw
from limbeck.data.shelf import identity
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError
from limbeck.recipe import DataSpec
from limbeck.task import LabelKind

SUFFIXES = (".txt", ".txt.gz")
"""Files that are taken for text, in lower case."""

_FILES_AT_ONCE = 64


def is_text(path: Path) -> bool:
    """Whether a file's name says that it is text."""
    return path.name.lower().endswith(SUFFIXES)


def read(path: Path, spec: DataSpec, labels: LabelKind) -> Raw:
    """Reads a text file, or every one below a folder.

    Args:
        path: The file or folder.
        spec: Its tokens, columns, share of unreadable rows, and memory.
        labels: How the task reads labels.

    Raises:
        DataError: When no file can be read, or too much is unreadable.
    """
    by_split = _files(path)
    assert spec.tokens is not None
    apart = spec.tokens.documents == "paragraph"
    readers = {split: reader(files, path, apart=apart) for split, files in by_split.items()}
    listed = sorted(file for files in by_split.values() for file in files)
    key = identity("documents", listed, spec, labels)
    return documents.of(path.name.partition(".")[0] or path.name, str(path), readers, spec, key)


def _files(path: Path) -> dict[str, list[Path]]:
    if path.is_file():
        return {"train": [path]}
    folders = split_folders(path)
    found = {split: _below(folder) for split, folder in folders.items()}
    if folders == {"train": path} and all(file.parent == path for file in found["train"]):
        return split_files(found["train"], path)
    return found


def _below(folder: Path) -> list[Path]:
    """Text files at any depth, in the order of their paths; what is hidden stays so."""
    inside = (file for file in folder.rglob("*") if is_text(file) and file.is_file())
    seen = [file for file in inside if not any(part.startswith(".") for part in file.relative_to(folder).parts)]
    return sorted(seen, key=lambda file: file.relative_to(folder).as_posix())


def reader(files: Iterable[Path], root: Path, *, apart: bool) -> Callable[[Unreadable], Iterator[Block]]:
    """What reads text files, some at a time: each a document, or each paragraph in them."""

    def blocks(lost: Unreadable) -> Iterator[Block]:
        texts: list[str] = []
        places: list[str] = []
        for number, file in enumerate(files, 1):
            name = file.name if root.is_file() else file.relative_to(root).as_posix()
            try:
                with opened(file) as inside:
                    text = inside.read()
            except UnicodeDecodeError as error:
                lost.add(name, f"is no text in UTF-8: {error}")
                continue
            except (OSError, EOFError) as error:
                raise DataError(f"{file} cannot be read: {error}", expected="text (UTF-8)") from error
            if apart:
                for line, paragraph in _paragraphs(text):
                    texts.append(paragraph)
                    places.append(f"{name}:{line}")
            else:
                texts.append(text)
                places.append(name)
            if number % _FILES_AT_ONCE == 0 and texts:
                yield Block({"text": texts}, places.__getitem__)
                texts, places = [], []
        if texts:
            yield Block({"text": texts}, places.__getitem__)

    return blocks


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs between blank lines, and the line each begins in."""
    for blank, lines in groupby(enumerate(text.split("\n"), 1), key=lambda line: not line[1].strip()):
        if not blank:
            (first, beginning), *rest = lines
            yield first, "\n".join([beginning, *(line for _, line in rest)])
