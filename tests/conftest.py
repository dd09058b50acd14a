"""Fixtures that several test files use.

What they need is imported when it is needed: every process that runs any test reads this file first.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from limbeck.data.rows import TensorRows
    from limbeck.data.source import Data
    from limbeck.run import Run

# Tests that import ONNX Runtime themselves do not report to its maker either (limbeck_runtime/onnx_runtime.py).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks are slower on several threads, and very slow where other processes want the cores too."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits() -> "Data":
    from limbeck.data.source import load

    return load("digits")


@pytest.fixture(scope="session")
def few(digits: "Data") -> "TensorRows":
    """200 training rows whose positions are not in the order of their ids."""
    import torch

    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(3))
    return digits.train.select(order[:200])


@pytest.fixture(scope="session")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> "Run":
    """A finished teacher of about 96 % on digits, which nobody writes to."""
    from small_runs import teacher_run

    return teacher_run(tmp_path_factory.mktemp("good") / "teacher")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 1 MB of room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        mount is None
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this user may not mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
