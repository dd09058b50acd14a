"""What is known of a student in C once it was compiled and run: answers, flash, RAM, instructions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.firmware.building import Sized
from limbeck.firmware.emulation import Said
from limbeck.firmware.translation import Translated


@dataclass(frozen=True)
class Firmware:
    """A student in C.

    Args:
        folder: Where it lies.
        name: Begins its names in C, and is the name of its function.
        sources: What goes into a firmware, without headers.
        code: The graph in C, and the memory between its nodes.
        rows: How many known rows the self-test asks about.
        real: Whether they are rows of the data; else those of the artifact, which are nobody's.
        tolerance: The largest difference from ONNX Runtime that is the same answer, in the answers' unit.
        host: What the self-test said on this machine; None where there is no compiler.
        board: What it said on a Cortex-M4F in QEMU; None where there is none.
        sized: How large a program around it is; None where there is no compiler for a Cortex-M4F.
        fits: Whether flash and RAM (variables and stack) are within the budget; None where they were not measured.
        notes: What was left out, and why.
    """

    folder: Path
    name: str
    sources: tuple[str, ...]
    code: Translated
    rows: int
    real: bool
    tolerance: float
    host: Said | None
    board: Said | None
    sized: Sized | None
    fits: bool | None
    notes: tuple[str, ...]


def sizes(found: Firmware) -> dict[str, Any]:
    """What was measured of a student in C, as JSON; None for what was not."""
    said: dict[str, Any] = {
        "arena_bytes": found.code.arena,
        "least_bytes": found.code.least,
        "without_sharing_bytes": found.code.apart,
        "rows": found.rows,
    }
    said |= {"tolerance": found.tolerance, "fits": found.fits}
    said["host_difference"] = None if found.host is None else found.host.difference
    said["flash_bytes"] = None if found.sized is None else found.sized.flash
    said["static_bytes"] = None if found.sized is None else found.sized.static
    said["compiler"] = None if found.sized is None else found.sized.compiler
    said["stack_bytes"] = None if found.board is None else found.board.stack
    said["instructions"] = None if found.board is None else found.board.instructions
    said["board_difference"] = None if found.board is None else found.board.difference
    said["equal_bits"] = None
    if found.host is not None and found.board is not None:
        said["equal_bits"] = found.host.answers.tobytes() == found.board.answers.tobytes()
    return said


def spelled(found: Firmware) -> list[tuple[str, str]]:
    """The same for people: what was measured, in words and numbers."""
    said = sizes(found)
    words = {
        "flash_bytes": "flash, bytes (a program with nothing else, Cortex-M4F, -O2)",
        "static_bytes": "RAM, bytes of variables",
        "arena_bytes": "of these between nodes",
        "without_sharing_bytes": "between nodes, if nothing were shared",
        "stack_bytes": "RAM, bytes of stack (painted, in QEMU)",
        "instructions": "instructions for an answer (QEMU; not cycles)",
        "host_difference": "largest difference from ONNX Runtime, this machine",
        "board_difference": "largest difference from ONNX Runtime, Cortex-M4F",
        "equal_bits": "both machines answer in the same bits",
        "tolerance": "the same answer is one within",
        "compiler": "compiler",
    }
    there = {key: said[key] for key in words if said[key] is not None}
    return [(words[key], f"{value:g}" if isinstance(value, float) else str(value)) for key, value in there.items()]
