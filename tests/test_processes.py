"""Two processes, started as torch and accelerate start them, train what one process trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import small, weights

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
