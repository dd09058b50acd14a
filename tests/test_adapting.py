"""Adapters beside the weights of a language model: nothing at first, they alone learn, and they can be merged."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from small_languages import tokenizer as byte_level
from small_speakers import SYMBOLS, causal, row
from test_retokenised import batch_of
from transformers import AutoModelForCausalLM

from limbeck import checkpoint
from limbeck.catalog.models import Shape, model
from limbeck.catalog.objectives import objective
from limbeck.errors import ModelError
from limbeck.languages import loading
from limbeck.languages.adapting import Adapter, adapted, merged, save_adapter
from limbeck.languages.network import LanguageNetwork
from limbeck.model import Model
from limbeck.signals import Signals

peft = pytest.importorskip("peft", reason="peft (extra: lora) is not here")

ROWS = torch.stack([row([7, 30, 8, 9], [40, 12, 13], length=9), row([3, 4, 5, 6, 7, 8, 9, 10, 11])])
HALF = Adapter(rank=3, alpha=6, targets=("q_proj", "down_proj"))


def network(family: str = "llama", adapter: Adapter | None = HALF, **more: Any) -> LanguageNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        found = LanguageNetwork(causal(family, **more))
        return found if adapter is None else adapted(found, adapter)


def stirred(found: LanguageNetwork) -> LanguageNetwork:
    """As if something had been learnt."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in found.named_parameters():
        if ".lora_B." in name:
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return found


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "gpt_neox"])
def test_adapters_say_nothing_at_first_and_alone_can_learn(family: str) -> None:
    found = network(family, Adapter(rank=2))
    assert torch.equal(found(ROWS), network(family, None)(ROWS))
    learning = [name for name, parameter in found.named_parameters() if parameter.requires_grad]
    assert learning and all(".lora_A." in name or ".lora_B." in name for name in learning)
    assert not any("head" in name or "embed" in name or "wte" in name for name in learning)


def test_what_is_added_is_alpha_by_rank_times_the_product() -> None:
    found = stirred(network())
    layer: Any = found.body.layers[0].mlp.down_proj
    given = torch.randn(2, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    a, b = (getattr(layer, name)["default"].weight for name in ("lora_A", "lora_B"))
    expected = given @ layer.base_layer.weight.T + 6 / 3 * given @ a.T @ b.T
    assert torch.allclose(layer(given), expected, rtol=1e-12) and a.shape == (3, 48)


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_through_the_head_reach_the_adapters_alone(tied: bool) -> None:
    found = Model(stirred(network(tie_word_embeddings=tied)))
    teacher, batch = Signals.dense(network("qwen3", None)(ROWS).detach()), batch_of(ROWS)
    wanted = objective("0.7 * kd(temperature=2) + 0.3 * labels")
    before = {name: parameter.detach().clone() for name, parameter in found.named_parameters()}
    wanted.loss(Signals.hidden(*found.before_head(ROWS)), teacher, batch).total.backward()
    through = {name: parameter.grad for name, parameter in found.named_parameters()}
    found.zero_grad()
    wanted.loss(Signals.dense(found(ROWS)), teacher, batch).total.backward()
    for name, parameter in found.named_parameters():
        if ".lora_" in name:
            assert torch.allclose(through[name], parameter.grad, rtol=1e-9, atol=1e-13)
            assert bool(parameter.grad.abs().sum() > 0), name
        else:
            assert parameter.grad is None and through[name] is None
    torch.optim.AdamW(found.parameters(), lr=0.1, weight_decay=0.5).step()
    moved = {name for name, parameter in found.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name in before if ".lora_" in name}


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_merged_is_unmerged(family: str) -> None:
    found = stirred(network(family, Adapter(rank=2)))
    plain = merged(found)
    assert plain.tuner is None and not any("lora" in name for name, _ in plain.named_parameters())
    assert torch.allclose(plain(ROWS), found(ROWS), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(plain(ROWS), network(family, None)(ROWS), atol=1e-2)
    assert found.tuner is not None  # merging made copies
    other = copy.deepcopy(found)
    assert torch.equal(other(ROWS), found(ROWS))
    stirred(other).body.get_input_embeddings().weight.data.zero_()
    assert torch.allclose(merged(found)(ROWS), plain(ROWS))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_transformers_and_peft_load_what_is_saved(tmp_path: Path) -> None:
    base = network(adapter=None, double=False)
    base.save(tmp_path / "base")
    found = stirred(network(double=False))
    found.save(tmp_path / "merged")
    save_adapter(found, tmp_path / "adapter", str(tmp_path / "base"))
    with torch.no_grad():
        whole = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(input_ids=ROWS[1:, 0]).logits
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        beside = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()(input_ids=ROWS[1:, 0]).logits
    for said in (whole, beside):
        assert torch.allclose(said, found(ROWS[1:]), atol=1e-5)
    with pytest.raises(ModelError, match="no adapters"):
        save_adapter(base, tmp_path / "none", "")


def test_a_runs_folder_builds_it_again(tmp_path: Path) -> None:
    found = stirred(network(double=False, tie_word_embeddings=True))
    loading.save_network(found, tmp_path)
    checkpoint.save(tmp_path / "student.safetensors", Model(found).state_dict(), {})
    again = loading.saved_network(tmp_path)
    assert again is not None and not torch.equal(again(ROWS), found(ROWS))
    tensors = checkpoint.under("network", checkpoint.load(tmp_path / "student.safetensors")[0])
    checkpoint.load_weights(again, tensors, "")
    assert torch.equal(again(ROWS), found(ROWS)) and again.tied
    assert again.description() == found.description()
    other = network(adapter=Adapter(rank=3, alpha=7, targets=HALF.targets), double=False)
    assert repr(other) != repr(found)


def test_as_a_text_with_fewer_tokens_than_rows(tmp_path: Path) -> None:
    LanguageNetwork(causal("llama", double=False, vocab_size=371)).save(tmp_path / "model")
    reads = byte_level()
    reads.save_pretrained(tmp_path / "model")
    shape = Shape((2, 9), 360, tuple(reads.convert_ids_to_tokens(range(360))), torch.zeros(1), torch.ones(1))
    base = f"hf:{tmp_path / 'model'}"
    found = model(
        f"lora('shrink({base!r}, layers=2)', rank=4, targets='q_proj v_proj')".replace("'hf", '"hf').replace(
            "model',", 'model",'
        ),
        shape,
    ).align(shape.classes)
    assert found.network.size == 360 and len(found.network.body.layers) == 2
    assert sum(parameter.requires_grad for parameter in found.parameters()) == 2 * 2 * 2
    for wrong, message in (
        ("targets='lm_head'", "would not be seen"),
        ("targets='embed_tokens'", "would not be seen"),
        ("targets='q_porj'", "did you mean 'q_proj'"),
        ("rank=0", "rank=0"),
        ("alpha=0", "alpha=0"),
        ("dropout=1", "dropout=1"),
    ):
        with pytest.raises(ModelError, match=message):
            model(f"lora({base!r}, {wrong})", shape)
    assert SYMBOLS == 97
