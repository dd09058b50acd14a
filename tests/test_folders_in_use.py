"""One folder has one writer: a second is refused by the name of the first, and a killed one is not in the way."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_runs import same_bits, small, weights
from test_cli import call

from limbeck.errors import FolderInUse
from limbeck.plans.chain import chain
from limbeck.records import read_record
from limbeck.storage import sole_writer

RECIPE = """
data: {source: digits, valid: 0.1, test: 0.2}
student: mlp(size=16)
budget: 20 epochs
training: {batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
"""

CHAIN = """
data: {source: digits, valid: 0.1, test: 0.2}
budget: 1 epoch
chain:
  - {name: big, student: mlp(size=32)}
"""

COMPARISON = (
    CHAIN
    + """
student: mlp(size=8)
compare: {baseline: kd, seeds: 2, methods: {kd: kd, mse: logit_mse}}
"""
)

# The first training waits after its third step, long enough for whatever a test does meanwhile.
WAITS = """
import sys, time
from limbeck.cli import main
from limbeck.training.loop import Trainer
step = Trainer._step
def slow(self, number, batch):
    if number == 3:
        print("training", flush=True)
        time.sleep(300)
    return step(self, number, batch)
Trainer._step = slow
main(sys.argv[1:])
"""

HOLDS = """
import sys, time
from pathlib import Path
from limbeck.storage import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(300)
"""


@contextmanager
def beside(code: str, *arguments: str, until: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has said a word; it is killed (SIGKILL) at the end of the block, if not before."""
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"{until}\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in {"r": RECIPE, "chain": CHAIN, "compare": COMPARISON}.items():
        Path(f"{name}.yaml").write_text(text)
    return tmp_path


@pytest.mark.slow
def test_a_second_run_in_a_folder_is_refused_and_a_killed_one_resumes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("distill", "r.yaml", "--to", "whole")
    with beside(WAITS, "distill", "r.yaml", "--to", "run", "--quiet", until="training") as first:
        before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
        for more in ([], ["--resume"], ["--set", "budget=1 epoch"]):
            capsys.readouterr()
            call("distill", "r.yaml", "--to", "run", *more, code=6)
            said = capsys.readouterr().err
            assert f"run is being written by another process (process {first.pid})" in said
            assert "try: wait until it has finished, or give another folder" in said
        assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before
    assert Path("run/lock").exists(), "a killed process removes nothing"
    call("distill", "r.yaml", "--to", "run", "--resume")
    assert not Path("run/lock").exists()
    assert same_bits(weights(Path("run")), weights(Path("whole")))


@pytest.mark.slow
def test_of_two_that_start_at_once_one_trains(here: Path) -> None:
    command = [sys.executable, "-m", "limbeck", "distill", "r.yaml", "--to", "run", "--quiet"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 6], said
    assert read_record(Path("run")).status == "finished"


@pytest.mark.parametrize(
    ("verb", "recipe", "folder"),
    [
        ("distill", "r.yaml", "run"),
        ("chain", "chain.yaml", "run"),
        ("chain", "chain.yaml", "run/big"),
        ("compare", "compare.yaml", "run"),
    ],
)
def test_every_verb_that_trains_respects_the_holder(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, recipe: str, folder: str
) -> None:
    with beside(HOLDS, folder, until="held") as holder:
        for more in ([], ["--resume"]):
            call(verb, recipe, "--to", "run", *more, code=6)
            # Without --resume a chain says of a folder with something in it that it exists already.
            said = capsys.readouterr().err
            assert f"process {holder.pid}" in said or (folder == "run/big" and not more and "exists already" in said)
        assert [path.name for path in Path(folder).iterdir()] == ["lock"]


@pytest.mark.slow
def test_a_chain_and_a_comparison_hold_their_own_folder(here: Path) -> None:
    for verb, recipe in (("chain", "chain.yaml"), ("compare", "compare.yaml")):
        with (
            beside(WAITS, verb, recipe, "--to", verb, "--quiet", until="training") as first,
            pytest.raises(FolderInUse, match=rf"{verb} is being written .*{first.pid}"),
            sole_writer(Path(verb)),
        ):
            pass


def test_a_chain_of_modules_holds_its_folder(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "c"), pytest.raises(FolderInUse, match=rf"another thread .*{os.getpid()}"):
        chain(["mlp(size=8)"], "digits", to=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_what_a_killed_beginning_leaves_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lock").write_text("1\n")
    (tmp_path / "run/recipe.yaml.partial").write_text("data: {sour")
    run = small(None, tmp_path / "run", budget="2 steps")
    assert run.record.status == "finished"
    assert not (tmp_path / "run/lock").exists()


def test_a_holder_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "a/b/c"):
        (tmp_path / "a/letter").write_text("dear")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "letter"]


def test_many_processes_take_turns_and_never_write_at_once(tmp_path: Path) -> None:
    """Each holder writes a file for a moment and looks whether it is alone; the folder comes and goes meanwhile."""
    code = """
import sys, time
from pathlib import Path
from limbeck.errors import FolderInUse
from limbeck.storage import sole_writer
folder, until, held = Path(sys.argv[1]), time.monotonic() + 1.5, 0
mine = folder / sys.argv[2]
while time.monotonic() < until:
    try:
        with sole_writer(folder):
            mine.write_text("")
            assert [path.name for path in folder.iterdir() if path.name != "lock"] == [mine.name]
            mine.unlink()
            held += 1
    except FolderInUse:
        pass
print(held)
"""
    many = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "x/y"), f"{n}"], stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    held = [int(process.communicate()[0]) for process in many]
    assert [process.returncode for process in many] == [0] * 4
    assert sum(held) > 100
    # A folder that one had made and another took over may stay, empty.
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir()]
