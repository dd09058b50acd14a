"""Gated recurrent networks for series (Cho et al., 2014): causal, one step after another with a small memory."""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from limbeck.errors import ModelError


class Stem(nn.Module):
    """Turns a series' channels to where features stand: the last place."""

    def forward(self, series: Float[Tensor, "rows channels steps"]) -> Float[Tensor, "rows steps channels"]:
        """The same numbers."""
        return series.transpose(1, 2)


class Recurrence(nn.Module):
    """One layer of GRU cells, which starts each row from zeros and says its state after every step."""

    def __init__(self, narrow: int, size: int, dropout: float) -> None:
        super().__init__()
        self.cells = nn.GRU(narrow, size, batch_first=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Float[Tensor, "rows steps narrow"]) -> Float[Tensor, "rows steps size"]:
        """The states, between -1 and 1."""
        states, _ = self.cells(features)
        return self.dropout(states)


class Head(nn.Module):
    """A linear map of the state after every step, or after the last one."""

    def __init__(self, size: int, outputs: int, per_step: bool) -> None:
        super().__init__()
        self.answer = nn.Linear(size, outputs)
        self.per_step = per_step

    def forward(self, features: Float[Tensor, "rows steps size"]) -> Float[Tensor, "rows *steps outputs"]:
        """One answer a row, or one a step."""
        return self.answer(features if self.per_step else features[:, -1])


def build(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    size: int = 64,
    depth: int = 1,
    dropout: float = 0.0,
    per_step: bool = False,
) -> nn.Module:
    """Builds a recurrent network of `depth` GRU layers with `size` units each.

    The submodules are `stem`, which turns the series, `layer1` to `layer<depth>` and `head`; all but the head say
    features of shape (rows, steps, width), the layout of tokens. An answer at a step depends on all steps up to it,
    and rows may have any length.

    With C channels and s = `size` the first layer has 3s(C + s + 2) parameters, every further one 3s(2s + 2), and the
    head (s + 1) outputs: 13,514 in all for (1, 128), 10 outputs and the defaults.

    Cho et al., 2014, https://arxiv.org/abs/1406.1078, section 2.3. Read: memory. Deviation: torch's GRU multiplies by
    the reset gate after the state's linear map, not before, and so has two biases for each gate; this is the variant
    for which cuDNN and ONNX (`linear_before_reset`) have one operator.

    Args:
        inputs: Shape of one row: channels, steps.
        outputs: How many logits, or values.
        size: Units of every layer; the one dial.
        depth: Layers, each reading the states of the one before.
        dropout: Chance that a unit's state is dropped in training on its way to the next layer or the head; what a
            layer says to itself at the next step is never dropped.
        per_step: Whether every step is answered, (rows, steps, outputs), or the row at its last step, (rows, outputs).

    Raises:
        ModelError: If a row is not a series, or a number is out of range.
    """
    _check(inputs, outputs, size, depth, dropout)
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=Stem())
    width = inputs[0]
    for number in range(1, depth + 1):
        layers[f"layer{number}"] = Recurrence(width, size, dropout)
        width = size
    layers["head"] = Head(size, outputs, per_step)
    return nn.Sequential(layers)


def _check(inputs: tuple[int, ...], outputs: int, size: int, depth: int, dropout: float) -> None:
    if len(inputs) != 2 or min(inputs) < 1:
        raise ModelError(
            f"gru was asked for rows of shape {tuple(inputs)}",
            expected="a series: (channels, steps), such as (1, 128)",
            remedy="use the student mlp for flat rows and cnn for images; a single series has 1 channel",
        )
    for name, count in {"outputs": outputs, "size": size, "depth": depth}.items():
        if count < 1:
            raise ModelError(f"gru was asked for {name}={count}", expected="1 or more", remedy=f"raise {name}")
    if not 0.0 <= dropout < 1.0:
        raise ModelError(
            f"gru was asked for dropout={dropout}",
            expected="a chance from 0 up to, not including, 1",
            remedy="use dropout=0 for none",
        )
