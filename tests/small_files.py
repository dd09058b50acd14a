"""Small files of data as real libraries write them, shared by the tests of the forms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from limbeck.catalog.data import data_of
from limbeck.data.source import Data
from limbeck.recipe import DataSpec
from limbeck.task import LabelKind


def loaded(source: Any, *, labels: LabelKind = "single", **keys: Any) -> Data:
    """The data of a source, as a recipe with these keys reads it."""
    named = isinstance(source, str | Path)
    spec = DataSpec(source=str(source) if named else "<object>", **keys)
    return data_of(spec, None if named else source, labels=labels)


def csv(path: Path, columns: Mapping[str, Sequence[Any]], separator: str = ",") -> Path:
    """Writes a file of values; None is an empty one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(columns)]
    for row in zip(*columns.values(), strict=True):
        lines.append(separator.join("" if value is None else str(value) for value in row))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def vitals(rows: int = 40) -> dict[str, list[Any]]:
    """A table of people: two numbers, a text, a class."""
    generator = np.random.default_rng(rows)
    return {
        "age": generator.integers(20, 80, rows).tolist(),
        "pulse": generator.normal(70, 9, rows).round(3).tolist(),
        "sex": ["f" if place % 2 else "m" for place in range(rows)],
        "label": ["ill" if place % 3 == 0 else "well" for place in range(rows)],
        "person": [f"p{place % 8}" for place in range(rows)],
        "when": [f"2024-03-{1 + place // 24:02d} {place % 24:02d}:00:00" for place in range(rows)],
    }


def picture(path: Path, height: int, width: int, *, colour: tuple[int, int, int] | int = 0, **more: Any) -> Path:
    """Writes a picture of one colour whose left upper pixel is white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width) if isinstance(colour, int) else (height, width, 3)
    pixels = np.full(shape, colour, dtype=np.uint8)
    pixels[0, 0] = 255
    Image.fromarray(pixels).save(path, **more)
    return path


def flowers(folder: Path, *, each: int = 12, size: tuple[int, int] = (6, 6), kind: str = "png") -> Path:
    """Writes a folder of pictures with a folder for each of two classes."""
    for number, name in enumerate(("rose", "tulip")):
        for place in range(each):
            picture(folder / name / f"{place:03d}.{kind}", *size, colour=(10 * number, 5 * place, 100))
    return folder


def rows_by_id(data: Data) -> dict[int, tuple[bytes, str | None]]:
    """Every row of all splits: its inputs as bytes and the name of its class."""
    found = {}
    for rows in data.splits().values():
        for place, number in enumerate(rows.ids.tolist()):
            piece = rows.take(rows.ids.new_tensor([place]))
            name = data.classes[int(piece.labels[0])] if bool(piece.known[0]) else None
            found[number] = (piece.inputs.numpy().tobytes(), name)
    return found


def fill_up(ballast: Path) -> None:
    """Writes until the disk is full, which ends in an `OSError`."""
    with open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
