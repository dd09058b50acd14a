"""Listening to layers: what is caught, what is refused, and that nothing stays behind."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import ModelError
from limbeck.model import Model
from limbeck.taps import listen, taps


class Block(nn.Module):
    """Answers with a tuple, whose second part is a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> tuple[Tensor, dict[str, Any]]:
        hidden = self.inner(inputs)
        return hidden, {"state": hidden * 2, "nothing": None}


class Network(nn.Module):
    """Two names for one layer, which runs twice; a block; a layer that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.block = Block()
        self.idle = nn.Linear(3, 3)
        self.body = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden, _ = self.block(self.first(self.again(inputs)))
        logits: Tensor = self.body(hidden)
        return logits


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network()


@pytest.fixture
def inputs() -> Tensor:
    return torch.linspace(-1, 1, 12).view(4, 3)


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_caught_is_what_the_layer_said_with_its_gradient(network: Network, inputs: Tensor) -> None:
    with taps(network, ["block.inner", "body.2"]) as caught:
        logits = network(inputs)
    assert caught["body.2"] is logits
    assert torch.equal(caught["block.inner"], network.block.inner(network.first(network.first(inputs))))
    caught["block.inner"].sum().backward()
    assert network.first.weight.grad is not None
    assert hooks(network) == 0


def test_a_layer_that_runs_twice_keeps_its_last_output_under_each_name(network: Network, inputs: Tensor) -> None:
    with taps(network, ["first", "again"]) as caught:
        network(inputs)
    assert torch.equal(caught["first"], network.first(network.first(inputs)))
    assert caught["again"] is caught["first"]


def test_a_network_that_runs_twice_keeps_the_last_run(network: Network, inputs: Tensor) -> None:
    with taps(network, ["first"]) as caught:
        network(inputs)
        network(inputs * 2)
    assert torch.equal(caught["first"], network.first(network.first(inputs * 2)))


def test_parts_of_tuples_and_mappings_are_named(network: Network, inputs: Tensor) -> None:
    with taps(network, ["block[0]", "block[1][state]"]) as caught:
        network(inputs)
    assert torch.equal(caught["block[1][state]"], caught["block[0]"] * 2)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("block", r"'block' said a tuple \(block\[0\], block\[1\]\)[\s\S]*expected: one tensor"),
        ("block[1]", r"'block\[1\]' said a dict \(block\[1\]\[state\], block\[1\]\[nothing\]\)"),
        ("block[2]", r"said a tuple .*, which has no part \[2\]"),
        ("block[1][nothing]", r"'block\[1\]\[nothing\]' said a NoneType"),
        ("first[0]", r"'first' said a Tensor, which has no part \[0\]"),
        ("idle", r"'idle' never ran"),
        ("body.0", r"'body.0' said was overwritten in place[\s\S]*inplace=False"),
        ("boddy.0", r"no layer 'boddy.0'[\s\S]*did you mean 'body.0'\?"),
        ("", r"the layer name '' cannot be read"),
        ("block[", r"'block\[' cannot be read"),
    ],
)
def test_what_cannot_be_caught_is_refused(network: Network, inputs: Tensor, layer: str, message: str) -> None:
    # The raises alone would also accept an error from inside the network.
    with pytest.raises(ModelError, match=message), taps(network, ["first", layer]):
        network(inputs)
    assert hooks(network) == 0
    assert network(inputs).shape == (4, 2)


def test_nothing_stays_after_an_exception(network: Network, inputs: Tensor) -> None:
    def interrupted() -> None:
        with taps(network, ["first", "body.2"]):
            network(inputs)
            assert hooks(network) == 2
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert hooks(network) == 0
    with pytest.raises(RuntimeError, match="shapes"), taps(network, ["first"]):
        network(torch.zeros(2, 7))
    assert hooks(network) == 0


def test_taps_nest_and_leave_other_hooks_alone(network: Network, inputs: Tensor) -> None:
    seen = []
    network.first.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with taps(network, ["first"]) as outer:
        with taps(network, ["first", "body.2"]) as inner:
            network(inputs)
        kept = outer["first"]
        assert inner["first"] is kept
        network(inputs + 1)
    assert outer["first"] is not kept
    assert inner["first"] is kept
    assert len(seen) == 4
    assert hooks(network) == 1


def test_inference_mode_is_heard_too(network: Network, inputs: Tensor) -> None:
    with torch.inference_mode(), taps(network, ["first"]) as caught:
        network(inputs)
    assert torch.equal(caught["first"], network.first(network.first(inputs)))


def test_listen_gives_the_data_class_order_and_the_features(network: Network, inputs: Tensor) -> None:
    class Doubled(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs * 2

    model = Model(network, Doubled(), classes=("cat", "dog")).align(("dog", "cat"))
    signals = listen(model, inputs, ["first", "block[0]"])
    assert signals.logits is not None
    assert torch.equal(signals.logits, network(inputs * 2)[:, [1, 0]])
    assert list(signals.features) == ["first", "block[0]"]
    assert torch.equal(signals.features["first"], network.first(network.first(inputs * 2)))
    assert signals.targets is not None
    assert listen(model, inputs).features == {}
