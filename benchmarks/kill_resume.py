"""Law 5, at length: SIGKILL at random instants, resume, and compare with an uninterrupted run bit for bit.

    python benchmarks/kill_resume.py --kills 20

Runs a small chain (record, hint, mixup, dropout, EMA) once without interruption. Then runs it again with `--resume`,
killing the process after a random time until the kills are used up, and lets it finish. Prints when the kills fell, how
far the run had got, and whether the weights of student and control are equal.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from limbeck.checkpoint import load

RECIPE = """
data: {source: digits, valid: 0.1, test: 0.2, labelled: 200}
augment: crop(padding=1) + mixup(alpha=0.3)
chain:
  - {name: teacher, student: mlp(size=64), budget: 8 epochs}
  - name: student
    student: mlp(size=32, dropout=0.2)
    objective: 0.9 * kd(temperature=4) + 0.1 * labels + 0.01 * hint('layer1', 'layer1')
    record: 8
    budget: 400 epochs
training: {precision: float32, channels_last: false, batch: 64, lr: 0.01, ema: 0.99}
"""


def start(recipe: Path, to: Path, *, resume: bool) -> subprocess.Popen[bytes]:
    """Starts `limbeck chain` in a process of its own."""
    command = [sys.executable, "-m", "limbeck", "chain", str(recipe), "--to", str(to), "--quiet"]
    return subprocess.Popen([*command, "--resume"] if resume else command)


def reached(to: Path) -> str:
    """How far a run had got, from the last whole line of its journals."""
    for name in ("student", "teacher"):
        path = to / name / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for line in reversed(lines):
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            return f"{name}: {entry['who']} at step {entry['step']}"
    return "not trained yet"


def main() -> None:
    """Kills, resumes, compares; exits with 1 when a bit differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    console, chance = Console(), random.Random(chosen.seed)
    place = Path(tempfile.mkdtemp(prefix="kill-resume-"))
    recipe = place / "kill.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    began = time.monotonic()
    if start(recipe, place / "whole", resume=False).wait() != 0:
        sys.exit("the uninterrupted run failed")
    span = time.monotonic() - began
    console.print(f"uninterrupted: {span:.0f} s")
    kills = 0
    while True:
        process = start(recipe, place / "killed", resume=True)
        if kills == chosen.kills:
            code = process.wait()
            break
        wait = chance.uniform(0.5, 0.5 * span)
        try:
            code = process.wait(wait)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            console.print(f"kill {kills} after {wait:.1f} s; {reached(place / 'killed')}")
    console.print(f"finished with exit code {code} after {kills} kills")
    equal = code == 0
    for name in ("teacher/student", "student/student", "student/control"):
        one, other = (load(place / run / f"{name}.safetensors")[0] for run in ("whole", "killed"))
        same = all(bool((one[key] == other[key]).all()) for key in one) and one.keys() == other.keys()
        console.print(f"{name}: {'equal bit for bit' if same else 'DIFFERENT'} ({len(one)} tensors)")
        equal = equal and same
    shutil.rmtree(place)
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
