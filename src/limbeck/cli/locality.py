"""The verb that shows that an artifact needs no network: prove-local."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from limbeck.cli.options import ArtifactFile, Debug, Json, Quiet
from limbeck.cli.screen import Screen

NOT_SHOWN = 10
_STYLES = {"proved": "green", "not proved": "yellow", "refuted": "bold red"}


def prove_local(
    context: typer.Context,
    file: ArtifactFile,
    runtime: Annotated[
        Path | None,
        typer.Option(help="Folder of the package limbeck_runtime; by default the one here.", show_default=False),
    ] = None,
    files: Annotated[bool, typer.Option("--files", help="List every file that was opened.")] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask an artifact where there is no network and sockets are forbidden, and say what that shows and what not.

    Leaves with 0 where all that is needed was shown, with 10 where something was refuted, or the kernel does not let it
    be shown.
    """
    from limbeck.locality.proof import prove_local as proved

    screen = Screen.of(context)
    found = proved(file, runtime=runtime)
    table = Table(
        box=SIMPLE, title=f"{file}: {found.verdict}", title_justify="left", title_style=_STYLES[found.verdict]
    )
    for heading in ("what", "", "evidence"):
        table.add_column(heading, ratio=3 if heading == "evidence" else None)
    for check in found.checks:
        needed = "" if check.needed else " (not needed)"
        table.add_row(check.name, Text(check.verdict + needed, style=_STYLES[check.verdict]), Text(check.evidence))
    screen.show(table, f"{len(found.opened)} files opened or mapped, {len(found.written)} written")
    if files:
        screen.show(*(Text(f"  {name}") for name in found.opened))
    screen.show(*(Text(f"not shown: {limit}", style="dim") for limit in found.limits))
    code = 0 if found.verdict == "proved" else NOT_SHOWN
    screen.answer(
        {
            "file": file,
            "verdict": found.verdict,
            "checks": found.checks,
            "opened": found.opened,
            "written": found.written,
            "limits": found.limits,
            "exit_code": code,
        }
    )
    if code:
        sys.exit(code)
