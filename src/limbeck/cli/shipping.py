"""The verb that ships: export."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from limbeck.cli.emitting import emit
from limbeck.cli.options import Changes, Debug, Json, Quiet
from limbeck.cli.screen import Screen
from limbeck.errors import RecipeError, did_you_mean

if TYPE_CHECKING:
    from limbeck.artifact.choice import Allowances
    from limbeck.shipment import Artifact

TARGETS = ("onnx", "c")
_C = "C sources"


_Source = Annotated[Path, typer.Argument(help="A run folder; for --target c also NAME.limbeck.", show_default=False)]
_To = Annotated[
    Path | None,
    typer.Option("--to", help="NAME.limbeck, or RUN/student.limbeck; a new folder for C.", show_default=False),
]
_Target = Annotated[str, typer.Option(help="onnx: one file; c: sources for a microcontroller.")]
_Precision = Annotated[str, typer.Option(help="float32, int8 or auto.")]
_Calibrate = Annotated[
    int | None, typer.Option(min=1, help="For int8: training rows to calibrate on.", show_default=False)
]
_Only = Annotated[str, typer.Option(help="For int8: recipes whose names begin so, such as static.", show_default=False)]
_Lose = Annotated[
    float | None,
    typer.Option(min=0, help="What int8 may lose of the metric; 0.005 (half a point, or 0.5 %).", show_default=False),
]
_Agreement = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Least share of rows answered like float32; 0.98.", show_default=False),
]
_Distance = Annotated[
    float | None,
    typer.Option(min=0, help="Of numbers: distance from float32's, of their spread; 0.05.", show_default=False),
]
_Slower = Annotated[
    float | None, typer.Option(min=0, help="For auto: times float32's latency; 1.05.", show_default=False)
]
_Batch = Annotated[int | None, typer.Option(min=1, help="Rows the graph takes at a time; any number when left out.")]
_Control = Annotated[bool, typer.Option("--control", help="The student alone, in the student's place.")]
_Units = Annotated[
    list[str] | None, typer.Option("--unit", help="Of the input, such as mg/dL; once, or once a channel.")
]
_Licences = Annotated[
    list[str] | None, typer.Option("--licence", help="A note on the licence of data or teacher; may be repeated.")
]
_Data = Annotated[
    Path | None, typer.Option("--data", help="For an artifact as C: its run, for real rows.", rich_help_panel=_C)
]
_Name = Annotated[str, typer.Option(help="Of the function in C.", rich_help_panel=_C)]
_Flash = Annotated[int, typer.Option(min=1, help="kB of flash it may take.", rich_help_panel=_C)]
_Ram = Annotated[int, typer.Option(min=1, help="kB of RAM it may take.", rich_help_panel=_C)]


def export(
    context: typer.Context,
    run: _Source,
    to: _To = None,
    target: _Target = "onnx",
    precision: _Precision = "float32",
    calibrate: _Calibrate = None,
    only: _Only = "",
    lose: _Lose = None,
    agreement: _Agreement = None,
    distance: _Distance = None,
    slower: _Slower = None,
    batch: _Batch = None,
    control: _Control = False,
    units: _Units = None,
    licences: _Licences = None,
    data: _Data = None,
    name: _Name = "",
    flash: _Flash = 1024,
    ram: _Ram = 256,
    changes: Changes = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run's student as one file that answers without torch, and hold it to the student on real rows."""
    from limbeck.shipment import export as ship

    screen = Screen.of(context)
    words: dict[str, Any] = {
        "precision": precision,
        "calibrate": calibrate,
        "only": only,
        "allowances": _allowances(lose, agreement, distance, slower),
        "who": "control" if control else "student",
        "units": units or (),
        "licences": licences or (),
        "overrides": changes or (),
    }
    if _targeted(target) == "c":
        emit(screen, run, to, batch=batch, data=data, name=name, flash=flash, ram=ram, exporting=words)
        return
    progress = screen.progress()
    artifact = ship(run, to, batch=batch, progress=progress, **words)
    progress.done()
    if candidates := artifact.manifest.verification.get("candidates"):
        screen.show(_candidates(candidates, artifact.manifest.verification), _choice(artifact))
    screen.show(_table(artifact), f"artifact: {artifact.path}")
    screen.answer({"artifact": artifact.path, "manifest": asdict(artifact.manifest)})


def _allowances(
    lose: float | None, agreement: float | None, distance: float | None, slower: float | None
) -> "Allowances | None":
    from limbeck.artifact.choice import Allowances

    given = {"metric": lose, "agreement": agreement, "distance": distance, "latency": slower}
    said = {name: value for name, value in given.items() if value is not None}
    return Allowances(**said) if said else None


def _candidates(candidates: Sequence[Mapping[str, Any]], verification: Mapping[str, Any]) -> Table:
    """Every graph that was measured, smallest first; a star where no other outdoes it in metric, bytes and time."""
    rows = verification["judged_on"]["rows"]
    table = Table(title=f"int8 beside float32 on {rows} validation rows; *: outdone by none", title_justify="left")
    like = next((name for each in candidates for name in each["likeness"]), "likeness")
    table.add_column("recipe")
    for column in ("kB", str(verification["metric"]), like, "ms"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for each in sorted(candidates, key=lambda one: (one["bytes"] or float("inf"), one["recipe"])):
        table.add_row(
            each["recipe"] + (" *" if each["pareto"] else ""),
            f"{each['bytes'] / 1e3:,.1f}",
            *("" if value is None else f"{value:.4g}" for value in (each["metric"], each["likeness"].get(like))),
            "" if each["latency_ms"] is None else f"{each['latency_ms']:.3f}",
            each["verdict"],
        )
    return table


def _choice(artifact: "Artifact") -> str:
    return f"chosen: {artifact.manifest.verification['choice']}"


def _targeted(target: str) -> str:
    if target not in TARGETS:
        raise RecipeError(f"there is no target {target!r}", remedy=did_you_mean(target, TARGETS))
    return target


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
