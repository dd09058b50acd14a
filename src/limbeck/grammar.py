"""The one grammar: calls with arguments, weighted and added, read with `ast` and never evaluated.

0.9 * kd(temperature=4) + 0.1 * labels        an objective
linear(0.9, 0) * kd(temperature=cosine(8, 1)) an objective with numbers that change over the training
crop(padding=2) + flip                        an augmentation
cnn(size=16)                                  a student
"""

import ast
import inspect
from dataclasses import dataclass, field, fields
from typing import Any

from limbeck.errors import RecipeError, did_you_mean
from limbeck.schedules import SHAPES, Schedule


@dataclass(frozen=True)
class Call:
    """A name, dotted for an outsider's, with keyword arguments and, in order, positional ones."""

    name: str
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Term:
    """A call and the weight in front of it (1 where none is written)."""

    weight: float | Schedule
    call: Call


def parse_sum(text: str, what: str) -> list[Term]:
    """Reads a weighted sum of calls.

    Args:
        text: What a person wrote.
        what: What it is, for the error message: "objective", "augmentation".

    Raises:
        RecipeError: When the text is not a sum of calls, with the column where it went wrong.
    """
    try:
        return _terms(_tree(text, what), text, what, 1.0)
    except RecursionError as error:
        raise RecipeError(f"the {what} is nested too deeply", expected="a few hundred terms at most") from error


def parse_call(text: str, what: str) -> Call:
    """Reads one call, such as `cnn(size=16)`."""
    return _call(_tree(text, what), text, what)


def arguments(call: Call, kind: Any, text: str) -> dict[str, Any]:
    """What a call gives to a dataclass, by name: held against its fields, and numbers against their annotations.

    Args:
        call: What a person wrote.
        kind: The dataclass; fields that are annotated `int` or `float` take nothing else.
        text: All of what was written, for the message.

    Raises:
        RecipeError: When an argument is missing, unknown, given twice, one too many, or of another type.
    """
    parameters = inspect.signature(kind).parameters
    names = list(parameters)
    for keyword in call.keywords:
        if keyword not in names:
            raise RecipeError(f"{call.name} has no argument {keyword!r}", remedy=did_you_mean(keyword, names))
    if len(call.arguments) > len(names):
        raise RecipeError(f"{call.name} was given {len(call.arguments)} arguments", expected=f"{len(names)} at most")
    given = dict(zip(names, call.arguments, strict=False))
    for twice in given.keys() & call.keywords.keys():
        raise RecipeError(f"{call.name} was given {twice} twice in {text!r}")
    given |= call.keywords
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise RecipeError(f"{call.name} was given no {name} in {text!r}", expected=f"{call.name}({name}=...)")
    for each in fields(kind):
        if each.name in given:
            _refuse_other_type(call.name, each.name, each.type, given[each.name])
    return given


def _refuse_other_type(name: str, argument: str, wanted: object, value: object) -> None:
    """What a person wrote may be anything; the classes themselves may trust their annotations."""
    if wanted is int and type(value) is not int:
        raise RecipeError(f"{name} has {argument}={value!r}", expected="a whole number")
    if wanted is float and type(value) not in (int, float):
        raise RecipeError(f"{name} has {argument}={value!r}", expected="a number")
    if wanted is str and type(value) is not str:
        raise RecipeError(f"{name} has {argument}={value!r}", expected="a text in quotes")


def _tree(text: str, what: str) -> ast.expr:
    if not text.strip():
        raise RecipeError(f"the {what} is empty", expected="for example 0.9 * kd(temperature=4) + 0.1 * labels")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        pointer = f"{text.strip()}\n  {' ' * max((error.offset or 1) - 1, 0)}^"
        raise RecipeError(f"the {what} cannot be read: {error.msg}\n  {pointer}") from error
    except (ValueError, MemoryError) as error:
        raise RecipeError(f"the {what} cannot be read: {error}") from error


def _terms(node: ast.expr, text: str, what: str, weight: float | Schedule) -> list[Term]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _terms(node.left, text, what, weight) + _terms(node.right, text, what, weight)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for number, rest in ((node.left, node.right), (node.right, node.left)):
            if (factor := _number(number, text, what)) is not None:
                return _terms(rest, text, what, _product(weight, factor, node, text, what))
    if isinstance(node, ast.Name | ast.Attribute | ast.Call):
        return [Term(weight, _call(node, text, what))]
    raise _unreadable(node, text, what, "a sum of NUMBER * name(argument=value)")


def _call(node: ast.expr, text: str, what: str) -> Call:
    if not isinstance(node, ast.Call):
        return Call(_name(node, text, what))
    if any(keyword.arg is None for keyword in node.keywords):
        raise _unreadable(node, text, what, "plain arguments, without **")
    names = [keyword.arg for keyword in node.keywords]
    if len(set(names)) < len(names):  # the parser lets it pass; only Python's compiler refuses it
        raise _unreadable(node, text, what, "each argument once")
    return Call(
        _name(node.func, text, what),
        tuple(_value(argument, text, what) for argument in node.args),
        {str(keyword.arg): _value(keyword.value, text, what) for keyword in node.keywords},
    )


def _name(node: ast.expr, text: str, what: str) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value, text, what)}.{node.attr}"
    raise _unreadable(node, text, what, "a name, or package.module.name")


def _number(node: ast.expr, text: str, what: str) -> float | Schedule | None:
    """A weight: a number, a schedule, or a product of them; None for anything else."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        left, right = _number(node.left, text, what), _number(node.right, text, what)
        return None if left is None or right is None else _product(left, right, node, text, what)
    if _is_schedule(node):
        return _schedule(node, text, what)
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _product(left: float | Schedule, right: float | Schedule, node: ast.expr, text: str, what: str) -> float | Schedule:
    if isinstance(left, Schedule):
        if isinstance(right, Schedule):
            raise _unreadable(node, text, what, "one schedule for a weight")
        return left.scaled(right)
    return right.scaled(left) if isinstance(right, Schedule) else left * right


def _is_schedule(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SHAPES


def _schedule(node: ast.expr, text: str, what: str) -> Schedule:
    call = _call(node, text, what)
    try:
        return Schedule.of(call.name, *call.arguments, **call.keywords)
    except TypeError as error:
        expected = f"{call.name}(START, END), or {call.name}(START, END, over='10 epochs')"
        raise _unreadable(node, text, what, expected) from error


def _value(node: ast.expr, text: str, what: str) -> Any:
    if _is_schedule(node):
        return _schedule(node, text, what)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        raise _unreadable(
            node, text, what, "a number, a schedule, a text in quotes, True, False, None, or a tuple of them"
        ) from None


def _unreadable(node: ast.expr, text: str, what: str, expected: str) -> RecipeError:
    piece = ast.get_source_segment(text.strip(), node) or text
    return RecipeError(f"{piece!r} in the {what} {text!r} cannot be read", expected=expected)
