"""What a teacher that is no torch network answered: checked, put in the data's order, and turned into logits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from limbeck.errors import TeacherError, did_you_mean
from limbeck.objective import Needs

Outputs = Literal["logits", "probabilities", "values"]
"""What numbers stand for: logits (softmax makes them probabilities), probabilities, or numbers as they are."""

# The step from 1 to the next float32: what a float32 probability cannot tell from nothing beside a sure answer.
FLOOR = 2.0**-23
_SUM = 1e-3


def log_probabilities(probabilities: Float[Tensor, "rows classes"], floor: float) -> Float[Tensor, "rows classes"]:
    """Logits whose softmax is these probabilities.

    softmax(log p) = p, and softmax(log p / T) is the p softened by T as any logits would be: logits are only defined up
    to a constant for each row, and log p is one choice of it. Objectives that compare the logits themselves
    (`logit_mse`) see that choice.

    Args:
        probabilities: Not negative; each row sums to about 1 and is divided by its sum.
        floor: Smaller probabilities become this, and the row is divided by its sum again, so that no probability moves
            by more than `floor` times the number of classes. Without it an exact zero has no logarithm, and stays zero
            at every temperature.

    Returns:
        Logarithms in float32, none above 0, computed in float64.
    """
    whole = probabilities.double()
    lifted = (whole / whole.sum(dim=-1, keepdim=True)).clamp(min=floor)
    return (lifted / lifted.sum(dim=-1, keepdim=True)).log().float()


def distributions(numbers: Float[Tensor, "rows classes"]) -> Tensor:
    """Which rows are probabilities: none below 0 or above 1 by more than a thousandth, and a sum of 1 as closely."""
    inside = ((numbers >= -_SUM) & (numbers <= 1 + _SUM)).all(dim=-1)
    return inside & ((numbers.double().sum(dim=-1) - 1).abs() <= _SUM)


def refuse_likely_probabilities(numbers: Float[Tensor, "rows classes"], who: str, how: str) -> None:
    """Refuses what nobody declared and what is, by every row of it, not logits but probabilities.

    Args:
        numbers: Answers about a few rows or more.
        who: The teacher, for the message.
        how: What declares them, such as `outputs="probabilities"`.

    Raises:
        TeacherError: When every row sums to 1: a softmax over probabilities makes a teacher that is sure of nothing.
    """
    if numbers.ndim == 2 and numbers.shape[1] > 1 and len(numbers) > 1 and bool(distributions(numbers).all()):
        raise TeacherError(
            f"the answers of {who} look like probabilities: every row sums to 1",
            expected="logits, where nothing else is said",
            remedy=f'{how}; or outputs="logits" if logits they are',
        )


def refuse_unknown(word: str | None, name: str) -> None:
    """Refuses an `outputs` that is none.

    Raises:
        TeacherError: With the known ones.
    """
    if word is not None and word not in get_args(Outputs):
        raise TeacherError(f"outputs={word!r} of {name} is unknown", remedy=did_you_mean(str(word), get_args(Outputs)))


def refuse_outside(word: str, value: object, name: str, *, least: float = 2.0**-149) -> None:
    """Refuses an argument that is no share.

    Raises:
        TeacherError: When it is no number, below `least` (by default: not above 0) or not below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 1:
        raise TeacherError(
            f"{word}={value!r} of {name} is out of range", expected=f"a number from {least:g} up to, not including, 1"
        )


def refuse_layers(needs: Needs, name: str) -> None:
    """Refuses to be asked for features.

    Raises:
        TeacherError: When an objective needs layers of the teacher.
    """
    if needs.teacher_layers:
        raise TeacherError(
            f"{name} is asked for the features of {', '.join(sorted(needs.teacher_layers))}, and has no layers",
            expected="an objective that reads the teacher's answers alone, such as kd",
            remedy="`limbeck methods` shows what each method needs",
        )


def refuse_width(numbers: Tensor, expected: int, name: str) -> None:
    """Refuses answers with more or fewer numbers a row than a student must give.

    Raises:
        TeacherError: With both counts.
    """
    if numbers.ndim < 2 or numbers.shape[-1] != expected:
        raise TeacherError(
            f"{name} answers with the shape {('rows', *numbers.shape[1:])}".replace("'", ""),
            expected=f"{expected} numbers for each row: (rows, {expected})",
            remedy="does it know the classes of this data?",
        )


def existing(path: Path, what: str) -> Path:
    """The path of a file that is there.

    Raises:
        TeacherError: When it is not, with the nearest name beside it.
    """
    if not path.is_file():
        near = [other.name for other in path.parent.glob(f"*{path.suffix}")] if path.parent.is_dir() else []
        nothing = f"a path from {Path.cwd()}; in {path.parent.absolute()} lies no file *{path.suffix}"
        remedy = did_you_mean(path.name, near) if near else nothing
        raise TeacherError(f"there is no file {path}", expected=what, remedy=remedy)
    return path


def fitting(theirs: Sequence[str], ours: Sequence[str], who: str, *, more: bool) -> list[int]:
    """For each class of the data, in its order, the place of that class among a teacher's.

    Args:
        theirs: Names of the teacher's classes, in its own order.
        ours: Names of the data's classes.
        who: The teacher, for the message.
        more: Whether the teacher may know classes the data does not have.

    Raises:
        TeacherError: When a class is in one of them only.
    """
    if len(set(theirs)) < len(theirs):
        raise TeacherError(f"two classes of {who} have one name: {', '.join(theirs[:12])}", expected="different names")
    missing = [name for name in ours if name not in theirs]
    if missing:
        raise TeacherError(
            f"{who} knows no class {missing[0]!r} ({len(missing)} of {len(ours)} are missing)",
            expected=f"a teacher for the classes {', '.join(ours[:12])}",
            remedy=did_you_mean(missing[0], theirs),
        )
    strange = [name for name in theirs if name not in ours]
    if strange and not more:
        raise TeacherError(
            f"{who} knows a class {strange[0]!r} that the data does not have ({len(strange)} of {len(theirs)})",
            expected=f"a teacher for the classes {', '.join(ours[:12])} alone",
            remedy="fit it on the classes of this data",
        )
    return [theirs.index(name) for name in ours]


def placed(logits: Tensor, order: Sequence[int] | None) -> Tensor:
    """Logits in the data's class order; as they are where there is none."""
    return logits if order is None else logits[..., torch.tensor(order, device=logits.device)]
