"""A YAML document whose every value knows the line it came from, so that an error can point there."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from limbeck.errors import RecipeError, did_you_mean

Place = tuple[str | int, ...]
"""Where a value sits: keys and list positions from the top, such as ("chain", 1, "training", "lr")."""

# A recipe of real life has some dozens of values; aliases of aliases can make billions out of a kilobyte.
MOST_VALUES = 10_000
MOST_BYTES = 1_000_000

# What other tools call it, where no spelling is near.
SYNONYMS = {
    "learning_rate": "lr",
    "batch_size": "batch",
    "epochs": "budget",
    "steps": "budget",
    "model": "student",
    "dataset": "data",
    "loss": "objective",
    "output": "to",
    "gradient_clipping": "clip",
}


@dataclass
class Document:
    """The values of a YAML mapping, and who said each: a line of the file or a `--set` on the command line."""

    source: str
    values: dict[str, Any]
    origins: dict[Place, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Document":
        """Reads a file.

        Raises:
            RecipeError: When it is missing, is no text, or is no YAML mapping.
        """
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            near = sorted(other.name for other in path.parent.glob("*.y*ml"))
            hint = f"{did_you_mean(path.name, near)} (in {path.parent})" if near else "check the path"
            raise RecipeError(f"there is no recipe {path}", expected="a YAML file", remedy=hint) from None
        except OSError as error:
            raise RecipeError(f"the recipe {path} cannot be read: {error.strerror}", expected="a YAML file") from error
        if len(raw) > MOST_BYTES:
            raise RecipeError(f"{path} has {len(raw):,} bytes", expected=f"a recipe of at most {MOST_BYTES:,} bytes")
        try:
            return cls.parse(raw.decode("utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise RecipeError(f"{path} is no text: byte {error.start} is not UTF-8", expected="a YAML file") from error

    @classmethod
    def parse(cls, text: str, source: str) -> "Document":
        """Reads text.

        Args:
            text: YAML, one mapping.
            source: What errors call the text, such as the file's path.

        Raises:
            RecipeError: When it is no YAML mapping, has a duplicate key, or a key that is no text.
        """
        try:
            loader = yaml.SafeLoader(text)
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                raise RecipeError(f"{source}: this is no recipe", expected="YAML lines of the form `key: value`")
            origins = _origins(node, source)
            return cls(source, loader.construct_document(node), origins)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
            raise RecipeError(f"{where}: {error.problem or error.context}", expected="YAML") from error
        except yaml.YAMLError as error:
            raise RecipeError(f"{source}: {str(error).splitlines()[0]}", expected="YAML") from error
        except RecursionError:
            raise RecipeError(f"{source}: the nesting is too deep", expected="a recipe") from None
        except ValueError as error:  # such as a month 13 in what YAML takes for a date
            raise RecipeError(f"{source}: {error}", expected="YAML", remedy="put the text in quotes") from error

    def override(self, setting: str) -> None:
        """Changes one value, as `--set key.key=value` asks; the value is read as YAML, and `chain.NAME` finds a link.

        Raises:
            RecipeError: When the setting has no "=", or its value is no YAML.
        """
        origin = f"--set {setting}"
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{origin}: this sets nothing", expected="key=value, such as training.lr=0.003")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:
            raise RecipeError(f"{origin}: the value cannot be read", expected="YAML, in quotes if in doubt") from error
        steps = key.strip().split(".")
        target: Any = self.values
        place: Place = ()
        for position, step in enumerate(steps):
            found = _child(target, step, origin)
            place += (found,)
            if position == len(steps) - 1:
                target[found] = value
            else:
                target = _opened(target, found)
        for inner in [known for known in self.origins if known[: len(place)] == place]:
            del self.origins[inner]
        self.origins[place] = origin

    def origin(self, *places: Place) -> str:
        """Who said the first of these places that anybody said; else the nearest mapping around the first."""
        for place in places:
            if place in self.origins:
                return self.origins[place]
        for known, origin in self.origins.items():
            if known[: len(places[0])] == places[0] != ():
                return origin
        nearest = places[0]
        while nearest and nearest not in self.origins:
            nearest = nearest[:-1]
        return self.origins.get(nearest, self.source)


def _child(target: Any, step: str, origin: str) -> str | int:
    if isinstance(target, dict):
        return step
    names = {str(item.get("name")): number for number, item in enumerate(target) if isinstance(item, dict)}
    if step in names:
        return names[step]
    if step.isdecimal() and int(step) < len(target):
        return int(step)
    known = [name for name in names if name != "None"]
    expected = f"a number from 0 to {len(target) - 1}" + (f", or one of: {', '.join(known)}" if known else "")
    raise RecipeError(f"{origin}: there is no {step!r} in that list", expected=expected)


def _opened(target: Any, key: str | int) -> Any:
    """The container at a key, made where there is none; a lone text such as `data: digits` becomes its mapping."""
    inner = target.get(key) if isinstance(target, dict) else target[key]
    if isinstance(inner, str) and key == "data":
        inner = {"source": inner}
    if not isinstance(inner, dict | list):
        inner = {}
    target[key] = inner
    return inner


def _origins(top: yaml.MappingNode, source: str) -> dict[Place, str]:
    origins: dict[Place, str] = {}
    waiting: list[tuple[yaml.Node, Place]] = [(top, ())]
    visited = 0
    while waiting:
        node, place = waiting.pop()
        visited += 1
        if visited > MOST_VALUES:
            raise RecipeError(f"{source}: more than {MOST_VALUES:,} values", expected="fewer, and no nested aliases")
        if isinstance(node, yaml.MappingNode):
            for key, value in _keys(node, source):
                inner = place if key.value == "<<" else (*place, str(key.value))
                origins.setdefault(inner, f"{source}:{key.start_mark.line + 1}")
                waiting.append((value, inner))
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                origins.setdefault((*place, number), f"{source}:{value.start_mark.line + 1}")
                waiting.append((value, (*place, number)))
    return origins


def _keys(node: yaml.MappingNode, source: str) -> Iterable[tuple[yaml.Node, yaml.Node]]:
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
            raise RecipeError(
                f"{source}:{line}: the key {shown} is no text",
                expected="a name; YAML takes yes, no, on, off, null and numbers for something else",
                remedy=f"put it in quotes: '{shown}'" if isinstance(key, yaml.ScalarNode) else "",
            )
        if key.value in seen:
            raise RecipeError(
                f"{source}:{line}: the key {key.value!r} is there twice, first in line {seen[key.value]}",
                expected="every key once",
                remedy="delete one of the two",
            )
        seen[key.value] = line
        yield key, value


def explain(
    error: ValidationError,
    document: Document,
    keys: Callable[[Place], Mapping[str, Iterable[str]]],
    link: int | None = None,
) -> RecipeError:
    """Rewrites what pydantic found into lines a person can act on, each with its origin.

    Args:
        error: What pydantic found.
        document: Where the values came from.
        keys: For a place of a mapping, the keys it may have, and those of other sections, by section name ("" is its
            own).
        link: The link of a chain whose merged values were checked: its own lines come before those of the base.
    """
    mistakes: dict[Place, tuple[str, str, str]] = {}
    for detail in error.errors():
        place: Place = (*detail["loc"], *detail.get("ctx", {}).get("keys", ()))
        own = () if link is None else (("chain", link, *place),)
        origin = document.origin(*own, place)
        # The alternatives of a union each complain about the same value; one line is enough.
        mistakes.setdefault(place, _mistake(detail, place, origin, keys))
    found = list(mistakes.values())
    if len(found) == 1:
        happened, expected, remedy = found[0]
        return RecipeError(happened, expected=expected, remedy=remedy)
    lines = [
        happened + (f"; expected: {expected}" if expected else "") + (f"; try: {remedy}" if remedy else "")
        for happened, expected, remedy in found
    ]
    return RecipeError("\n".join([f"{document.source}: {len(found)} mistakes", *(f"  {line}" for line in lines)]))


def _mistake(
    detail: ErrorDetails, place: Place, origin: str, keys: Callable[[Place], Mapping[str, Iterable[str]]]
) -> tuple[str, str, str]:
    name = ".".join(str(step) for step in place)
    context = detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        return _unknown_key(place, origin, keys)
    if detail["type"] == "missing":
        return f"{origin}: {name} is missing", f"{name}: VALUE", ""
    if detail["type"] == "limbeck":
        return f"{origin}: {context['happened']}", context["expected"], context["remedy"]
    if detail["type"] in ("model_type", "dict_type", "model_attributes_type"):
        return f"{origin}: {name} has no keys", "key: value, one a line", ""
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    message = message.replace("a valid string", "text").replace("a valid ", "a ").partition(", unable")[0]
    shown = detail["input"] if isinstance(detail["input"], str | int | float | bool | None) else "no single value"
    return f"{origin}: {name} is {shown!r}", message, ""


def _unknown_key(
    place: Place, origin: str, keys: Callable[[Place], Mapping[str, Iterable[str]]]
) -> tuple[str, str, str]:
    section, word = place[:-1], str(place[-1])
    inside = f" in {'.'.join(str(step) for step in section)}" if section else ""
    sections = keys(section)
    happened = f"{origin}: unknown key {word!r}{inside}"
    for other, known in sections.items():
        if other and word in known:
            return happened, "", f"it belongs under {other}: write {other}.{word}"
    known = set(sections[""])
    if (same := SYNONYMS.get(word)) in known:
        return happened, "", f"did you mean {same!r}?"
    return happened, "", did_you_mean(word, known)
