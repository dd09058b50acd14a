"""Two processes, started as torch and accelerate start them, train what one process trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_recordings import bytes_of
from small_runs import small, weights

from limbeck.records import read_record

RECIPE = """
data: {{source: digits, valid: 0.1, test: 0.2}}
training: {{batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}}
teacher: {teacher}
student: mlp(size=16)
objective: 0.5 * kd(temperature=2) + 0.5 * labels + 0.01 * hint('layer1', 'layer1')
budget: 30 steps
"""


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    teacher = small(None, tmp_path / "teacher", student="mlp(size=32)", budget="3 epochs").folder
    (tmp_path / "r.yaml").write_text(RECIPE.format(teacher=teacher))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, launcher in (
        ("one", []),
        ("two", ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]),
    ):
        command = [sys.executable, "-m", *launcher, "limbeck", "distill", "r.yaml", "--to", name, "--quiet"]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr[-3000:]
    for who in ("student", "control"):
        one, two = (weights(tmp_path / name, who) for name in ("one", "two"))
        apart = max(float((tensor - two[key]).abs().max()) for key, tensor in one.items())
        assert 0 < apart < 1e-4, "sums in another order give other last bits, and nothing more"


CHAIN = """
data: {source: digits, valid: 0.1, test: 0.2}
device: cpu
budget: 2s
training: {threads: 1}
chain:
  - {name: big, student: mlp(size=32)}
  - {name: small, student: mlp(size=8), augment: crop(padding=1), record: 2}
"""


@pytest.mark.slow
def test_two_processes_of_one_launch_share_a_folder_a_recording_and_what_was_measured(tmp_path: Path) -> None:
    """The main process holds the folders and records; what `auto` and a budget of seconds become is the same for both,
    or they would wait for each other for ever."""
    (tmp_path / "c.yaml").write_text(CHAIN)
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    command = [sys.executable, "-m", *launcher, "limbeck", "chain", "c.yaml", "--to", "c"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("report:") == 1
    assert {read_record(tmp_path / "c" / name).status for name in ("big", "small")} == {"finished"}
    assert len(list((tmp_path / "c/small/recording").iterdir())) == 1
    assert not list((tmp_path / "c").rglob("lock"))


VIEWS = """
data: {{source: digits, valid: 0.1, test: 0.2}}
augment: crop(padding=1)
training: {{batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}}
teacher: {teacher}
student: mlp(size=16)
objective: kd(temperature=2)
keep: topk(k=3)
record: 3
budget: 30 steps
device: cpu
"""


@pytest.mark.slow
def test_two_processes_write_the_recording_that_one_writes(tmp_path: Path) -> None:
    teacher = small(None, tmp_path / "teacher", student="mlp(size=32)", budget="3 epochs").folder
    (tmp_path / "r.yaml").write_text(VIEWS.format(teacher=teacher))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, launcher in (
        ("one", []),
        ("two", ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]),
    ):
        command = [sys.executable, "-m", *launcher, "limbeck", "record", "r.yaml", "--to", name, "--quiet"]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr[-3000:]
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert len(list((tmp_path / "one").glob("0*.safetensors"))) == 3
