"""Law 5, at length: SIGKILL at random instants, resume, and compare with an uninterrupted run bit for bit.

    python benchmarks/kill_resume.py --kills 20 --plan chain

Runs a small chain (record, hint, mixup, dropout, EMA), or a comparison of three methods on one recording, once without
interruption. Then runs it again and again with `--resume`, each start killed after a random time or finished before
that; a finished plan is compared and a new one begun, until the kills are used up. Checkpoints are saved every half
second instead of every 30, so that kills fall between them, into them and after them. Prints when the kills fell and
how far the run had got.
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

DATA = """
data: {source: digits, valid: 0.1, test: 0.2, labelled: 200}
augment: crop(padding=1) + mixup(alpha=0.3)
training: {precision: float32, channels_last: false, batch: 64, lr: 0.01, ema: 0.99}
"""

CHAIN = """
chain:
  - {name: teacher, student: mlp(size=64), budget: 8 epochs}
  - name: student
    student: mlp(size=32, dropout=0.2)
    objective: 0.9 * kd(temperature=4) + 0.1 * labels + 0.01 * hint('layer1', 'layer1')
    record: 8
    budget: 60 epochs
"""

COMPARISON = """
student: mlp(size=32, dropout=0.2)
record: 8
budget: 30 epochs
chain:
  - {name: teacher, student: mlp(size=64), budget: 8 epochs}
compare:
  baseline: kd
  seeds: 2
  methods: {kd: 0.9 * kd(temperature=4) + 0.1 * labels, mse: logit_mse, hint: "kd + 0.01 * hint('layer1', 'layer1')"}
"""

PLANS = {"chain": CHAIN, "compare": COMPARISON}


START = """
import sys
from limbeck.cli import main
from limbeck.training import loop
loop.SECONDS_BETWEEN_CHECKPOINTS = 0.5
main(sys.argv[1:])
"""


def start(plan: str, recipe: Path, to: Path) -> subprocess.Popen[bytes]:
    """Starts or resumes `limbeck chain` or `limbeck compare` in a process of its own."""
    command = [plan, str(recipe), "--to", str(to), "--quiet", "--resume"]
    return subprocess.Popen([sys.executable, "-c", START, *command], stdout=subprocess.DEVNULL)


def weights(folder: Path) -> dict[str, Path]:
    """The finished weights of all runs in a folder, by their place in it."""
    found = (path for name in ("student", "control") for path in folder.rglob(f"{name}.safetensors"))
    return {str(path.relative_to(folder)): path for path in found if path.parent.name != "checkpoint"}


def equal(one: Path, other: Path) -> bool:
    """Whether all weights of two plans are equal bit for bit."""
    ours, theirs = weights(one), weights(other)
    if ours.keys() != theirs.keys():
        return False
    for name, path in ours.items():
        first, second = load(path)[0], load(theirs[name])[0]
        if first.keys() != second.keys() or any(not bool((first[key] == second[key]).all()) for key in first):
            return False
    return True


def reached(to: Path) -> str:
    """How far the plan had got: the last whole line of the journal that was written last, or what lies there."""
    journals = sorted(to.rglob("metrics.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    for path in reversed(journals):
        for line in reversed(path.read_text(encoding="utf-8").splitlines()):
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            place = path.parent.relative_to(to)
            checkpoints = len(list(path.parent.glob("checkpoint/*.safetensors")))
            return f"{place}: {entry['who']} at step {entry['step']}, {checkpoints} checkpoints"
    return "not trained yet"


def main() -> None:
    """Kills, resumes, compares; exits with 1 when a bit differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--plan", choices=sorted(PLANS), default="chain")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    console, chance = Console(), random.Random(chosen.seed)
    place = Path(tempfile.mkdtemp(prefix="kill-resume-"))
    recipe = place / "kill.yaml"
    recipe.write_text(DATA + PLANS[chosen.plan], encoding="utf-8")
    began = time.monotonic()
    if start(chosen.plan, recipe, place / "whole").wait() != 0:
        sys.exit("the uninterrupted run failed")
    span = time.monotonic() - began
    console.print(f"uninterrupted: {span:.0f} s")
    kills, plans, same = 0, 0, 0
    while kills < chosen.kills or (place / f"{plans}").exists():
        to = place / f"{plans}"
        process = start(chosen.plan, recipe, to)
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
            sys.exit(f"a resumed {chosen.plan} failed with exit code {code}; it is kept in {to}")
        plans, same = plans + 1, same + equal(place / "whole", to)
    console.print(
        f"{kills} kills in {plans} runs of the {chosen.plan}; {same} of {plans} equal the uninterrupted one bit for bit"
    )
    if same == plans:
        shutil.rmtree(place)
    sys.exit(0 if same == plans else 1)


if __name__ == "__main__":
    main()
