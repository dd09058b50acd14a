"""Text, module or list -> teacher: everything that can teach, behind one seam."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.catalog.languages import is_language, retokenised
from limbeck.catalog.models import Shape, call_with, imported, made, model, wrapped
from limbeck.data import cache
from limbeck.errors import ModelError, TeacherError
from limbeck.grammar import Call, parse_call
from limbeck.model import Model
from limbeck.servers.address import is_server, server
from limbeck.servers.client import Client
from limbeck.teachers.boosters import open_lightgbm, open_xgboost
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.estimator import EstimatorTeacher
from limbeck.teachers.function import FunctionTeacher
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.onnx import OnnxTeacher
from limbeck.teachers.openai import OpenAITeacher
from limbeck.teachers.protocol import Teacher
from limbeck.teachers.recording import RecordedTeacher
from limbeck.teachers.renamed import RenamedTeacher
from limbeck.teachers.skops import open_skops

_FILES = {"onnx": OnnxTeacher, "sklearn": open_skops, "lightgbm": open_lightgbm, "xgboost": open_xgboost}
_MEMBER = ("model", "weight", "classes")


def teacher(what: Any, shape: Shape) -> Teacher:
    """Finds a teacher for some data.

    Args:
        what: A `Teacher`; a module or `Model`; a run folder; a recording's folder; a text as in `limbeck models`; a
            fitted estimator (it has `predict_proba` or `predict`); a function that answers rows with logits; {"model":
            one of these, "classes": {the data's class: the teacher's, or a list}}; or a list of these, each alone or
            as (weight, teacher) or {"model": ..., "weight": ...}, which becomes an ensemble.
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
        return _read(str(what), shape)
    if isinstance(what, Mapping):
        return _member(what, shape)[1]
    if isinstance(what, Sequence):
        return EnsembleTeacher([_member(entry, shape) for entry in what])
    if isinstance(what, Teacher):
        return what
    # A class has its instances' methods, and calling it would build one for each batch.
    if not isinstance(what, type):
        if hasattr(what, "predict_proba") or hasattr(what, "predict"):
            return EstimatorTeacher(what)
        if callable(what):
            return FunctionTeacher(what)
    raise TeacherError(
        f"a {type(what).__name__} cannot teach"
        if not isinstance(what, type)
        else f"the class {what.__name__} is no teacher",
        expected="a module, a fitted estimator, a function of rows, a run folder, a recording, a text as `limbeck "
        "models` lists them, a list of these, or an object that keeps limbeck.teachers.protocol.Teacher",
    )


def _read(text: str, shape: Shape) -> Teacher:
    """A teacher from its text."""
    kind, _, rest = text.partition(":")
    if (Path(text) / "manifest.json").is_file():
        return RecordedTeacher(Path(text))
    if (speaks := _of_tokens(text)) is not None:
        return speaks
    if kind in _FILES and rest:
        return _opened(_FILES[kind], rest, text)
    if kind == "call" and rest:
        module_name, _, call_text = rest.partition(":")
        if not call_text:
            raise TeacherError(f"{text!r} names no function", expected="call:package.module:function")
        call = parse_call(call_text, "teacher")
        function = imported(module_name, call.name, text)
        if not callable(function):
            raise TeacherError(f"{text} is no function", expected="a function that answers rows")
        return _made(FunctionTeacher, replace(call, keywords={"name": text, **call.keywords}), function)
    if rest and kind not in ("timm", "torchvision") and not is_language(text):
        built = made(text)
        if not isinstance(built, nn.Module):
            if isinstance(built, str | Path):
                raise TeacherError(f"{text} returned a text: {built}", expected="the teacher itself")
            return teacher(built, shape)
        return ModuleTeacher(wrapped(built, shape, text), text)
    return ModuleTeacher(model(text, shape, teaches=True), text)


def _of_tokens(text: str) -> Teacher | None:
    """A teacher of tokens that is more than a network: with a tokenizer of its own, or behind a server."""
    if text.partition("(")[0].strip() == "retokenised":
        return retokenised(text)
    return OpenAITeacher(Client(server(text), cache.folder())) if is_server(text) else None


def _opened(kind: Any, rest: str, text: str) -> Teacher:
    """A teacher from `PATH` or `PATH(argument=value)`; a path may hold brackets too."""
    path, arguments = rest, ""
    if not Path(rest).exists() and rest.endswith(")"):
        ends = [place for place, sign in enumerate(rest) if sign == "("]
        end = next((place for place in ends if Path(rest[:place]).is_file()), ends[0] if ends else len(rest))
        path, arguments = rest[:end], rest[end:]
    call = parse_call(f"{text.partition(':')[0]}{arguments}", "teacher")
    named = {"name": text.removesuffix(arguments) if arguments else text}
    return _made(kind, replace(call, keywords={**named, **call.keywords}), path)


def _made(kind: Any, call: Call, first: Any) -> Teacher:
    try:
        return call_with(kind, call, first)
    except ModelError as error:
        raise TeacherError(error.happened, expected=error.expected, remedy=error.remedy) from error


def _member(entry: Any, shape: Shape) -> tuple[float, Teacher]:
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], int | float):
        return float(entry[0]), teacher(entry[1], shape)
    if isinstance(entry, Mapping):
        if strange := [key for key in entry if key not in _MEMBER] or "model" not in entry:
            raise TeacherError(
                f"a teacher has the key {strange[0]!r}" if isinstance(strange, list) else "a teacher has no model",
                expected=f"the keys {', '.join(_MEMBER)}",
            )
        found = teacher(entry["model"], shape)
        classes = entry.get("classes")
        return float(entry.get("weight", 1.0)), RenamedTeacher(found, classes) if classes else found
    return 1.0, teacher(entry, shape)
