"""A student on a Cortex-M4F without anything else, in QEMU: its answers, its instructions and its stack."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from limbeck.errors import ModelError
from limbeck.firmware.building import ARM, board_program, found

QEMU = "qemu-system-arm"

# One nanosecond for an instruction, so that the board's timer counts them; QEMU does not know cycles.
FLAGS = ("-M", "mps2-an386", "-icount", "shift=0", "-nographic", "-monitor", "none", "-serial", "none")
SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")
SECONDS = 600.0


@dataclass(frozen=True)
class Said:
    """What a self-test said.

    Args:
        answers: (rows, outputs), bit for bit.
        difference: The largest from ONNX Runtime's, to four digits.
        same: Whether all are within the tolerance.
        instructions: Of the row that took most; 0 where the machine cannot count.
        stack: Bytes of the row that took most; 0 where the machine cannot measure.
    """

    answers: npt.NDArray[np.float32]
    difference: float
    same: bool
    instructions: int
    stack: int


def missing() -> str | None:
    """What is not installed of what emulation needs; None where all is."""
    return next((name for name in (ARM, QEMU) if shutil.which(name) is None and found(name) is None), None)


def emulated(folder: Path, sources: Sequence[str], script: Path | None = None) -> Said:
    """Runs the self-test of an emitted folder in QEMU.

    Args:
        folder: As `firmware` wrote it.
        sources: Of the student, in it.
        script: Where things lie in memory; None: within the budget.

    Raises:
        ModelError: When it does not compile or link, or does not end.
    """
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch, "selftest.elf")
        board_program(folder, "selftest.c", sources, program, script)
        return run([QEMU, *FLAGS, *SEMIHOSTING, "-kernel", str(program)])


def run(command: Sequence[str]) -> Said:
    """Runs a self-test and reads what it says.

    Raises:
        ModelError: When it does not end, or ends otherwise than a self-test does.
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{command[0]} did not end within {SECONDS:g} s", expected="a bounded program") from error
    # QEMU's semihosting console writes to the standard error.
    lines = (done.stdout + done.stderr).splitlines()
    if not lines or not any(line in ("the same answers", "OTHER ANSWERS") for line in lines):
        raise ModelError(
            f"the self-test ended with {done.returncode}: {' '.join(lines)[-300:] or 'it said nothing'}",
            expected="answers to all rows",
        )
    words = [[int(word, 16) for word in line.split()[1:]] for line in lines if line.startswith("answer ")]
    numbers = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in lines}
    return Said(
        np.array(words, np.uint32).view(np.float32),
        float("nan") if numbers["largest difference"] == "number" else float(numbers["largest difference"]),
        "the same answers" in lines and done.returncode == 0,
        int(numbers["instructions"]),
        int(numbers["stack"]),
    )
