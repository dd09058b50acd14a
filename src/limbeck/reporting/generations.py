"""What a run's models said after held-out prompts, side by side, as a panel of the page."""

from pathlib import Path
from typing import Any

from limbeck.records import Panel, read_generations
from limbeck.reporting.headline import NAMES

_END = "■"


def texts(folder: Path) -> list[Panel]:
    """The texts of a run folder, a line for each prompt and way of going on; no panel where nothing was asked.

    Raises:
        RunError: When the file is damaged.
    """
    said = read_generations(folder)
    if not said:
        return []
    who = [name for name in NAMES if name in said[0]]
    columns = ["how", "prompt", "the document", *(NAMES[name].lower() for name in who)]
    rows = [[line["way"], line["prompt"], *(_text(line[name]) for name in ("data", *who))] for line in said]
    title = f"What each goes on with ({_END} where a text ended by itself)"
    return [Panel("texts", title, "table", {"columns": columns, "rows": rows})]


def _text(said: dict[str, Any]) -> str:
    return f"{said['text']} {_END}" if said["ended"] else str(said["text"])
