"""Fewer tokens: the same ones for the text they were kept for, any other text still written, and the same logits."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_languages import CHATML, SENTENCES, coarse, pieces
from small_languages import tokenizer as byte_level
from small_speakers import causal
from small_speakers import tokenizer as words

from limbeck.catalog import languages
from limbeck.catalog.models import Shape, model
from limbeck.errors import DataError, ModelError
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.tokenizers import tokenizer
from limbeck.languages.trimming import counted, parts, trimmed

CORPUS = "The cat sat on the mat.\nThe dog sat by the door of stone.\n"
WHOLE = {"byte level": lambda: byte_level(bos=True), "pieces": pieces, "coarse": coarse}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("corpus") / "text.txt"
    place.write_text(CORPUS)
    return place


@pytest.mark.parametrize("name", WHOLE)
def test_the_corpus_has_the_tokens_it_had(name: str, corpus: Path) -> None:
    whole = WHOLE[name]()
    found, order = trimmed(whole, counted(whole, corpus))
    assert len(found.get_vocab()) == len(order) < len(whole.get_vocab())
    assert found.convert_ids_to_tokens(range(len(order))) == whole.convert_ids_to_tokens(order)
    # Also after what is put before a text, and within sentences that were seen.
    for text in (CORPUS, *CORPUS.splitlines(), "The dog", "the mat."):
        said = found(text)["input_ids"]
        before = whole(text)["input_ids"]
        if set(before) <= set(order):
            assert [order[token] for token in said] == before
    assert set(whole(CORPUS)["input_ids"]) <= set(order)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(WHOLE)), st.text(max_size=40))
def test_any_text_is_written_and_read_back(name: str, text: str) -> None:
    whole = WHOLE[name]()
    numbers = {token: 1 for token in whole(CORPUS)["input_ids"]}
    found, order = trimmed(whole, numbers)

    def back(reads: object, tokens: list[int]) -> str:
        return reads.decode(tokens, skip_special_tokens=True)

    said, before = (each(text, add_special_tokens=False)["input_ids"] for each in (found, whole))
    assert back(found, said) == back(whole, before)
    if name != "pieces":
        assert back(found, said) == text
    if set(before) <= set(order):
        assert [order[token] for token in said] == before


def test_the_most_used_are_kept_with_what_they_are_merged_from() -> None:
    whole = byte_level()
    least = len(trimmed(whole, {})[1])
    uses = {token: 1 + token for token in whole(" ".join(SENTENCES))["input_ids"]}
    for size in range(least, least + 25):
        found, order = trimmed(whole, uses, size)
        assert len(order) <= size
        # Each kept token is still made of its text: nothing that is kept cannot be reached.
        for token in set(order) & set(uses):
            text = whole.decode([token])
            if whole(text)["input_ids"] == [token]:
                assert found(text)["input_ids"] == [order.index(token)]
    with pytest.raises(ModelError, match=f"no room for the {least} tokens"):
        trimmed(whole, uses, least - 1)


def test_parts_are_those_of_the_merges_in_their_order() -> None:
    ranks = {("a", "b"): 1, ("b", "c"): 0, ("ab", "c"): 2, ("a", "bc"): 3}
    assert parts("abc", ranks) == {"a", "b", "c", "bc", "abc"}
    assert parts("abd", ranks) == {"a", "b", "d", "ab"}


def test_roles_and_template_stay_under_new_numbers(corpus: Path, tmp_path: Path) -> None:
    whole = byte_level(bos=True)
    found, order = trimmed(whole, counted(whole, corpus))
    found.save_pretrained(tmp_path / "reads")
    again = tokenizer(f"hf:{tmp_path / 'reads'}")
    assert again.get_vocab() == found.get_vocab() and again.chat_template == CHATML
    for reads in (found, again):
        assert (reads.bos_token, reads.eos_token, reads.pad_token) == (
            whole.bos_token,
            whole.eos_token,
            whole.pad_token,
        )
        assert order[reads.eos_token_id] == whole.eos_token_id
        said = reads.apply_chat_template([{"role": "user", "content": "The cat"}], tokenize=True, return_dict=False)
        before = whole.apply_chat_template([{"role": "user", "content": "The cat"}], tokenize=True, return_dict=False)
        assert reads.decode(said) == whole.decode(before)
        assert reads("The cat")["input_ids"][0] == order.index(whole.bos_token_id)


@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_those_of_the_kept_rows(tied: bool, corpus: Path, tmp_path: Path) -> None:
    whole = byte_level()
    own = LanguageNetwork(causal("llama", double=False, vocab_size=371, tie_word_embeddings=tied))
    own.save(tmp_path / "model")
    whole.save_pretrained(tmp_path / "model")
    text = f"trim('hf:{tmp_path / 'model'}', corpus='{corpus}')"
    found = model(text, Shape((2, 9), 300, (), torch.zeros(1), torch.ones(1)))
    reads = languages.tokenizer(text)
    order = [whole.get_vocab()[name] for name in found.classes]
    assert list(found.classes) == reads.convert_ids_to_tokens(range(len(order))) and found.network.tied == tied
    said = reads("The dog sat by the mat.")["input_ids"]
    rows, before = (torch.tensor([[tokens, [1] * len(tokens)]]) for tokens in (said, [order[token] for token in said]))
    assert torch.allclose(found(rows), own(before)[..., order], atol=1e-6)
    assert found.network.config.eos_token_id == order.index(2) if 2 in order else True
    smaller = model(f"shrink({text!r}, layers=2)", Shape((2, 9), 300, (), torch.zeros(1), torch.ones(1)))
    assert smaller.classes == found.classes and smaller(rows).shape == found(rows).shape


def test_what_cannot_be_trimmed_is_said(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(ModelError, match="are WordLevel"):
        trimmed(words(), {})
    with pytest.raises(DataError, match="there is no file"):
        counted(byte_level(), tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="holds no token"):
        counted(byte_level(), tmp_path / "empty.txt")
    said = json.loads(byte_level().backend_tokenizer.to_str())
    assert said["model"]["type"] == "BPE"
