"""A process that records in children which are killed; `test_recorder.py` runs it, it is no test by itself."""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from limbeck.data.augment import parse
from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.errors import StorageError
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.recorder import record
from limbeck.students import cnn
from limbeck.tasks.classification import Classification
from limbeck.teachers.module import ModuleTeacher


class Sixteenths(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float() / 16


def recorded(teacher: ModuleTeacher, rows: TensorRows, to: Path) -> None:
    record(
        teacher,
        rows,
        Classification(),
        to=to,
        needs=Needs(logits=True, teacher_layers=frozenset({"layer2"})),
        classes=tuple("0123456789"),
        views=2,
        augment=parse("crop(padding=1) + mixup(alpha=0.4)"),
        batch_size=16,
        shard_bytes=1 << 15,
        save_seconds=0,
    )


def die_at(folder: Path, instant: int) -> None:
    """Kills this process just before it opens, renames or removes something in the folder for the `instant`-th time."""
    count = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in ("open", "os.rename", "os.remove", "os.truncate") and str(arguments[0]).startswith(str(folder)):
            count += 1
            if count == instant:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def in_child(work: Callable[[], None]) -> int:
    """Does the work in a process of its own; returns how that ended: 0 well, a signal's number negative."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path) -> None:
    # One thread, so that there is no pool whose threads a fork would lose.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    teacher = ModuleTeacher(Model(cnn.build((1, 8, 8), 10, size=4, depth=1), Sixteenths()), "cnn")
    rows = load("digits").train.select(torch.arange(120))
    assert in_child(lambda: recorded(teacher, rows, folder / "whole")) == 0

    kills, code = 0, -signal.SIGKILL
    while code != 0:

        def attempt(instant: int = kills + 1) -> None:
            die_at(folder / "killed", instant)
            recorded(teacher, rows, folder / "killed")

        code = in_child(attempt)
        assert code in (0, -signal.SIGKILL), code
        kills += code != 0

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(StorageError, match=r"the disk is full: \w+.* \(File too large\)"):
            recorded(teacher, rows, folder / "limited")

    assert in_child(limited) == 0
    assert in_child(lambda: recorded(teacher, rows, folder / "limited")) == 0
    sys.stdout.write(json.dumps({"kills": kills}))


main(Path(sys.argv[1]))
