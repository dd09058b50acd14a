"""The arguments and options that several verbs share, each spelled once."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli.screen import Screen


def _noted(name: str) -> Callable[[typer.Context, bool], bool]:
    # The screen must know before a command fails, and --debug must count wherever it stands.
    def note(context: typer.Context, value: bool) -> bool:
        if value:
            setattr(Screen.of(context), name, True)
        return value

    return note


RecipeFile = Annotated[Path, typer.Argument(help="A recipe: a YAML file.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(help="A run folder.", show_default=False)]
ArtifactFile = Annotated[Path, typer.Argument(help="An artifact: NAME.limbeck.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value of the recipe, such as training.lr=0.003 or chain.big.seeds=3. May be repeated.",
        show_default=False,
    ),
]
To = Annotated[Path | None, typer.Option("--to", help="Folder to write; it must not be there yet.", show_default=False)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run in that folder stopped.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.", callback=_noted("quiet"))]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, for machines.", callback=_noted("json"))]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", callback=_noted("debug"))]
