"""A student that answers with its teacher's own last layers, behind a projector: the network that `simkd` trains."""

from collections import OrderedDict

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.alignment import bottleneck
from limbeck.errors import ModelError
from limbeck.model import Loan
from limbeck.students import inner

NAME = __name__.rpartition(".")[2]


class Reused(nn.Module):
    """The body of one network, a projector, and the last layers of another, which do not learn."""

    def __init__(self, body: nn.Module, projector: nn.Module, head: nn.Module, loan: Loan) -> None:
        super().__init__()
        self.body, self.projector, self.head = body, projector, head.requires_grad_(False)
        self.loan = loan

    def train(self, mode: bool = True) -> "Reused":
        """As ever, but for the head, which answers as its teacher does: without dropout, and with its statistics."""
        super().train(mode)
        self.head.eval()
        return self

    def forward(self, rows: Shaped[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        """What the head says of the projected features."""
        return self.head(self.projector(self.body(rows)))


def build(
    inputs: tuple[int, ...],
    outputs: int,
    *,
    network: str,
    layer: str,
    teacher: str,
    of: str,
    of_layer: str,
    narrowing: int = 2,
) -> nn.Module:
    """Builds the student of SimKD: a network up to a layer, a projector, and what follows a layer of the teacher.

    Chen et al., 2022, https://arxiv.org/abs/2203.14001, section 3.2. The submodules are `body`, `projector`, whose
    answer has the width of the teacher's layer, and `head`: a copy of the teacher's layers after `of_layer`, which is
    part of the student, saved with it and counted in its parameters. It never learns, and the teacher's folder is not
    needed once the student is trained. For the paper's method the objective is
    `simkd('projector', OF_LAYER, projected=True)`, and nothing beside it.

    The student trained alone, a run's control, has the same head: it shows what the objective adds, not what the head
    does; a run with the bare `network` shows that.

    Args:
        inputs: Shape of one row, as the network takes it.
        outputs: How many logits, or values.
        network: Another student with its arguments, as a recipe writes it.
        layer: The last layer of it that is kept; one of those that stand one after another in it, such as layer3.
        teacher: Folder of a finished run with one seed; its student's weights are copied into the head before training.
        of: That run's student, as its recipe writes it.
        of_layer: The layer of it after which the head begins; what `simkd` compares with the projected features.
        narrowing: How many times narrower than the teacher's layer the projector is within; 2 is the paper's.

    Raises:
        ModelError: If a network has no such layer, or the two layers do not say features of one kind.
    """
    if narrowing < 1:
        raise ModelError(f"{NAME} was asked for narrowing={narrowing}", expected="1 or more")
    body, _ = _cut(inner(network, NAME)(inputs, outputs), layer, network)
    before, head = _cut(inner(of, NAME)(inputs, outputs), of_layer, of)
    rows = torch.zeros(1, *inputs)
    with torch.no_grad():
        ours, theirs = body.eval()(rows), before.eval()(rows)
    body.train()
    if ours.ndim != theirs.ndim:
        raise ModelError(
            f"{layer} of {network} says {tuple(ours.shape[1:])}, and {of_layer} of {of} {tuple(theirs.shape[1:])}",
            expected="features of one kind: both flat, sequences or images",
            remedy="name another layer of the one or of the other",
        )
    return Reused(body, bottleneck(ours, theirs, narrowing, NAME, layer, of_layer), head, Loan(teacher, of, "head"))


def _cut(network: nn.Module, layer: str, text: str) -> tuple[nn.Sequential, nn.Sequential]:
    """The layers up to one, and those after it."""
    in_order = isinstance(network, nn.Sequential) and type(network).forward is nn.Sequential.forward
    names = [name for name, _ in network.named_children()] if in_order else []
    if layer not in names[:-1]:
        raise ModelError(
            f"{text} cannot be cut after {layer!r}",
            expected=f"one of {', '.join(names[:-1])}" if names else "a network whose layers follow each other",
            remedy="" if names else "such as cnn, separable_cnn or mlp",
        )
    parts = list(network.named_children())
    at = names.index(layer) + 1
    return nn.Sequential(OrderedDict(parts[:at])), nn.Sequential(OrderedDict(parts[at:]))
