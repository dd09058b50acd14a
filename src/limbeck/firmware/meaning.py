"""What goes in and what comes out, from the manifest, in the words and names of a C header."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck_runtime.manifest import Manifest

TYPES: Mapping[str, str] = {
    "uint8": "uint8_t",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "float32": "float",
    "float64": "double",
}

# Words that a C compiler or the emitted folder has a use for.
_TAKEN = frozenset(
    "alerts auto board break case char const continue default do double else enum example extern float for golden goto "
    "host if inline int limbeck long main register restrict return selftest short signed sizeof static struct switch "
    "typedef union unsigned void volatile while".split()
)
_COLUMNS = 116


def identifier(text: str) -> str:
    """A text as the beginning of C names: lower case, no word of the language."""
    plain = re.sub(r"\W+", "_", text.lower(), flags=re.ASCII).strip("_") or "student"
    return f"student_{plain}" if plain in _TAKEN or plain[0].isdigit() else plain


def literal(number: Any) -> str:
    """A number as C reads it back, bit for bit."""
    if isinstance(number, np.floating):
        return float(number).hex() + ("f" if number.dtype == np.float32 else "")
    if int(number) == np.iinfo(np.int64).min:
        return "INT64_MIN"
    return f"INT64_C({number})" if abs(int(number)) >= 2**31 else str(int(number))


def literals(numbers: npt.NDArray[Any]) -> str:
    """Numbers as a list in C, whatever their shape."""
    return ", ".join(literal(number) for number in numbers.reshape(-1))


def spelled(manifest: Manifest) -> list[str]:
    """What a row and an answer are, one sentence a line."""
    given, said = manifest.input, manifest.output
    shape = " x ".join(map(str, given.shape)) or "1"
    lines = [f"A row: {given.kind}, {shape} numbers of type {given.dtype}."]
    if given.names:
        units = list(given.units) or [""] * len(given.names)
        named = ", ".join(f"{name} ({unit})" if unit else name for name, unit in zip(given.names, units, strict=True))
        lines.append(f"Channels: {named}.")
    if manifest.stream is not None and "every_seconds" in manifest.stream:
        lines.append(f"A reading every {manifest.stream['every_seconds']:g} seconds, the newest last.")
    if given.low is not None and given.high is not None:
        lines.append(f"Validation rows lay between {given.low:g} and {given.high:g}.")
    lines.append("Rows are raw, as the data held them: scaling is inside.")
    return [part for line in [*lines, *_answers(manifest.task, said.reading)] for part in _wrapped(line)]


def _answers(task: str, reading: Mapping[str, Any]) -> list[str]:
    names = [str(name) for name in reading.get("names", ())]
    kind = str(reading.get("kind"))
    said = {
        "class": "a logit for each class; the greatest is the answer.",
        "classes": "a logit for each class; from 0 on a class is there.",
        "steps": "for each step a logit for each class, step by step.",
        "numbers": "the numbers, in the labels' unit.",
        "forecast": "the next readings, in the target's unit.",
    }
    lines = [f"An answer ({task}): {said.get(kind, kind)}"]
    if names:
        lines.append(f"In this order: {', '.join(names)}.")
    if reading.get("quantiles"):
        lines.append(f"Each with the quantiles {', '.join(f'{float(level):g}' for level in reading['quantiles'])}.")
    if reading.get("event"):
        lines.append(f"The last number is the logit of the event: {reading['event']}.")
    return lines


def places(manifest: Manifest) -> list[tuple[str, int]]:
    """Names for places of an answer, in upper case, each once."""
    reading = manifest.output.reading
    kind, names = str(reading.get("kind")), [str(name) for name in reading.get("names", ())]
    found: list[tuple[str, int]] = []
    if kind in ("class", "classes", "steps"):
        found = [(f"CLASS_{_upper(name)}", place) for place, name in enumerate(names)]
    elif kind == "numbers":
        found = [(_upper(name), place) for place, name in enumerate(names)]
    elif kind == "forecast":
        found = [("EVENT", manifest.output.shape[-1] - 1)] if reading.get("event") else []
    seen: dict[str, int] = {}
    for name, place in found:
        seen.setdefault(name, place)
    return [(name, place) for name, place in seen.items() if name not in ("INPUTS", "OUTPUTS")]


def _upper(name: str) -> str:
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").upper() or "UNNAMED"


def _wrapped(line: str) -> Sequence[str]:
    import textwrap

    # What stands in a comment must not end it.
    return textwrap.wrap(line.replace("*/", "* /").replace("/*", "/ *"), _COLUMNS) or [""]
