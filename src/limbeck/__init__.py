"""Limbeck makes a small model that behaves like a big one, proves it on held-out data, and ships it.

    import limbeck

    run = limbeck.distill("runs/teacher", "mlp(size=16)", "digits", objective="0.9 * kd(temperature=4) + 0.1 * labels")
    limbeck.report(run, to="report.html")

Each name below is imported when it is first used, so that `import limbeck` costs milliseconds and loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limbeck.budget import Budget as Budget
    from limbeck.consultation import doctor as doctor
    from limbeck.corpus import write as write
    from limbeck.distillation import distill as distill
    from limbeck.evaluation import evaluate as evaluate
    from limbeck.expenditure.measurement import bench as bench
    from limbeck.locality.proof import prove_local as prove_local
    from limbeck.model import Model as Model
    from limbeck.plans.chain import chain as chain
    from limbeck.plans.comparison import compare as compare
    from limbeck.plans.reasoning import reason as reason
    from limbeck.recorder import record as record
    from limbeck.reporting.html import report as report
    from limbeck.run import Run as Run
    from limbeck.shipment import export as export
    from limbeck.signals import Batch as Batch
    from limbeck.signals import Signals as Signals
    from limbeck.tuning.thresholds import tune as tune

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Budget",
    "Model",
    "Run",
    "Signals",
    "bench",
    "chain",
    "compare",
    "distill",
    "doctor",
    "evaluate",
    "export",
    "prove_local",
    "reason",
    "record",
    "report",
    "tune",
    "write",
]

_HOMES = {
    "Batch": "limbeck.signals",
    "Budget": "limbeck.budget",
    "Model": "limbeck.model",
    "Run": "limbeck.run",
    "Signals": "limbeck.signals",
    "bench": "limbeck.expenditure.measurement",
    "chain": "limbeck.plans.chain",
    "compare": "limbeck.plans.comparison",
    "distill": "limbeck.distillation",
    "doctor": "limbeck.consultation",
    "evaluate": "limbeck.evaluation",
    "export": "limbeck.shipment",
    "prove_local": "limbeck.locality.proof",
    "reason": "limbeck.plans.reasoning",
    "record": "limbeck.recorder",
    "report": "limbeck.reporting.html",
    "tune": "limbeck.tuning.thresholds",
    "write": "limbeck.corpus",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'limbeck' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
