"""Law 5, at length: SIGKILL at random instants, resume, and compare with an uninterrupted run bit for bit.

    python benchmarks/kill_resume.py --kills 20

Runs a small chain (record, hint, mixup, dropout, EMA) once without interruption. Then runs it again and again with
`--resume`, each start killed after a random time or finished before that; a finished chain is compared and a new one
begun, until the kills are used up. Checkpoints are saved every half second instead of every 30, so that kills fall
between them, into them and after them. Prints when the kills fell and how far the run had got.
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
    budget: 60 epochs
training: {precision: float32, channels_last: false, batch: 64, lr: 0.01, ema: 0.99}
"""


START = """
import sys
from limbeck.cli import main
from limbeck.training import loop
loop.SECONDS_BETWEEN_CHECKPOINTS = 0.5
main(sys.argv[1:])
"""


def start(recipe: Path, to: Path) -> subprocess.Popen[bytes]:
    """Starts or resumes `limbeck chain` in a process of its own."""
    command = ["chain", str(recipe), "--to", str(to), "--quiet", "--resume"]
    return subprocess.Popen([sys.executable, "-c", START, *command], stdout=subprocess.DEVNULL)


def equal(one: Path, other: Path) -> bool:
    """Whether all weights of two chains are equal bit for bit."""
    for name in ("teacher/student", "student/student", "student/control"):
        first, second = (load(run / f"{name}.safetensors")[0] for run in (one, other))
        if first.keys() != second.keys() or any(not bool((first[key] == second[key]).all()) for key in first):
            return False
    return True


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
    if start(recipe, place / "whole").wait() != 0:
        sys.exit("the uninterrupted run failed")
    span = time.monotonic() - began
    console.print(f"uninterrupted: {span:.0f} s")
    kills, chains, same = 0, 0, 0
    while kills < chosen.kills or (place / f"{chains}").exists():
        to = place / f"{chains}"
        process = start(recipe, to)
        wait = chance.uniform(0.1, 0.9) * span if kills < chosen.kills else None
        try:
            code = process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
            console.print(f"kill {kills} after {wait:.1f} s; {reached(to)}")
            continue
        if code != 0:
            sys.exit(f"a resumed chain failed with exit code {code}; it is kept in {to}")
        chains, same = chains + 1, same + equal(place / "whole", to)
    console.print(f"{kills} kills in {chains} chains; {same} of {chains} equal the uninterrupted one bit for bit")
    if same == chains:
        shutil.rmtree(place)
    sys.exit(0 if same == chains else 1)


if __name__ == "__main__":
    main()
