"""The verb that ships: export."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from limbeck.cli.options import Changes, Debug, Json, Quiet, RunFolder
from limbeck.cli.screen import Screen

if TYPE_CHECKING:
    from limbeck.shipment import Artifact


def export(
    context: typer.Context,
    run: RunFolder,
    to: Annotated[
        Path | None, typer.Option("--to", help="NAME.limbeck; RUN/student.limbeck when left out.", show_default=False)
    ] = None,
    precision: Annotated[str, typer.Option(help="float32, int8 or auto.")] = "float32",
    calibrate: Annotated[
        int | None, typer.Option(min=1, help="For int8: training rows to calibrate on.", show_default=False)
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Rows the graph takes at a time; any number when left out.")
    ] = None,
    control: Annotated[bool, typer.Option("--control", help="The student alone, in the student's place.")] = False,
    units: Annotated[
        list[str] | None, typer.Option("--unit", help="Of the input, such as mg/dL; once, or once a channel.")
    ] = None,
    licences: Annotated[
        list[str] | None, typer.Option("--licence", help="A note on the licence of data or teacher; may be repeated.")
    ] = None,
    changes: Changes = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run's student as one file that answers without torch, and hold it to the student on real rows."""
    from limbeck.shipment import export as ship

    screen = Screen.of(context)
    progress = screen.progress()
    artifact = ship(
        run,
        to,
        precision=precision,  # type: ignore[arg-type]
        calibrate=calibrate,
        batch=batch,
        who="control" if control else "student",
        units=units or (),
        licences=licences or (),
        overrides=changes or (),
        progress=progress,
    )
    progress.done()
    screen.show(_table(artifact), f"artifact: {artifact.path}")
    screen.answer({"artifact": artifact.path, "manifest": asdict(artifact.manifest)})


def _table(artifact: "Artifact") -> Table:
    """The file beside the student it was made from, on validation and test rows."""
    manifest = artifact.manifest
    size = artifact.path.stat().st_size
    table = Table(title=f"{manifest.name}, {manifest.graph.precision}, {size / 1e3:,.1f} kB", title_justify="left")
    table.add_column("")
    for column in ("student, torch", "the file"):
        table.add_column(column, justify="right")
    for split in ("valid", "test"):
        said: Mapping[str, Any] = manifest.verification[split]
        for name, value in said["metrics"].items():
            table.add_row(f"{name} ({split})", f"{said['torch_metrics'][name]:.4g}", f"{value:.4g}")
        for name, value in said["likeness"].items():
            table.add_row(f"{name} ({split})", "", f"{value:.4g}")
        table.add_row(f"largest difference ({split})", "", f"{said['difference']:.3g}")
        table.add_section()
    return table
