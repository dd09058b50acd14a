"""A network with its own input transform and class map: teacher and student read one sample, each in its own way."""

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from limbeck.errors import ModelError, did_you_mean


@contextlib.contextmanager
def answering(module: nn.Module) -> Iterator[None]:
    """Puts a module in eval mode for the block, and every part of it back in the mode it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


class HeadedNetwork(nn.Module, ABC):
    """A network that ends in a linear layer, `head`, and can stop before it.

    It says so by its class: that parts are called `hidden` and `head` does not mean that nothing comes between them.
    """

    head: nn.Linear

    @abstractmethod
    def hidden(self, inputs: Shaped[Tensor, "rows ..."]) -> Float[Tensor, "rows ... width"]:
        """What the head is given; the network's outputs are `head` of it, and nothing else."""


@runtime_checkable
class Renumbering(Protocol):
    """A network whose inputs are numbers of its outputs, as tokens are: both must change together."""

    def renumber(self, tokens: Int[Tensor, " tokens"]) -> None:
        """Keeps some of the outputs, and of the numbers it reads, in a new order: for each the present number."""


@dataclass(frozen=True)
class Loan:
    """What a network has of another one's weights: a network that borrows keeps this as its attribute `loan`.

    Args:
        folder: The run whose student lends them, once, before training.
        source: That student, as its recipe writes it.
        part: The submodule that borrows; its own submodules are named as in the lender.
    """

    folder: str
    source: str
    part: str


class Model(nn.Module):
    """A network, the transform it expects its inputs through, and the classes its outputs stand for.

    The transform is a module too: its statistics are saved with the weights, and what trains is what ships.

    Args:
        network: Any module from transformed inputs to logits; it is not modified.
        transform: From raw inputs (as the data holds them) to what the network expects; None when it takes them raw.
        restore: From what the network says, and the raw inputs, to outputs in the labels' unit; None: they are.
        classes: Names of the outputs, in the network's own order; empty when they are in the data's order.
        source: The text that builds the network again, empty when only the caller can.
    """

    class_index: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        transform: nn.Module | None = None,
        classes: Sequence[str] = (),
        source: str = "",
        restore: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.transform = transform if transform is not None else nn.Identity()
        self.restore = restore
        self.classes = tuple(classes)
        self.source = source
        self.register_buffer("class_index", None, persistent=False)

    @property
    def headed(self) -> bool:
        """Whether the network can stop before its last layer, so that nobody need make all logits at once."""
        return isinstance(self.network, HeadedNetwork) and self.restore is None

    def before_head(
        self, inputs: Shaped[Tensor, "rows ..."]
    ) -> tuple[Float[Tensor, "rows ... width"], Float[Tensor, "classes width"], Float[Tensor, " classes"] | None]:
        """What the network's head is given about raw inputs, and the head's weight and bias in the data's class order.

        Only of a model that is `headed`. Logits are `linear(hidden, weight, bias)`.
        """
        assert isinstance(self.network, HeadedNetwork)
        head, order = self.network.head, self.class_index
        hidden = self.network.hidden(self.transform(inputs))
        if order is None:
            return hidden, head.weight, head.bias
        return hidden, head.weight[order], None if head.bias is None else head.bias[order]

    def forward(self, inputs: Shaped[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        """Logits in the data's class order, or numbers in the labels' unit, from raw inputs."""
        return self.answer(self.network(self.transform(inputs)), inputs)

    def answer(self, outputs: Tensor, inputs: Shaped[Tensor, "rows ..."]) -> Tensor:
        """What the network's own outputs mean: in the labels' unit, in the data's class order."""
        if self.restore is not None:
            outputs = self.restore(outputs, inputs)
        return outputs if self.class_index is None else outputs[..., self.class_index]

    def align(self, classes: Sequence[str]) -> "Model":
        """Maps this model's outputs to the data's classes by name, and returns itself.

        A network that reads numbers of its own outputs is renumbered, in place; its rows for other classes are gone.

        Raises:
            ModelError: When a class of the data is not among the model's.
        """
        if self.classes and tuple(classes) != self.classes:
            places = {name: place for place, name in enumerate(self.classes)}
            missing = [name for name in classes if name not in places]
            if missing:
                raise ModelError(
                    f"the model knows no class {missing[0]!r} ({len(missing)} of {len(classes)} are missing)",
                    expected=f"a model for the classes {', '.join(classes[:12])}",
                    remedy=did_you_mean(missing[0], self.classes),
                )
            device = next((p.device for p in self.parameters()), torch.device("cpu"))
            index = torch.tensor([places[name] for name in classes], device=device)
            if isinstance(self.network, Renumbering):
                self.network.renumber(index)
                self.classes = tuple(classes)
            else:
                self.class_index = index
        return self

    def fingerprint(self) -> str:
        """A hash of everything that decides this model's answers: weights, buffers, transform, code and classes.

        Two models with equal fingerprints give equal answers to equal inputs.
        """
        digest = hashlib.sha256(f"{self.network!r}|{self.transform!r}|{self.restore!r}|{self.classes}".encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
            # The bytes where they lie: a copy of the weights would be most of what recording them takes.
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:32]
