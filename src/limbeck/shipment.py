"""`export`: from a finished run to one file that answers on a device, held to the student it was made from."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from limbeck.artifact import contents, verification, writing
from limbeck.artifact.graph import onnx_bytes
from limbeck.catalog.data import data_of
from limbeck.catalog.tasks import task as find_task
from limbeck.data.source import Data
from limbeck.errors import ModelError, RecipeError, did_you_mean
from limbeck.model import Model
from limbeck.progress import Progress, Silent
from limbeck.recipe import Recipe
from limbeck.run import Run
from limbeck.task import Task
from limbeck_runtime.manifest import Manifest
from limbeck_runtime.predictor import OnnxPredictor

Precision: TypeAlias = Literal["float32", "int8", "auto"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8", "auto")

# Of the greatest number in the student's answers: sums of some thousand float32 products in another order.
_SAME = 1e-3


@dataclass(frozen=True)
class Artifact:
    """A file that answers on a device.

    Args:
        path: Where it lies.
        manifest: Everything it says of itself, what was measured of it included.
    """

    path: Path
    manifest: Manifest


def export(
    run: str | os.PathLike[str] | Run,
    to: str | os.PathLike[str] | None = None,
    *,
    precision: Precision = "float32",
    calibrate: int | None = None,
    batch: int | None = None,
    who: Literal["student", "control"] = "student",
    units: Sequence[str] = (),
    licences: Sequence[str] = (),
    data: Data | None = None,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Artifact:
    """Writes the student of a finished run as one file for limbeck-runtime, and proves that it answers alike.

    Its graph is held to the student on every validation and test row, asked row by row and in batches, and opened in a
    process that has only the runtime. Nothing is chosen by test rows.

    Args:
        run: A finished run, or its folder.
        to: `NAME.limbeck`, which must not be there yet; by default `RUN/student.limbeck`.
        precision: Of weights and sums.
        calibrate: For int8: how many training rows are looked at; None leaves that to the search.
        batch: How many rows the graph takes at a time; None: any number. Some compilers and accelerators ask for 1.
        who: Whose weights.
        units: Of the channels of the input, such as ("mg/dL",), for the device to compare with.
        licences: What a person notes about the licences of data and teacher.
        data: The data, for a run whose data was given as an object.
        overrides: Changes to the recipe, such as `data.path=elsewhere`.
        progress: Is told what is being done.

    Raises:
        RunError: When the run did not finish.
        RecipeError: When `to` is there already, or an argument is none.
        ModelError: When the student cannot be exported, or its graph answers otherwise than it does.
    """
    opened = run if isinstance(run, Run) else Run.open(os.fspath(run))
    if precision not in PRECISIONS:
        raise RecipeError(f"there is no precision {precision!r}", remedy=did_you_mean(str(precision), PRECISIONS))
    if batch is not None and batch < 1:
        raise RecipeError(f"batch={batch}", expected="1 or more, or None for any number")
    path = writing.place(opened.folder / f"{who}.limbeck" if to is None else os.fspath(to))
    watcher = progress or Silent()
    model = _model(opened, who)
    task = find_task(opened.record.task)
    watcher.say("reading the data")
    recipe = Recipe.read(opened.folder / "recipe.yaml", overrides=list(overrides))
    rows = data or data_of(recipe.data, labels=task.labels)
    contents.reading_of(task, rows)
    watcher.say("tracing the student")
    graph = onnx_bytes(model, rows.valid.take(torch.arange(2)).inputs, batch=batch)
    watcher.say(f"asking the graph about {len(rows.valid)} validation and {len(rows.test)} test rows")
    shipped = _Shipped(opened, model, task, rows, graph, precision, batch, tuple(units), tuple(licences))
    return shipped.written(path, watcher)


@dataclass(frozen=True)
class _Shipped:
    """A graph on its way into a file."""

    run: Run
    model: Model
    task: Task
    data: Data
    graph: bytes
    precision: str
    batch: int | None
    units: tuple[str, ...]
    licences: tuple[str, ...]

    def written(self, path: Path, watcher: Progress) -> Artifact:
        """Verifies the graph and writes the artifact; a file that does not open in a fresh process is taken away."""
        predictor = self._predictor()
        verified = self._verified(predictor)
        golden = contents.golden_rows(self.data)
        facts = {
            "provenance": contents.provenance(self.run.record, self.model, self.data, self.licences),
            "verification": verified,
        }
        said, files = self._manifest(golden, predictor.outputs(golden), facts)
        watcher.say("opening the file in a process that has only the runtime")
        partial = path.with_name(f".{path.name}.unverified")
        try:
            writing.write(said, files, partial)
            fresh = verification.fresh_process(partial)
        finally:
            partial.unlink(missing_ok=True)
        facts["verification"] = {**verified, "fresh_process": fresh}
        said, files = self._manifest(golden, predictor.outputs(golden), facts)
        writing.write(said, files, path)
        return Artifact(path, said)

    def _manifest(self, golden: Any, outputs: Any, facts: dict[str, Any]) -> tuple[Manifest, dict[str, bytes]]:
        return contents.manifest(
            record=self.run.record,
            data=self.data,
            task=self.task,
            graph=self.graph,
            precision=self.precision,
            recipe="as trained",
            batch=self.batch,
            golden=(golden, outputs),
            facts=facts,
            units=self.units,
        )

    def _predictor(self) -> OnnxPredictor:
        """The graph before there is a file."""
        golden = contents.golden_rows(self.data)
        shape = tuple(self.model(torch.from_numpy(golden)).shape[1:])
        nothing = np.zeros((len(golden), *shape), np.float32)
        return OnnxPredictor(self._manifest(golden, nothing, {})[0], self.graph)

    def _verified(self, predictor: OnnxPredictor) -> dict[str, Any]:
        """What was measured of the graph beside its student.

        Raises:
            ModelError: When it answers otherwise.
        """
        found: dict[str, Any] = {"batch_difference": verification.batch_difference(predictor, self.data.valid)}
        for split in ("valid", "test"):
            said = verification.heard(predictor, self.model, getattr(self.data, split), self.task, self.data)
            bound = _SAME * max(1.0, float(said.torch.outputs.abs().max()))
            if not said.difference <= bound:
                raise ModelError(
                    f"the graph answers up to {said.difference:g} away from the student on {split} rows",
                    expected=f"at most {bound:g}",
                    remedy="an issue with the run's folder: the exporter changed the network",
                )
            found[split] = {
                "rows": len(said.torch.outputs),
                "difference": said.difference,
                "likeness": said.likeness,
                "metrics": said.metrics,
                "torch_metrics": said.torch_metrics,
            }
        return found


def _model(run: Run, who: str) -> Model:
    if who not in ("student", "control"):
        raise RecipeError(f"there is no {who!r} in a run", remedy=did_you_mean(who, ("student", "control")))
    model = run.student() if who == "student" else run.control()
    if model.headed:
        raise ModelError(
            "a language model is not exported: it generates",
            expected="a task whose outputs are read off",
            remedy=f"{run.folder}/transformers is what generating runtimes load",
        )
    return model
