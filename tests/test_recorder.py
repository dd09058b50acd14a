"""The recorder: what it refuses to write down, and that a recording is whole after a kill, a full disk or Ctrl-C."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_files import fill_up
from small_recordings import Wanted, bytes_of, live

from limbeck.data.rows import TensorRows
from limbeck.errors import FolderInUse, Interrupted, StorageError, TeacherError
from limbeck.recordings.store import Recording, verify
from limbeck.storage import sole_writer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused(few: TensorRows, tmp_path: Path, value: float) -> None:
    teacher = live()
    with torch.no_grad():
        teacher.model.network.head[3].bias[4] = value
    with pytest.raises(TeacherError, match="the teacher's logits contain numbers that are not finite"):
        Wanted(few, tmp_path / "r", teacher=teacher).record()


def test_an_impossible_class_can_be_recorded(few: TensorRows, tmp_path: Path) -> None:
    teacher = live()
    with torch.no_grad():
        teacher.model.network.head[3].bias[4] = -torch.inf
    recording = Recording(Wanted(few, tmp_path / "r", teacher=teacher).record())
    said = recording.signals(few.ids, torch.zeros_like(few.ids))
    assert bool((said.logits[:, 4] == -torch.inf).all())


def test_a_teacher_that_is_written_to_behind_autograd_spoils_no_shard(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r")

    def meddle(done: int, total: int) -> None:
        if done == 64:
            wanted.teacher.model.network.head[3].bias.data.add_(1)

    wanted.progress = meddle
    with pytest.raises(TeacherError, match="the teacher cnn 0 was changed while it was recorded"):
        wanted.record()
    assert not list(wanted.to.glob("0*"))


def test_control_c_keeps_what_was_done(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r", shard_bytes=1 << 20)
    whole = bytes_of(Wanted(few, tmp_path / "one", shard_bytes=1 << 20).record())
    asked: list[int] = []

    def stop(done: int, total: int) -> None:
        asked.append(done)
        if asked.count(96) == 1 and done == 96:
            raise KeyboardInterrupt

    wanted.progress = stop
    with pytest.raises(Interrupted, match="the recording was stopped at 96 of 400 rows; they are kept") as caught:
        wanted.record()
    assert caught.value.remedy == "run the same command again: it goes on from there"
    wanted.record()
    assert asked[:6] == [0, 32, 64, 96, 96, 128]
    assert bytes_of(wanted.to) == whole


def test_a_torn_piece_of_an_unfinished_shard_only_costs_time(few: TensorRows, tmp_path: Path) -> None:
    whole = bytes_of(Wanted(few, tmp_path / "whole", shard_bytes=1 << 20).record())
    for place in (5, 500):
        wanted = Wanted(few, tmp_path / f"r{place}", shard_bytes=1 << 20)
        wanted.progress = interrupt_at(96)
        with pytest.raises(Interrupted):
            wanted.record()
        os.truncate(wanted.to / "00000.unfinished", place)
        wanted.progress = None
        wanted.record()
        assert bytes_of(wanted.to) == whole


def interrupt_at(rows: int) -> Callable[[int, int], None]:
    def stop(done: int, total: int) -> None:
        if done == rows:
            raise KeyboardInterrupt

    return stop


def test_going_on_with_other_threads_says_so(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r", progress=interrupt_at(96))
    with pytest.raises(Interrupted):
        wanted.record()
    wanted.progress = None
    torch.set_num_threads(2)
    with pytest.warns(UserWarning, match="threads was 1, is 2"):
        wanted.record()


def test_two_writers_at_once_are_refused_and_a_dead_one_is_not(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r")
    holds = """
import sys, time
from pathlib import Path
from limbeck.storage import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", holds, str(wanted.to)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FolderInUse, match=rf"is being written by another process \(process {other.pid}\)"):
            wanted.record()
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert (wanted.to / "lock").exists()
    wanted.record()
    assert not (wanted.to / "lock").exists()
    with sole_writer(wanted.to), pytest.raises(FolderInUse, match=rf"another thread .*process {os.getpid()}"):
        wanted.record()


def test_a_shard_that_a_survivor_of_another_launch_writes_is_left_to_it(few: TensorRows, tmp_path: Path) -> None:
    whole = bytes_of(Wanted(few, tmp_path / "whole").record())
    wanted = Wanted(few, tmp_path / "r", progress=interrupt_at(96))
    with pytest.raises(Interrupted):
        wanted.record()
    wanted.progress = None
    with sole_writer(wanted.to, "00001.lock"):
        with pytest.raises(FolderInUse, match=r"the shard .*00001\.safetensors is being written by another thread"):
            wanted.record()
    assert (wanted.to / "00000.safetensors").exists()
    (wanted.to / "00002.lock").write_text("what a killed writer leaves")
    wanted.record()
    assert bytes_of(wanted.to) == whole


def test_a_disk_that_fills_up_keeps_the_finished_shards(few: TensorRows, tmp_path: Path, small_disk: Path) -> None:
    whole = bytes_of(Wanted(few, tmp_path / "whole").record())
    ballast = small_disk / "ballast"
    wanted = Wanted(few, small_disk / "r")

    def fill(done: int, total: int) -> None:
        if done == 160:
            with pytest.raises(OSError, match="No space"):
                fill_up(ballast)

    wanted.progress = fill
    with pytest.raises(StorageError, match="the disk is full: 0000") as caught:
        wanted.record()
    assert "what was finished is kept" in caught.value.remedy
    assert "0.0 MB are free there" in caught.value.expected
    kept = bytes_of(wanted.to)
    assert "00000.safetensors" in kept
    shards = {name: content for name, content in kept.items() if name.endswith(".safetensors")}
    assert all(whole[name] == content for name, content in shards.items())
    with pytest.raises(StorageError, match=r"the recording needs 0\.\d MB more in .*, where 0\.0 MB are free"):
        wanted.record()
    ballast.unlink()
    wanted.progress = None
    first = {path: path.stat().st_mtime_ns for path in wanted.to.glob("*.safetensors")}
    wanted.record()
    assert bytes_of(wanted.to) == whole
    assert all(path.stat().st_mtime_ns == written for path, written in first.items())


def test_a_folder_that_cannot_be_made_is_a_storage_error(few: TensorRows, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written: Not a directory"):
        Wanted(few, tmp_path / "file" / "r").record()


KILLED = Path(__file__).with_name("killed_recorder.py")


@pytest.mark.slow
def test_killed_at_every_write_and_resumed_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Attempt n ends by SIGKILL just before it opens, renames or removes something in the folder for the n-th time.

    The same process shows that files beyond a size limit are a full disk, after which recording goes on as well.
    """
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    arguments = [sys.executable, "-W", "error", str(KILLED), str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=one_thread)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kills"] >= 20
    whole = bytes_of(tmp_path / "whole")
    assert len(whole) > 5
    assert bytes_of(tmp_path / "killed") == whole
    assert bytes_of(tmp_path / "limited") == whole
    assert verify(tmp_path / "killed").complete
