"""The headline as a table for the terminal: the same numbers as in the HTML report."""

from rich.table import Table
from rich.text import Text

from limbeck.records import RunRecord
from limbeck.reporting.headline import NAMES, Cell, headline


def headline_table(record: RunRecord) -> Table:
    """Teacher, student and student alone over all seeds, with the finding and the notes as the caption."""
    found = headline(record)
    differs = "control" in found.models
    caption = "\n".join(part for part in (found.verdict.title, found.verdict.text, found.ratios, *found.notes) if part)
    table = Table(title=Text(found.name, style="bold"), caption=Text(caption), caption_justify="left")
    table.add_column("")
    for who in found.models:
        table.add_column(NAMES[who], justify="right")
    if differs:
        table.add_column("Difference", justify="right")
    for row in found.rows:
        cells = [_text(row.of(who)) for who in found.models]
        if differs:
            cells.append(_text(row.difference, bold=row.selection))
        table.add_row(Text(row.unit.label, style="bold" if row.selection else ""), *cells)
    return table


def _text(cell: Cell | None, *, bold: bool = False) -> Text:
    if cell is None:
        return Text("—", style="dim")
    text = Text(cell.value, style="bold" if bold else "")
    if cell.spread:
        text.append(f" {cell.spread}" if cell.count > 1 else f" ({cell.spread})", style="dim")
    return text
