"""The emitted sources under compilers: for the machine at hand, and for a Cortex-M4F with a size."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.errors import ModelError

# Warnings are errors for what is emitted here; no fused multiply-add, so that machines agree in every bit.
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
CORTEX_M4F = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
BOARD = (*CORTEX_M4F, *FLAGS, "-ffunction-sections", "-fdata-sections", "-nostartfiles", "-Wl,--gc-sections")
ARM, HOST = "arm-none-eabi-gcc", "gcc"
SECONDS = 300.0

ALLOCATORS = frozenset("malloc calloc realloc free _malloc_r _free_r sbrk _sbrk brk aligned_alloc alloca".split())

# What QEMU's board has at either place, to measure what does not fit the budget.
ROOM = 4 * 2**20


@dataclass(frozen=True)
class Sized:
    """A program that holds a student and nothing else, linked for a Cortex-M4F.

    Args:
        flash: Bytes of code, constants and what variables begin with.
        static: Bytes of variables: the row, the answer, and the memory between nodes.
        compiler: By its own name.
    """

    flash: int
    static: int
    compiler: str


def found(compiler: str) -> str | None:
    """Where a compiler lies; None where it is not installed. Elsewhere than under Linux `gcc` may be called `cc`."""
    return shutil.which(compiler) or (shutil.which("cc") if compiler == HOST else None)


def version(compiler: str) -> str:
    """The first line in which a compiler names itself."""
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=SECONDS)
    return said.stdout.splitlines()[0]


def host_program(folder: Path, sources: Sequence[str], to: Path) -> None:
    """Compiles the self-test for the machine at hand.

    Raises:
        ModelError: When the compiler refuses it, or warns.
    """
    compiler = found(HOST)
    assert compiler is not None
    _compile([compiler, *FLAGS], folder, ["selftest.c", "host.c", *sources], to, ["-lm"])
    _refuse_allocators(to, "nm")


def board_program(folder: Path, main: str, sources: Sequence[str], to: Path, script: Path | None = None) -> None:
    """Compiles a program for a Cortex-M4F.

    Args:
        folder: Where the sources lie.
        main: The file with its `main`.
        sources: Of the student.
        to: The program.
        script: Where things lie in memory; None: within the budget.

    Raises:
        ModelError: When the compiler refuses it or warns, it does not fit, or it calls an allocator.
    """
    command = [ARM, *BOARD, "-T", str(script or folder / "board.ld")]
    _compile(command, folder, [main, "board.c", *sources], to, ["-lm"])
    _refuse_allocators(to, "arm-none-eabi-nm")


def sized(folder: Path, sources: Sequence[str], scratch: Path) -> Sized:
    """The size of `example.c` with the student, whether it fits a budget or not."""
    script, program = scratch / "room.ld", scratch / "example.elf"
    lines = (folder / "board.ld").read_text(encoding="utf-8")
    script.write_text(re.sub(r"LENGTH = \d+", f"LENGTH = {ROOM}", lines), encoding="utf-8")
    board_program(folder, "example.c", sources, program, script)
    said = subprocess.run(
        ["arm-none-eabi-size", str(program)], capture_output=True, text=True, check=True, timeout=SECONDS
    )
    text, data, bss = map(int, said.stdout.splitlines()[1].split()[:3])
    return Sized(text + data, data + bss, version(ARM))


def _compile(command: Sequence[str], folder: Path, sources: Sequence[str], to: Path, libraries: Sequence[str]) -> None:
    files = [str(folder / source) for source in sources]
    done = subprocess.run(
        [*command, "-o", str(to), *files, *libraries], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line or "overflow" in line or "region" in line]
        raise ModelError(
            f"{command[0]} refuses the emitted sources: {' '.join(said)[:600] or done.stderr.strip()[-600:]}",
            expected=f"sources that compile with {' '.join(FLAGS)}, and fit",
            remedy="a smaller student, a larger budget, or an issue with the artifact",
        )


def _refuse_allocators(program: Path, lister: str) -> None:
    listed = shutil.which(lister)
    if listed is None:
        return
    said = subprocess.run([listed, str(program)], capture_output=True, text=True, check=True, timeout=SECONDS).stdout
    called = {line.split()[-1].partition("@")[0] for line in said.splitlines() if line.split()} & ALLOCATORS
    if called:
        raise ModelError(f"the emitted program calls {', '.join(sorted(called))}", expected="no allocator")
