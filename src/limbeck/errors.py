"""The errors a person meets: what happened, what was expected, what to try."""

import difflib
from collections.abc import Iterable

# Enough for every list of the library's own; of timm's thousand models a person reads no more.
_LISTED = 60


class LimbeckError(Exception):
    """Base of every error a user can act on.

    Each subclass carries the exit code that the command line returns for it.

    Args:
        happened: One sentence, present or past tense, naming the offending value.
        expected: What would have been right.
        remedy: What the person can do next.
    """

    exit_code = 1

    def __init__(self, happened: str, *, expected: str = "", remedy: str = "") -> None:
        self.happened, self.expected, self.remedy = happened, expected, remedy
        lines = [happened]
        if expected:
            lines.append(f"  expected: {expected}")
        if remedy:
            lines.append(f"  try: {remedy}")
        super().__init__("\n".join(lines))


class RecipeError(LimbeckError):
    """A recipe, an option or a piece of grammar that cannot be understood."""

    exit_code = 2


class DataError(LimbeckError):
    """Data that is missing, empty, damaged or does not fit the task."""

    exit_code = 3


class ModelError(LimbeckError):
    """A network that cannot be found, built or used as asked."""

    exit_code = 4


class TeacherError(LimbeckError):
    """A teacher that cannot say what an objective needs, or that moved while it should be frozen."""

    exit_code = 4


class TeacherStopped(TeacherError):
    """A teacher that went silent too often; what it said before is right, and is kept."""


class ObjectiveError(LimbeckError):
    """A method that is unknown, misspelt or cannot be served."""

    exit_code = 5


class RunError(LimbeckError):
    """A run folder that exists already, is unfinished, damaged or of another recipe."""

    exit_code = 6


class FolderInUse(LimbeckError):
    """A folder of a run or a recording that another process, or another thread, is writing to."""

    exit_code = 6


class RecordingError(LimbeckError):
    """A recording that is torn, or was made of another teacher, data set or augmentation."""

    exit_code = 6


class TrainingError(LimbeckError):
    """Training that cannot go on, such as a loss that is not a number."""

    exit_code = 7


class StorageError(LimbeckError):
    """A disk that is full or cannot be written; what was complete before is kept."""

    exit_code = 8


class Interrupted(LimbeckError):
    """Work stopped by Ctrl-C, SIGTERM or the end of another process, after saving; the remedy is what resumes."""

    exit_code = 130


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns "did you mean 'x'?" for the nearest known word, or the list of known words, the first of very many."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    if len(options) > _LISTED:
        return f"one of {len(options):,}: {', '.join(options[:_LISTED])}, ..."
    return f"one of: {', '.join(options)}" if options else "nothing is known here"
