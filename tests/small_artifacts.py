"""Artifacts of a few nodes, sealed by hand for the tests; it is no test by itself."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx_files
import onnxruntime

from limbeck_runtime.container import MANIFEST, SEAL, sealed, unsealed
from limbeck_runtime.decoding import decoder
from limbeck_runtime.manifest import FORMAT, SCHEMA, Array, File, Golden, Graph, Input, Manifest, Output

ROW, CLASSES = (8,), ("a", "b", "c")
_ONNX = {"uint8": "UINT8", "float32": "FLOAT"}


def linear(
    folder: Path,
    row: tuple[int, ...] = ROW,
    outputs: int = 3,
    dtype: str = "float32",
    seed: int = 0,
    rows: Any = "rows",
) -> bytes:
    """The bytes of a graph `y = flat(x) @ w`, for any number of rows or `rows` at a time."""
    size = int(np.prod(row))
    weight = (np.random.default_rng(seed).standard_normal((size, outputs)) / np.sqrt(size)).astype(np.float32)
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("Cast", ["x"], ["f"], {"to": 1}),
        ("Flatten", ["f"], ["flat"], {"axis": 1}),
        ("MatMul", ["flat", "w"], ["y"], {}),
    ]
    to = onnx_files.made(
        folder / "linear.onnx",
        nodes,
        row=row,
        rows=rows,
        given=_ONNX[dtype],
        outputs={"y": [rows, outputs]},
        weights={"w": weight},
    )
    content = to.read_bytes()
    to.unlink()
    return content


def made(
    folder: Path,
    *,
    name: str = "small",
    graph: bytes | None = None,
    row: tuple[int, ...] = ROW,
    dtype: str = "float32",
    kind: str = "row",
    reading: Mapping[str, Any] | None = None,
    rows: np.ndarray | None = None,
    batch: int | None = None,
    names: tuple[str, ...] = (),
    precision: str = "float32",
    **manifest: Any,
) -> Path:
    """An artifact of a graph whose input is `x` and whose output is `y`; the keywords are fields of the manifest."""
    reading = reading or {"kind": "class", "names": list(CLASSES)}
    graph = graph or linear(folder, row, len(reading["names"]), dtype)
    if rows is None:
        draw = np.random.default_rng(1)
        rows = draw.integers(0, 255, (4, *row)) if dtype == "uint8" else draw.standard_normal((4, *row))
        rows = rows.astype(dtype)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    said = np.concatenate(
        [session.run(["y"], {"x": each})[0] for each in np.split(rows, len(rows) // (batch or len(rows)))]
    )
    files = {"model.onnx": graph, "golden/inputs.bin": rows.tobytes(), "golden/outputs.bin": said.tobytes()}
    whole = Manifest(
        format=FORMAT,
        schema=SCHEMA,
        name=name,
        task="classification",
        graph=Graph("model.onnx", "x", "y", precision, "by hand", batch),
        input=Input(dtype, row, kind, names, (), float(rows.min()), float(rows.max())),
        output=Output(said.shape[1:], reading),
        golden=Golden(
            Array("golden/inputs.bin", dtype, rows.shape),
            Array("golden/outputs.bin", "float32", said.shape),
            tuple(decoder(reading, said.shape[1:])(said)),
            1e-4 * max(1.0, float(np.abs(said).max())),
        ),
        files={each: asdict(File(len(held), hashlib.sha256(held).hexdigest())) for each, held in files.items()},
        **manifest,
    )
    to = folder / f"{name}.limbeck"
    to.write_bytes(sealed({MANIFEST: json.dumps(asdict(whole)).encode(), **files}))
    return to


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None], *, hashes: bool = True) -> None:
    """Changes manifest and files of an artifact and seals it anew; `hashes`: those of the files follow."""
    files = unsealed(path)
    said = json.loads(files.pop(MANIFEST))
    before = set(files)
    change(said, files)
    if hashes:
        kept = {name: files[name] for name in files if name in before}
        gone = {name: said["files"][name] for name in before - set(files)}
        said["files"] = {name: asdict(File(len(each), hashlib.sha256(each).hexdigest())) for name, each in kept.items()}
        said["files"] |= gone
    path.write_bytes(sealed({MANIFEST: json.dumps(said).encode(), **files}))


def resealed(content: bytes) -> bytes:
    """An archive under a right seal, whatever is in it."""
    size = len(SEAL) + 64
    return content[:-size] + SEAL + hashlib.sha256(content[:-size]).hexdigest().encode()
