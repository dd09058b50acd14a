"""The runtime where there is nothing else: an environment of its own, and thousands of damaged artifacts."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small

from limbeck.data.source import Data
from limbeck.shipment import export

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of digits as a file."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("shipped")
    run = small(None, folder / "run", student="mlp(size=16)", budget="6 epochs")
    return export(run, folder / "digits.limbeck").path


@pytest.fixture(scope="module")
def rows(shipped: Path, digits: Data) -> Path:
    path = shipped.with_name("rows.npy")
    np.save(path, digits.test.take(torch.arange(100)).inputs.numpy())
    return path


def bounded() -> None:
    """A mutant that asks for all memory is refused by the system, not by the machine's end."""
    resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))


def fuzzed(file: Path, rows: Path, count: int, seed: int) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "tests" / "fuzzed_artifacts.py"), str(file), str(rows), str(count), str(seed)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=1200, preexec_fn=bounded, env=_environment()
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    said: dict[str, Any] = json.loads(done.stdout)
    assert sum(said["outcomes"].values()) == count
    return said


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_mutant_crashes_hangs_or_gives_a_wrong_answer(shipped: Path, rows: Path, count: int) -> None:
    said = fuzzed(shipped, rows, count, seed=count)
    assert said["notable"] == []
    assert said["outcomes"]["bytes: refused"] >= 0.49 * count
    assert said["outcomes"]["informed: refused"] >= 0.3 * count


@pytest.mark.slow
def test_an_environment_with_the_runtime_alone_answers_as_torch_does(shipped: Path, rows: Path, tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    if not Path(uv).is_file():
        pytest.skip("uv is not on this machine")
    place = tmp_path / "alone"
    python = place / "bin" / "python"
    runtime = shutil.copytree(ROOT / "runtime", tmp_path / "runtime")
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(place)],
        [uv, "pip", "install", "--quiet", "--python", str(python), str(runtime)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no environment could be made here: {done.stderr[-300:]}")
    listed = subprocess.run(
        [uv, "pip", "list", "--python", str(python), "--format", "json"], capture_output=True, text=True, check=True
    )
    there = {package["name"] for package in json.loads(listed.stdout)}
    assert "limbeck-runtime" in there
    assert there.isdisjoint({"limbeck", "torch", "onnx", "scipy", "transformers"})
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), "-m", "limbeck_runtime", str(shipped), str(rows)],
        capture_output=True,
        text=True,
        check=True,
        env=alone,
        cwd=tmp_path,
    )
    said = json.loads(done.stdout)
    from limbeck.run import Run, predict_run

    known = predict_run(Run.open(shipped.parent / "run"), np.load(rows))
    assert [answer["class"] for answer in said["answers"]] == [answer["class"] for answer in known]
    for mine, theirs in zip(said["answers"], known, strict=True):
        assert mine["probability"] == pytest.approx(theirs["probability"], abs=1e-5)
    assert said["modules"] == ["numpy", "onnxruntime"]
