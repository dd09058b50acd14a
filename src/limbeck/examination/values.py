"""A teacher that says numbers: against saying the mean, against saying that nothing changes, and in which unit."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from limbeck.evaluation import Answers
from limbeck.records import Finding
from limbeck.task import SaysValues, Task

# What one unit is of another, by how often we have seen them taken for each other; each is tried upside down as well.
# 18.016: glucose has 180.16 g/mol, so 1 mmol/L is 18.016 mg/dL.
FACTORS = {
    "mmol/L and mg/dL of glucose": 18.016,
    "a thousand (milli, kilo)": 1000.0,
    "a hundred (shares and per cent, centi)": 100.0,
    "ten": 10.0,
    "sixty (seconds, minutes, hours)": 60.0,
    "km/h and m/s": 3.6,
    "degrees and radians": 180 / math.pi,
    "pounds and kilograms": 2.20462,
    "feet and metres": 3.28084,
}
KELVIN = 273.15


def values(said: Answers, inputs: Shaped[Tensor, "rows ..."], task: Task, where: str) -> list[Finding]:
    """The teacher's root mean square error, against the mean of the labels and the task's baseline.

    An error where another unit of its answers brings the error below half, or where it is three times that of the mean;
    a warning where it is no better than the mean or than the baseline.

    Args:
        said: The teacher's answers.
        inputs: The rows they are about.
        task: One that says values.
        where: Which rows, in words.
    """
    if not isinstance(task, SaysValues) or not bool(said.known.any()):
        return []
    outputs, labels = said.outputs[said.known], said.labels[said.known].float()
    answer, there = forecast(outputs, labels, task)
    truth = labels[there].double()
    answered = answer[there]
    if len(truth) < 2 or not bool(torch.isfinite(answered).all()):
        return []
    rmse, mean = _rms(answered - truth), _rms(truth - truth.mean())
    beside = {"always saying the mean": mean}
    if task.baseline_name:
        known = inputs[said.known] if said.known.ndim == 1 else inputs
        last, _ = forecast(task.baseline(known), labels, task)
        beside[task.baseline_name] = _rms(last[there] - truth)
    told = ", ".join(f"{what} {error:.4g}" for what, error in beside.items())
    evidence = f"its root mean square error is {rmse:.4g} over {len(truth):,} numbers of {where}; {told}"
    note = Finding("note", "the teacher's error", evidence, "")
    if unit := _unit(answered, truth, rmse, mean):
        return [note, unit]
    worse = [what for what, error in beside.items() if rmse >= error]
    if not worse:
        return [note]
    return [
        Finding(
            "error" if rmse > 3 * mean else "warning",
            "the teacher is no better than a guess",
            f"{evidence}: it is no better than {' or '.join(worse)}",
            "is it the right teacher, for this horizon, this channel and these units? A simple rule teaches as much",
        )
    ]


def forecast(
    outputs: Float[Tensor, "rows outputs"], labels: Float[Tensor, "rows quantities"], task: SaysValues
) -> tuple[Float[Tensor, "rows quantities"], Tensor]:
    """What outputs say in the labels' unit, in float64, and where the labels are known.

    A task gives errors in units of its scale only; errors of two labels one unit apart say what the scale is.
    """
    filled = labels.double().nan_to_num()
    errors, _ = task.errors(outputs.double(), filled)
    step = errors - task.errors(outputs.double(), filled + 1)[0]
    there = torch.isfinite(labels) & task.errors(outputs, labels)[1]
    return filled + errors / step, there


def _unit(answered: Tensor, truth: Tensor, rmse: float, mean: float) -> Finding | None:
    tried: list[tuple[float, str, str]] = []
    for name, factor in FACTORS.items():
        for value in (factor, 1 / factor):
            tried.append((_rms(answered * value - truth), name, f"multiplied by {value:.5g}"))
    for value in (KELVIN, -KELVIN):
        tried.append((_rms(answered + value - truth), "kelvin and degrees Celsius", f"plus {value:g}"))
    tried.append((_rms(answered * 1.8 + 32 - truth), "degrees Celsius and Fahrenheit", "multiplied by 1.8, plus 32"))
    tried.append((_rms((answered - 32) / 1.8 - truth), "degrees Fahrenheit and Celsius", "minus 32, divided by 1.8"))
    best, name, how = min(tried)
    # Half of what it was, and better than the mean: a factor that only shrinks wild answers towards 0 does neither.
    if best > rmse / 2 or best >= mean:
        return None
    return Finding(
        "error",
        "the teacher's unit",
        f"its answers have a root mean square error of {rmse:.4g}, and of {best:.4g} once {how} (median answer "
        f"{float(answered.median()):.4g}, median label {float(truth.median()):.4g}): {name}",
        f"bring both to one unit: the teacher's answers {how}, and its inputs where it reads the same quantity",
    )


def _rms(errors: Tensor) -> float:
    return float(errors.double().square().mean().sqrt())
