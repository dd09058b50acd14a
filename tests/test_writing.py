"""Texts that a language model writes: each follows from seed, prompt and number, and ends where the model ends it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_speakers import causal, folder, tokenizer

from limbeck.catalog.writers import writer
from limbeck.errors import LimbeckError, ModelError
from limbeck.languages.generation import Sampling, _Draws
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.vocabulary import vocabulary
from limbeck.languages.writing import LocalWriter
from limbeck.model import Model

ASKED = [{"role": "user", "content": "w3 w4 w5"}]
CHATML = (
    "{% for m in messages %}<s> {{ m['role'] }} {{ m['content'] }} <pad> {% endfor %}"
    "{% if add_generation_prompt %}<s> assistant {% endif %}"
)


def local(*, template: str | None = CHATML, double: bool = True, **changed: Any) -> LocalWriter:
    known = tokenizer(template=template)
    network = LanguageNetwork(causal("llama", attention="sdpa", double=double, **changed))
    return LocalWriter(Model(network, classes=vocabulary(known, network.size)), known, "small")


def test_a_text_follows_from_seed_prompt_and_number_whatever_stands_beside_it() -> None:
    speaks = local()
    prompts = ["w1 w2", "w7", ASKED, "w30 w31 w32 w33"]
    how = Sampling(length=9, temperature=1.3, seed=4)
    together = speaks.write(prompts, how, samples=3)
    assert [[text] for text in speaks.write(["w7"], how, samples=3)[0]] == [[text] for text in together[1]]
    assert speaks.write(prompts[::-1], how, samples=2) == [texts[:2] for texts in together[::-1]]
    assert len({text.text for texts in together for text in texts}) == 12
    assert speaks.write(prompts, Sampling(length=9, temperature=1.3, seed=5), samples=3) != together


def test_draws_have_the_shares_of_the_softened_nucleus() -> None:
    logits = torch.tensor([2.0, 0.5, -1.0, 1.5, -3.0]).double()
    for nucleus in (1.0, 0.8):
        how = Sampling(length=1, temperature=0.7, nucleus=nucleus, seed=1)
        count = 40_000
        chosen = _Draws(how, torch.arange(count), 1)(torch.zeros(count, 1).long(), logits.expand(count, -1)).argmax(-1)
        shares = [math.exp(each / 0.7) for each in logits.tolist()]
        whole = sum(shares)
        if nucleus < 1:  # 0.58 and 0.28 are the first two that have 0.8 together
            shares = [share if place in (0, 3) else 0.0 for place, share in enumerate(shares)]
            assert shares[0] < nucleus * whole <= sum(shares)
        for place, share in enumerate(shares):
            wanted = share / sum(shares)
            spread = math.sqrt(max(wanted * (1 - wanted), 1e-12) / count)
            assert abs(float((chosen == place).double().mean()) - wanted) <= 4.5 * spread


def test_an_answer_ends_with_the_templates_end_and_a_text_with_the_tokenizers() -> None:
    speaks = local()
    assert speaks.ends(messages=False) == (2,)
    assert speaks.ends(messages=True) == (2, 3)  # </s>, and the <pad> that this template ends its turns with
    prompt = speaks.encoded(ASKED)
    assert prompt == speaks.tokenizer.convert_tokens_to_ids(["<s>", "<unk>", "w3", "w4", "w5", "<pad>", "<s>", "<unk>"])


def test_what_was_ended_says_so_and_has_no_end_in_its_text() -> None:
    speaks = local()
    tokens = speaks.network.generate([speaks.encoded("w1 w2")], Sampling(length=6))[0]
    cut = speaks.write(["w1 w2"], Sampling(length=6))[0][0]
    assert (cut.finished, cut.tokens, cut.asked) == (False, 6, 2)
    assert cut.text == speaks.tokenizer.decode(tokens, skip_special_tokens=True)
    ended = speaks.write(["w1 w2"], Sampling(length=6, end=(tokens[2],)))[0][0]
    assert (ended.finished, ended.tokens) == (True, tokens.index(tokens[2]) + 1)
    assert ended.text == speaks.tokenizer.decode(tokens[: ended.tokens - 1], skip_special_tokens=True)
    assert speaks.write(["w1 w2"], Sampling(length=6), samples=3)[0] == [cut] * 3


def test_a_padded_vocabulary_is_never_spoken() -> None:
    speaks = local()
    assert speaks.network.size == 90
    said = speaks.network.generate([[5]] * 40, Sampling(length=20, temperature=50.0))
    assert max(max(tokens) for tokens in said) < 90


def test_what_cannot_be_written_for_is_refused() -> None:
    with pytest.raises(ModelError, match="no chat template, and the prompts are messages"):
        local(template=None).write([ASKED], Sampling(length=2))
    with pytest.raises(ModelError, match="prompt 0 of 1 has no tokens"):
        local().write([""], Sampling(length=2))
    with pytest.raises(ModelError, match="prompt and answer, are more than the context"):
        local().write(["w1 " * 60], Sampling(length=30))
    with pytest.raises(ModelError, match="Linear and writes no text"):
        LocalWriter(Model(torch.nn.Linear(2, 2)), tokenizer(), "a layer")
    with pytest.raises(LimbeckError, match="writes no texts"):
        writer("digits")


def test_a_writer_is_found_by_its_text(tmp_path: Path) -> None:
    folder(tmp_path / "speaks")
    found = writer(f"hf:{tmp_path / 'speaks'}")
    assert isinstance(found, LocalWriter) and writer(found) is found
    again = writer(f"hf:{tmp_path / 'speaks'}")
    assert found.fingerprint == again.fingerprint != local().fingerprint
    how = Sampling(length=4, temperature=1.0)
    assert found.write(["w1"], how) == again.write(["w1"], how)
