"""Text, module or list -> teacher: everything that can teach, behind one seam."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.catalog.models import Shape, model
from limbeck.errors import TeacherError
from limbeck.model import Model
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.protocol import Teacher
from limbeck.teachers.recording import RecordedTeacher


def teacher(what: Any, shape: Shape) -> Teacher:
    """Finds a teacher for some data.

    Args:
        what: A `Teacher`; a module or `Model`; a run folder; a recording's folder; a model's text; or a list of these,
            each alone or as (weight, teacher) or {"model": ..., "weight": ...}, which becomes an ensemble.
        shape: What it must fit.

    Raises:
        TeacherError: When it is none of these.
        ModelError, RunError, RecordingError: When it is one, but cannot be used.
    """
    if isinstance(what, Model):
        return ModuleTeacher(what, what.source or type(what.network).__name__)
    if isinstance(what, nn.Module):
        return ModuleTeacher(model(what, shape), type(what).__name__)
    if isinstance(what, str | Path):
        text = str(what)
        if (Path(text) / "manifest.json").is_file():
            return RecordedTeacher(Path(text))
        return ModuleTeacher(model(text, shape), text)
    if isinstance(what, Sequence):
        return EnsembleTeacher([_member(entry, shape) for entry in what])
    if isinstance(what, Teacher):
        return what
    raise TeacherError(
        f"a {type(what).__name__} cannot teach",
        expected="a module, a run folder, a recording, a model's text, a list of them, or an object that keeps the "
        "protocol limbeck.teachers.protocol.Teacher",
    )


def _member(entry: Any, shape: Shape) -> tuple[float, Teacher]:
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], int | float):
        return float(entry[0]), teacher(entry[1], shape)
    if isinstance(entry, dict):
        return float(entry.get("weight", 1.0)), teacher(entry["model"], shape)
    return 1.0, teacher(entry, shape)
