"""A folder of pictures: a folder for each class, in folders for each split where the data has them.

    flowers/rose/1.jpg                      flowers/train/rose/1.jpg
    flowers/tulip/2.png                     flowers/test/rose/9.jpg

The name of a class is that of its folder; pictures may lie in folders below it. Names are sorted, so that it does not
matter in which order a disk lists them. Hidden files are skipped; files of other kinds are counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from limbeck.data.forms.assembly import Assembly
from limbeck.data.forms.columns import Block, Roles
from limbeck.data.forms.gallery import AT_ONCE, hang, surveyed
from limbeck.data.forms.splits import split_folders
from limbeck.data.pictures import SUFFIXES
from limbeck.data.raw import Raw
from limbeck.data.shelf import Shelf, identity
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError
from limbeck.recipe import Columns, DataSpec
from limbeck.task import LabelKind

_ROLES = Roles(("picture",), "pictures", ("class",), None, None)


@dataclass(frozen=True)
class _Picture:
    path: Path
    name: str


def read(folder: Path, spec: DataSpec, labels: LabelKind) -> Raw:
    """Reads every picture of a folder, as bytes of shape (rows, channels, height, width).

    Pictures are in colour where any of them is; `spec.size` scales and crops them (see `limbeck.data.pictures`).

    Args:
        folder: The folder.
        spec: Its size, share of unreadable pictures, and memory.
        labels: "single": a folder gives a picture one class.

    Raises:
        DataError: When there are no class folders, a class is empty, sizes differ, or too much is unreadable.
    """
    if labels != "single":
        raise DataError(
            f"{folder} gives each picture one class, and the task reads other labels",
            expected="task: classification",
            remedy="a CSV file with a column of picture files and columns for the labels",
        )
    if spec.columns != Columns():
        raise DataError(f"{folder} is a folder of pictures, which has no columns", remedy="leave data.columns out")
    splits, others = _listed(folder)
    files = [picture.path for listed in splits.values() for picture in listed]
    with Shelf(spec.memory, identity("images", files, spec, labels)) as shelf:
        if (kept := shelf.found()) is not None:
            return kept
        look = surveyed(files, spec.size)
        assembly = Assembly(labels, shelf, Unreadable(spec.unreadable, "pictures"))
        for split, listed in splits.items():
            hang(assembly, split, _blocks(listed, folder), _ROLES, look)
        classes = sorted({picture.name for listed in splits.values() for picture in listed})
        left = {"other_files": {"count": len(others), "first": others[:5]}} if others else {}
        return assembly.raw(folder.name, str(folder), classes=classes, facts={**look.facts, **left})


def _blocks(listed: list[_Picture], folder: Path) -> Iterator[tuple[Block, list[Path]]]:
    for first in range(0, len(listed), AT_ONCE):
        some = listed[first : first + AT_ONCE]
        columns = {"picture": [None] * len(some), "class": [picture.name for picture in some]}

        def where(place: int, some: list[_Picture] = some) -> str:
            return some[place].path.relative_to(folder).as_posix()

        yield Block(columns, where), [picture.path for picture in some]


def _listed(folder: Path) -> tuple[dict[str, list[_Picture]], list[str]]:
    """The pictures of each split, and the names of other files."""
    found, others = {}, []
    for split, place in split_folders(folder).items():
        classes = sorted(inner for inner in place.iterdir() if inner.is_dir() and not inner.name.startswith("."))
        others += [path.name for path in sorted(place.iterdir()) if path.is_file() and not path.name.startswith(".")]
        if not classes:
            loose = any(Path(name).suffix.lower() in SUFFIXES for name in others)
            raise DataError(
                f"{place} holds {'pictures, but no folder for each class' if loose else 'no data that can be read'}",
                expected="a folder with pictures for each class, or tables (.csv, .parquet, .jsonl), or arrays",
                remedy="put a CSV file beside the pictures: file,label" if loose else "check the path",
            )
        found[split] = [picture for inner in classes for picture in _of_class(inner, others)]
    return found, others


def _of_class(folder: Path, others: list[str]) -> list[_Picture]:
    listed = []
    for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if path.suffix.lower() in SUFFIXES:
            listed.append(_Picture(path, folder.name))
        else:
            others.append(f"{folder.name}/{path.relative_to(folder).as_posix()}")
    if not listed:
        raise DataError(
            f"{folder} holds no picture, and its name would be a class",
            expected=f"files of {', '.join(sorted(SUFFIXES))}",
            remedy="move the folder elsewhere, or begin its name with a dot",
        )
    return listed
