"""A narrower network: what does nothing can be cut without a trace, and what does most is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_languages import tokenizer as byte_level
from small_speakers import causal, row

from limbeck.catalog.models import Shape, model
from limbeck.errors import ModelError
from limbeck.languages.narrowing import FAMILIES, importance, narrow
from limbeck.languages.network import LanguageNetwork

ROWS = torch.stack([row([7, 30, 8, 9], [40, 12, 13], length=9), row([3, 4, 5, 6, 7, 8, 9, 10, 11])])
CHANNELS, GROUPS, NEURONS = [1, 5, 6, 20, 31, 2], [0], [3, 4, 5, 17, 40]


def network(family: str, **more: Any) -> LanguageNetwork:
    model = causal(family, rms_norm_eps=1e-12 if family == "qwen3" else 0.05, **more)
    for parameter in model.parameters():  # norms of ones and biases of zeros would hide a mistake
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)).double()
    return LanguageNetwork(model)


@torch.no_grad()
def silence(found: LanguageNetwork) -> None:
    """Makes some channels zero everywhere, and lets some heads and neurons say nothing."""
    body: Any = found.body
    body.embed_tokens.weight[:, CHANNELS] = 0
    for block in body.layers:
        for layer in (block.self_attn.o_proj, block.mlp.down_proj):
            layer.weight[CHANNELS] = 0
            if layer.bias is not None:
                layer.bias[CHANNELS] = 0
        for group in GROUPS:
            layer = block.self_attn.v_proj
            layer.weight[8 * group : 8 * group + 8] = 0
            if layer.bias is not None:
                layer.bias[8 * group : 8 * group + 8] = 0
        block.mlp.up_proj.weight[NEURONS] = 0


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_does_nothing_is_cut_without_a_trace(family: str, tied: bool) -> None:
    whole = network(family, tie_word_embeddings=tied)
    silence(whole)
    found = importance(whole, ROWS)
    cut = narrow(whole, found, width=26, heads=2, ffn=43)
    assert cut.head.weight.shape == (97, 26) and cut.tied == tied
    assert cut.body.layers[0].self_attn.q_proj.weight.shape == (16, 26)
    assert cut.body.layers[2].mlp.gate_proj.weight.shape == (43, 26)
    assert torch.allclose(cut(ROWS), whole(ROWS), rtol=1e-6, atol=1e-6)
    again = narrow(whole, found)
    assert torch.equal(again(ROWS), whole(ROWS))


def test_one_channel_more_leaves_a_trace() -> None:
    whole = network("llama")
    silence(whole)
    found = importance(whole, ROWS)
    for less in ({"width": 24}, {"ffn": 42}):
        assert not torch.allclose(narrow(whole, found, **less)(ROWS), whole(ROWS), atol=1e-4)


@torch.no_grad()
def test_importance_is_what_activations_say() -> None:
    """By hand for the first block, from its own parts: padding does not count."""
    whole = network("llama")
    body: Any = whole.body
    tokens = ROWS[:1, 0, :4]  # one document, of which the first row's padding knows nothing
    rows = torch.stack([tokens, torch.ones_like(tokens)], dim=1)
    padded = torch.nn.functional.pad(rows, (0, 3))
    found = importance(whole, padded)
    block = body.layers[0]
    given = block.input_layernorm(body.embed_tokens(tokens))
    caught: list[Any] = []
    handles = [
        layer.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0][0]))
        for layer in (block.self_attn.o_proj, block.mlp.down_proj)
    ]
    whole.hidden(rows)
    for handle in handles:
        handle.remove()
    heads, inner = caught
    for head in range(4):
        expected = sum(float(token[8 * head : 8 * head + 8].norm()) for token in heads) / 4
        assert float(found.heads[0, head]) == pytest.approx(expected, rel=1e-9)
    assert torch.allclose(found.inner[0], inner.abs().mean(dim=0))
    assert bool((found.channels >= given[0].abs().mean(dim=0) - 1e-12).all())


def test_the_largest_are_kept_in_their_order() -> None:
    whole = network("qwen2")
    found = importance(whole, ROWS)
    cut = narrow(whole, found, width=20, ffn=30)
    channels = sorted(found.channels.argsort(descending=True)[:20].tolist())
    inner = sorted(found.inner[1].argsort(descending=True)[:30].tolist())
    body: Any = whole.body
    expected = body.layers[1].mlp.gate_proj.weight[inner][:, channels]
    assert torch.equal(cut.body.layers[1].mlp.gate_proj.weight, expected)
    assert torch.equal(cut.embedding.weight, whole.embedding.weight[:, channels])


def test_as_a_text_with_fewer_blocks_too(tmp_path: Path) -> None:
    reads = byte_level()
    LanguageNetwork(causal("llama", double=False, vocab_size=360)).save(tmp_path / "model")
    reads.save_pretrained(tmp_path / "model")
    (tmp_path / "text.txt").write_text("The cat sat on the mat by the door. " * 60)
    text = f"shrink('hf:{tmp_path / 'model'}', layers=2, width=24, heads=2, ffn=32, by='{tmp_path / 'text.txt'}')"
    shape = Shape((2, 9), 360, (), torch.zeros(1), torch.ones(1))
    found = model(text, shape).network
    assert found.config.num_hidden_layers == 2 and found.config.hidden_size == 24
    assert found.config.num_key_value_heads == 1 and found.config.head_dim == 8
    assert torch.equal(found(ROWS), model(text, shape)(ROWS))
    only = model(f"shrink('hf:{tmp_path / 'model'}', keep=(0, 2), ffn=32, by='{tmp_path / 'text.txt'}')", shape)
    assert only.network.config.num_hidden_layers == 2 and only.network.config.hidden_size == 32
    for wrong, message in (
        ("width=24", "by what the width is cut"),
        (f"heads=3, by='{tmp_path / 'text.txt'}'", "multiple of 2"),
        (f"ffn=49, by='{tmp_path / 'text.txt'}'", "ffn=49"),
    ):
        with pytest.raises(ModelError, match=message):
            model(f"shrink('hf:{tmp_path / 'model'}', {wrong})", shape)


@pytest.mark.parametrize("family", ["gpt2", "gemma", "opt"])
def test_another_form_is_refused_by_name(family: str) -> None:
    with pytest.raises(ModelError, match=f"width of a {family} model"):
        importance(LanguageNetwork(causal(family)), ROWS)
