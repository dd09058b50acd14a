"""Docstrings for a terminal: what was wrapped for a source file is wrapped again for the width at hand."""

import re
from collections.abc import Iterator

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Note|Example):")
_ARGUMENT = re.compile(r"    (\w+): (.*)")


def paragraphs(text: str) -> Iterator[Padding]:
    """Text as paragraphs that fit any width; items of a list hang behind their dash, with a blank line after text."""
    for number, block in enumerate(re.split(r"\n\s*\n", text.strip())):
        pieces: list[str] = []
        for line in block.splitlines():
            # A sentence that ends where its line ends begins a new line here too, as papers and deviations do.
            if not pieces or line.startswith("- ") or (pieces[-1].endswith((".", ":", ";")) and not line[0].isspace()):
                pieces.append(line.strip())
            else:
                pieces[-1] += " " + line.strip()
        for place, piece in enumerate(pieces):
            above = 1 if number and not place else 0
            if piece.startswith("- "):
                yield Padding(_hanging(piece), (above, 0, 0, 2))
            else:
                yield Padding(Text(piece), (above, 0, 0, 0))


def split(docstring: str) -> tuple[str, dict[str, str]]:
    """A Google docstring as its prose and what it says of each argument, in one line each."""
    prose, told, section, name = [], {}, "", ""
    for line in docstring.splitlines():
        if heading := _SECTION.fullmatch(line):
            section, name = heading[1], ""
        elif not section:
            prose.append(line)
        elif section == "Args" and (argument := _ARGUMENT.fullmatch(line)):
            name = argument[1]
            told[name] = argument[2]
        elif section == "Args" and name and line.strip():
            told[name] += f" {line.strip()}"
    return "\n".join(prose).strip(), told


def _hanging(item: str) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(Text("-"), Text(item.removeprefix("- ")))
    return grid
