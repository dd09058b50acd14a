"""Prompts out of any table or text file: what a writer goes on with, or answers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.data.forms import prose, tables
from limbeck.data.forms.columns import Block, plain
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError, did_you_mean
from limbeck.languages.writing import Prompt

_USUAL = ("messages", "prompt", "text")
_ASSISTANT = "assistant"


def prompts(source: Any, *, column: str = "", system: str = "", chat: bool = False, limit: int = 0) -> list[Prompt]:
    """The prompts of a source.

    Args:
        source: A table (.jsonl, .csv, .parquet and so on), a text file (.txt: a prompt each paragraph), a folder of
            either, or the prompts themselves: texts, or lists of messages. Messages end before the last turn of the
            assistant, which is to be written.
        column: The column of a table; left out, the first of messages, prompt, text that is there.
        system: A message of the system put before messages that begin with none.
        chat: Whether a text is what a user asks, as one message, rather than a text that goes on.
        limit: So many of the first; 0 for all.

    Raises:
        DataError: When there is no prompt, no such column, or a prompt is neither text nor messages.
    """
    found: list[Prompt] = []
    for where, value in _values(source, column):
        prompt = _prompt(value, where)
        if isinstance(prompt, str) and chat:
            prompt = [{"role": "user", "content": prompt}]
        if isinstance(prompt, str) and system:
            raise DataError(
                f"a message of the system was given, and {where} is a text that goes on",
                expected="conversations",
                remedy="chat=True, --chat",
            )
        if not isinstance(prompt, str) and system and prompt[0]["role"] != "system":
            prompt = [{"role": "system", "content": system}, *prompt]
        found.append(prompt)
        if limit and len(found) == limit:
            break
    if not found:
        raise DataError(f"{source} holds no prompt", expected="at least one")
    kinds = {isinstance(prompt, str) for prompt in found}
    if len(kinds) > 1:
        raise DataError("some prompts are texts and some are messages", expected="one kind", remedy="chat=True, --chat")
    return found


def _values(source: Any, column: str) -> Iterable[tuple[str, Any]]:
    """Each prompt's place in words, and what stands there."""
    if not isinstance(source, str | Path):
        yield from ((f"prompt {number}", value) for number, value in enumerate(source))
        return
    path = Path(source).expanduser()
    for block in _blocks(path):
        name = column or next((each for each in _USUAL if each in block.columns), "")
        if name not in block.columns:
            known = list(block.columns)
            raise DataError(
                f"{path} has no column {name!r}" if name else f"{path} has no column of prompts",
                expected=f"one of {', '.join(known[:20])}" if name else f"a column {', '.join(_USUAL)}",
                remedy=did_you_mean(name, known) if name else "column=NAME, --column NAME",
            )
        for place, value in enumerate(plain(block.column(name))):
            yield block.where(place), value


def _blocks(path: Path) -> Iterable[Block]:
    lost = Unreadable(0.0, "prompts")
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    listed = [file for file in files if tables.is_table(file)]
    if listed:
        yield from tables.reader(listed)(lost)
    elif written := [file for file in files if prose.is_text(file) and file.is_file()]:
        yield from prose.reader(written, path, apart=True)(lost)
    else:
        raise DataError(
            f"there are no prompts at {path}", expected=f"a file of {', '.join((*tables.SUFFIXES, *prose.SUFFIXES))}"
        )
    lost.check(1)


def _prompt(value: Any, where: str) -> Prompt:
    """A text, or messages up to the last turn that somebody else says."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        messages = [
            {str(k): v for k, v in each.items() if v is not None} for each in value if isinstance(each, Mapping)
        ]
        while messages and messages[-1].get("role") == _ASSISTANT:
            messages.pop()
        if messages and len(messages) >= len(value) - 1 and all(_whole(message) for message in messages):
            return messages
    raise DataError(
        f"{where} is {str(value)[:80]!r}, no prompt",
        expected="a text, or messages [{role: user, content: TEXT}, ...] with at most one answer at their end",
    )


def _whole(message: Mapping[str, Any]) -> bool:
    return isinstance(message.get("role"), str) and isinstance(message.get("content"), str)
