"""`export`: from a finished run to one file that answers on a device, held to the student it was made from."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from limbeck.artifact import contents, verification, writing
from limbeck.artifact.candidates import RECIPES
from limbeck.artifact.choice import Allowances
from limbeck.artifact.graph import onnx_bytes
from limbeck.artifact.search import Search
from limbeck.catalog.data import data_of
from limbeck.catalog.tasks import task as find_task
from limbeck.data.source import Data
from limbeck.errors import ModelError, RecipeError, did_you_mean
from limbeck.model import Model
from limbeck.progress import Progress, Silent
from limbeck.quantization.graphs import slimmed
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
    precision: Precision | str = "float32",
    calibrate: int | None = None,
    allowances: Allowances | None = None,
    only: str = "",
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
    process that has only the runtime. For `int8` and `auto` graphs are quantised in several ways and measured beside
    float32 on validation rows; see `limbeck.artifact.search`. Nothing is chosen by test rows.

    Args:
        run: A finished run, or its folder.
        to: `NAME.limbeck`, which must not be there yet; by default `RUN/student.limbeck`.
        precision: `float32`; `int8`, the smallest graph that answers alike, or an error where none does; or `auto`, the
            smallest that answers alike and is not slower, which may be float32.
        calibrate: For int8: how many training rows static scales are taken from; 256 when None.
        allowances: For int8: what it may lose; see `limbeck.artifact.choice.Allowances`.
        only: For int8: how the names of the recipes begin that are looked at, such as `static` where integers alone are
            fast; empty: all.
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
    wanted = _wanted(precision, batch)
    _check_search(wanted, calibrate, allowances, only)
    path, watcher = writing.place(opened.folder / f"{who}.limbeck" if to is None else to), progress or Silent()
    model, task = _model(opened, who), find_task(opened.record.task)
    watcher.say("reading the data")
    recipe = Recipe.read(opened.folder / "recipe.yaml", overrides=list(overrides))
    rows = data or data_of(recipe.data, labels=task.labels)
    contents.reading_of(task, rows)
    watcher.say("tracing the student")
    graph = slimmed(onnx_bytes(model, rows.valid.take(torch.arange(2)).inputs, batch=batch))
    shipped = _Shipped(opened, model, task, rows, graph, batch, tuple(units), tuple(licences))
    if wanted != "float32":
        shipped = shipped.searched(wanted, calibrate, allowances or Allowances(), only, watcher)
    watcher.say(f"asking the graph about {len(rows.valid)} validation and {len(rows.test)} test rows")
    return shipped.written(path, watcher)


@dataclass(frozen=True)
class _Shipped:
    """A graph on its way into a file."""

    run: Run
    model: Model
    task: Task
    data: Data
    graph: bytes
    batch: int | None
    units: tuple[str, ...]
    licences: tuple[str, ...]
    precision: str = "float32"
    recipe: str = "as trained"
    calibration: Mapping[str, Any] = field(default_factory=dict)
    searched_for: Mapping[str, Any] = field(default_factory=dict)

    def searched(
        self,
        precision: Literal["int8", "auto"],
        calibrate: int | None,
        allowed: Allowances,
        only: str,
        watcher: Progress,
    ) -> "_Shipped":
        """With the graph that a search over int8 recipes chose, which may be the same."""
        self._compared(self._predictor(), "valid")  # what int8 is measured beside is the student

        def opened(graph: bytes, batch: int | None) -> OnnxPredictor:
            return replace(self, graph=graph, batch=batch)._predictor()

        search = Search(self.task, self.data, opened, allowed, watcher, only)
        found = search.found(self.graph, self.batch, precision, calibrate)
        return replace(
            self,
            graph=found.graph,
            batch=found.batch,
            precision=found.precision,
            recipe=found.recipe,
            calibration=found.calibration,
            searched_for=found.facts,
        )

    def written(self, path: Path, watcher: Progress) -> Artifact:
        """Verifies the graph and writes the artifact; a file that does not open in a fresh process is taken away."""
        predictor = self._predictor()
        verified = self._verified(predictor)
        golden = contents.golden_rows(self.data)
        facts = {
            "provenance": contents.provenance(self.run.record, self.model, self.data, self.licences),
            "verification": verified,
            "calibration": self.calibration,
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
            recipe=self.recipe,
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
        found: dict[str, Any] = dict(self.searched_for)
        found["batch_difference"] = verification.batch_difference(predictor, self.data.valid)
        for split in ("valid", "test"):
            said = self._compared(predictor, split)
            found[split] = {
                "rows": len(said.torch.outputs),
                "difference": said.difference,
                "likeness": said.likeness,
                "metrics": said.metrics,
                "torch_metrics": said.torch_metrics,
            }
        return found

    def _compared(self, predictor: OnnxPredictor, split: str) -> verification.Heard:
        """Graph and student on every row of a split; a float32 graph that answers otherwise is refused."""
        said = verification.heard(predictor, self.model, getattr(self.data, split), self.task, self.data)
        bound = _SAME * max(1.0, float(said.torch.outputs.abs().max()))
        if self.precision == "float32" and not said.difference <= bound:
            raise ModelError(
                f"the graph answers up to {said.difference:g} away from the student on {split} rows",
                expected=f"at most {bound:g}",
                remedy="an issue with the run's folder: the exporter changed the network",
            )
        return said


def _wanted(precision: str, batch: int | None) -> Precision:
    if batch is not None and batch < 1:
        raise RecipeError(f"batch={batch}", expected="1 or more, or None for any number")
    for known in PRECISIONS:
        if precision == known:
            return known
    raise RecipeError(f"there is no precision {precision!r}", remedy=did_you_mean(str(precision), PRECISIONS))


def _check_search(precision: str, calibrate: int | None, allowances: Allowances | None, only: str) -> None:
    if calibrate is not None and calibrate < 1:
        raise RecipeError(f"calibrate={calibrate}", expected="1 row or more, or None for 256")
    for name, given in {"calibrate": calibrate, "allowances": allowances, "only": only or None}.items():
        if precision == "float32" and given is not None:
            raise RecipeError(f"{name} says nothing for float32", remedy="precision int8 or auto")
    if not any(name.startswith(only) for name in RECIPES):
        raise RecipeError(f"no recipe for int8 begins with {only!r}", expected=" | ".join(RECIPES))


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
