"""What `export --target c` says: the sizes of a student in C, and what was left out."""

from pathlib import Path
from typing import Any

from rich.table import Table

from limbeck.cli.screen import Screen
from limbeck.errors import RecipeError

_KILO = 1024


def emit(
    screen: Screen,
    source: Path,
    to: Path | None,
    *,
    batch: int | None,
    data: Path | None,
    name: str,
    flash: int,
    ram: int,
    exporting: dict[str, Any],
) -> None:
    """Writes C sources and shows how large they are; `flash` and `ram` in kB of 1024 bytes.

    Raises:
        RecipeError: When no folder is named, or several rows are asked for.
    """
    if to is None:
        raise RecipeError("C sources need a folder", remedy="--to FOLDER")
    if batch not in (None, 1):
        raise RecipeError(f"C sources for {batch} rows at a time", expected="one row", remedy="leave --batch out")
    from limbeck.emission import emit as emitted
    from limbeck.firmware.sizes import sizes, spelled

    progress = screen.progress()
    found = emitted(
        source, to, data=data, name=name, flash=flash * _KILO, ram=ram * _KILO, progress=progress, exporting=exporting
    )
    progress.done()
    table = Table(title=f"{found.name}, in C", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    for words, value in spelled(found):
        table.add_row(words, value)
    screen.show(table, *(f"note: {note}" for note in found.notes), f"folder: {found.folder}")
    screen.answer({"folder": found.folder, "name": found.name, "sizes": sizes(found), "notes": found.notes})
