"""The answers that can be scored: those whose label is known, checked to be numbers."""

from jaxtyping import Bool, Float, Shaped
from torch import Tensor, isfinite

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
