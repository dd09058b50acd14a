"""What a training step costs on images: alone, with a recorded teacher, with a live one, and beside other programs.

    python benchmarks/vision_step.py
    python benchmarks/vision_step.py --quick --json step.json

All variants train one student (61,050 parameters) on Fashion-MNIST (or, where that is not installed, on scikit-learn's
digits at 28 x 28 pixels) in batches of 128, on one thread, in one process, in turns: every round gives each of them
some steps, in an order of its own. What is counted is the process's CPU time: other processes stretch wall time. The
teacher (165,626 parameters, of the blocks of `limbeck.students.cnn`) has random weights: that decides what it says, and
not how long it takes. Limbeck's variants are steps
of its own trainer on batches of its own loader; `limit` is a bare loop with everything that pays on this machine and
nothing else, in the precision and layout that Limbeck chose and compiled where its steps are; so is the live teacher.
`plain loop` and `torchdistill` are as people run them, a DataLoader over pictures.

`--quick` times three of them on fewer rows, not compiled, and ends within 50 seconds: a smoke test, not a result.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from timing.training import trained
from timing.turns import Steps, machine, measured, ratio, show
from torch import Tensor, nn
from torch.nn import functional

from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task as found_task
from limbeck.data import cache, idx
from limbeck.data.augment import parse
from limbeck.data.loader import batches
from limbeck.data.rows import TensorRows
from limbeck.data.sets import fashion_mnist
from limbeck.data.standardise import Standardise
from limbeck.data.standardise import statistics as of_rows
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.recipe import Recipe
from limbeck.recorder import record
from limbeck.students.cnn import ResidualBlock
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.recording import RecordedTeacher
from limbeck.training.asking import faster
from limbeck.training.compilation import missing
from limbeck.training.loop import Lesson
from limbeck.training.settling import settle

STARTED = time.perf_counter()
BATCH, TEMPERATURE, SHARE = 128, 4.0, 0.9
KD = f"{SHARE} * kd(temperature={TEMPERATURE:g}) + {1 - SHARE:.1f} * labels"
AUGMENT = "crop(padding=2) + flip"
QUICK_SECONDS, QUICK_ROWS = 28.0, 2_560
CPU, CLASSES = torch.device("cpu"), fashion_mnist.CLASSES
HEARD = (("path", "."), ("io", "output"))
PACKAGES = ("torch", "torchvision", "torchdistill")


def student() -> nn.Sequential:
    """Four 3 x 3 convolutions, each with batch normalisation: 61,050 parameters, 3.7 million multiply-adds a row."""
    parts: list[nn.Module] = []
    for narrow, wide, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2), (64, 64, 1)):
        parts += [nn.Conv2d(narrow, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def big() -> nn.Sequential:
    """A stem and four residual blocks: 165,626 parameters, 13 million multiply-adds a row."""
    stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    shapes = ((16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))
    blocks = (ResidualBlock(narrow, wide, stride) for narrow, wide, stride in shapes)
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


@dataclass(frozen=True)
class Bench:
    """What all variants share: rows, their statistics, the choice of precision and layout, and a folder."""

    rows: TensorRows
    source: str
    recipe: Recipe
    folder: Path

    @property
    def precision(self) -> str:
        return self.recipe.training.precision

    @property
    def compile(self) -> bool:
        return self.recipe.training.compile is True

    def model(self, network: nn.Module) -> Model:
        return Model(network, Standardise(*of_rows(self.rows)), classes=CLASSES)

    def teacher(self) -> ModuleTeacher:
        torch.manual_seed(1)
        return ModuleTeacher(self.model(big()), "165,626 parameters, random weights")

    def lesson(self, kind: str) -> Lesson:
        """Alone, with a live teacher, with a live one on augmented rows, or with a recording of it."""
        taught = kind != "alone"
        lesson = Lesson(
            train=self.rows,
            valid=self.rows,
            task=found_task("classification"),
            objective=objective(KD if taught else "labels"),
            teacher=self.teacher() if taught else None,
            augment=parse(AUGMENT) if kind == "live augmented" else None,
            augment_seed=0,
            views=None,
        )
        if kind == "recorded":
            assert lesson.teacher is not None
            needs, to = lesson.objective.needs(), self.folder / "recording"
            low = self.recipe.training.teacher_precision
            made = record(lesson.teacher, self.rows, lesson.task, to=to, needs=needs, classes=CLASSES, precision=low)
            lesson = replace(lesson, teacher=RecordedTeacher(made), views=1)
        return lesson

    def limbeck(self, kind: str) -> Steps:
        """Steps of Limbeck's own trainer on batches of its own loader."""
        lesson = self.lesson(kind)
        torch.manual_seed(0)
        return trained(self.model(student()), lesson, self.recipe, self.folder, kind)

    def limit(self) -> Steps:
        """The student alone on tensors in memory: nothing but forward, backward and optimiser."""
        torch.manual_seed(0)
        model, low = student().train(), self.precision == "bfloat16"
        last = self.recipe.training.channels_last is True
        model.to(memory_format=torch.channels_last if last else torch.contiguous_format)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, fused=True)
        assert isinstance(self.rows.inputs, Tensor) and self.rows.labels is not None
        inputs, labels = Standardise(*of_rows(self.rows))(self.rows.inputs), self.rows.labels

        def loss(images: Tensor, answers: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                said = model(images)
            return functional.cross_entropy(said.float(), answers)

        fast: Callable[..., Tensor] = torch.compile(loss, dynamic=False) if self.compile else loss
        while True:
            for places in torch.randperm(len(inputs)).split(BATCH)[: len(inputs) // BATCH]:
                fast(inputs[places], labels[places]).backward()
                optimizer.step()
                optimizer.zero_grad()
                yield

    def plain(self) -> Steps:
        """The loop of a tutorial: pictures through a DataLoader, the teacher live, float32."""
        torch.manual_seed(0)
        model, teacher = student().train(), big().eval().requires_grad_(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True)
        while True:
            for images, labels in torch.utils.data.DataLoader(Pictures(self.rows), BATCH, shuffle=True, drop_last=True):
                with torch.no_grad():
                    theirs = teacher(images)
                ours = model(images)
                soft = functional.kl_div(
                    functional.log_softmax(ours / TEMPERATURE, 1),
                    functional.log_softmax(theirs / TEMPERATURE, 1),
                    reduction="batchmean",
                    log_target=True,
                )
                loss = SHARE * TEMPERATURE**2 * soft + (1 - SHARE) * functional.cross_entropy(ours, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                yield

    def torchdistill(self) -> Steps:
        """The box of torchdistill, driven as its image classification example drives it."""
        from torchdistill.core.distillation import get_distillation_box

        torch.manual_seed(0)
        settings = _torchdistill_settings(len(self.rows) // BATCH)
        box = get_distillation_box(big(), student(), {"train": Pictures(self.rows)}, settings, CPU, [], False, 1)
        while True:
            box.pre_epoch_process(epoch=0)
            for images, labels, supplements in box.train_data_loader:
                box.post_forward_process(loss=box.forward_process(images, labels, supplements))
                yield


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Rows as torchvision's FashionMNIST gives them: a PIL picture each, through ToTensor and Normalize."""

    def __init__(self, rows: TensorRows) -> None:
        from torchvision import transforms

        assert isinstance(rows.inputs, Tensor) and rows.labels is not None
        self.images, self.labels = rows.inputs[:, 0], rows.labels
        mean, deviation = (float(value) / 255 for value in of_rows(rows))
        self.look = transforms.Compose([transforms.ToTensor(), transforms.Normalize([mean], [deviation])])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.look(Image.fromarray(self.images[place].numpy())), int(self.labels[place])


def _torchdistill_settings(steps: int) -> dict[str, Any]:
    side = {"forward_proc": "forward_batch_only", "sequential": [], "wrapper": None}
    loader = {
        "dataset_id": "train",
        "sampler": {"class_or_func": torch.utils.data.RandomSampler, "kwargs": None},
        "kwargs": {"batch_size": BATCH, "num_workers": 0, "drop_last": True},
        "cache_output": None,
    }
    heard = {f"{who}_module_{part}": word for who in ("student", "teacher") for part, word in HEARD}
    # Its alpha weighs the labels, not the teacher.
    weights = {"temperature": TEMPERATURE, "alpha": 1 - SHARE, "reduction": "batchmean"}
    criterion = {"key": "KDLoss", "kwargs": {**heard, **weights}}
    rate = {"max_lr": 0.2, "total_steps": 10**6 * steps}
    return {
        "num_epochs": 10**6,
        "train_data_loader": loader,
        "val_data_loader": loader,
        "teacher": {**side, "requires_grad": False, "frozen_modules": []},
        "student": {**side, "requires_grad": True, "frozen_modules": [], "adaptations": None},
        "optimizer": {"key": "SGD", "kwargs": {"lr": 0.05, "momentum": 0.9, "nesterov": True}},
        "scheduler": {"key": "OneCycleLR", "kwargs": rate, "scheduling_step": 1},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": criterion, "weight": 1.0}}},
        },
    }


def _rows(most: int | None) -> tuple[TensorRows, str]:
    """Training rows as bytes of shape (1, 28, 28), and what they are."""
    places = (fashion_mnist.DEBIAN, cache.folder() / "FashionMNIST" / "raw")
    folder = next((place for place in places if idx.files(place)), None)
    if folder is not None:
        raw, said = fashion_mnist.load(folder).train, "Fashion-MNIST"
        inputs, labels = torch.tensor(raw[0]), torch.tensor(raw[1])
    else:
        from sklearn.datasets import load_digits

        digits, numbers = load_digits(return_X_y=True)
        small = torch.from_numpy(digits).float().reshape(-1, 1, 8, 8) * (255 / 16)
        inputs = functional.interpolate(small, size=(28, 28), mode="bilinear").round().to(torch.uint8)
        labels, said = torch.from_numpy(numbers), "scikit-learn's digits, upsampled to 28 x 28: no Fashion-MNIST here"
    images = inputs.reshape(-1, 1, 28, 28)[:most]
    return TensorRows.of(images, labels[:most].long()), f"{said}, {len(images):,} rows"


def _bench(rows: int | None, compile: bool, folder: Path, console: Console, **settled: Any) -> Bench:
    """Reads the rows, and lets Limbeck choose precisions and layout as it does before a training."""
    kept, source = _rows(rows)
    training = {"batch": BATCH, "optimizer": "sgd", "lr": 0.05, "clip": None, "threads": 1, "compile": False, **settled}
    recipe = Recipe.make(
        data={"source": "rows"}, student="student", objective="labels", budget="1000000 steps", training=training
    )
    bench = Bench(kept, source, recipe, folder)
    lesson = bench.lesson("alone")
    first = next(batches(kept, lesson.task, batch_size=BATCH, seed=0, epoch=0))
    recipe, said = settle(recipe, bench.model(student()), lesson, first, CPU)
    lacking = missing(CPU) if compile else None
    if lacking:
        said.append(f"compile: no ({lacking} is not here)")
    teacher = bench.teacher()
    teacher.prepare(Needs(), CLASSES)
    fast = faster(teacher, first)
    for sentence in [*said, fast.sentence()]:
        console.print(sentence)
    compile = compile and not lacking
    chosen = {"compile": compile, "teacher_precision": fast.precision, "teacher_compile": compile}
    return replace(bench, recipe=recipe.replace(training=recipe.training.model_copy(update=chosen)))


def _variants(bench: Bench, quick: bool) -> dict[str, Steps]:
    kinds = ["alone", "recorded", "live augmented"] if quick else ["alone", "recorded", "live", "live augmented"]
    found: dict[str, Steps] = {kind: bench.limbeck(kind) for kind in kinds}
    if quick:
        return found
    found["limit"] = bench.limit()
    if importlib.util.find_spec("torchvision") and importlib.util.find_spec("PIL"):
        found["plain loop"] = bench.plain()
        if importlib.util.find_spec("torchdistill"):
            found["torchdistill"] = bench.torchdistill()
    return found


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=8, help="steps of each variant in a round")
    parser.add_argument("--rows", type=int, default=None, help="training rows; all by default")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--channels-last", action="store_true", help="bfloat16 in this layout, without measuring")
    parser.add_argument("--quick", action="store_true", help="ends within 50 seconds")
    parser.add_argument("--json", type=Path, help="writes ratios, milliseconds and the machine")
    given = parser.parse_args()
    torch.set_num_threads(1)
    console, quick = Console(soft_wrap=True), given.quick
    here = machine(PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        rows = QUICK_ROWS if quick else given.rows
        settled = {"precision": "bfloat16", "channels_last": True} if given.channels_last else {}
        bench = _bench(rows, not (quick or given.no_compile), Path(folder), console, **settled)
        console.print(f"{bench.source}; {here}", highlight=False)
        until = STARTED + QUICK_SECONDS if quick else float("inf")
        times = measured(_variants(bench, quick), given.rounds, 4 if quick else given.steps, until)
    how = f"{bench.precision}, {'compiled' if bench.compile else 'not compiled'}"
    console.print(f"{len(times['alone'])} rounds, {how}; medians (least-greatest), paired ratios with 95 % intervals")
    show(times, console, ("alone", "limit"))
    if given.json:
        live = ratio(times, "live augmented", "alone")[0]
        ratios = {"recorded_over_alone": ratio(times, "recorded", "alone")[0], "live_over_alone": live}
        milliseconds = {name: statistics.median(values) for name, values in times.items()}
        given.json.write_text(json.dumps({"ratios": ratios, "ms": milliseconds, "machine": here}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
