"""Mean 0 and deviation 1, with the statistics of the train rows, as a module that is saved with the weights."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.data.rows import Rows
from limbeck.errors import DataError
from limbeck.task import OF_NAMES, LabelKind

_ROWS_AT_ONCE = 512


def statistics(rows: Rows, kind: LabelKind = "single") -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Mean and standard deviation (population, over all rows and pixels) of each channel, in the inputs' own unit.

    The channel is dimension 1 of the inputs: a channel of an image, a feature of a flat row. A channel that never
    changes gets deviation 1, so that it standardises to 0.

    Raises:
        DataError: When there are no rows.
    """
    if not len(rows):
        raise DataError("there are no rows to take statistics of", expected="at least one row")
    first = rows.take(torch.arange(1)).inputs[0].double()
    if OF_NAMES[kind]:
        return torch.zeros(len(first)), torch.ones(len(first))
    # sums of squares cancel far from zero, so they are taken around the mean of the first row
    origin = first.flatten(1).mean(dim=1) if first.ndim > 1 else first
    around = origin.reshape(-1, *(1 for _ in first.shape[1:]))
    total, squares, count = torch.zeros_like(origin), torch.zeros_like(origin), len(rows) * first[0].numel()
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        inputs = rows.take(torch.arange(start, min(start + _ROWS_AT_ONCE, len(rows)))).inputs
        apart = inputs.double() - around
        over = [place for place in range(apart.ndim) if place != 1]
        total, squares = total + apart.sum(dim=over), squares + (apart * apart).sum(dim=over)
    middle = total / count
    deviation = (squares / count - middle * middle).clamp(min=0).sqrt()
    return (origin + middle).float(), torch.where(deviation > 0, deviation, torch.ones_like(deviation)).float()


class Standardise(nn.Module):
    """(x - mean) / std for each channel (dimension 1); takes any type, gives float32.

    Args:
        mean: One number for each channel, in the inputs' own unit.
        std: The same, above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Float[Tensor, " channels"], std: Float[Tensor, " channels"]) -> None:
        super().__init__()
        assert mean.shape == std.shape and mean.ndim == 1 and bool((std > 0).all())
        # Copies of its own: weights are loaded into them in place, and another model may have been given the same ones.
        self.register_buffer("mean", mean.float().clone())
        self.register_buffer("std", std.float().clone())

    def forward(self, inputs: Shaped[Tensor, "rows channels ..."]) -> Float[Tensor, "rows channels ..."]:
        """Standardised inputs."""
        shape = (-1, *(1 for _ in inputs.shape[2:]))
        return (inputs.float() - self.mean.reshape(shape)) / self.std.reshape(shape)

    def extra_repr(self) -> str:
        """How many channels."""
        return f"channels={len(self.mean)}"
