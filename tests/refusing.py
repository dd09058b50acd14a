"""Functions that teach and fail on some rows, and a process that records one and is killed; no test by itself."""

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.objective import Needs
from limbeck.recorder import record
from limbeck.tasks.classification import Classification
from limbeck.teachers.function import FunctionTeacher

WEIGHT = np.random.default_rng(0).standard_normal((64, 10)) / 40
CLASSES = tuple("0123456789")


def linear(rows: Any) -> Any:
    """Answers every row."""
    return rows.reshape(len(rows), -1) @ WEIGHT


def first_pixels(rows: Any) -> Any:
    """What decides, below, whether a row is answered: about one row of thirty."""
    return (rows.reshape(len(rows), -1).sum(axis=1) % 30) == 7


def refusing(rows: Any) -> Any:
    """Raises where any of the rows is one it cannot answer."""
    if first_pixels(rows).any():
        raise ValueError("this one I cannot")
    return linear(rows)


def rows() -> TensorRows:
    """200 of the digits, in no order."""
    train = load("digits", valid=0.1, test=0.2).train
    return train.select(torch.randperm(len(train), generator=torch.Generator().manual_seed(1))[:200])


def recorded(to: Path, **changes: Any) -> Path:
    """A recording of the refusing function."""
    words: dict[str, Any] = {"batch_size": 16, "shard_bytes": 1 << 12, "save_seconds": 0, **changes}
    teacher = words.pop("teacher", None) or FunctionTeacher(refusing, failures=0.2)
    return record(teacher, rows(), Classification(), to=to, needs=Needs(logits=True), classes=CLASSES, **words)


def die_at(folder: Path, instant: int) -> None:
    """Kills this process just before it touches something in the folder for the `instant`-th time."""
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in ("open", "os.rename", "os.remove") and str(arguments[0]).startswith(str(folder)):
            count += 1
            if count == instant:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def main(folder: Path) -> None:
    """Records in children that are killed one instant later each time, until one lives; says how many died."""
    torch.set_num_threads(1)
    # Asked once here, so that no child has to import what the first answer needs.
    rows()
    kills, code = 0, -signal.SIGKILL
    while code != 0:
        child = os.fork()
        if child == 0:
            die_at(folder, kills + 1)
            warnings.simplefilter("ignore")
            died = 1
            try:
                recorded(folder)
                died = 0
            finally:
                os._exit(died)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL), code
        kills += code != 0
    sys.stdout.write(str(kills))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
