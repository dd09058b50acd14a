"""Several networks of another family side by side, which the method `mutual` lets teach each other."""

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.errors import ModelError
from limbeck.students import inner

NAME = __name__.rpartition(".")[2]


class Peers(nn.Module):
    """Networks that all see each row; the first one answers."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.peers = nn.ModuleList(networks)

    def forward(self, rows: Shaped[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        """What the first one says; the others run too, so that they can be listened to."""
        said = [peer(rows) for peer in self.peers]
        return said[0]


def build(inputs: tuple[int, ...], outputs: int, *, network: str = "cnn(size=16)", count: int = 2) -> nn.Module:
    """Builds `count` networks that differ in their first weights alone.

    The submodules are `peers.0`, `peers.1` and so on; each says its own logits, and its layers are named as its family
    names them: `peers.1.layer2`. The first weights are drawn one peer after another, so that under the same seed the
    first peer starts with the weights of the bare network.

    All peers run whenever it answers, and all are saved: parameters, bytes, multiply-accumulates and latency in a
    report are those of all `count` together. A bare peer has a `count`-th of each. With `model = run.student()` it is
    `Model(model.network.peers[0], model.transform, restore=model.restore)`, with `Model` from `limbeck.model`; the
    scores in the report are the first peer's.

    Args:
        inputs: Shape of one row, as the network takes it.
        outputs: How many logits, or values.
        network: Another student with its arguments, as a recipe writes it.
        count: How many, 2 or more.

    Raises:
        ModelError: If there is no such student, it does not take the arguments, or there are fewer than two.
    """
    if count < 2:
        raise ModelError(
            f"{NAME} was asked for count={count}", expected="2 or more", remedy=f"student: {network}, for one alone"
        )
    family = inner(network, NAME)
    return Peers([family(inputs, outputs) for _ in range(count)])
