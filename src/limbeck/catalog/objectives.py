"""Finds a method by the name of its file, builds it from text, and describes it for people.

`kd` is `objectives/kd.py`. A dotted name is an outsider's: `mypkg.mine` is the objective class `mine` in `mypkg`, or
the one objective class in the module `mypkg.mine`; naming it imports that module, and nothing else is ever run.
"""

import importlib
import importlib.util
import inspect
import math
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MinLen
from pydantic import ValidationError

from limbeck import objectives
from limbeck.errors import LimbeckError, ObjectiveError, RecipeError, did_you_mean
from limbeck.grammar import Call, parse_sum
from limbeck.notation import written
from limbeck.objective import Needs, Objective, Scheduled, method_name
from limbeck.schedules import Schedule

_WORDS = {float: "number", int: "whole number", str: "text", bool: "True or False", NoneType: "None"}


@dataclass(frozen=True)
class Argument:
    """An argument of a method: its kind and range in words, its default as the grammar writes it (None: required)."""

    name: str
    kind: str
    default: str | None

    def __str__(self) -> str:
        return f"{self.name}: {self.kind}, {'required' if self.default is None else f'default {self.default}'}"


@dataclass(frozen=True)
class MethodCard:
    """What a person wants to know about a method before using it.

    `factor` is what the value is multiplied by besides its weight; `paper` is the method file's docstring: paper, URL,
    section and deviations; `details` the class's docstring; `needs` says in words what it demands, and `served_by`
    which teachers and recordings can answer that.
    """

    name: str
    family: str
    formula: str
    factor: str
    summary: str
    paper: str
    details: str
    arguments: tuple[Argument, ...]
    needs: tuple[str, ...]
    served_by: str
    per_row: bool


def objective(text: str | Objective) -> Objective:
    """Builds an objective from the grammar, such as `0.9 * kd(temperature=4) + 0.1 * labels`.

    Args:
        text: A weighted sum of methods; an objective is returned as it is.

    Raises:
        RecipeError: When the text is no sum of calls.
        ObjectiveError: When a method is unknown, or an argument is unknown, missing or out of its range.
    """
    if isinstance(text, Objective):
        return text
    terms = [(term.weight, _built(term.call)) for term in parse_sum(text, "objective")]
    return reduce(add, (built if weight == 1 else weight * built for weight, built in terms))


def names() -> list[str]:
    """The names of the methods in `limbeck/objectives`, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(objectives.__path__))


def method(name: str) -> type[Objective]:
    """The class of a method, by its file's name or an outsider's dotted path.

    Raises:
        ObjectiveError: When there is none.
    """
    if "." in name:
        return _outsider(name)
    if name not in names():
        raise ObjectiveError(
            f"there is no method {name!r}",
            expected="a method that `limbeck methods` lists, or package.module.Class",
            remedy=did_you_mean(name, names()),
        )
    return _only_method(importlib.import_module(f"{objectives.__name__}.{name}"), name)


def methods() -> list[MethodCard]:
    """A card for every method in `limbeck/objectives`."""
    return [card(method(name)) for name in names()]


def card(kind: type[Objective]) -> MethodCard:
    """Describes a method, one of ours or an outsider's."""
    paper = inspect.getdoc(inspect.getmodule(kind)) or ""
    return MethodCard(
        name=method_name(kind),
        family=kind.family,
        formula=kind.formula,
        factor=kind.factor,
        summary=" ".join(paper.split("\n\n")[0].split("\n")),
        paper=paper,
        details=inspect.getdoc(kind) or "",
        arguments=_arguments(kind),
        needs=needs_in_words(needs) if (needs := _needs_of(kind)) else ("it depends on the arguments",),
        served_by="it depends on the arguments" if needs is None else served_by(needs),
        per_row=kind.per_row,
    )


def needs_in_words(needs: Needs) -> tuple[str, ...]:
    """What an objective demands, one phrase each; "nothing" where it demands nothing."""
    phrases = [
        f"a teacher that answers {divergence.__name__} at temperature {written(temperature)}"
        for divergence, temperature in sorted(needs.soft, key=lambda pair: (pair[0].__name__, pair[1]))
    ]
    if needs.logits:
        phrases.append("the teacher's logits")
    if needs.members:
        phrases.append("several teachers")
    phrases += [f"the teacher's layer {layer}" for layer in sorted(needs.teacher_layers)]
    phrases += [f"the student's layer {layer}" for layer in sorted(needs.student_layers)]
    phrases += ["labels"] * needs.labels + ["row ids"] * needs.ids
    if needs.rows > 1:
        phrases.append(f"batches of at least {needs.rows} rows")
    return tuple(phrases) or ("nothing",)


def served_by(needs: Needs) -> str:
    """Which teachers, live or recorded, can answer these needs."""
    if needs.teacher_layers:
        return (
            "a network in PyTorch, or a recording that kept these layers (say the objective when recording); not an "
            "ONNX file, an estimator, a function or a list of teachers"
        )
    if needs.members:
        return "a list of two or more teachers of any kind, each of them live or a recording of its own"
    if needs.logits:
        return "any teacher with scores for all classes, live or recorded in dense form"
    if needs.soft:
        return "any teacher with probabilities, live or recorded, whose kind of target answers these divergences"
    return "no teacher: it reads none"


def _only_method(module: ModuleType, name: str) -> type[Objective]:
    """The one objective class that a module defines itself."""
    found = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Objective) and kind.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ObjectiveError(
            f"the module {module.__name__} defines {len(found)} objective classes",
            expected="exactly one",
            remedy=f"name the class: {', '.join(f'{name}.{kind.__name__}' for kind in found)}" if found else "",
        )
    return found[0]


def _outsider(name: str) -> type[Objective]:
    """Follows a dotted path through modules to a class, importing as it goes."""
    first, *rest = name.split(".")
    here: object = _imported(first, name)
    for part in rest:
        if hasattr(here, part):
            here = getattr(here, part)
        elif isinstance(here, ModuleType) and _is_module(f"{here.__name__}.{part}"):
            here = _imported(f"{here.__name__}.{part}", name)
        else:
            known = [word for word, kind in getattr(here, "__dict__", {}).items() if _is_method(kind)]
            raise ObjectiveError(f"{name!r} leads nowhere: there is no {part!r}", remedy=did_you_mean(part, known))
    if isinstance(here, ModuleType):
        return _only_method(here, name)
    if isinstance(here, type) and issubclass(here, Objective) and here is not Objective:
        return here
    raise ObjectiveError(
        f"{name!r} is a {type(here).__name__}, not an objective", expected="a subclass of limbeck.objective.Objective"
    )


def _is_module(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:  # the parent is a plain module, without a folder
        return False


def _is_method(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Objective) and kind is not Objective


def _imported(module: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise ObjectiveError(f"the module {module} of {name!r} fails: {error}") from error
        raise ObjectiveError(
            f"there is no module {module!r}, wanted by {name!r}",
            expected="a module on the path",
            remedy="install it, or put its folder on PYTHONPATH",
        ) from error
    except Exception as error:
        raise ObjectiveError(f"the module {module} of {name!r} fails: {type(error).__name__}: {error}") from error


def _built(call: Call) -> Objective:
    kind = method(call.name)
    signature = inspect.signature(kind)
    for keyword in call.keywords:
        if keyword not in signature.parameters:
            raise ObjectiveError(
                f"{call.name} has no argument {keyword!r}",
                expected=_takes(kind),
                remedy=did_you_mean(keyword, signature.parameters) if signature.parameters else f"write {call.name}",
            )
    try:
        arguments = signature.bind(*call.arguments, **call.keywords).arguments
    except TypeError as error:
        raise ObjectiveError(f"{call.name}: {error}", expected=_takes(kind)) from error
    scheduled = {name: value for name, value in arguments.items() if isinstance(value, Schedule)}
    if not scheduled:
        return _made(call.name, kind, arguments)
    # Both ends are tried, so that a range is left before training and not in the middle of it.
    _made(call.name, kind, {**arguments, **{name: schedule.end for name, schedule in scheduled.items()}})
    made = _made(call.name, kind, {**arguments, **{name: schedule.start for name, schedule in scheduled.items()}})
    for name, schedule in scheduled.items():
        if not isinstance(getattr(made, name), float):
            raise ObjectiveError(
                f"{call.name}({name}={schedule!r}): {name} cannot change while training",
                expected=_takes(kind),
                remedy="a schedule for a number that need not be whole, or for the weight in front of the method",
            )
    return Scheduled(made, scheduled)


def _made(name: str, kind: type[Objective], arguments: Mapping[str, Any]) -> Objective:
    try:
        return kind(**arguments)
    except LimbeckError:
        raise
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][:1])
        raise ObjectiveError(
            f"{name}({place}={first['input']!r}): {_lower(first['msg'])}", expected=_takes(kind)
        ) from error
    except (TypeError, ValueError) as error:
        raise ObjectiveError(f"{name} cannot be built: {error}", expected=_takes(kind)) from error


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _takes(kind: type[Objective]) -> str:
    return "; ".join(map(str, _arguments(kind))) or "no arguments"


def _arguments(kind: type[Objective]) -> tuple[Argument, ...]:
    return tuple(
        Argument(
            parameter.name,
            kind_in_words(parameter.annotation),
            None if parameter.default is inspect.Parameter.empty else written(parameter.default),
        )
        for parameter in inspect.signature(kind).parameters.values()
    )


def kind_in_words(annotation: Any) -> str:
    """A type and its range as a person reads it: `Annotated[float, Gt(0)]` is "number > 0"."""
    if get_origin(annotation) is Annotated:
        inner, *ranges = get_args(annotation)
        return " ".join([kind_in_words(inner), *_ranges_in_words(ranges)])
    if get_origin(annotation) is Literal:
        return " or ".join(repr(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(kind_in_words(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (tuple, list):
        kinds = dict.fromkeys(kind_in_words(choice) for choice in get_args(annotation) if choice is not Ellipsis)
        return f"several of: {', '.join(kinds)}"
    if annotation is inspect.Parameter.empty:
        return "anything"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _ranges_in_words(ranges: Iterable[object]) -> list[str]:
    words: list[str] = []
    for bound in ranges:
        match bound:
            case GroupedMetadata():
                words += _ranges_in_words(bound)
            case Gt(gt=value) if value != -math.inf:
                words.append(f"> {value}")
            case Ge(ge=value):
                words.append(f">= {value}")
            case Lt(lt=value) if value != math.inf:
                words.append(f"< {value}")
            case Le(le=value):
                words.append(f"<= {value}")
            case MinLen(min_length=1):
                words.append("(not empty)")
    return words


def _needs_of(kind: type[Objective]) -> Needs | None:
    """The needs of a method with its default arguments; a required layer is shown by its argument's name.

    None where that is not possible.
    """
    required = {
        parameter.name: _example(parameter.annotation, parameter.name.upper())
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.default is inspect.Parameter.empty
    }
    try:
        return kind(**required).needs()
    except (TypeError, ValueError, RecipeError, ObjectiveError):
        return None


def _example(annotation: Any, name: str) -> Any:
    """A value an argument of this type would take: its name as a layer's, one such layer, or 1."""
    if get_origin(annotation) is Annotated:
        return _example(get_args(annotation)[0], name)
    if annotation in (int, float):
        return annotation(1)
    return (name,) if get_origin(annotation) is tuple else name
