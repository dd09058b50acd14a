"""Small real runs on scikit-learn's digits, shared by the tests of the spine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from limbeck.checkpoint import load
from limbeck.distillation import distill
from limbeck.run import Run

# Settled beforehand, so that no test depends on what a probe measures on the machine of the day.
SETTLED: dict[str, Any] = {"precision": "float32", "channels_last": False, "batch": 64, "lr": 0.01}


def small(teacher: Any, to: Path, **changes: Any) -> Run:
    """Distils a tiny network on digits; the keywords are those of `distill`."""
    training = {**SETTLED, **changes.pop("training", {})}
    student = changes.pop("student", "mlp(size=16)")
    keywords = {"valid": 0.1, "test": 0.2, "budget": "2 epochs", "device": "cpu", **changes}
    return distill(teacher, student, keywords.pop("data", "digits"), to=to, training=training, **keywords)


def teacher_run(to: Path) -> Run:
    """A teacher that is good enough to teach: about 93 % of the test digits."""
    return small(None, to, student="mlp(size=64)", budget="8 epochs")


def weights(run: Run | Path, who: str = "student") -> Mapping[str, torch.Tensor]:
    """The tensors of a run's student or control, from the file."""
    folder = run if isinstance(run, Path) else run.folder
    return load(folder / f"{who}.safetensors")[0]


def same_bits(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors are equal bit for bit."""
    return first.keys() == second.keys() and all(
        a.dtype == second[name].dtype and torch.equal(a, second[name]) for name, a in first.items()
    )
