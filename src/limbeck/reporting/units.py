"""How numbers are written: shares in per cent, likelihoods in nats, sizes and times with their units."""

import math
from dataclasses import dataclass
from typing import Literal

Style = Literal["share", "nats", "count", "bytes", "milliseconds", "value", "plain"]

_HIGHER = {
    "accuracy": "Accuracy",
    "top5": "Top-5 accuracy",
    "agreement": "Agreement with the teacher",
    "balanced_accuracy": "Balanced accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "macro_f1": "Macro F1",
    "iou": "IoU",
    "mean_iou": "Mean IoU",
    "micro_f1": "Micro F1",
    "map": "Mean average precision",
    "average_precision": "Average precision",
}
_VALUES: dict[str, tuple[str, Literal["higher", "lower"]]] = {
    "rmse": ("RMSE", "lower"),
    "mae": ("MAE", "lower"),
    "rmse_mean": ("RMSE over all steps", "lower"),
    "rmse_to_teacher": ("RMSE to the teacher", "lower"),
    "pinball": ("Pinball loss", "lower"),
    "brier": ("Brier score", "lower"),
    "r2": ("R²", "higher"),
    "auprc": ("AUPRC", "higher"),
    "auroc": ("AUROC", "higher"),
}
_UNDIRECTED = {"event_share": "Share of the event", "coverage": "Coverage of the interval"}
_NATS = {
    "nll": "Negative log-likelihood",
    "kl": "KL(teacher ‖ model)",
    "cross_entropy": "Cross-entropy",
    "event_kl": "KL(teacher ‖ model) of the event",
}
_COSTS: dict[str, tuple[str, Style]] = {
    "parameters": ("Parameters", "count"),
    "bytes": ("Size of the weights", "bytes"),
    "macs": ("Multiply-accumulates a row", "count"),
    "latency_ms": ("Latency, median", "milliseconds"),
    "latency_p95_ms": ("Latency, 95th percentile", "milliseconds"),
}
_SUFFIX: dict[Style, str] = {"share": " %", "nats": " nats", "milliseconds": " ms"}


@dataclass(frozen=True)
class Unit:
    """How one quantity is named and written.

    Args:
        name: The key in `Scores`.
        label: What a person reads.
        style: Shares are held as 0..1 and written in per cent; nats, milliseconds and values keep their size.
        better: The direction that is an improvement; None where the name alone does not say.
    """

    name: str
    label: str
    style: Style
    better: Literal["higher", "lower"] | None

    @property
    def spoken(self) -> str:
        """The label inside a sentence; what is written in capitals stays so."""
        return self.label[:1].lower() + self.label[1:] if self.label[1:2].islower() else self.label

    def write(self, value: float) -> str:
        """The value with its unit, such as `97.21 %` or `61,706`."""
        return f"{self.number(value)}{self.suffix(value)}"

    def number(self, value: float, like: float | None = None) -> str:
        """The value without its unit, with as many digits as `like` (by default the value itself) is written with."""
        if not math.isfinite(value):
            return "not a number" if math.isnan(value) else "infinite"
        scale, digits = self._scale(value if like is None else like)
        return f"{value / scale:,.{digits}f}".replace("-", "−")

    def suffix(self, value: float, *, signed: bool = False) -> str:
        """The unit that follows a value of this size, with its leading space; shares differ by points."""
        if not math.isfinite(value):
            return ""
        if signed and self.style == "share":
            return " points"
        if self.style in {"count", "bytes"}:
            return self._prefixed(value)[1]
        return _SUFFIX.get(self.style, "")

    def difference(self, value: float) -> str:
        """The value as a signed difference with its unit, such as `+1.23 points`."""
        return f"{self.signed(value)}{self.suffix(value, signed=True)}"

    def signed(self, value: float) -> str:
        """The value as a signed difference without its unit."""
        return f"{'+' if value > 0 else ''}{self.number(value)}"

    def _scale(self, like: float) -> tuple[float, int]:
        if self.style == "share":
            return 0.01, 2
        if self.style == "nats":
            return 1.0, 4
        if self.style in {"count", "bytes"}:
            scale = self._prefixed(like)[0]
            return scale, 0 if scale == 1.0 else _significant(like / scale)
        # Scores are read in one row beside each other, where the fourth digit is often the one that differs.
        return 1.0, _significant(like, 4 if self.style == "value" else 3)

    def _prefixed(self, value: float) -> tuple[float, str]:
        word = "B" if self.style == "bytes" else ""
        for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= scale and (self.style == "bytes" or scale > 1e3):
                return scale, f" {prefix}{word}"
        return 1.0, f" {word}".rstrip()


def metric(name: str) -> Unit:
    """The unit of a metric; a name nobody here knows is written plainly and judged in no direction."""
    if name in _HIGHER:
        return Unit(name, _HIGHER[name], "share", "higher")
    if name.endswith("accuracy") or (name.startswith("top") and name[3:].isdigit()):
        return Unit(name, _spoken(name), "share", "higher")
    if name == "ece":
        return Unit(name, "Expected calibration error", "share", "lower")
    if name in _NATS:
        return Unit(name, _NATS[name], "nats", "lower")
    if name in _VALUES:
        label, better = _VALUES[name]
        return Unit(name, label, "value", better)
    if name in _UNDIRECTED:
        return Unit(name, _UNDIRECTED[name], "share", None)
    if name.startswith(("rmse_", "mae_")):
        error, _, quantity = name.partition("_")
        return Unit(name, f"{error.upper()} of {quantity}", "value", "lower")
    return Unit(name, _spoken(name), "plain", None)


def cost(name: str) -> Unit:
    """The unit of a cost; less is better for those known here."""
    if name in _COSTS:
        label, style = _COSTS[name]
        return Unit(name, label, style, "lower")
    return Unit(name, _spoken(name), "plain", None)


def duration(seconds: float | None) -> str:
    """Wall seconds for a person: `4.2 s`, `3 min 20 s`, `1 h 05 min`; an em dash where it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return "—"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def times(ratio: float) -> str:
    """A ratio of at least 1 for a person: `3.4`, `12`, `181`."""
    return f"{ratio:,.0f}" if ratio >= 9.95 else f"{ratio:.1f}"


def _significant(value: float, digits: int = 3) -> int:
    if value == 0 or not math.isfinite(value):
        return digits - 1
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def _spoken(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
