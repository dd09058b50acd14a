"""The numbers that models read: finite, not all the same, and of a size that networks take."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.data.inputs import blocks
from limbeck.data.rows import Rows, TensorRows
from limbeck.model import Model
from limbeck.records import Finding

# Blank pictures and flat windows beyond this share are more than an accident.
CONSTANT = 0.05
# Networks are initialised for inputs of mean 0 and deviation 1 (LeCun, Bottou, Orr, Mueller, 1998, "Efficient
# BackProp", section 4.3; read: memory). Ten deviations away, learning rates and weights meant for that do not fit.
LARGE = 10.0
SMALL = 0.02
# Bytes that were standardised and then cast to uint8 keep a handful of values.
_FEW_BYTES = 8
_SHOWN = 3
_SAMPLE = 512


def broken_numbers(splits: dict[str, TensorRows]) -> list[Finding]:
    """NaN and infinity among the inputs: an error, because a single one makes every weight NaN at its first step."""
    found = []
    for name, rows in splits.items():
        if not rows.inputs.dtype.is_floating_point:
            continue
        wrong = torch.cat([~torch.isfinite(block.flatten(1)).all(dim=1) for block in blocks(rows.inputs)])
        if bool(wrong.any()):
            ids = ", ".join(str(number) for number in rows.ids.cpu()[wrong][:_SHOWN].tolist())
            found.append(
                Finding(
                    "error",
                    f"NaN in the {name} inputs",
                    f"{int(wrong.sum()):,} of {len(rows):,} {name} rows hold NaN or infinity (ids {ids})",
                    "leave these rows out, or fill them before they reach limbeck, such as with the feature's median",
                )
            )
    return found


def constant_numbers(train: TensorRows) -> list[Finding]:
    """Training inputs that do not change: an error where all are one number, a warning for more than 5 % flat rows."""
    flat = low = high = None
    constant = 0
    for block in blocks(train.inputs):
        rows = block.flatten(1)
        low = rows.amin(dim=0) if low is None else torch.minimum(low, rows.amin(dim=0))
        high = rows.amax(dim=0) if high is None else torch.maximum(high, rows.amax(dim=0))
        if rows.shape[1] > 1:
            constant += int((rows == rows[:, :1]).all(dim=1).sum())
    assert low is not None and high is not None
    flat = low == high
    if bool(flat.all()):
        return [
            Finding(
                "error",
                "the inputs are all the same",
                f"every one of the {len(train):,} training rows is equal to the first "
                f"(numbers from {float(low.min()):g} to {float(high.max()):g})",
                "look at how the data is read: an empty column, a wrong key, or a picture that was never decoded",
            )
        ]
    found, share = [], constant / len(train)
    if share > CONSTANT:
        found.append(
            Finding(
                "warning",
                "rows in which nothing changes",
                f"{constant:,} of {len(train):,} training rows ({share:.1%}) hold one number throughout",
                "look at them: blank pictures or a sensor that stood still teach nothing",
            )
        )
    never = float(flat.float().mean())
    if never > 0:
        found.append(
            Finding(
                "note",
                "numbers that never change",
                f"{int(flat.sum()):,} of the {len(flat):,} numbers of a row ({never:.1%}) are the same in every "
                "training row",
                "nothing, for pictures with a border; for a table, leave such columns out",
            )
        )
    return found


def cast_numbers(train: TensorRows) -> list[Finding]:
    """Bytes that keep a few values at both ends of 0..255: what is left of standardised numbers cast to uint8."""
    if train.inputs.dtype != torch.uint8:
        return []
    values = torch.unique(train.take(torch.arange(min(_SAMPLE, len(train)))).inputs)
    wrapped = (
        int((values >= 250).sum()) and int((values <= 5).sum()) and not bool(((values > 5) & (values < 250)).any())
    )
    if not wrapped or not 3 <= len(values) <= _FEW_BYTES * 2:
        return []
    return [
        Finding(
            "error",
            "standardised numbers were cast to bytes",
            f"the inputs are uint8 and hold only {', '.join(str(int(value)) for value in values)}: -1 becomes 255",
            "hand over floats, or the bytes as they were before they were standardised: limbeck standardises itself",
        )
    ]


@torch.no_grad()
def transformed_numbers(model: Model, rows: Rows, who: str, device: torch.device) -> list[Finding]:
    """What a model's network gets once its transform has been applied: not NaN, near mean 0 and deviation 1.

    Warnings beyond 10 deviations, or below a 50th of one: what a network trained (or initialised) for other numbers
    makes of these is noise. Only floating numbers are looked at; tokens are left alone.
    """
    sample = rows.take(torch.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).long()).inputs.to(device)
    seen = model.transform(sample)
    if not isinstance(seen, Tensor) or not seen.is_floating_point():
        return []
    if not bool(torch.isfinite(seen).all()):
        return [
            Finding(
                "error",
                f"the {who}'s transform makes NaN",
                f"{type(model.transform).__name__} turns inputs from {_range(sample)} into NaN or infinity",
                "a deviation of zero in it, or a logarithm of zero?",
            )
        ]
    mean, deviation = float(seen.float().mean()), float(seen.float().std())
    if abs(mean) <= LARGE and SMALL <= deviation <= LARGE:
        return []
    return [
        Finding(
            "warning",
            f"the scale of the {who}'s inputs",
            f"its network gets numbers from {_range(seen)}, mean {mean:.3g}, deviation {deviation:.3g} "
            f"({_through(model.transform)})",
            "if it was trained on other numbers, give it their transform: Model(network, "
            "Standardise(mean, std)) from limbeck.data.standardise",
        )
    ]


def first_loss(loss: float, classes: int) -> list[Finding]:
    """The label loss of the untrained student beside that of a guess, ln(classes) nats.

    A warning above three times that: the outputs are large before anything was learnt, which comes from inputs that are
    not scaled, or from a last layer that starts too large. Below is no fault: the student knows something already.
    """
    guess = math.log(max(2, classes))
    if loss <= 3 * guess:
        return []
    return [
        Finding(
            "warning",
            "the student's first loss",
            f"before training its loss on labels is {loss:.3g} nats; a guess among {classes} classes costs {guess:.3g}",
            "standardise its inputs (Model(network, Standardise(mean, std))), or start its last layer smaller",
        )
    ]


def finite_answers(outputs: Float[Tensor, "rows ..."], who: str, where: str) -> list[Finding]:
    """Answers that are no numbers: an error."""
    wrong = ~torch.isfinite(outputs.flatten(1)).all(dim=1)
    if not bool(wrong.any()):
        return []
    return [
        Finding(
            "error",
            f"the {who} answers NaN",
            f"{int(wrong.sum()):,} of {len(outputs):,} answers on {where} are NaN or infinite",
            "its precision (float16 overflows at 65,504), its weights, or inputs it was not made for",
        )
    ]


def _range(values: Shaped[Tensor, "..."]) -> str:
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"


def _through(transform: nn.Module) -> str:
    known = {"AsFloat": "as the data holds them", "Identity": "as the data holds them"}
    name = type(transform).__name__
    return known.get(name, f"through {name}")
