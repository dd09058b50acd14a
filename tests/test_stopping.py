"""Ctrl-C and SIGTERM on the command line: 130, the very command that goes on, and the bits of an uninterrupted run."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from small_runs import SETTLED, same_bits, small, weights

from limbeck.cli import main
from limbeck.distillation import RESUME
from limbeck.errors import Interrupted, RunError
from limbeck.plans.chain import chain
from limbeck.progress import Silent

RECIPE = """
data: {source: digits, valid: 0.1, test: 0.2}
student: mlp(size=16)
budget: 40 epochs
control: false
training: {batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
"""

CHAIN = """
data: {source: digits, valid: 0.1, test: 0.2}
training: {batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
control: false
budget: 2 epochs
chain:
  - {name: big, student: mlp(size=32)}
  - {name: small, student: mlp(size=8), budget: 40 epochs}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    (tmp_path / "links.yaml").write_text(CHAIN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str, code: int = 0) -> None:
    """Runs the command line in this process and checks its exit code."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert (left.value.code or 0) == code


def stopped(*arguments: str, once: Path, number: signal.Signals = signal.SIGINT) -> str:
    """Starts `limbeck`, sends it a signal once there is something in a file, and gives what it says to type."""
    command = [sys.executable, "-m", "limbeck", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (once.is_file() and once.stat().st_size) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert out == ""
    return next(line for line in err.splitlines() if "--resume" in line).partition("try: ")[2]


@pytest.mark.slow
def test_a_run_goes_on_with_the_command_it_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = stopped("distill", "mine.yaml", "--set", "name=a-run-2", once=Path("runs/a-run-2/metrics.jsonl"))
    assert said == "limbeck distill mine.yaml --set name=a-run-2 --resume"
    record = json.loads(Path("runs/a-run-2/run.json").read_text())
    assert record["status"] == "interrupted"
    # Another recipe does not go on with it, and says what differs.
    call("distill", "mine.yaml", "--set", "name=a-run-2", "--set", "training.lr=0.02", "--resume", code=6)
    assert "training.lr was 0.01 and is 0.02 now" in capsys.readouterr().err
    call(*shlex.split(said)[1:], "--quiet", "--json")
    assert json.loads(capsys.readouterr().out)["folder"] == "runs/a-run-2"
    call("distill", "mine.yaml", "--to", "whole", "--quiet")
    assert same_bits(weights(Path("runs/a-run-2")), weights(Path("whole")))
    # Resuming what has finished opens it.
    before = Path("runs/a-run-2/run.json").read_bytes()
    call(*shlex.split(said)[1:])
    assert "has finished already" in capsys.readouterr().err
    assert Path("runs/a-run-2/run.json").read_bytes() == before


@pytest.mark.slow
def test_a_chain_goes_on_as_a_chain(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = stopped(
        "chain", "links.yaml", "--to", "my chain", once=Path("my chain/small/metrics.jsonl"), number=signal.SIGTERM
    )
    assert said == "limbeck chain links.yaml --to 'my chain' --resume"
    big = weights(Path("my chain/big"))
    call("chain", "links.yaml", "--to", "my chain", code=6)
    assert "--resume goes on with it if it is this chain" in capsys.readouterr().err
    # A link that has finished by another recipe is no silent teacher.
    for change, told in (
        ("chain.big.student=mlp(size=64)", "student was 'mlp(size=32)' and is 'mlp(size=64)' now"),
        ("chain.big.budget=3 epochs", "the budget was 38 steps and is 3 epochs (57 steps) now"),
        ("chain.big.seeds=2", "the seeds were [0] and are [0, 1] now"),
    ):
        call("chain", "links.yaml", "--to", "my chain", "--set", change, "--resume", code=6)
        err = capsys.readouterr().err
        assert "the run in my chain/big was begun with another recipe" in err
        assert told in err
    stamp = Path("my chain/big/student.safetensors").stat().st_mtime_ns
    call(*shlex.split(said)[1:], "--quiet")
    assert Path("my chain/big/student.safetensors").stat().st_mtime_ns == stamp
    assert same_bits(weights(Path("my chain/big")), big)
    assert json.loads(Path("my chain/small/run.json").read_text())["status"] == "finished"
    assert Path("my chain/report.html").is_file()


@pytest.mark.slow
def test_a_signal_between_trainings_is_answered_too(here: Path) -> None:
    """Nobody listens in the loop while data is read and the first weights are drawn; the command line does."""
    Path("slow.py").write_text(
        "import pathlib, time\n\ndef rows():\n    pathlib.Path('reached').write_text('x')\n    time.sleep(60)\n"
    )
    os.environ["PYTHONPATH"] = str(here)
    try:
        said = stopped(
            "distill", "mine.yaml", "--set", "data.source=slow:rows", once=Path("reached"), number=signal.SIGTERM
        )
    finally:
        del os.environ["PYTHONPATH"]
    assert said == "limbeck distill mine.yaml --set data.source=slow:rows --resume"
    assert not Path("runs").exists()


class _Stop(Silent):
    """Sends Ctrl-C at a step of the second training."""

    trainings = 0

    def start(self, who: str, steps: int, unit: str = "steps") -> None:
        self.trainings += 1

    def step(self, step: int, loss: float, shares: Mapping[str, float], rows_per_second: float, left: float) -> None:
        if self.trainings == 2:
            self.trainings += 1
            os.kill(os.getpid(), signal.SIGINT)


def test_from_python_the_same_call_goes_on(tmp_path: Path) -> None:
    settings = {"to": tmp_path / "chain", "valid": 0.1, "test": 0.2, "budget": "4 epochs", "control": False}
    models = ["mlp(size=16)", "mlp(size=8)"]
    with pytest.raises(Interrupted) as interrupted:
        chain(models, "digits", training=SETTLED, progress=_Stop(), **settings)
    assert interrupted.value.remedy == RESUME
    with pytest.raises(RunError, match="student was 'mlp\\(size=16\\)' and is 'mlp\\(size=32\\)' now"):
        chain(["mlp(size=32)", "mlp(size=8)"], "digits", training=SETTLED, resume=True, **settings)
    resumed = chain(models, "digits", training=SETTLED, resume=True, **settings)
    by_hand = small(str(resumed[0].folder), tmp_path / "hand", student=models[1], budget="4 epochs", control=False)
    assert same_bits(weights(resumed[1]), weights(by_hand))
