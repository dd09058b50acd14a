"""What the tests of the doctor share: an examination without the minute of training, and its findings by subject."""

import copy
import dataclasses
from typing import Any

from small_runs import SETTLED
from torch import nn

import limbeck
from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.model import Model
from limbeck.records import Finding

KD = "0.9 * kd(temperature=4) + 0.1 * labels"


def examined(teacher: Any, data: Any, student: Any = "mlp(size=16)", **changes: Any) -> list[Finding]:
    """Without the minute of training, which has tests of its own."""
    training = {**SETTLED, **changes.pop("training", {})}
    keywords = {"objective": KD, "budget": "2 epochs", "device": "cpu", "probe": 0, **changes}
    return limbeck.doctor(teacher, student, data, training=training, **keywords)


def bad(findings: list[Finding]) -> list[str]:
    return [finding.subject for finding in findings if finding.severity != "note"]


def the(findings: list[Finding], subject: str, severity: str) -> Finding:
    """The one finding with this subject, shown when it is another one's test that reads it."""
    found = [finding for finding in findings if finding.subject == subject]
    assert len(found) == 1, f"{subject!r} is not among {[f.subject for f in findings]}"
    assert found[0].severity == severity
    print(f"{severity}: {subject}: {found[0].evidence}")  # noqa: T201 - with -s, what the doctor says
    return found[0]


def changed(data: Data, **splits: TensorRows) -> Data:
    # The fingerprint is kept on the object, so it is another object.
    return dataclasses.replace(data, **splits)


def bare(model: Model, transform: nn.Module | None = None, classes: tuple[str, ...] = ()) -> Model:
    """The network again, without its transform and its names."""
    return Model(copy.deepcopy(model.network), transform, classes)
