"""`emit`: from a finished run or an artifact to C sources for a microcontroller, tested on real rows."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.data.source import Data
from limbeck.errors import RecipeError
from limbeck.firmware.folder import FLASH, RAM, firmware
from limbeck.firmware.sizes import Firmware
from limbeck.progress import Progress, Silent
from limbeck.shipment import export
from limbeck.tuning.files import Opened, data_for

ROWS = 16
"""Real rows in the self-test: enough to see a wrong node, few enough for flash."""


def emit(
    source: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | Data | None = None,
    name: str = "",
    flash: int = FLASH,
    ram: int = RAM,
    progress: Progress | None = None,
    exporting: Mapping[str, Any] | None = None,
) -> Firmware:
    """Writes a student as C sources whose self-test asks about validation rows.

    Args:
        source: A run's folder, which is exported first, for one row at a time, and whose artifact then lies in the
            folder; or an artifact, such as one that was tuned.
        to: A folder, which must not be there yet.
        data: For an artifact: the run it was exported from, a recipe, or data; None: its golden rows, which are
            nobody's.
        name: Of the function in C; by default as the student is called.
        flash: Bytes it may take there.
        ram: Bytes of variables and stack.
        progress: Is told what is being done.
        exporting: Further arguments of `limbeck.export`, for a run.

    Raises:
        LimbeckError: As `limbeck.export` and `limbeck.firmware.folder.firmware` do.
    """
    path, folder, watcher = Path(source), Path(to), progress or Silent()
    if folder.exists():
        raise RecipeError(f"{folder} is there already", expected="a new folder", remedy="another name, or delete it")
    words: dict[str, Any] = {"name": name, "flash": flash, "ram": ram}
    overrides = list((exporting or {}).get("overrides", ()))
    if not path.is_dir():
        manifest = Opened.of(path).manifest
        rows = None if data is None else _rows(data_for(data, manifest, overrides))
        watcher.say("translating the graph to C")
        return firmware(path, folder, rows=rows, **words)
    if data is not None:
        raise RecipeError(f"{path} is a run, which has its data", remedy="leave --data out")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        file = Path(scratch, f"{folder.name.strip('.') or 'student'}.limbeck")
        shipped = export(path, file, batch=1, progress=progress, **(exporting or {}))
        rows = _rows(data_for(path, shipped.manifest, overrides))
        watcher.say("translating the graph to C")
        found = firmware(shipped.path, folder, rows=rows, **words)
        shutil.move(shipped.path, folder / shipped.path.name)
    return found


def _rows(data: Data) -> npt.NDArray[Any]:
    """Validation rows, raw, spread evenly over the split."""
    places = torch.linspace(0, len(data.valid) - 1, min(ROWS, len(data.valid))).long()
    return np.ascontiguousarray(data.valid.take(places).inputs.numpy())
