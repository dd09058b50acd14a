"""An artifact opened to be tuned, asked about whole splits, and written again with what was chosen."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.artifact import writing
from limbeck.catalog.data import data_of
from limbeck.catalog.tasks import task as find_task
from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.errors import DataError, LimbeckError, ModelError, RecipeError
from limbeck.recipe import Recipe
from limbeck.storage import write_whole
from limbeck_runtime.container import MANIFEST, unsealed
from limbeck_runtime.errors import InputError, RuntimeFault
from limbeck_runtime.manifest import Manifest
from limbeck_runtime.predictor import OnnxPredictor, load

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Opened:
    """An artifact and what lies in it."""

    path: Path
    predictor: OnnxPredictor
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "Opened":
        """Opens an artifact.

        Raises:
            ModelError: When it is damaged, newer, or none.
        """
        try:
            return cls(Path(path), load(path), unsealed(Path(path)))
        except RuntimeFault as fault:
            raise told(fault, ModelError) from fault

    @property
    def manifest(self) -> Manifest:
        """What it says of itself."""
        return self.predictor.manifest

    def asked(self, rows: TensorRows) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """All rows of a split, raw, and what the graph says about them.

        Raises:
            DataError: When the rows are none it takes.
        """
        held, said = [], []
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            piece = rows.take(torch.arange(first, min(first + _ROWS_AT_ONCE, len(rows)))).inputs.numpy()
            try:
                said.append(self.predictor.outputs(piece))
            except InputError as fault:
                raise told(fault, DataError) from fault
            held.append(piece)
        return np.concatenate(held), np.concatenate(said)

    def written(self, to: str | os.PathLike[str] | None, **changes: Any) -> Path:
        """Writes the artifact with another `alerts` or `escalation`: over itself, or as a file of its own.

        It is sealed, opened and asked for its golden rows before it takes anything's place.

        Raises:
            ModelError: When what was written does not open.
            RecipeError: When `to` is there already.
        """
        path = self.path if to is None else writing.place(os.fspath(to))
        files = {name: held for name, held in self.files.items() if name != MANIFEST}
        content = writing.content(replace(self.manifest, **changes), files)
        partial = path.with_name(f".{path.name}.unverified")
        try:
            write_whole(partial, content)
            load(partial)
        except RuntimeFault as fault:
            raise told(fault, ModelError) from fault
        finally:
            partial.unlink(missing_ok=True)
        write_whole(path, content)
        return path


def told(fault: RuntimeFault, kind: type[LimbeckError]) -> LimbeckError:
    """An error of the runtime as one that the command line knows."""
    return kind(fault.problem, expected=fault.expected, remedy=fault.remedy)


def data_for(source: Data | str | os.PathLike[str], manifest: Manifest, overrides: list[str]) -> Data:
    """The data to tune on, from a recipe, a run's folder, or as it is.

    Raises:
        RecipeError: When it cannot be read.
        DataError: When it is the student's data divided in another way: its validation rows may have been learnt.
    """
    if isinstance(source, Data):
        found = source
    else:
        path = Path(source)
        recipe = Recipe.read(path / "recipe.yaml" if path.is_dir() else path, overrides=overrides)
        found = data_of(recipe.data, labels=find_task(manifest.task).labels)
    known: Mapping[str, Any] = manifest.provenance.get("data", {})
    if known.get("name") == found.name and known.get("fingerprint", found.fingerprint) != found.fingerprint:
        raise DataError(
            f"{found.name} is not what {manifest.name} was made with: other rows, or other splits of them",
            expected="the data of the run, so that its validation rows were neither learnt nor are its test rows",
            remedy="--data RUN, with the run that was exported",
        )
    return found


def refuse_test(split: str) -> None:
    """Refuses to choose anything on rows that are kept for judging.

    Raises:
        RecipeError: When the split is not "valid".
    """
    if split == "valid":
        return
    why = {
        "test": "what is chosen on test rows cannot be judged by them",
        "train": "the student has learnt these rows and alarms better on them than on any others",
    }
    raise RecipeError(
        f"thresholds are not tuned on the split {split!r}" + (f": {why[split]}" if split in why else ""),
        expected="valid",
        remedy="--test shows what the thresholds do on test rows, once they are chosen" if split == "test" else "",
    )
