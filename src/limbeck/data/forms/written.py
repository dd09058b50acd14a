"""Which columns of a table hold text, and what kind of text it is."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from limbeck.data.forms.columns import Block, form
from limbeck.errors import DataError
from limbeck.recipe import Columns

Kind: TypeAlias = Literal["texts", "completions", "messages"]
"""Plain texts, prompts beside their completions, or conversations."""

# What the columns are called in most data sets; a known one that is there alone needs no word in the recipe.
_USUAL: dict[Kind, tuple[str, ...]] = {
    "texts": ("text",),
    "completions": ("prompt", "completion"),
    "messages": ("messages",),
}


@dataclass(frozen=True)
class Written:
    """Where text stands: its kind, the column of texts, prompts or messages, those of completions and of steps."""

    kind: Kind
    inputs: str
    completion: str | None = None
    rationale: str | None = None

    @property
    def columns(self) -> list[str]:
        """The columns of a document's texts, in the order in which they are read."""
        return [name for name in (self.inputs, self.rationale, self.completion) if name is not None]


def written(said: Columns, block: Block) -> Written:
    """The columns of text, from what a recipe says and the first rows.

    Args:
        said: The recipe's columns; without inputs, the usual names: "text", "prompt" and "completion", or "messages".
        block: The first rows.

    Raises:
        DataError: When a column is not there or holds no text, or several could be meant.
    """
    for place, names in (("inputs", said.inputs), ("label", said.label)):
        if len(names) > 1:
            raise DataError(
                f"columns.{place} names {len(names)} columns, and a document is one text",
                expected="one column",
                remedy="columns: {inputs: prompt, label: completion} for a prompt and what follows it",
            )
    for name in (*said.inputs, *said.label, *(name for name in (said.rationale, said.group, said.time) if name)):
        block.column(name)
    found = _named(said, block) if said.inputs else _usual(said, block)
    if said.rationale is not None:
        found = _with_steps(found, said.rationale, block)
    if found.completion == found.inputs:
        raise DataError(
            f"the column {found.inputs!r} is the prompt and also the completion", expected="a column for each of them"
        )
    return found


def _with_steps(found: Written, rationale: str, block: Block) -> Written:
    if found.kind != "completions" or rationale in (found.inputs, found.completion):
        raise DataError(
            f"columns.rationale is {rationale!r}, and the text is {', '.join(found.columns)}",
            expected="a column of steps between a column of prompts and one of completions",
            remedy="columns: {inputs: prompt, rationale: steps, label: answer}",
        )
    _held(rationale, block, listed=False, answer=True)
    return replace(found, rationale=rationale)


def _named(said: Columns, block: Block) -> Written:
    name = said.inputs[0]
    kind = _held(name, block, listed=not said.label)
    if not said.label:
        return Written(kind, name)
    _held(said.label[0], block, listed=False, answer=True)
    return Written("completions", name, said.label[0])


def _usual(said: Columns, block: Block) -> Written:
    there = {kind: names for kind, names in _USUAL.items() if all(name in block.columns for name in names)}
    if said.label and "prompt" in block.columns:
        there = {"completions": ("prompt", said.label[0])}
    if len(there) != 1:
        several = ", ".join("+".join(names) for names in there.values())
        raise DataError(
            f"no column is said to be the text, and there are {', '.join(block.columns)}",
            expected=f"columns.inputs, because there are {several}"
            if several
            else "a column text, messages, or prompt beside completion",
            remedy="columns: {inputs: NAME}, with {label: NAME} for the completions of prompts",
        )
    (kind, names), *_ = there.items()
    for name in names:
        _held(name, block, listed=kind == "messages", answer=name != names[0])
    return Written(kind, names[0], names[1] if len(names) > 1 else None)


def _held(name: str, block: Block, *, listed: bool, answer: bool = False) -> Kind:
    """What a column holds: texts, or messages where these may be.

    Raises:
        DataError: When it is neither. Where all values are text, as in a CSV file, an answer may look like a number.
    """
    found = form(block.column(name), typed=block.typed)
    # a structure of lists is how older data sets keep messages
    if listed and found in ("arrays", "pictures") and not _texts(name, block):
        return "messages"
    if found in ("text", "empty") or _texts(name, block) or (answer and not block.typed):
        return "texts"
    raise DataError(
        f"the column {name!r} holds {found}, and the task reads text",
        expected="texts, or lists of messages" if listed else "texts",
        remedy="another column in columns.inputs or columns.label; numbers that are meant as text, written as text",
    )


def _texts(name: str, block: Block) -> bool:
    """Whether the first values of a column are texts, such as names of picture files."""
    values = block.column(name)[:20]
    seen = [value for value in (values.to_pylist() if hasattr(values, "to_pylist") else values) if value is not None]
    return block.typed and bool(seen) and all(isinstance(value, str) for value in seen)
