"""Temporal convolutional networks: dilated causal convolutions with shortcuts, for series (Bai et al., 2018)."""

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from limbeck.errors import ModelError


class CausalConvolution(nn.Module):
    """A dilated convolution that reads its own step and earlier ones; before the first step it reads zeros."""

    def __init__(self, narrow: int, wide: int, kernel: int, dilation: int, groups: int = 1) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        # BatchNorm has a shift of its own, so that a bias before it would be a parameter without effect.
        self.convolution = nn.Conv1d(narrow, wide, kernel, dilation=dilation, groups=groups, bias=False)
        self.norm = nn.BatchNorm1d(wide)

    def forward(self, series: Float[Tensor, "rows channels steps"]) -> Float[Tensor, "rows wide steps"]:
        """As many steps as came in."""
        return self.norm(self.convolution(pad(series, (self.reach, 0))))


class Stem(nn.Module):
    """Lifts the series' channels to the network's width, and turns them to where features stand: the last place."""

    def __init__(self, channels: int, size: int, kernel: int) -> None:
        super().__init__()
        self.lift = CausalConvolution(channels, size, kernel, 1)
        self.activation = nn.ReLU()

    def forward(self, series: Float[Tensor, "rows channels steps"]) -> Float[Tensor, "rows steps size"]:
        """The width of each step, non-negative."""
        return self.activation(self.lift(series)).transpose(1, 2)


class TemporalBlock(nn.Module):
    """Two causal convolutions of one dilation beside a shortcut; each may be split in a depthwise and a pointwise one.

    Features come and go as (rows, steps, size). The two turns inside cost nothing in training: a tensor turned back is
    the contiguous one it was, and between two blocks the turns cancel.
    """

    def __init__(self, size: int, kernel: int, dilation: int, dropout: float, separable: bool) -> None:
        super().__init__()
        self.first = _convolution(size, kernel, dilation, separable)
        self.second = _convolution(size, kernel, dilation, separable)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, features: Float[Tensor, "rows steps size"]) -> Float[Tensor, "rows steps size"]:
        """The features, non-negative, with a further reach into the past."""
        series = features.transpose(1, 2)
        inner = self.dropout(self.activation(self.first(series)))
        return self.activation(self.dropout(self.second(inner)) + series).transpose(1, 2)


class Head(nn.Module):
    """A linear map of every step, or of the last one, which alone has seen the whole row."""

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
    size: int = 32,
    depth: int | None = None,
    kernel: int = 3,
    dropout: float = 0.0,
    separable: bool = False,
    per_step: bool = False,
) -> nn.Module:
    """Builds a causal convolutional network: a stem, `depth` residual blocks of dilation 1, 2, 4, ..., and a head.

    The submodules are `stem`, `layer1` to `layer<depth>` and `head`; all but the head say features of shape
    (rows, steps, size), the layout of tokens. An answer at a step depends on the R steps that end there,
    R = 1 + (kernel - 1) (2^(depth + 1) - 1): 255 for kernel 3 and depth 6. Without `depth`, the smallest one is taken
    with which the last step sees the whole row. A row may be shorter than R or than the kernel: what lies before its
    first step is zero, and weights that see nothing else stay as they were drawn.

    With C channels, s = `size`, k = `kernel` and d = `depth` it has kCs + 2s + 2d(ks² + 2s) + (s + 1) outputs
    parameters, and kCs + 2s + 2d(s² + (k + 4)s) + (s + 1) outputs if `separable`: for (1, 128), 10 outputs and the
    defaults (depth 6) 38,122, and 15,466 if `separable`.

    Bai, Kolter, Koltun, 2018, https://arxiv.org/abs/1803.01271, section 3. Read: memory. Deviations:
    - batch instead of weight normalisation: once trained it is a scale and a shift of each channel, which fold into the
      convolution, so that a device and int8 pay nothing for it. In training its statistics are those of all steps of
      the batch; answers in eval mode are causal to the bit;
    - a stem lifts the channels, so that every shortcut is the identity (the paper's first block has a 1 x 1
      convolution beside it), and its kernel adds kernel - 1 steps to the paper's receptive field;
    - no ReLU between the second convolution and the sum, as in He et al. (2016): with it a block could only add.

    Args:
        inputs: Shape of one row: channels, steps.
        outputs: How many logits, or values.
        size: Channels of every block; the one dial.
        depth: Residual blocks, each with twice the dilation of the one before; None lets the row's length decide.
        kernel: Steps that one convolution looks at, 2 or more.
        dropout: Chance that a whole channel of a row is dropped in training, after each convolution of a block.
        separable: Whether blocks use depthwise and pointwise convolutions (MobileNet, Howard et al., 2017), which have
            about a `kernel`-th of the parameters and sums.
        per_step: Whether every step is answered, (rows, steps, outputs), or the row at its last step, (rows, outputs).

    Raises:
        ModelError: If a row is not a series, or a number is out of range.
    """
    _check(inputs, outputs, size, depth, kernel, dropout)
    channels, steps = inputs
    depth = depth or _depth(steps, kernel)
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=Stem(channels, size, kernel))
    for number in range(1, depth + 1):
        layers[f"layer{number}"] = TemporalBlock(size, kernel, 2 ** (number - 1), dropout, separable)
    layers["head"] = Head(size, outputs, per_step)
    return nn.Sequential(layers)


def receptive_field(kernel: int, depth: int) -> int:
    """How many steps an answer depends on: the last of them is its own, the stem and two convolutions a block add."""
    return 1 + (kernel - 1) * (2 ** (depth + 1) - 1)


def _depth(steps: int, kernel: int) -> int:
    depth = 1
    while receptive_field(kernel, depth) < steps:
        depth += 1
    return depth


def _convolution(size: int, kernel: int, dilation: int, separable: bool) -> nn.Module:
    if not separable:
        return CausalConvolution(size, size, kernel, dilation)
    depthwise = CausalConvolution(size, size, kernel, dilation, groups=size)
    return nn.Sequential(depthwise, nn.ReLU(), CausalConvolution(size, size, 1, 1))


def _check(inputs: tuple[int, ...], outputs: int, size: int, depth: int | None, kernel: int, dropout: float) -> None:
    if len(inputs) != 2 or min(inputs) < 1:
        raise ModelError(
            f"tcn was asked for rows of shape {tuple(inputs)}",
            expected="a series: (channels, steps), such as (1, 128)",
            remedy="use the student mlp for flat rows and cnn for images; a single series has 1 channel",
        )
    counts = {"outputs": outputs, "size": size, "depth": 1 if depth is None else depth}
    for name, count in counts.items():
        if count < 1:
            raise ModelError(f"tcn was asked for {name}={count}", expected="1 or more", remedy=f"raise {name}")
    if kernel < 2:
        raise ModelError(
            f"tcn was asked for kernel={kernel}",
            expected="2 or more: a convolution over 1 step never looks back",
            remedy="leave kernel out for 3",
        )
    if not 0.0 <= dropout < 1.0:
        raise ModelError(
            f"tcn was asked for dropout={dropout}",
            expected="a chance from 0 up to, not including, 1",
            remedy="use dropout=0 for none",
        )
