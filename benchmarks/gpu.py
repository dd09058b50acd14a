"""Limbeck on a GPU: whether recorded equals live there, and what recording, a step and the divergences cost.

    benchmarks/gpu.sh --json gpu.json
    python benchmarks/gpu.py --device cpu --small       a rehearsal where there is no GPU

A step of a convolutional student is timed alone, with a recorded and with a live teacher; the divergences of language
targets are timed beside the cross-entropy of the same logits, and beside how long the device takes to read and write
them once. Random weights and inputs: they decide what is said and not how long it takes. Times are medians of rounds
in turns; on a GPU between events of the device, else wall time.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from torch.nn import functional

from limbeck.catalog.objectives import objective
from limbeck.data.rows import TensorRows
from limbeck.divergences import kl
from limbeck.model import Model
from limbeck.recorder import record
from limbeck.signals import Batch, Signals
from limbeck.students import cnn
from limbeck.targets.dense import DenseTargets
from limbeck.targets.hidden import HiddenTargets
from limbeck.targets.sampled import SampledTargets
from limbeck.targets.topk import TopKTargets
from limbeck.tasks.classification import Classification
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.recording import RecordedTeacher

CLASSES = tuple(map(str, range(10)))
METHOD = "0.9 * kd(temperature=4) + 0.1 * labels"
say = Console().print


class Scaled(torch.nn.Module):
    """Bytes as numbers from 0 to 1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float() / 255


def timed(work: dict[str, Callable[[], object]], device: torch.device, rounds: int) -> dict[str, float]:
    """Median milliseconds of each, in turns, after two rounds that do not count."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 2):
        for name, run in work.items():
            spent = _once(run, device)
            if turn >= 2:
                found[name].append(spent)
    return {name: round(statistics.median(values), 4) for name, values in found.items()}


def _once(run: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        started = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - started)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def images(device: torch.device, small: bool) -> dict[str, float]:
    """Recorded against live, bit for bit and form by form; then what recording and a step cost."""
    torch.manual_seed(0)
    count, side, batch = (512, 16, 64) if small else (16_384, 64, 256)
    rows = TensorRows.of(
        torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8), torch.randint(0, 10, (count,))
    )
    teacher = ModuleTeacher(Model(cnn.build((3, side, side), 10, size=32), Scaled()), "random").to(device)
    student = Model(cnn.build((3, side, side), 10, size=8), Scaled()).to(device).train()
    method, alone = objective(METHOD), objective("labels")
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, fused=True)
    with tempfile.TemporaryDirectory() as folder:
        recorded = {}
        for keep in ("dense", "topk(k=10, precision='float32')"):
            started = time.perf_counter()
            place = record(
                teacher, rows, Classification(), to=Path(folder) / keep[:4], needs=method.needs(), classes=CLASSES,
                keep=keep, batch_size=batch, device=device,
            )  # fmt: skip
            seconds = time.perf_counter() - started
            recorded[keep] = RecordedTeacher(place)
            recorded[keep].prepare(method.needs(), CLASSES)
            recorded[keep].to(device)
        whole, largest = recorded.values()
        _same(whole, largest, teacher, rows, device, batch)

        def step(source: object) -> None:
            at = torch.arange(batch)
            plain = Batch.of(rows.inputs[at], rows.labels[at], Classification(), ids=rows.ids[at])
            said = Signals() if source is None else source.signals(plain if source is whole else plain.to(device))
            here = plain.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                heard = Signals.dense(student(here.inputs))
            (alone if source is None else method).loss(heard, said, here).total.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        spent = timed(
            {"alone": lambda: step(None), "recorded": lambda: step(whole), "live": lambda: step(teacher)},
            device,
            3 if small else 30,
        )
    return {
        "recording_rows_per_second": round(count / seconds),
        **{f"step_{name}_ms": ms for name, ms in spent.items()},
    }


def _same(
    whole: RecordedTeacher,
    largest: RecordedTeacher,
    teacher: ModuleTeacher,
    rows: TensorRows,
    device: torch.device,
    batch: int,
) -> None:
    """The same batch gets the live teacher's bits from a dense recording, and its divergence from one of all logits."""
    at = torch.arange(batch)
    asked = Batch.of(rows.inputs[at], rows.labels[at], Classification(), ids=rows.ids[at])
    live = teacher.signals(asked.to(device))
    if not torch.equal(whole.signals(asked).logits, live.logits):
        raise SystemExit("recorded is not live: the bits of a dense recording differ")
    student = torch.randn(batch, 10, device=device)
    for temperature in (4.0,):
        one = largest.signals(asked).targets.divergence(kl, student, temperature)
        torch.testing.assert_close(one, live.targets.divergence(kl, student, temperature), rtol=1e-4, atol=1e-5)


def language(device: torch.device, small: bool) -> dict[str, float]:
    """Value and gradient of the forward divergence for each kind of target, beside cross-entropy and a copy."""
    torch.manual_seed(0)
    tokens, symbols, width = (64, 2_000, 32) if small else (4_096, 49_152, 576)
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    hidden, head = torch.randn(tokens, width, device=device), torch.randn(symbols, width, device=device) / width**0.5
    teacher = (4 * hidden @ head.T).to(kind)
    student = torch.randn(tokens, symbols, device=device, dtype=kind, requires_grad=True)
    labels = teacher.argmax(dim=-1)
    uniforms = torch.rand(tokens, 12, dtype=torch.float64)
    kinds = {
        "dense": DenseTargets(teacher),
        "topk": TopKTargets.of(teacher, 64, (1.0,)),
        "sampled": SampledTargets.of(teacher.cpu().float(), uniforms).to(device),
        "hidden": HiddenTargets((4 * hidden).to(kind), head.to(kind)),
    }

    def grad(value: torch.Tensor) -> None:
        student.grad = None
        value.mean().backward()

    work: dict[str, Callable[[], object]] = {
        name: (lambda targets=targets: grad(targets.divergence(kl, student, 1.0))) for name, targets in kinds.items()
    }
    work["cross_entropy"] = lambda: grad(functional.cross_entropy(student, labels))
    work["copy"] = lambda: student.detach().clone()
    dense = kinds["dense"].divergence(kl, student.detach(), 1.0)
    torch.testing.assert_close(kinds["hidden"].divergence(kl, student.detach(), 1.0), dense, rtol=2e-2, atol=2e-2)
    if bool((kinds["topk"].divergence(kl, student.detach(), 1.0) > dense + 1e-3).any()):
        raise SystemExit("the divergence of the largest logits is above the one of all")
    return {f"{name}_ms": ms for name, ms in timed(work, device, 3 if small else 20).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="sizes for a rehearsal")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        say("no GPU here (torch finds no CUDA device): nothing was measured. --device cpu --small rehearses.")
        return
    device = torch.device(asked.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    machine = {"device": name, "torch": torch.__version__, "python": platform.python_version()}
    found = {"machine": machine, "images": images(device, asked.small), "language": language(device, asked.small)}
    say(found)
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=1))


main()
