"""The HTML report: one file that needs no network and no script, from what run folders hold."""

import re
from pathlib import Path
from typing import Protocol, runtime_checkable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from limbeck.errors import RunError
from limbeck.reporting.headline import NAMES
from limbeck.storage import write_text


@runtime_checkable
class HasFolder(Protocol):
    """A run as `distill` returns it: the report reads only its folder."""

    @property
    def folder(self) -> Path:
        """Where `run.json` lies."""
        ...


def report(*runs: Path | str | HasFolder, to: Path | str) -> Path:
    """Writes a report of one run, or of several with a comparison before them.

    Args:
        runs: Run folders, or runs that know their folder.
        to: The HTML file to write; `report.html` in it where it is a folder. An older report is replaced.

    Returns:
        The file.

    Raises:
        RunError: When no run is given or a folder is no run.
        StorageError: When the file cannot be written; an older report is then kept.
    """
    # matplotlib takes longer to load than anything but torch, and whoever misspelt a recipe shall not wait for it.
    from limbeck.reporting.comparison import compare
    from limbeck.reporting.page import read_page

    if not runs:
        raise RunError("no run was given to report on", expected="one run folder or more", remedy="limbeck report RUN")
    pages = [
        read_page(run.folder if isinstance(run, HasFolder) else Path(run), f"run{place}")
        for place, run in enumerate(runs, start=1)
    ]
    environment = Environment(
        loader=PackageLoader("limbeck.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tied"] = _tied
    loader = environment.loader
    assert loader is not None
    # Ours, and the only text besides the charts that goes into the page unescaped.
    style = Markup(loader.get_source(environment, "style.css")[0])
    text = environment.get_template("report.html.jinja").render(
        pages=pages,
        comparison=compare(pages) if len(pages) > 1 else None,
        names={"shared": "", **NAMES},
        style=style,
    )
    path = Path(to)
    path = path / "report.html" if path.is_dir() else path
    write_text(path, text)
    return path


def _tied(text: str) -> str:
    # A line that starts with a lone unit is hard to read on a phone.
    return re.sub(r"(?<=\d) (?=(?:%|points|nats|ms|kB|MB|GB)(?:\W|$))", "\N{NO-BREAK SPACE}", text)
