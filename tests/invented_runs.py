"""Run folders as `distill` writes them, with invented numbers: what a report is made from, without training."""

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.records import Finding, Panel, RunRecord, Scores, SeedResult, write_record

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
HOSTILE = "<script>alert('x')</script>"
LATENCY = "measured: one row, eager torch, one thread, median and 95th percentile of 300 interleaved calls"
OBJECTIVE = "0.9 * kd(temperature=4) + 0.1 * labels"
STUDENTS, CONTROLS = (0.9021, 0.9043, 0.9010), (0.8894, 0.8921, 0.8907)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def panels(classes: tuple[str, ...], seed: int, skill: float) -> tuple[Panel, ...]:
    """Per-class table, confusion matrix and reliability curve of an invented classifier."""
    generator = np.random.default_rng(seed)
    count = len(classes)
    confused = np.round(generator.dirichlet(np.full(count, 0.25), size=count) * 100 * (1 - skill)).astype(int)
    confused[np.arange(count), np.arange(count)] = np.round(100 * (skill + generator.normal(0, 0.03, count))).astype(
        int
    )
    recall = confused.diagonal() / confused.sum(axis=1)
    precision = confused.diagonal() / np.maximum(confused.sum(axis=0), 1)
    rows = [
        [name, float(p), float(r), float(2 * p * r / (p + r)), int(n)]
        for name, p, r, n in zip(classes, precision, recall, confused.sum(axis=1), strict=True)
    ]
    bins = (np.arange(15) + 0.5) / 15
    counts = np.round(600 * bins**3).astype(int)
    truth = np.clip(bins - (1 - skill) * np.sin(np.pi * bins) + generator.normal(0, 0.015, 15), 0, 1)
    columns = ["Class", "Precision", "Recall", "F1", "Rows"]
    return (
        Panel("per_class", "By class", "table", {"columns": columns, "rows": rows}),
        Panel("confusion", "Confusion matrix", "matrix", {"labels": list(classes), "values": confused.tolist()}),
        Panel(
            "reliability",
            "Reliability",
            "curve",
            {
                "x": bins.tolist(), "y": truth.tolist(), "counts": counts.tolist(), "diagonal": True,
                "x_label": "confidence", "y_label": "share that was right",
            },
        ),
    )  # fmt: skip


def teacher_saw(classes: tuple[str, ...]) -> Panel:
    """A few drawn pictures with a teacher's answers at T=1 and T=4."""
    generator = np.random.default_rng(4)
    rows = []
    for place in range(6):
        label = place % len(classes)
        height, width = np.mgrid[0:28, 0:28] / 27
        shape = np.abs(height - 0.5) + np.abs(width - 0.5) * (0.6 + 0.3 * place) < 0.45
        image = shape * (0.55 + 0.4 * np.sin(9 * height + place))
        logits = generator.normal(0, 2.2, len(classes))
        logits[label] = logits.max() + (0.4 if place % 2 else 6.0)
        cold, warm = softmax(logits), softmax(logits / 4)
        rows.append(
            {"image": image.tolist(), "label": classes[label], "cold": cold.tolist(), "warm": warm.tolist()},
        )
    data = {"classes": list(classes), "temperature": 4.0, "rows": rows}
    return Panel("teacher_saw", "What the teacher saw", "examples", data)


def scores(accuracy: float, *, big: bool = False, shown: tuple[Panel, ...] = (), like: bool = True) -> Scores:
    metrics = {"accuracy": accuracy, "nll": 1.1 * (1 - accuracy) + 0.17, "ece": 0.4 * (1 - accuracy)}
    if like and not big:
        metrics |= {"agreement": accuracy + 0.02, "kl": 0.4 * (1 - accuracy)}
    costs = (
        {"parameters": 11_173_962, "bytes": 44_778_296, "macs": 457_725_440, "latency_ms": 6.18, "latency_p95_ms": 7.4}
        if big
        else {"parameters": 61_706, "bytes": 249_608, "macs": 416_520}
    )
    return Scores(10_000, metrics, costs, shown)


def timed(result: SeedResult) -> SeedResult:
    def measured(old: Scores) -> Scores:
        return dataclasses.replace(old, cost={**old.cost, "latency_ms": 0.41, "latency_p95_ms": 0.533})

    control = None if result.control is None else measured(result.control)
    return dataclasses.replace(result, student=measured(result.student), control=control)


def a_record(
    name: str = "fashion-mnist-kd",
    *,
    students: tuple[float, ...] = STUDENTS,
    controls: tuple[float, ...] | None = CONTROLS,
    teacher: float | None = 0.9312,
    classes: tuple[str, ...] = CLASSES,
    objective: str = OBJECTIVE,
) -> RunRecord:
    results = tuple(
        SeedResult(
            seed=seed,
            student=scores(student, shown=panels(classes, seed, student), like=teacher is not None),
            control=None
            if controls is None
            else scores(controls[seed], shown=panels(classes, 50 + seed, controls[seed])),
            steps=8580,
            selected_step=7722 - 429 * seed,
            validation=student + 0.004,
            seconds=241.7 + seed,
            control_seconds=None if controls is None else 233.2 + seed,
            control_validation=None if controls is None else controls[seed] + 0.003,
        )
        for seed, student in enumerate(students)
    )
    # As in a real run, only the networks of the chosen seed are timed.
    chosen = min(1, len(results) - 1)
    results = tuple(timed(result) if result.seed == chosen else result for result in results)
    return RunRecord(
        name=name,
        status="finished",
        task="classification",
        selection="accuracy",
        headline=("accuracy", "nll", "ece"),
        classes=classes,
        recipe={
            "data": {"source": "fashion-mnist", "valid": 5000},
            "teacher": None if teacher is None else "runs/resnet18",
            "student": "cnn(size=16)",
            "objective": objective,
            "budget": "20 epochs",
        },
        environment={"limbeck": "0.1.0", "python": "3.11.2", "torch": "2.10.0", "threads": 2, "latency": LATENCY},
        data={
            "name": "fashion-mnist",
            "rows": {"train": 55_000, "valid": 5_000, "test": 10_000},
            "class_counts": {str(label): 5500 for label in range(10)},
            "fingerprint": "sha256:8f14e45f",
        },
        teacher=None if teacher is None else scores(teacher, big=True, shown=panels(classes, 9, teacher)),
        results=results,
        chosen_seed=max(chosen, 0),
        findings=(Finding("warning", "temperature", "KL at T=4 is 12 times KL at T=1.", "compare with T=2"),),
        panels=() if teacher is None else (teacher_saw(classes),),
        seconds={"recording": 34.2, "training": 725.1, "scoring": 8.8},
    )


def a_run(folder: Path, record: RunRecord) -> Path:
    """Writes the files that `distill` writes: run.json, recipe.yaml, metrics.jsonl (under seed-N for several seeds)."""
    folder.mkdir(parents=True)
    write_record(record, folder)
    (folder / "recipe.yaml").write_text(f"name: {record.name}\nobjective: {record.recipe['objective']}\nseed: 0\n")
    for result in record.results:
        place = folder if len(record.results) == 1 else folder / f"seed-{result.seed}"
        place.mkdir(exist_ok=True)
        lines = metrics_lines(result, taught=record.teacher is not None)
        (place / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def metrics_lines(result: SeedResult, *, taught: bool) -> Iterator[dict[str, Any]]:
    generator = np.random.default_rng(result.seed)
    ends = {"student": result.student, "control": result.control}
    for who, end in ((who, end) for who, end in ends.items() if end is not None):
        for step in range(60, 8581, 60):
            decay, epoch = math.exp(-step / 1500), step / 429
            common = {"who": who, "seed": result.seed, "step": step, "epoch": epoch}
            loss = 0.35 + 2.1 * decay + abs(generator.normal(0, 0.03))
            kd = 0.75 + 0.2 * decay
            distilled = taught and who == "student"
            terms = {"kd(temperature=4)": loss, "labels": 0.6 * loss} if distilled else {"labels": loss}
            shares = {"kd(temperature=4)": kd, "labels": 1 - kd} if distilled else {"labels": 1.0}
            yield {"event": "train", **common, "loss": loss, "terms": terms, "shares": shares, "lr": 1e-3,
                   "rows_per_second": 18_000 + generator.normal(0, 90)}  # fmt: skip
        for epoch in (1, 2, 3, 5, 8, 12, 16, 20) if taught and who == "student" else ():
            share = 0.9 - 0.01 * epoch
            yield {"event": "diagnosis", "who": who, "seed": result.seed, "step": 429 * epoch, "epoch": float(epoch),
                   "norms": {"kd(temperature=4)": 4 * share, "labels": 4 - 4 * share},
                   "shares": {"kd(temperature=4)": share, "labels": 1 - share},
                   "cosines": {"kd(temperature=4)": {"labels": 0.5 - 0.04 * epoch}}}  # fmt: skip
        for epoch in range(1, 21):
            level = end.metrics["accuracy"] - 0.16 * math.exp(-epoch / 3) + generator.normal(0, 0.0015)
            like = {"likeness": {"agreement": level + 0.02, "kl": 0.4 * (1 - level)}} if taught else {}
            yield {"event": "valid", "who": who, "seed": result.seed, "step": 429 * epoch, "epoch": float(epoch),
                   "metrics": {"accuracy": level, "nll": 1.2 * (1 - level)},
                   **like}  # fmt: skip
