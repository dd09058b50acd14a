"""How many recorded views of an augmented row a student needs: one, four, one for each epoch, or the teacher live.

    limbeck chain recipes/compare-fashion.yaml --set compare=null       once, for the teacher
    python benchmarks/views.py --rows 15000 --epochs 12 --seeds 3

Students of one seed have the same initial weights, rows, order, augmentation and steps; what differs is which views the
teacher answers about. Weights are selected on 5,000 validation rows, accuracies are of the 10,000 test rows. A run that
has finished in the folder is read and not made again.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from rich.console import Console
from rich.table import Table as Grid

from limbeck.checkpoint import load as tensors_of
from limbeck.data.source import Data, load
from limbeck.distillation import distill
from limbeck.records import read_record, spread

# Precision and layout are named, so that a probe on a busy machine settles no two of them differently.
TRAINING: dict[str, Any] = {
    "batch": 256, "optimizer": "sgd", "lr": 0.2, "momentum": 0.9, "weight_decay": 0.0005, "warmup": 0.1, "clip": 5.0,
    "precision": "float32", "channels_last": True, "compile": False, "threads": 1,
}  # fmt: skip
STUDENT, METHOD = "cnn(size=8, depth=1, stem_stride=4)", "0.9 * kd(temperature=4) + 0.1 * labels"


def fewer(data: Data, rows: int) -> Data:
    """The same data with so many of its training rows."""
    chosen = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))[:rows]
    return replace(data, train=data.train.select(chosen))


def made(options: argparse.Namespace, data: Data, record: int | None, seed: int) -> Path:
    """The folder of one finished run."""
    folder = options.to / f"{'live' if record is None else record}-seed-{seed}"
    place = options.to / f"recording-{record}"
    if not (folder / "report.html").exists():
        teacher = options.teacher if record is None or not place.exists() else place
        run = distill(
            teacher, STUDENT, data, objective=METHOD, to=folder, augment="crop(padding=2) + flip", device="cpu",
            record=record if teacher is options.teacher else None, budget=f"{options.epochs} epochs", control=False,
            seed=seed, training=TRAINING, resume=folder.exists(),
        )  # fmt: skip
        if record is not None and not place.exists():
            (recording,) = (run.folder / "recording").iterdir()
            recording.rename(place)
    return folder


def main() -> None:
    """Trains what is missing; prints accuracies by seed, and how far the student of all views is from the live one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, default=Path("runs/compare-fashion/teacher"))
    parser.add_argument("--to", type=Path, default=Path("runs/views"))
    parser.add_argument("--rows", type=int, default=15_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--views", type=int, nargs="+", default=[1, 4, 12], help="0 for the live teacher")
    options = parser.parse_args()
    if not options.teacher.is_dir():
        raise SystemExit(f"{options.teacher} is missing: limbeck chain recipes/compare-fashion.yaml --set compare=null")
    options.to.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    data = fewer(load("fashion-mnist", valid=5000), options.rows)
    shown = Grid("views", *(f"seed {seed}" for seed in range(options.seeds)), "mean", "deviation")
    for views in options.views:
        runs = [made(options, data, views or None, seed) for seed in range(options.seeds)]
        found = [read_record(run).results[0].student.metrics["accuracy"] for run in runs]
        mean, deviation = spread(found)
        shown.add_row(str(views or "live"), *(f"{each:.4f}" for each in found), f"{mean:.4f}", f"{deviation:.4f}")
        Console().print(shown)
    for seed in range(options.seeds):
        pair = [options.to / f"{name}-seed-{seed}" / "student.safetensors" for name in (options.epochs, "live")]
        if all(path.exists() for path in pair):
            one, other = (tensors_of(path)[0] for path in pair)
            apart = max(float((one[name] - other[name]).abs().max()) for name in one)
            Console().print(f"seed {seed}: weights of {options.epochs} views and of live at most {apart:.3g} apart")


if __name__ == "__main__":
    main()
