"""The folder that is emitted: a student in C, its self-test, its thresholds, and how large it is."""

import dataclasses
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck.errors import ModelError, RecipeError
from limbeck.firmware import building, emulation, meaning, rule, translation
from limbeck.firmware.graph import prepared
from limbeck.firmware.sizes import Firmware, sizes, spelled
from limbeck.storage import guarded
from limbeck_runtime.container import unsealed
from limbeck_runtime.errors import RuntimeFault
from limbeck_runtime.manifest import Manifest, read
from limbeck_runtime.predictor import OnnxPredictor, array, load

MOST_ROWS = 64
FLASH, RAM = 2**20, 256 * 2**10
"""Bytes: what a middling Cortex-M4F has, and what a student is held to unless a person says otherwise."""

_TEMPLATES = Path(__file__).parent / "templates"
_PLAIN = ("board.h", "board.c", "host.c")


def firmware(
    artifact: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    name: str = "",
    rows: npt.NDArray[Any] | None = None,
    flash: int = FLASH,
    ram: int = RAM,
) -> Firmware:
    """Writes a student as C sources, and holds them to ONNX Runtime on known rows.

    Args:
        artifact: What `limbeck export` wrote, for one row at a time or for any number.
        to: A folder, which must not be there yet.
        name: Of its function in C; by default as the student is called.
        rows: Raw rows of the data to test with, at most 64; None: the artifact's golden rows, which are nobody's.
        flash: Bytes it may take there.
        ram: Bytes of variables and stack.

    Raises:
        RecipeError: When `to` is there already, or an argument is none.
        ModelError: When the file is damaged or no artifact, a node does not translate, the sources do not compile, or
            they answer otherwise than ONNX Runtime.
        StorageError: When the folder cannot be written.
    """
    target = Path(to)
    if target.exists():
        raise RecipeError(f"{target} is there already", expected="a new folder", remedy="another name, or delete it")
    if flash < 1 or ram < 1:
        raise RecipeError(f"a budget of {flash} bytes of flash and {ram} of RAM", expected="1 or more of both")
    try:
        student = _opened(Path(artifact), name, rows, flash, ram)
    except RuntimeFault as fault:
        raise ModelError(fault.problem, expected=fault.expected, remedy=fault.remedy) from fault
    target.parent.mkdir(parents=True, exist_ok=True)
    with guarded(target), tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        folder = Path(scratch, target.name)
        folder.mkdir()
        found = student.written(folder, Path(scratch))
        folder.rename(target)
    return dataclasses.replace(found, folder=target)


def _opened(artifact: Path, name: str, rows: npt.NDArray[Any] | None, flash: int, ram: int) -> "_Student":
    """Everything that can be wrong with the artifact, before there is a folder."""
    predictor, files = load(artifact), unsealed(artifact)
    manifest = read(files)
    rule.facts(manifest)
    called = meaning.identifier(name or manifest.name)
    known = _known(predictor, array(manifest.golden.inputs, files), rows)
    code = translation.translated(prepared(files[manifest.graph.file]), called)
    origin = {"artifact": artifact.name, "sha256": hashlib.sha256(artifact.read_bytes()).hexdigest()}
    return _Student(manifest, called, code, *known, rows is not None, flash, ram, origin)


def _known(
    predictor: OnnxPredictor, golden: npt.NDArray[Any], rows: npt.NDArray[Any] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
    """Rows, and what ONNX Runtime says about each alone, as a device asks.

    Raises:
        RecipeError: When there are none, too many, or such as the artifact does not take.
    """
    if rows is not None and not 1 <= len(rows) <= MOST_ROWS:
        raise RecipeError(f"{len(rows)} rows to test with", expected=f"1 to {MOST_ROWS}")
    try:
        known = predictor.rows(golden if rows is None else rows)
        return known, np.concatenate([predictor.outputs(row[None]) for row in known])
    except RuntimeFault as error:
        raise RecipeError(f"the rows to test with are none of this student: {error}") from error


@dataclass(frozen=True)
class _Student:
    """Everything the folder is written from."""

    manifest: Manifest
    name: str
    code: translation.Translated
    rows: npt.NDArray[Any]
    answers: npt.NDArray[np.float32]
    real: bool
    flash: int
    ram: int
    origin: Mapping[str, str]

    @property
    def sources(self) -> tuple[str, ...]:
        """What a program compiles of it."""
        own = (f"{self.name}.c", f"{self.name}_weights.c")
        return (*own, "alerts.c") if self.manifest.alerts is not None else own

    def written(self, folder: Path, scratch: Path) -> Firmware:
        """Writes the folder, then compiles and runs what there are compilers for."""
        for file, text in self._files().items():
            (folder / file).write_text(text, encoding="utf-8")
        notes: list[str] = []
        if self.code.on_stack:
            notes.append("the memory between nodes lies on the stack, without sharing: its entry is not plain")
        host = self._on_host(folder, scratch, notes)
        sized, board = self._on_board(folder, scratch, notes)
        used = None if sized is None or board is None else sized.static + board.stack
        fits = None if sized is None or used is None else sized.flash <= self.flash and used <= self.ram
        if fits is False and sized is not None:
            notes.append(f"BEYOND THE BUDGET of {self.flash} bytes of flash and {self.ram} of RAM")
        found = Firmware(
            folder,
            self.name,
            self.sources,
            self.code,
            len(self.rows),
            self.real,
            self.manifest.golden.tolerance,
            host,
            board,
            sized,
            fits,
            tuple(notes),
        )
        (folder / "sizes.json").write_text(json.dumps(sizes(found), indent=1), encoding="utf-8")
        (folder / "README.md").write_text(self._readme(found), encoding="utf-8")
        return found

    def _files(self) -> dict[str, str]:
        name, manifest = self.name, self.manifest
        facts = self._facts()
        files = {file: (_TEMPLATES / file).read_text(encoding="utf-8") for file in _PLAIN}
        files[f"{name}.h"] = _rendered("model.h.j2", facts)
        files[f"{name}.c"] = f'#include "{name}.h"\n\n{self.code.code}'
        files[f"{name}_weights.c"] = self.code.weights
        files["golden.h"] = _rendered("golden.h.j2", facts)
        files["selftest.c"] = _rendered("selftest.c.j2", facts)
        files["example.c"] = _rendered("example.c.j2", facts)
        files["board.ld"] = _rendered("board.ld.j2", facts)
        files["Makefile"] = _rendered("Makefile.j2", facts)
        if manifest.alerts is not None:
            files |= {file: (_TEMPLATES / file).read_text(encoding="utf-8") for file in ("alerts.h", "alerts.c")}
            files[f"{name}_rule.h"] = _rendered("rule.h.j2", {**facts, **rule.facts(manifest)})
        return files

    def _facts(self) -> dict[str, Any]:
        from limbeck_runtime.onnx_runtime import onnxruntime

        given, said = self.manifest.input, self.manifest.output
        return {
            "name": self.name,
            "upper": self.name.upper(),
            "title": f"{self.manifest.name}: {self.manifest.task}, {self.manifest.graph.precision}, by Limbeck",
            "meaning": meaning.spelled(self.manifest),
            "inputs": math.prod(given.shape),
            "outputs": math.prod(said.shape),
            "input_shape": " x ".join(map(str, given.shape)),
            "output_shape": " x ".join(map(str, said.shape)),
            "named": [(place, called) for called, place in meaning.places(self.manifest)],
            "input_type": meaning.TYPES[given.dtype],
            "arena": self.code.arena,
            "rows": [meaning.literals(row) for row in self.rows],
            "answers": [meaning.literals(row) for row in self.answers],
            "tolerance": meaning.literal(np.float32(self.manifest.golden.tolerance)),
            "onnxruntime": onnxruntime.__version__,
            "whose": _WHOSE[self.real],
            "alerts": self.manifest.alerts is not None,
            "flash": self.flash,
            "ram": self.ram,
            "sources": self.sources,
            "flags": building.FLAGS,
            "board_flags": (*building.BOARD, "-T", "board.ld"),
            "qemu_flags": (*emulation.FLAGS, *emulation.SEMIHOSTING),
        }

    def _on_host(self, folder: Path, scratch: Path, notes: list[str]) -> emulation.Said | None:
        if building.found(building.HOST) is None:
            notes.append("no C compiler is here: the sources were not compiled, and not held to ONNX Runtime")
            return None
        program = scratch / "selftest"
        building.host_program(folder, self.sources, program)
        said = emulation.run([str(program)])
        if not said.same:
            raise _other("on this machine", said.difference, self.manifest.golden.tolerance)
        return said

    def _on_board(
        self, folder: Path, scratch: Path, notes: list[str]
    ) -> tuple[building.Sized | None, emulation.Said | None]:
        if building.found(building.ARM) is None:
            notes.append(f"{building.ARM} is not installed: sizes were not measured")
            return None, None
        sized = building.sized(folder, self.sources, scratch)
        if shutil.which(emulation.QEMU) is None:
            notes.append(f"{emulation.QEMU} is not installed: instructions and stack were not measured")
            return sized, None
        said = emulation.emulated(folder, self.sources, scratch / "room.ld")
        if not said.same:
            raise _other("on a Cortex-M4F", said.difference, self.manifest.golden.tolerance)
        return sized, said

    def _readme(self, found: Firmware) -> str:
        facts = {**self._facts(), **self.origin}
        facts |= {"limbeck": version("limbeck"), "translator": translation.version(), "notes": found.notes}
        return _rendered("README.md.j2", {**facts, "sizes": spelled(found)})


_WHOSE = {
    True: "The rows in `golden.h` are rows of the data: they are for development, and belong into no product.",
    False: "The rows in `golden.h` are nobody's: each number stood at its place in another row of the validation data.",
}


def _other(where: str, difference: float, tolerance: float) -> ModelError:
    return ModelError(
        f"{where} the emitted C answers up to {difference:g} away from ONNX Runtime",
        expected=f"at most {tolerance:g}",
        remedy="an issue with the artifact: the translator changed the network",
    )


def _rendered(template: str, facts: Mapping[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("limbeck.firmware"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(facts)
