"""Memory of a training that reads a recording larger than itself, beside the same student alone.

    python benchmarks/recording_memory.py --size 8192 --views 60

A cheap teacher, an mlp of SIZE hidden units, is recorded with its hidden layer in VIEWS views of scikit-learn's digits,
which takes 4 SIZE VIEWS bytes a row. A student then learns from the recording, once through all views, and the same
student learns from the labels alone: each by `limbeck distill` in a process of its own, with the same steps. This
process reads from /proc every 20 ms what theirs hold: RssAnon is memory that is theirs, RssFile are pages of mapped
files, which the system takes back when it needs them. The training that reads the recording is bounded (RLIMIT_DATA) to
what the student alone had, the mapping itself, which Linux counts though no page of it is the process's, and ROOM MB: a
copy of more of the recording would end it. Linux only.
"""

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from limbeck.recordings.manifest import read_manifest

COMMON = """
data: {source: digits, valid: 0.1, test: 0.2}
augment: crop(padding=1)
training: {batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
control: false
"""
TEACHER = "student: mlp(size=SIZE, depth=1)\nobjective: labels\nbudget: 20 steps\n"
RECORDED = """
teacher: teacher
student: mlp(size=16)
objective: kd(temperature=2) + 0.01 * hint('layer1', 'layer1')
record: VIEWS
budget: VIEWS epochs
"""
ALONE = "student: mlp(size=16)\nobjective: labels\nbudget: VIEWS epochs\n"

KINDS = ("RssAnon", "RssFile", "VmData")


def held(process: int) -> dict[str, int]:
    """What a process holds now, in kB, by the name of the line; nothing where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(KINDS)}


def run(place: Path, *arguments: str, bound: float | None = None) -> Mapping[str, float]:
    """Runs `limbeck`, its VmData bounded in MB; returns the most it held of each kind in MB, and its wall seconds."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "limbeck", *arguments, "--quiet"]
    start, most = time.monotonic(), dict.fromkeys(KINDS, 0.0)
    process = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL)
    if bound is not None:
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (int(bound * 1e6), int(bound * 1e6)))
    while process.poll() is None:
        for name, kilobytes in held(process.pid).items():
            most[name] = max(most[name], kilobytes * 1024 / 1e6)
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"limbeck {' '.join(arguments)} failed")
    return {**most, "seconds": time.monotonic() - start}


def main() -> None:
    """Records, trains twice, and prints what was held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--room", type=float, default=64.0, help="MB beyond what the student alone had")
    chosen = parser.parse_args()
    if not Path("/proc/self/status").exists():
        sys.exit("this needs Linux, whose /proc says what a process holds")
    place = Path(tempfile.mkdtemp(prefix="recording-memory-"))
    for name, text in {"teacher": TEACHER, "recorded": RECORDED, "alone": ALONE}.items():
        filled = text.replace("SIZE", str(chosen.size)).replace("VIEWS", str(chosen.views))
        (place / f"{name}.yaml").write_text(COMMON + filled, encoding="utf-8")
    run(place, "distill", "teacher.yaml", "--to", "teacher")
    found = {"recording": run(place, "record", "recorded.yaml", "--to", "recording")}
    size = read_manifest(place / "recording").bytes / 1e6
    found["student alone"] = run(place, "distill", "alone.yaml", "--to", "alone")
    reads = ["--set", "teacher=recording", "--set", "record=null"]
    bound = found["student alone"]["VmData"] + size + chosen.room
    command = ["distill", "recorded.yaml", "--to", "student", *reads]
    found["student, recorded teacher"] = run(place, *command, bound=bound)
    table = Table("process", "RssAnon, most, MB", "RssFile, most, MB", "VmData, most, MB", "wall s")
    for name, most in found.items():
        table.add_row(name, *(f"{most[column]:,.0f}" for column in (*KINDS, "seconds")))
    console = Console()
    console.print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one thread")
    console.print(table)
    anonymous = found["student, recorded teacher"]["RssAnon"]
    over = anonymous - found["student alone"]["RssAnon"]
    console.print(
        f"the recording: {size:,.0f} MB, {size / anonymous:.1f} times what the training that reads it holds; "
        f"over the student alone: {over:+,.0f} MB; VmData was bounded to {bound:,.0f} MB"
    )
    shutil.rmtree(place)


if __name__ == "__main__":
    main()
