"""From a network's own numbers of size about 1 to numbers in the labels' unit: modules saved with the weights."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from limbeck.errors import ModelError
from limbeck.precision import wide


def mean_of_numbers(answers: Sequence[Float[Tensor, "..."]], weights: Sequence[float]) -> Float[Tensor, "..."]:
    """The weighted mean of several models' numbers, in at least float32.

    Args:
        answers: One tensor for each model.
        weights: One weight for each model, that sum to 1.
    """
    found = torch.stack([wide(answer) for answer in answers])
    shares = torch.tensor(weights, dtype=found.dtype, device=found.device)
    return (shares.view(-1, *[1] * (found.dim() - 1)) * found).sum(dim=0)


class Scaled(nn.Module):
    """outputs · scale + centre, for each quantity.

    Args:
        centre: One number for each quantity, in its unit.
        scale: The same, above 0.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, centre: Sequence[float], scale: Sequence[float]) -> None:
        super().__init__()
        assert len(centre) == len(scale)
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("scale", torch.tensor(scale))

    def forward(
        self, outputs: Float[Tensor, "rows quantities"], inputs: Shaped[Tensor, "rows ..."]
    ) -> Float[Tensor, "rows quantities"]:
        """Numbers in the labels' unit, in at least float32."""
        return wide(outputs) * self.scale + self.centre

    def extra_repr(self) -> str:
        """How many quantities."""
        return f"quantities={len(self.centre)}"


class Ahead(nn.Module):
    """From a network's numbers of size about 1 to readings, saved with the weights.

    Quantiles are built from the middle outwards by steps of softplus: unlike sorted ones they cannot cross whatever the
    weights (or 8 bits) do, each number of the network always means the same quantile, and ONNX has every operation.

    Args:
        horizon: Steps that are forecast.
        width: Numbers for each step.
        middle: The place of the median among them.
        channel: Of the inputs, the one whose last reading a forecast starts from.
        relative: Numbers are changes from that reading, and not from `centre`.
        centre: In the readings' unit.
        scale: In the readings' unit.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self, horizon: int, width: int, middle: int, channel: int, relative: bool, centre: float, scale: float
    ) -> None:
        super().__init__()
        self.horizon, self.width, self.middle = horizon, width, middle
        self.channel, self.relative = channel, relative
        self.register_buffer("centre", torch.tensor(centre))
        self.register_buffer("scale", torch.tensor(scale))

    def forward(
        self, outputs: Float[Tensor, "rows outputs"], inputs: Shaped[Tensor, "rows ..."]
    ) -> Float[Tensor, "rows outputs"]:
        """Readings in their unit, in at least float32, and the event's logit as it was.

        Raises:
            ModelError: When rows are not (channels, steps), or have no such channel.
        """
        if inputs.ndim != 3 or self.channel >= inputs.shape[1]:
            raise ModelError(
                f"a row has shape {tuple(inputs.shape[1:])} and channel {self.channel} is forecast",
                expected="rows of (channels, steps)",
                remedy="inputs[:, None] for one channel, or another forecasting(channel=...)",
            )
        found, count = wide(outputs), self.horizon * self.width
        numbers = found[:, :count].reshape(-1, self.horizon, self.width)
        if self.width > 1:
            numbers = self._ordered(numbers)
        start = inputs[:, self.channel, -1].to(found.dtype)[:, None, None] if self.relative else self.centre
        return torch.cat([(start + self.scale * numbers).flatten(1), found[:, count:]], dim=1)

    def _ordered(self, numbers: Tensor) -> Tensor:
        middle = numbers[..., self.middle : self.middle + 1]
        up = functional.softplus(numbers[..., self.middle + 1 :]).cumsum(dim=-1)
        down = functional.softplus(numbers[..., : self.middle].flip(-1)).cumsum(dim=-1).flip(-1)
        return torch.cat([middle - down, middle, middle + up], dim=-1)

    def extra_repr(self) -> str:
        """What decides the answer besides the buffers."""
        return (
            f"horizon={self.horizon}, width={self.width}, middle={self.middle}, channel={self.channel}, "
            f"relative={self.relative}"
        )
