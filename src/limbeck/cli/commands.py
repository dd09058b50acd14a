"""The verbs in one list, and what an error becomes: a text on stderr and an exit code."""

import errno
import warnings
from collections.abc import Sequence

import typer
from typer.core import TyperCommand, TyperGroup

from limbeck.cli import (
    benching,
    catalogue,
    examining,
    locality,
    reasoning,
    recording,
    runs,
    serving,
    shipping,
    training,
    tuning,
    writing,
)
from limbeck.cli.screen import Screen
from limbeck.errors import LimbeckError, StorageError

EXIT_CODES = (
    "Exit codes: 0 done; 1 a bug; 2 usage or recipe; 3 data; 4 model or teacher; 5 objective; "
    "6 run folder or recording; 7 training; 8 disk; 9 the doctor found an error; 10 not shown to be local; "
    "11 outside its budget; 130 interrupted."
)


class _Command(TyperCommand):
    # What typer hands to a command is else a parent class of what it tells the command to annotate.
    context_class = typer.Context


class _Group(TyperGroup):
    context_class = typer.Context


app = typer.Typer(
    name="limbeck",
    cls=_Group,
    help="Make a small model that behaves like a big one, prove it, and ship it.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_MAKE, _ASK, _SHIP, _LOOK = "Make", "Ask a finished run or a recording", "Ship", "Look up"
app.command(cls=_Command, rich_help_panel=_MAKE)(training.demo)
app.command(cls=_Command, rich_help_panel=_MAKE)(training.distill)
app.command(cls=_Command, rich_help_panel=_MAKE)(training.chain)
app.command(cls=_Command, rich_help_panel=_MAKE)(training.compare)
app.command(cls=_Command, rich_help_panel=_MAKE)(recording.record)
app.command(cls=_Command, rich_help_panel=_MAKE)(recording.merge)
app.command(cls=_Command, rich_help_panel=_MAKE)(writing.write)
app.command(cls=_Command, rich_help_panel=_MAKE)(reasoning.reason)
app.command(cls=_Command, rich_help_panel=_MAKE)(examining.doctor)
app.command(cls=_Command, rich_help_panel=_MAKE)(examining.layers)
app.command(cls=_Command, rich_help_panel=_ASK)(runs.evaluate)
app.command(cls=_Command, rich_help_panel=_ASK)(runs.predict)
app.command(cls=_Command, rich_help_panel=_ASK)(runs.report)
app.command(cls=_Command, rich_help_panel=_ASK)(recording.verify)
app.command(cls=_Command, rich_help_panel=_SHIP)(shipping.export)
app.command(cls=_Command, rich_help_panel=_SHIP)(tuning.tune)
app.command(cls=_Command, rich_help_panel=_SHIP)(benching.bench)
app.command(cls=_Command, rich_help_panel=_SHIP)(locality.prove_local)
app.command(cls=_Command, rich_help_panel=_SHIP)(serving.serve)
app.command(cls=_Command, rich_help_panel=_LOOK)(catalogue.methods)
app.command(cls=_Command, rich_help_panel=_LOOK)(catalogue.models)
app.command(cls=_Command, rich_help_panel=_LOOK)(catalogue.version)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and leaves the process.

    Args:
        arguments: What was typed after `limbeck`; None takes it from the process.

    Raises:
        SystemExit: Always, with 0 or the exit code of what went wrong.
    """
    screen = Screen()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = screen.warned
            app(args=None if arguments is None else list(arguments), obj=screen)
    except LimbeckError as error:
        screen.fail(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        full = StorageError(f"the disk is full: {error}", remedy="make room; what was complete is kept; then --resume")
        screen.fail(full, cause=error)
