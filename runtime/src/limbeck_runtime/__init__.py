"""Runs a Limbeck artifact with numpy and ONNX Runtime alone; no torch, no network.

`load("student.limbeck")` gives a predictor; `predictor(rows)` a mapping for each row.
"""

from limbeck_runtime.alerts import Alerts
from limbeck_runtime.cascade import Cascade
from limbeck_runtime.decoding import Answer
from limbeck_runtime.errors import ArtifactError, InputError, RuntimeFault
from limbeck_runtime.predictor import OnnxPredictor, Predictor, load
from limbeck_runtime.stream import Stream

__version__ = "0.1.0"

__all__ = [
    "Alerts",
    "Answer",
    "ArtifactError",
    "Cascade",
    "InputError",
    "OnnxPredictor",
    "Predictor",
    "RuntimeFault",
    "Stream",
    "load",
]
