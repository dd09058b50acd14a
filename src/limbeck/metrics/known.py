"""What can be scored: answers whose label is known, checked to be numbers, and labels checked to be classes."""

from collections.abc import Sequence

from jaxtyping import Bool, Float, Shaped
from torch import Tensor, isfinite
from torch import bool as truth_values

from limbeck.errors import DataError, ModelError


def counted(
    outputs: Float[Tensor, "*positions outputs"],
    labels: Shaped[Tensor, "..."],
    known: Bool[Tensor, "*positions"],
    *,
    expected: str = "finite logits",
) -> tuple[Float[Tensor, "counted outputs"], Shaped[Tensor, "..."]]:
    """Outputs in float64 and labels of the known positions, on the CPU.

    Args:
        outputs: Whatever a model said.
        labels: In their own type.
        known: Which positions to keep.
        expected: What outputs ought to be, for the message.

    Raises:
        DataError: When no label is known.
        ModelError: When an output is not finite.
    """
    there = known.cpu()
    if not bool(there.any()):
        raise DataError(
            f"none of the {len(there)} rows has a known label", expected="labels to score against", remedy="label a few"
        )
    kept = outputs.detach().cpu().double()[there]
    finite = isfinite(kept).all(dim=-1)
    if not bool(finite.all()):
        what = "rows" if there.ndim == 1 else "positions"
        raise ModelError(
            f"the model's outputs are NaN or infinite in {int((~finite).sum())} of {len(kept)} {what}",
            expected=expected,
            remedy="a lower learning rate, or precision float32",
        )
    return kept, labels.cpu()[there]


def check_class_numbers(
    labels: Shaped[Tensor, "*positions"], known: Bool[Tensor, "*positions"], classes: Sequence[str]
) -> None:
    """Checks that each known label, of a row or of a step, is the number of a class.

    Raises:
        DataError: When labels are no whole numbers, or out of range.
    """
    if labels.dtype == truth_values or labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"the labels are of type {labels.dtype}", expected="class numbers: int64", remedy="labels.long()"
        )
    wrong = (known & ((labels < 0) | (labels >= len(classes)))).nonzero()
    if len(wrong):
        place = tuple(wrong[0].tolist())
        where = f"row {place[0]}" if len(place) == 1 else f"step {place[1]} of row {place[0]}"
        counted = "rows are" if len(place) == 1 else "steps are"
        raise DataError(
            f"{where} has label {int(labels[place])} ({len(wrong)} {counted} out of range)",
            expected=f"a class number from 0 to {len(classes) - 1}",
            remedy="give as many class names as there are classes",
        )
