"""Law 5: an interrupted or killed run, resumed, ends in the bits of an uninterrupted one."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from small_runs import SETTLED, same_bits, small, teacher_run, weights
from torch import nn

from limbeck import checkpoint
from limbeck.errors import Interrupted, RunError
from limbeck.progress import Silent
from limbeck.records import read_record
from limbeck.run import Run
from limbeck.training import loop

EVERYTHING = {
    "student": "mlp(size=16, dropout=0.2)",
    "objective": "0.9 * kd(temperature=4) + 0.1 * labels + 0.01 * hint('layer1', 'layer1')",
    "augment": "crop(padding=1) + mixup(alpha=0.3)",
    "record": 2,
    "labelled": 200,
    "budget": "4 epochs",
    "training": {"ema": 0.9},
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(teacher_run(tmp_path_factory.mktemp("runs") / "teacher").folder)


@pytest.fixture(scope="module")
def whole(teacher: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small(teacher, tmp_path_factory.mktemp("runs") / "whole", **EVERYTHING)


class Stopping(Silent):
    """Sends the process a signal when a training has made so many steps."""

    def __init__(self, who: str, step: int, number: signal.Signals) -> None:
        self.who, self.at, self.number, self.now = who, step, number, ""

    def start(self, who: str, steps: int, unit: str = "steps") -> None:
        self.now = who

    def step(self, step: int, loss: float, shares: Mapping[str, float], rows_per_second: float, left: float) -> None:
        if self.now.startswith(self.who) and step >= self.at:
            self.who = "nobody"
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("who", "step", "number"),
    [("student", 25, signal.SIGINT), ("student", 70, signal.SIGTERM), ("control", 40, signal.SIGINT)],
)
def test_stopped_and_resumed_is_uninterrupted(
    teacher: str, whole: Run, tmp_path: Path, who: str, step: int, number: signal.Signals
) -> None:
    to = tmp_path / "run"
    handler = signal.getsignal(number)
    with pytest.raises(Interrupted, match=rf"{who} stopped after step \d+; everything is saved") as stopped:
        small(teacher, to, progress=Stopping(who, step, number), **EVERYTHING)
    assert stopped.value.remedy == "the same call with resume=True goes on where it stopped"
    assert signal.getsignal(number) is handler
    assert read_record(to).status == "interrupted"
    resumed = small(teacher, to, resume=True, **EVERYTHING)
    assert resumed.record.status == "finished"
    for model in ("student", "control"):
        assert same_bits(weights(resumed, model), weights(whole, model))
    assert _without_times(resumed) == _without_times(whole)


def _without_times(run: Run) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    # A stop closes a window of averaged steps early, so training lines differ there; validations never do.
    return [line for line in lines if line["event"] == "valid"]


def test_a_checkpoint_of_another_recipe_is_refused(teacher: str, tmp_path: Path) -> None:
    to = tmp_path / "run"
    with pytest.raises(Interrupted):
        small(teacher, to, progress=Stopping("student", 25, signal.SIGINT), **EVERYTHING)
    recipe = (to / "recipe.yaml").read_text()
    (to / "recipe.yaml").write_text(recipe.replace("temperature=4", "temperature=5"))
    with pytest.raises(RunError, match="was begun with another recipe: objective was"):
        small(teacher, to, resume=True, **EVERYTHING)
    # Where recipe and folder agree, the checkpoint itself still knows.
    hotter = {**EVERYTHING, "objective": str(EVERYTHING["objective"]).replace("temperature=4", "temperature=5")}
    with pytest.raises(RunError, match="belongs to another recipe, teacher or data set"):
        small(teacher, to, resume=True, **hotter)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign"])
def test_a_torn_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.safetensors"
    checkpoint.save(path, {"weight": torch.arange(100.0)}, {"step": 1})
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "foreign": b"\x80\x04pickle" * 20}[damage])
    with pytest.raises(RunError, match=r"state\.safetensors is damaged"):
        checkpoint.load(path)


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.randn(4, 1, 8, 8)).square().mean().backward()
    optimizer.step()
    checkpoint.save(tmp_path / "state", checkpoint.optimizer_tensors(optimizer), {"step": 7})
    tensors, facts = checkpoint.load(tmp_path / "state")
    fresh = torch.optim.AdamW(network.parameters())
    checkpoint.restore_optimizer(fresh, tensors)
    assert facts == {"step": 7}
    for number, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            assert torch.equal(fresh.state_dict()["state"][number][name], value)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from limbeck.training import loop
from small_runs import small
from test_resume import EVERYTHING
loop.SECONDS_BETWEEN_CHECKPOINTS = 0.05
small({teacher!r}, Path({to!r}), resume=True, **EVERYTHING)
"""


@pytest.mark.slow
def test_killed_at_random_instants_and_resumed_is_uninterrupted(teacher: str, whole: Run, tmp_path: Path) -> None:
    """SIGKILL, which no handler sees, again and again until the run gets through."""
    to, chance = tmp_path / "run", random.Random(0)
    text = SCRIPT.format(tests=str(Path(__file__).parent), teacher=teacher, to=str(to))
    kills = 0
    for attempt in range(30):
        process = subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE)
        while kills < 6 and process.poll() is None and not (to / "recipe.yaml").is_file():
            time.sleep(0.02)
        try:
            _, errors = process.communicate(timeout=chance.uniform(0.1, 4.0 if attempt else 1.5) if kills < 6 else 120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, f"attempt {attempt}: {errors.decode()}"
        break
    assert read_record(to).status == "finished"
    assert kills >= 3
    for model in ("student", "control"):
        assert same_bits(weights(to, model), weights(whole, model))


def test_a_checkpoint_is_due_well_within_a_minute() -> None:
    assert loop.SECONDS_BETWEEN_CHECKPOINTS <= 45
    assert SETTLED["precision"] == "float32"


@pytest.mark.parametrize("text", ["[1, 2]", '{"schema": 1}', '{"schema": 1, "headline": 3}', '{"schema": 1'])
def test_a_damaged_run_record_is_said_to_be_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        read_record(tmp_path)


def test_a_task_that_learnt_something_of_its_labels_is_still_the_same_task():
    from limbeck.runfolder import _same_task

    learnt = "forecasting(horizon=2, below=70, scale=3.5)"
    assert _same_task("forecasting(horizon=2, below=70)", learnt)
    assert not _same_task("forecasting(horizon=2)", learnt)
    assert not _same_task("forecasting(horizon=2, below=70, scale=4.0)", learnt)
    balanced = "classification(select='macro_f1', weights=(0.5, 2.0))"
    assert _same_task("classification(weights='balanced', select='macro_f1')", balanced)
    assert not _same_task("classification(weights=(1.0, 1.0), select='macro_f1')", balanced)
    assert not _same_task("classification(weights='balanced')", balanced)
