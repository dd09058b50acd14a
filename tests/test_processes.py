"""Two processes, started as torch and accelerate start them, train and record what one process does, killed or not."""

import os
import signal
import socket
import subprocess
import sys
import time
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


KILLED = Path(__file__).with_name("killed_launch.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
# Without a GPU `accelerate launch` starts several processes through MPI alone, or like this.
ACCELERATE = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


def start(launcher: list[str], log: Path, victims: str, to: str, **rank: str) -> subprocess.Popen[str]:
    """Starts `killed_launch.py` in the folder of the log; the victims die when they have saved their third batch."""
    command = [
        sys.executable,
        *launcher,
        str(KILLED),
        str(log),
        victims,
        "3",
        "record",
        "r.yaml",
        "--to",
        to,
        "--quiet",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **rank}
    return subprocess.Popen(command, cwd=log.parent, env=environment, stderr=subprocess.PIPE, text=True)


def by_hand(log: Path, victims: str, to: str) -> list[subprocess.Popen[str]]:
    """Two processes as they are on two machines: nobody looks after both, and ends one when the other has died."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    return [start([], log, victims, to, **meeting, RANK=rank, LOCAL_RANK=rank) for rank in ("0", "1")]


def asked(log: Path) -> list[str]:
    """Every batch that the processes of a launch asked about, and saved."""
    return [line for process in log.iterdir() for line in process.read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and the recording that one process makes of it without being killed."""
    place = tmp_path_factory.mktemp("whole")
    teacher = small(None, place / "teacher", student="mlp(size=32)", budget="3 epochs").folder
    (place / "r.yaml").write_text(VIEWS.format(teacher=teacher).replace("topk(k=3)", "dense"))
    process = start([], place / "log", "none", "one")
    assert process.communicate()[1] == ""
    assert len(asked(place / "log")) == 15
    return place


@pytest.mark.slow
@pytest.mark.parametrize(("victim", "launcher"), [("0", TORCHRUN), ("1", [])])
def test_a_process_of_two_is_killed_and_the_other_ends_by_itself(whole: Path, victim: str, launcher: list[str]) -> None:
    """The survivor finishes its share, says what happened, and hangs nowhere; resumed by two processes, or by one."""
    to, first, second = f"killed-{victim}", whole / f"log-{victim}", whole / f"log-{victim}-again"
    both = by_hand(first, victim, to)
    assert both[int(victim)].communicate() and both[int(victim)].returncode == -signal.SIGKILL
    died = time.monotonic()
    survivor = both[1 - int(victim)]
    said = survivor.communicate(timeout=120)[1]
    assert time.monotonic() - died < 60
    assert survivor.returncode == 130, said
    assert "another process of this launch has ended, or is not heard of any more" in said
    assert f"try: limbeck record r.yaml --to {to}" in said
    goes_on(whole, to, launcher, first, second, askers=1)


@pytest.mark.slow
def test_both_processes_are_killed_and_what_they_had_finished_is_not_asked_again(whole: Path) -> None:
    killed = by_hand(whole / "log-both", "0,1", "both")
    assert [process.communicate() and process.returncode for process in killed] == [-signal.SIGKILL] * 2
    goes_on(whole, "both", ACCELERATE, whole / "log-both", whole / "log-both-again", askers=2)


def goes_on(whole: Path, to: str, launcher: list[str], first: Path, second: Path, askers: int) -> None:
    """A launch after the killed one asks what that one had not saved, and ends in the bytes of one process."""
    there = asked(first)
    assert 3 <= len(there) < 15
    resumed = start(launcher, second, "none", to)
    said = resumed.communicate()[1]
    assert resumed.returncode == 0, said[-3000:]
    assert sorted(there + asked(second)) == sorted(asked(whole / "log"))
    assert len(list(second.iterdir())) == askers
    assert bytes_of(whole / to) == bytes_of(whole / "one")
