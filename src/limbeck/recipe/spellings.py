"""The ways in which a person may spell a value of a recipe, each brought to one form or refused with a remedy."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from limbeck.budget import Budget
from limbeck.errors import RecipeError
from limbeck.grammar import parse_call, parse_sum


def wrong(happened: str, expected: str = "", remedy: str = "", *, key: str = "") -> PydanticCustomError:
    """An error that pydantic collects with its place, below it the key, and that keeps its three parts."""
    context = {"happened": happened, "expected": expected, "remedy": remedy, "keys": (key,) if key else ()}
    return PydanticCustomError("limbeck", "{happened}", context)


def _passed_on(error: RecipeError) -> PydanticCustomError:
    return wrong(error.happened, error.expected, error.remedy)


def _part(value: object) -> object:
    """A share of the rows, a count of them, or names of groups."""
    if value is None or (isinstance(value, float) and 0 < value < 1):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 and value % 1 == 0:
        return int(value)
    if isinstance(value, list | tuple) and value:
        return tuple(names(value))
    raise ValueError(
        "a share of the rows between 0 and 1, such as 0.1, a count of rows, such as 5000, or a list of groups"
    )


def names(value: object) -> list[str]:
    """Names; a lone one and numbers will do, but YAML's `no` and `yes` have already lost their spelling."""
    said = [value] if isinstance(value, str | int) else value
    if not isinstance(said, list | tuple) or any(isinstance(name, bool) or name is None for name in said):
        raise ValueError("a list of names, those that YAML takes for something else in quotes")
    return [str(name) for name in said]


_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _bytes(value: object) -> object:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)?\s*", str(value).upper())
    if isinstance(value, bool) or found is None:
        raise ValueError("a number of bytes, such as 500MB or 2GB")
    return round(float(found[1]) * _BYTES[found[2] or "B"])


def _budget(value: object) -> object:
    try:
        return value if value is None else _amount(value)
    except RecipeError as error:
        raise _passed_on(error) from error


def _amount(value: object) -> str:
    parsed = Budget.parse(value if isinstance(value, Budget) else str(value))
    # The words a person wrote are kept, but "20" and 20 become "20 epochs".
    return str(parsed) if not isinstance(value, str) or value.strip().replace(".", "").isdigit() else value.strip()


def _objective(value: object) -> object:
    return _sum(value, "objective")


def _augmentation(value: object) -> object:
    return _sum(value, "augmentation")


def _sum(value: object, what: str) -> object:
    if isinstance(value, str):
        try:
            parse_sum(value, what)
        except RecipeError as error:
            raise _passed_on(error) from error
    return value


def _task(value: object) -> object:
    if isinstance(value, str):
        try:
            parse_call(value, "task")
        except RecipeError as error:
            raise _passed_on(error) from error
    return value


def _student(value: object) -> object:
    # "timm:NAME", "package.module:function" and paths are for the catalog to read; "<Net>" stands for an object.
    if (
        isinstance(value, str)
        and value
        and not value.startswith("<")
        and not re.search(r"[:/\\]", value.partition("(")[0])
    ):
        try:
            parse_call(value, "student")
        except RecipeError as error:
            raise _passed_on(error) from error
    return value


def members(value: object) -> object:
    """A teacher in any of its spellings as a list of members."""
    if value is None or value == "":
        return []
    if isinstance(value, str | Path):
        return [{"model": str(value)}]
    if isinstance(value, Mapping):
        return [value]
    if isinstance(value, list | tuple):
        return [{"model": str(member)} if isinstance(member, str | Path) else member for member in value]
    raise ValueError("a text, a list of texts, or a list of {model: TEXT, weight: NUMBER}")


def data(value: object) -> object:
    """Data in any of its spellings as a mapping."""
    return {"source": str(value)} if isinstance(value, str | Path) else value


def _recorded(value: object) -> object:
    # `record: yes` leaves the number of views open; it is no one, which would show the student one view for ever.
    return {True: "auto", False: None}[value] if isinstance(value, bool) else value


def _keep(value: object) -> object:
    return _sum(value, "keep")


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Part = Annotated[int | float | tuple[str, ...] | None, BeforeValidator(_part)]
Bytes = Annotated[int, BeforeValidator(_bytes)]
TaskText = Annotated[str, BeforeValidator(_task)]
BudgetText = Annotated[str, BeforeValidator(_budget)]
ObjectiveText = Annotated[str, BeforeValidator(_objective)]
AugmentText = Annotated[str, BeforeValidator(_augmentation)]
KeepText = Annotated[str, BeforeValidator(_keep)]
Views = Annotated[Annotated[int, Field(ge=1)] | Literal["auto"] | None, BeforeValidator(_recorded)]
StudentText = Annotated[str, BeforeValidator(_student)]
Trackers = Annotated[tuple[Literal["tensorboard", "wandb", "mlflow"], ...], BeforeValidator(_listed)]
RunName = Annotated[str, Field(pattern=r"^\w[\w.+-]*$", max_length=100)]
