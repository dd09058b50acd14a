"""Compiled training: chosen where it pays back, within rounding of what is not compiled, and resumed bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_runs import same_bits, small, weights

from limbeck.errors import RecipeError
from limbeck.progress import Silent
from limbeck.run import Run
from limbeck.training import compilation
from limbeck.training.compilation import missing, pays_back, worth_trying


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def test_compiling_pays_back_only_when_the_saved_time_exceeds_what_it_took() -> None:
    # 100 steps save 0.02 s each: 2 s in all, against compiling times around that.
    assert pays_back(100, 0.1, 0.08, 1.99)
    assert not pays_back(100, 0.1, 0.08, 2.01)
    assert not pays_back(0, 0.1, 0.08, 0.01)


def test_a_gain_within_the_noise_is_none_however_long_the_training() -> None:
    assert not pays_back(10**9, 0.1, 0.096, 10.0)
    assert not pays_back(10**9, 0.1, 0.2, 10.0)
    assert pays_back(10**9, 0.1, 0.094, 10.0)


def test_a_trial_is_made_only_where_both_compilations_could_be_won_back() -> None:
    # At most a quarter of 120 s can be won, which is what compiling twice takes.
    assert not worth_trying(1_200, 0.1)
    assert worth_trying(1_201, 0.1)


@given(st.integers(1, 10**7), st.floats(1e-4, 10), st.floats(1e-4, 10), st.floats(0.1, 300))
def test_what_pays_back_pays_back_in_every_longer_training(steps: int, plain: float, fast: float, took: float) -> None:
    if pays_back(steps, plain, fast, took):
        assert fast < plain
        assert steps * fast + took <= steps * plain * (1 + 1e-9)
        assert pays_back(steps + 1, plain, fast, took)
        assert not pays_back(steps, plain, fast, steps * plain)


def test_a_short_training_says_why_it_is_not_compiled_and_compiles_nothing(tmp_path: Path) -> None:
    heard = Listening()
    run = small(None, tmp_path / "run", progress=heard, budget="3 steps", training={"compile": "auto"})
    assert run.recipe().training.compile is False
    assert [line for line in heard.said if line.startswith("compile:")] == [
        line for line in heard.said if "over before it would have paid back" in line
    ]
    assert sum(line.startswith("compile:") for line in heard.said) == 1


def test_a_missing_compiler_is_an_error_only_for_who_insists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    assert "no-such-compiler" in (missing(torch.device("cpu")) or "")
    with pytest.raises(RecipeError, match=r"training\.compile: true .*no-such-compiler"):
        small(None, tmp_path / "insists", budget="3 steps", training={"compile": True})
    monkeypatch.setattr(compilation, "SECONDS", 0.0)  # any training is long enough for a trial
    heard = Listening()
    run = small(None, tmp_path / "auto", progress=heard, budget="3 steps", training={"compile": "auto"})
    assert run.recipe().training.compile is False
    assert any("no-such-compiler) is not here" in line for line in heard.said)


def test_who_listens_to_layers_goes_without(tmp_path: Path, good_run: Run) -> None:
    asked = {"student": "mlp(size=16)", "objective": "hint('layer1', 'layer1') + labels", "budget": "3 steps"}
    with pytest.raises(RecipeError, match=r"training\.compile: true .* listens to the student's layer layer1"):
        small(str(good_run.folder), tmp_path / "run", training={"compile": True}, **asked)


def run_compiled(folder: Path, compile: bool, *stop: str, cache: Path) -> int:
    """Runs a training in a process of its own; returns its exit code."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(cache)}
    program = [sys.executable, str(Path(__file__).with_name("compiled_run.py")), str(folder), str(compile).lower()]
    ran = subprocess.run([*program, *stop], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 75), ran.stderr[-3000:]
    return ran.returncode


def mean_loss(folder: Path) -> float:
    """Over all steps, however many a line of the journal tells of: a slow machine saves, and writes, more often."""
    total, before = 0.0, 0
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        if line["event"] == "train":
            total, before = total + line["loss"] * (line["step"] - before), line["step"]
    return total / before


@pytest.mark.slow
@pytest.mark.skipif(missing(torch.device("cpu")) is not None, reason="nothing to compile with")
def test_compiled_equals_plain_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole, plain, cut = tmp_path / "whole", tmp_path / "plain", tmp_path / "cut"
    assert run_compiled(whole, True, cache=tmp_path / "first") == 0
    assert Run.open(whole).recipe().training.compile is True
    assert run_compiled(plain, False, cache=tmp_path / "first") == 0
    assert not same_bits(weights(whole), weights(plain)), "nothing was compiled"
    assert run_compiled(cut, True, "25", cache=tmp_path / "first") == 75
    # Compiled again from nothing, as after a restart of the machine.
    assert run_compiled(cut, True, cache=tmp_path / "second") == 0
    assert same_bits(weights(cut), weights(whole))
    assert mean_loss(whole) == pytest.approx(mean_loss(plain), rel=1e-3)


@pytest.mark.slow
def test_the_ninth_network_of_a_process_is_still_compiled(tmp_path: Path) -> None:
    program = tmp_path / "many.py"
    program.write_text(MANY)
    ran = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["12"], ran.stderr[-3000:]


MANY = """
import functools
import torch
from torch._dynamo.utils import counters
from limbeck.model import Model
from limbeck.training import compilation, step

# What is tested is torch's bookkeeping: the graphs are run as they are, since generating code for twelve takes long.
torch.compile = functools.partial(torch.compile, backend="eager")
for width in range(2, 14):
    model = Model(torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.ReLU(), torch.nn.Linear(width, 2)))
    hear = compilation.compiled(step._heard)
    for _ in range(2):
        hear(model, torch.ones(4, 3), (), False)
print(counters["stats"]["unique_graphs"])
"""
