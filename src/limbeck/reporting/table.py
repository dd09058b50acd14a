"""The headline as a table for the terminal: the same numbers as in the HTML report."""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from limbeck.records import RunRecord
from limbeck.reporting.headline import NAMES, Cell, Headline, Row, headline

_READABLE = 80
# These have one unit for a whole row, which is said once; sizes and counts have prefixes of their own in each cell.
_ONE_UNIT = {"share", "nats", "milliseconds"}


@dataclass(frozen=True)
class HeadlineTable:
    """Teacher, student and student alone over all seeds, then the finding and the notes; as wide as its terminal.

    From 60 columns on, numbers are never cut and labels never within a word. Where the terminal is narrow, the spread
    stands under the mean.
    """

    found: Headline

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text | Table | Segment]:
        # From the widest layout to the narrowest; the first that fits is taken.
        for beside, gap in ((True, 2), (False, 2), (False, 1)):
            table, needed = self._table(options.max_width, beside, gap)
            if needed <= options.max_width:
                break
        found = self.found
        yield Text(found.name, style="bold")
        yield table
        readable = options.update_width(min(options.max_width, max(_READABLE, needed)))
        for said in (found.verdict.title, found.verdict.text, found.ratios, *found.notes):
            if said:
                yield from console.render(Text(said, style="italic dim" if said in found.notes else ""), readable)

    def _table(self, width: int, beside: bool, gap: int) -> tuple[Table, int]:
        """A table of a layout, and the width it needs."""
        rows = self.found.rows
        columns = [
            (name, [_text(cell, beside, row) for row, cell in zip(rows, cells, strict=True)])
            for name, cells in self._columns()
        ]
        numbers = sum(_width([Text(name), *cells]) + gap for name, cells in columns)
        labels = [_label(row) for row in rows]
        longest, shortest = max(map(cell_len, labels), default=0), _longest_word(labels)
        room = max(min(longest, width - numbers), shortest)
        # The box itself puts one space between columns.
        table = Table(
            box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0), collapse_padding=True
        )
        table.add_column("", no_wrap=True)
        for name, _ in columns:
            table.add_column(name, justify="right", no_wrap=True)
        for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
            words = Text("\n".join(wrap(label, room)), style="bold" if row.selection else "")
            table.add_row(words, *(cells[place] for _, cells in columns))
        return table, room + numbers

    def _columns(self) -> Iterator[tuple[str, list[Cell | None]]]:
        for who in self.found.models:
            yield NAMES[who].replace(" ", "\n"), [row.of(who) for row in self.found.rows]
        if "control" in self.found.models:
            yield "Difference", [row.difference for row in self.found.rows]


def headline_table(record: RunRecord) -> HeadlineTable:
    """The headline of a run for a terminal of any width from 60 columns on."""
    return HeadlineTable(headline(record))


def _label(row: Row) -> str:
    unit = row.unit.suffix(1.0).strip() if row.unit.style in _ONE_UNIT else ""
    return f"{row.unit.label} ({unit})" if unit else row.unit.label


def _text(cell: Cell | None, beside: bool, row: Row) -> Text:
    if cell is None:
        return Text("—", style="dim")
    value = cell.number if row.unit.style in _ONE_UNIT else cell.value
    text = Text(value, style="bold" if cell.signed and row.selection else "")
    # That there is one seed only is said below, once.
    if cell.spread and cell.count > 1:
        text.append(f"{' ' if beside else chr(10)}{cell.spread}", style="dim")
    return text


def _width(texts: list[Text]) -> int:
    return max(cell_len(line) for text in texts for line in text.plain.split("\n"))


def _longest_word(labels: list[str]) -> int:
    return max((cell_len(word) for label in labels for word in wrap(label, 1, break_long_words=False)), default=0)
