"""The command line: `limbeck VERB ...`. It only reads arguments, calls public functions and shows what they return."""

from limbeck.cli.commands import main

__all__ = ["main"]
