"""How the features asked for are kept, beside the logits."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Shaped
from torch import Tensor

from limbeck.recordings.columns import Stored
from limbeck.recordings.precision import kept_in, refuse_unknown

_FEATURE = "feature:"


@dataclass(frozen=True)
class Features:
    """The outputs of the layers that an objective listens to.

    Args:
        precision: `as said` keeps the teacher's own bits; float16 and bfloat16 keep two bytes a number, off by at most
            a 2,048th and a 256th of its size.
    """

    precision: str = "as said"

    def __post_init__(self) -> None:
        refuse_unknown("features", self.precision)

    def pack(self, layer: str, feature: Shaped[Tensor, "rows ..."]) -> dict[str, Stored]:
        """What is kept of one layer's output."""
        if not feature.is_floating_point():
            return {_FEATURE + layer: feature.detach().cpu().contiguous()}
        return {_FEATURE + layer: kept_in(self.precision, feature, f"the features of {layer}")}

    def unpack(self, layer: str, kept: Mapping[str, Stored]) -> Shaped[Tensor, "rows ..."]:
        """One layer's output, from what was kept of it."""
        feature = kept[_FEATURE + layer]
        assert isinstance(feature, Tensor)
        return feature

    def owns(self, column: str) -> bool:
        """Whether a column, by its name, is of some layer's output."""
        return column.startswith(_FEATURE)

    def columns(self, layer: str) -> tuple[str, ...]:
        """The names of the columns that one layer's output is kept in."""
        return (_FEATURE + layer,)
