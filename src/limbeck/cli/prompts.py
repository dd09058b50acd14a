"""Prompts from what a person typed: the text itself, a file of them, or the standard input."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from limbeck.errors import DataError, did_you_mean

SUFFIXES = (".txt", ".jsonl")
"""Of files of prompts: one a line, as it stands; or a JSON object a line, with a prompt or with messages."""


def read(said: str) -> list[Any]:
    """The prompts: texts, or lists of messages.

    Args:
        said: A prompt; a file of them; or "-" for the standard input, where a line that begins with a brace is JSON.

    Raises:
        DataError: When the file is missing or cannot be read, or a line of JSON is neither prompt nor messages.
    """
    if said == "-":
        return _prompts(sys.stdin.read(), "the standard input", None)
    path = Path(said)
    if path.suffix.lower() not in SUFFIXES or re.search(r"\s", said):
        return [said]
    if not path.is_file():
        near = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(
            f"there is no file {path}",
            expected="a prompt, a file of prompts (.txt, .jsonl), or - for the standard input",
            remedy=did_you_mean(path.name, near),
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}", expected="text in UTF-8") from error
    return _prompts(text, str(path), path.suffix.lower() == ".jsonl")


def _prompts(text: str, where: str, as_json: bool | None) -> list[Any]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if line.strip():
            structured = line.lstrip().startswith("{") if as_json is None else as_json
            found.append(_said(line, f"{where}:{number}") if structured else line)
    if not found:
        raise DataError(f"{where} holds no prompt", expected="one a line")
    return found


def _said(line: str, where: str) -> Any:
    expected = 'a JSON object with "prompt" (a text) or "messages" (a list of {"role": ..., "content": ...})'
    try:
        said = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is no JSON: {error}", expected=expected) from error
    there = [key for key in ("prompt", "messages") if isinstance(said, dict) and key in said]
    if len(there) != 1 or not isinstance(said[there[0]], str if there == ["prompt"] else list):
        raise DataError(f"{where} is neither a prompt nor messages", expected=expected)
    return said[there[0]]
