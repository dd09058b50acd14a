"""Where words go: answers to stdout, everything else to stderr; and JSON instead of tables when asked."""

import json
import math
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TextIO

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from limbeck.errors import LimbeckError
from limbeck.progress import Progress, Silent


class Screen:
    """The two streams of one call of the command line, and how much shall be said.

    Attributes:
        json: One JSON object on stdout instead of tables.
        quiet: No progress.
        debug: Tracebacks of errors that are understood.
    """

    def __init__(self) -> None:
        self.json, self.quiet, self.debug = False, False, False
        self.answers = Console()
        self.errors = Console(stderr=True, highlight=False)

    @classmethod
    def of(cls, context: typer.Context) -> "Screen":
        """The screen of the running command."""
        found = context.find_object(cls)
        assert found is not None
        return found

    def progress(self) -> Progress:
        """Who shows the progress of training: one live line on a terminal, plain lines elsewhere."""
        from limbeck.cli.progress import Line, Lines

        if self.quiet:
            return Silent()
        return Line(self.errors) if self.errors.is_terminal else Lines(self.errors)

    def show(self, *things: RenderableType) -> None:
        """Shows an answer to a person; nothing when a machine asked."""
        if not self.json:
            for thing in things:
                self.answers.print(thing, markup=False, soft_wrap=isinstance(thing, str))

    def answer(self, values: Mapping[str, Any]) -> None:
        """Gives the answer to a machine; nothing when a person asked."""
        if self.json:
            sys.stdout.write(json.dumps(plain(values), allow_nan=False, ensure_ascii=False) + "\n")

    def warn(self, message: str) -> None:
        """Says something on stderr, even when quiet."""
        self.errors.print(Text(message, style="yellow"), soft_wrap=True)

    def warned(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """What stands in for `warnings.showwarning`: what happened, and where in the code only with `--debug`."""
        self.warn(f"warning: {message}" + (f" ({filename}:{lineno})" if self.debug else ""))

    def fail(self, error: LimbeckError, cause: BaseException | None = None) -> None:
        """Says an error and leaves with its exit code.

        Args:
            error: What is said.
            cause: Whose traceback `--debug` shows, where it is not the error's own.

        Raises:
            SystemExit: Always.
        """
        if self.debug:
            self.errors.print("".join(traceback.format_exception(cause or error)), markup=False)
        self.errors.print(Text(str(error), style="red"), soft_wrap=True)
        self.answer(
            {
                "error": {
                    "kind": type(error).__name__,
                    "happened": error.happened,
                    "expected": error.expected,
                    "remedy": error.remedy,
                    "exit_code": error.exit_code,
                }
            }
        )
        sys.exit(error.exit_code)


def plain(value: Any) -> Any:
    """A value as JSON can say it: what is not a number becomes null, panels (pictures of a report) are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items() if key != "panels"}
    if isinstance(value, list | tuple | set):
        return [plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numbers and arrays of numpy
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
