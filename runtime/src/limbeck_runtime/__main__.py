"""`python -m limbeck_runtime FILE [ROWS.npy]`: opens an artifact here, and says in JSON what it is and answers."""

import argparse
import json
import platform
import sys

import numpy as np

from limbeck_runtime.container import unsealed
from limbeck_runtime.errors import RuntimeFault
from limbeck_runtime.manifest import read
from limbeck_runtime.onnx_runtime import onnxruntime
from limbeck_runtime.predictor import array, load

BESIDE = ("torch", "limbeck", "socket", "ssl", "numpy", "onnxruntime")
"""Modules whose presence is worth a word; only the last two belong here."""


def main() -> int:
    """Exit code 0, or 3 where the artifact or the rows are refused; the reason is on stderr."""
    arguments = argparse.ArgumentParser(prog="python -m limbeck_runtime", description=__doc__)
    arguments.add_argument("file", help="an artifact, NAME.limbeck")
    arguments.add_argument("rows", nargs="?", help="a .npy file of raw rows to answer")
    asked = arguments.parse_args()
    try:
        said = _said(asked.file, asked.rows)
    except (RuntimeFault, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    json.dump(said, sys.stdout)
    sys.stdout.write("\n")
    return 0


def _said(file: str, rows: str | None) -> dict[str, object]:
    files = unsealed(file)
    manifest = read(files)
    predictor = load(file)
    golden = manifest.golden
    off = np.abs(predictor.outputs(array(golden.inputs, files)) - array(golden.outputs, files)).max()
    return {
        "name": manifest.name,
        "task": manifest.task,
        "precision": manifest.graph.precision,
        "golden_difference": float(off),
        "golden_tolerance": golden.tolerance,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "answers": [] if rows is None else predictor(np.load(rows, allow_pickle=False)),
        "modules": [name for name in BESIDE if name in sys.modules],
    }


if __name__ == "__main__":
    sys.exit(main())
