"""A causal model as hidden states and a head: the model's own logits, packed or alone, padded or not."""

import copy
from typing import Any

import pytest
import torch
from small_speakers import FAMILIES, SYMBOLS, causal, row
from torch import Tensor

from limbeck import checkpoint
from limbeck.errors import ModelError, RunError
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.model import Model

PACKED = [
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma3_text",
    "gpt2",
    "gpt_neox",
    "granite",
    "cohere",
    "opt",
    "falcon",
]
WITHOUT_SDPA = {"gemma2", "mamba", "bloom", "gpt_oss"}
ALONE = ["mamba", "bloom", "gpt_oss"]
BOTH = [(family, attention) for family in PACKED for attention in ("eager", "sdpa")]
A, B, C = [7, 30, 8, 9, 60, 11], [40], [12, 13, 90, 15, 16, 17, 18, 44, 3]


def own(model: Any, document: list[int]) -> Tensor:
    """The model's own logits of one document."""
    logits: Tensor = model(input_ids=torch.tensor([document]), use_cache=False).logits[0]
    return logits


@pytest.mark.parametrize(("family", "attention"), BOTH)
def test_packed_documents_get_the_logits_each_gets_alone(family: str, attention: str) -> None:
    model = causal(family, attention=attention)
    network = LanguageNetwork(model)
    bound = 1e-6 if attention == "eager" else 1e-8  # eager attention takes its softmax in float32, whatever the model
    rows = torch.stack(
        [
            row(A, B, C, length=20),
            row(C, A, before=2, length=20),
            row(B, C, A, between=1, length=20),
            row(A, length=20),
        ]
    )
    with torch.no_grad():
        hidden = network.hidden(rows)
        logits = network.head(hidden)
        assert torch.equal(network(rows), logits)
        for line, documents in zip(range(4), ([A, B, C], [C, A], [B, C, A], [A]), strict=True):
            for number, document in enumerate(documents, start=1):
                said = logits[line][rows[line, 1] == number]
                assert torch.allclose(said, own(model, document), rtol=0, atol=bound), (line, number)


@pytest.mark.parametrize(("family", "way"), [(family, "positions") for family in PACKED[:-2]] + [("opt", "mask")])
def test_how_documents_are_kept_apart_is_found_out(family: str, way: str) -> None:
    assert LanguageNetwork(causal(family)).packing == way


@pytest.mark.parametrize("family", ALONE)
def test_a_family_that_cannot_keep_documents_apart_takes_one_and_refuses_two(family: str) -> None:
    model = causal(family, double=False)
    network = LanguageNetwork(model)
    assert network.packing is None
    with torch.no_grad():
        said = network(torch.stack([row(A, length=12)]))[0, : len(A)]
        assert torch.allclose(said, own(model, A), atol=1e-5)
        for packed in (row(A, C), row(A, before=1)):
            with pytest.raises(ModelError, match="documents of a row apart"):
                network.hidden(packed[None])


def test_new_weights_of_zeros_hide_no_leak() -> None:
    """Branches that begin at zero let nothing through, so nothing leaks yet: stirred weights are asked."""
    model = causal("gpt_oss", double=False)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data.zero_()
        layer.self_attn.o_proj.bias.data.zero_()
    assert LanguageNetwork(model).packing is None
    assert all(not layer.self_attn.o_proj.weight.any() for layer in model.model.layers)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("gemma2", "final_logit_softcapping=30.0"),
        ("nanochat", "final_logit_softcapping=15.0"),
        ("bert", "head of this"),
    ],
)
def test_what_is_no_head_of_hidden_states_is_refused_by_name(family: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        LanguageNetwork(causal(family, double=False))


def test_a_model_that_sees_what_comes_is_refused() -> None:
    model = causal("llama")
    model.config.is_causal = False
    with pytest.raises(ModelError, match="see the tokens after it"):
        LanguageNetwork(model)


def test_a_tied_head_is_one_parameter_and_one_tensor(tmp_path: Any) -> None:
    network = LanguageNetwork(causal("qwen3"))
    assert network.tied
    assert sum(p.numel() for p in network.parameters()) == causal("qwen3").num_parameters()
    tensors = network.state_dict()
    assert "head.weight" not in tensors and "body.embed_tokens.weight" in tensors
    checkpoint.save(tmp_path / "w.safetensors", Model(network).state_dict(), {})
    other = Model(LanguageNetwork(causal("qwen3", seed=1)))
    checkpoint.load_weights(other, checkpoint.load(tmp_path / "w.safetensors")[0], "here")
    rows = row(A, C)[None]
    assert other.network.tied and torch.equal(other(rows), network(rows))
    del tensors["body.embed_tokens.weight"]
    with pytest.raises(RunError, match=r"head\.weight|embed_tokens"):
        checkpoint.load_weights(other.network, tensors, "here")


def test_a_copy_is_a_network_of_its_own() -> None:
    network = LanguageNetwork(causal("qwen3"))
    rows, prompt = row(A, C)[None], Sampling(length=4)
    before, went_on = network(rows).detach(), network.generate([A], prompt)
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        parameter.data.mul_(-1.5)
    assert other.tied and not torch.allclose(other(rows), before)
    assert torch.equal(network(rows), before) and network.generate([A], prompt) == went_on
    assert other.generate([A], prompt) != went_on


def test_a_token_that_is_called_padding_learns_as_others_do() -> None:
    """transformers makes the embedding of the padding token deaf; in many models it is the token that ends a text."""
    model = causal("llama")
    assert model.model.embed_tokens.padding_idx == 2
    network = LanguageNetwork(model)
    network(row([7, 2, 9])[None])[0, 1:3].square().sum().backward()
    gradient = network.embedding.weight.grad
    assert gradient is not None and bool(gradient[2].abs().sum() > 0)


def test_renumbering_cuts_rows_and_reads_the_new_numbers() -> None:
    for family in ("qwen3", "gpt_neox", "cohere"):
        model = causal(family)
        network = Model(LanguageNetwork(model), classes=[f"t{number}" for number in range(SYMBOLS)])
        order = [30, 2, 8, 60, 7, 11, 9]
        before = own(model, A)[:, order].detach()
        network.align([f"t{number}" for number in order])
        rows = row([order.index(token) for token in A])[None]
        assert torch.allclose(network(rows)[0], before, rtol=0, atol=1e-12)
        assert network.class_index is None and network.classes == tuple(f"t{number}" for number in order)
        assert network.network.size == 7 and network.network.config.vocab_size == 7
        assert network.network.config.eos_token_id == (1 if model.config.eos_token_id is not None else None)
        assert network.network.head.weight.shape[0] == network.network.embedding.weight.shape[0] == 7
        with pytest.raises(ModelError, match="knows no class 't5'"):
            network.align(["t30", "t5"])


def test_padded_rows_have_no_probability() -> None:
    network = Model(LanguageNetwork(causal("gpt2")), classes=[f"t{number}" for number in range(SYMBOLS)])
    network.align([f"t{number}" for number in range(90)])
    logits = network(row(A)[None])
    assert logits.shape[-1] == 90
    assert torch.allclose(logits.softmax(-1).sum(-1), torch.ones_like(logits[..., 0]))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_padding_beyond_the_context_is_no_document(family: str) -> None:
    network, document = LanguageNetwork(causal(family)), [7, 9, 11, 13]
    with torch.no_grad():
        padded = network(row(document, length=80)[None])[0, :4]
        torch.testing.assert_close(padded, network(row(document)[None])[0], rtol=1e-3, atol=1e-6)


def test_a_document_beyond_the_context_is_refused_and_a_row_is_not() -> None:
    network = LanguageNetwork(causal("gpt2"))
    half = list(range(3, 43))
    assert network(row(half, half)[None]).shape == (1, 80, SYMBOLS)
    with pytest.raises(ModelError, match="document of 65 tokens is longer than the context"):
        network(row([5] * 65)[None])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text", "opt"])
def test_prompts_of_different_lengths_go_on_as_each_does_alone(family: str) -> None:
    # In float64 eager attention makes NaN of padding: its mask is beyond the softmax's float32.
    model = causal(family, double=False)
    network = LanguageNetwork(model).train()
    sampling = Sampling(length=6)
    together = network.generate([A, B, C], sampling)
    assert together == [network.generate([prompt], sampling)[0] for prompt in (A, B, C)]
    slowly = list(A)
    for _ in range(6):
        slowly.append(int(own(model.eval(), slowly)[-1].argmax()))
    network.train()
    assert together[0] == slowly[len(A) :]
    network.generate([A], sampling)
    assert network.training and network.body.training


def test_draws_follow_their_seed_and_leave_the_callers_alone() -> None:
    network = LanguageNetwork(causal("llama"))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    drawn = [network.generate([A], Sampling(length=8, temperature=1.5, seed=seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(2), expected)
    assert drawn[0] == drawn[1] != drawn[2]
    ended = network.generate([A], Sampling(length=8, temperature=1.5, seed=1, end=(drawn[0][3],)))[0]
    assert ended == drawn[0][: drawn[0].index(drawn[0][3]) + 1]


@pytest.mark.parametrize("wrong", [{"length": 0}, {"temperature": -1.0}, {"nucleus": 0.0}])
def test_texts_that_cannot_go_on_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=next(iter(wrong))):
        Sampling(**{"length": 3, **wrong})
    with pytest.raises(ModelError, match="prompt 1 of 2 has no tokens"):
        LanguageNetwork(causal("llama")).generate([A, []], Sampling(length=2))
    with pytest.raises(ModelError, match="66 tokens, prompt and answer"):
        LanguageNetwork(causal("llama")).generate([A], Sampling(length=60))


def test_the_configuration_is_in_the_fingerprint() -> None:
    one, other = causal("llama"), causal("llama", rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    assert Model(LanguageNetwork(one)).fingerprint() != Model(LanguageNetwork(other)).fingerprint()
    assert Model(LanguageNetwork(one)).fingerprint() == Model(LanguageNetwork(causal("llama"))).fingerprint()


def test_every_family_of_the_small_ones_is_asked_something() -> None:
    assert set(FAMILIES) == {*PACKED, *ALONE, "gemma2", "nanochat", "bert"}
