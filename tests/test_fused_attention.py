"""A fused attention never makes the map that a person may ask for: the refusal says how to unfuse it, and it helps."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import ModelError
from limbeck.model import Model
from limbeck.signals import Signals
from limbeck.taps import listen


class OfVectors(nn.Module):
    """A body that reads vectors (rows, 8, 16), and a head."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.body(inputs).mean(dim=1))


class Bert(nn.Module):
    def __init__(self, attention: str) -> None:
        super().__init__()
        transformers = pytest.importorskip("transformers")
        config = transformers.BertConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            vocab_size=9,
            attn_implementation=attention,
        )
        self.bert = transformers.BertModel(config)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.bert(inputs_embeds=inputs).last_hidden_state


class TimmBlock(nn.Module):
    def __init__(self, fused: bool) -> None:
        super().__init__()
        layers = pytest.importorskip("timm.layers")
        before = layers.use_fused_attn()
        layers.set_fused_attn(fused)
        try:
            self.attn = layers.Attention(16, num_heads=2)
        finally:
            layers.set_fused_attn(before)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.attn(inputs)


class OfTorch(nn.Module):
    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(16, 2, batch_first=True), weights

    def forward(self, inputs: Tensor) -> Tensor:
        return self.attention(inputs, inputs, inputs, need_weights=self.weights, average_attn_weights=False)[0]


def heard(body: nn.Module, layer: str) -> Signals:
    with torch.no_grad():
        return listen(Model(OfVectors(body).eval()), torch.zeros(2, 8, 16), [layer])


CASES = {
    "transformers": (lambda fused: Bert("sdpa" if fused else "eager"), "body.bert.encoder.layer.0.attention.self[1]"),
    "timm": (TimmBlock, "body.attn.attn_drop"),
    "torch": (lambda fused: OfTorch(not fused), "body.attention[1]"),
}


@pytest.mark.slow
@pytest.mark.parametrize("library", CASES)
def test_a_map_that_is_never_made_is_refused_with_a_way_out_that_works(library: str) -> None:
    build, layer = CASES[library]
    with pytest.raises(ModelError) as refused:
        heard(build(True), layer)
    assert layer in refused.value.happened
    for part in ("TIMM_FUSED_ATTN=0", "attn_implementation='eager'", "need_weights=True", "qkv"):
        assert part in str(refused.value)
    assert heard(build(False), layer).features[layer].shape == (2, 2, 8, 8)


def test_another_layer_that_never_ran_is_not_told_of_attention() -> None:
    body = nn.Sequential(nn.Linear(16, 16))
    body.unused = nn.Linear(1, 1)
    body.forward = lambda inputs: body[0](inputs)  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=r"'body\.unused' never ran") as refused:
        heard(body, "body.unused")
    assert "attention" not in str(refused.value)
