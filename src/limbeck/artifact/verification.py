"""Whether a graph answers as its model does: on real rows, in any batch, and in a process that has only the runtime."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from limbeck.data.rows import Rows
from limbeck.data.source import Data
from limbeck.errors import ModelError
from limbeck.evaluation import Answers, answers
from limbeck.evaluation import score as scores_of
from limbeck.model import Model
from limbeck.task import Task
from limbeck_runtime.predictor import OnnxPredictor

FRESH_SECONDS = 120.0
_ROWS_AT_ONCE = 512
_ALONE = 16
"""So many rows are asked about one by one and beside others."""


@dataclass(frozen=True)
class Heard:
    """What a graph and its model say about the rows of one split.

    Args:
        graph: The graph's outputs, beside the labels.
        torch: The model's.
        task: Of both.
        classes: Of the data.
    """

    graph: Answers
    torch: Answers
    task: Task
    classes: tuple[str, ...]

    @property
    def difference(self) -> float:
        """The largest of any output, in the outputs' unit."""
        return float((self.graph.outputs - self.torch.outputs).abs().max())

    @property
    def likeness(self) -> dict[str, float]:
        """How like the model's the graph's answers are, in the task's own words (agreement, for classes)."""
        return self.task.likeness(self.graph.outputs, self.torch.outputs)

    @property
    def metrics(self) -> dict[str, float]:
        """The graph's scores."""
        return dict(scores_of(self.graph, self.task, self.classes).metrics)

    @property
    def torch_metrics(self) -> dict[str, float]:
        """The model's scores."""
        return dict(scores_of(self.torch, self.task, self.classes).metrics)


def heard(predictor: OnnxPredictor, model: Model, rows: Rows, task: Task, data: Data) -> Heard:
    """Asks a graph and its model about every row of a split."""
    said = answers(model, rows, task, device=torch.device("cpu"))
    found = torch.from_numpy(outputs(predictor, rows))
    return Heard(Answers(found, said.labels, said.known), said, task, data.classes)


def outputs(predictor: OnnxPredictor, rows: Rows) -> npt.NDArray[np.float32]:
    """What a graph says about every row of a split, in order."""
    found = []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        places = torch.arange(start, min(start + _ROWS_AT_ONCE, len(rows)))
        found.append(predictor.outputs(rows.take(places).inputs.numpy()))
    return np.concatenate(found)


def batch_difference(predictor: OnnxPredictor, rows: Rows) -> float:
    """The largest difference between what is said about rows one by one and beside others."""
    some = rows.take(torch.arange(min(_ALONE, len(rows)))).inputs.numpy()
    beside = predictor.outputs(some)
    alone = np.concatenate([predictor.outputs(row[None]) for row in some])
    return float(np.abs(beside - alone).max())


def fresh_process(path: Path) -> dict[str, Any]:
    """Opens an artifact in a new process that may import nothing but the runtime and what it needs.

    Raises:
        ModelError: When it cannot be opened there, or brings torch, limbeck or a socket along.
    """
    import limbeck_runtime

    home = Path(limbeck_runtime.__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "SYSTEMROOT", "HOME")}
    environment |= {"PYTHONPATH": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "limbeck_runtime", str(path.resolve())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=FRESH_SECONDS, check=False)
    if done.returncode:
        raise ModelError(
            f"{path} does not open in a process with the runtime alone: {done.stderr.strip()[-400:]}",
            expected="an artifact that needs numpy and onnxruntime only",
        )
    said: dict[str, Any] = json.loads(done.stdout)
    strangers = [name for name in ("torch", "limbeck", "socket") if name in said["modules"]]
    if strangers:
        raise ModelError(f"the runtime brought {', '.join(strangers)} along", expected="numpy and onnxruntime only")
    return {name: said[name] for name in ("golden_difference", "golden_tolerance", "python", "onnxruntime", "numpy")}
