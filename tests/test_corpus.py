"""The texts that a teacher writes: a file that data reads as it is, gone on with after a kill, and who wrote it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_languages import tokenizer
from small_server import Speaker, answer, serving
from small_speakers import causal

import limbeck
from limbeck.catalog.data import data_of
from limbeck.cli import main
from limbeck.corpus import Corpus, write
from limbeck.data.prompts import prompts
from limbeck.errors import DataError, LimbeckError, RecordingError, TeacherStopped
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.vocabulary import vocabulary
from limbeck.languages.writing import LocalWriter, Prompt, Written
from limbeck.model import Model
from limbeck.recipe import DataSpec, Tokens

QUESTIONS = [f"What is {number} and two?" for number in range(30)]
SIZES = {"vocab_size": 360, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 0, "max_position_embeddings": 256}


class Counted(LocalWriter):
    """A small model that keeps what it was asked, and may be stopped."""

    stops = 10**9

    def __init__(self) -> None:
        known = tokenizer()
        network = LanguageNetwork(causal("llama", attention="sdpa", **SIZES))
        super().__init__(Model(network, classes=vocabulary(known)), known, "small")
        self.asked: list[Prompt] = []

    def write(self, prompts: Sequence[Prompt], sampling: Sampling, samples: int = 1) -> list[list[Written]]:
        if len(self.asked) >= self.stops:
            raise KeyboardInterrupt
        self.asked += prompts
        return super().write(prompts, sampling, samples)


@pytest.fixture(scope="module")
def counted() -> Counted:
    return Counted()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def bytes_of(found: Corpus) -> list[bytes]:
    beside = sorted(found.path.parent.glob("*"))
    return [file.read_bytes() for file in beside if not file.name.endswith("lock")]


@pytest.mark.parametrize("chat", [False, True])
def test_data_reads_what_was_written_as_it_is(counted: Counted, tmp_path: Path, chat: bool) -> None:
    counted.tokenizer.save_pretrained(tmp_path / "reads")
    how: dict[str, Any] = {"length": 40, "temperature": 2.0, "samples": 4, "chat": chat}
    found = limbeck.write(counted, QUESTIONS, tmp_path / "texts" / "said.jsonl", **how)
    assert found.texts + found.cut == 120 and found.texts > 5 and found.cut > 5
    written = lines(found.path)
    whole = counted.write([prompt for prompt in prompts(QUESTIONS, chat=chat)], Sampling(40, temperature=2.0), 4)
    for line in written:
        said = line["messages"][-1]["content"] if chat else line["completion"]
        text = whole[line["number"]][line["sample"]]
        assert (said, line["tokens"], text.finished) == (text.text, text.tokens, True)
    assert all(line["tokens"] == 40 for line in lines(found.cut_path))
    good = [line for line in written if chat or line["completion"].strip()]
    found.path.write_text("".join(f"{json.dumps(line)}\n" for line in good))
    tokens = Tokens(tokenizer=f"hf:{tmp_path / 'reads'}", length=128)
    data = data_of(DataSpec(source=str(found.path), tokens=tokens, unreadable=0.5), labels="tokens")
    assert len(data.train) > 0
    kept = json.loads((tmp_path / "texts" / "said.provenance.json").read_text())
    assert (kept["teacher"], kept["samples"], kept["prompts"]) == ("small", 4, 30)
    assert kept["template"] == counted.template and kept["sampling"]["temperature"] == 2.0


def test_stopped_or_torn_it_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limbeck.corpus._AT_ONCE", 7)
    how: dict[str, Any] = {"length": 20, "temperature": 2.0, "samples": 2, "seed": 3}
    speaks = Counted()
    whole = write(speaks, QUESTIONS, tmp_path / "whole" / "a.jsonl", **how)
    speaks.stops = len(speaks.asked) + 14
    path = tmp_path / "parts" / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write(speaks, QUESTIONS, path, **how)
    speaks.stops, before = 10**9, len(speaks.asked)
    cut = path.with_name("a.cut.jsonl")
    cut.write_bytes(cut.read_bytes() + b'{"prompt": "What')  # killed while it wrote
    done: list[tuple[int, int]] = []
    parts = write(speaks, QUESTIONS, path, progress=lambda *each: done.append(each), **how)
    assert len(speaks.asked) - before == 16 and done[0] == (14, 30) and done[-1] == (30, 30)
    assert bytes_of(parts) == bytes_of(whole)
    again = write(speaks, QUESTIONS, path, **how)
    assert len(speaks.asked) - before == 16 and (again.texts, again.cut) == (whole.texts, whole.cut)
    for other, words in (
        ({"seed": 4}, "another sampling"),
        ({"samples": 3}, "another samples"),
        ({"limit": 5}, "another prompts"),
    ):
        with pytest.raises(RecordingError, match=words):
            write(speaks, QUESTIONS, path, **{**how, **other})
    (tmp_path / "foreign.jsonl").write_text("{}\n")
    with pytest.raises(RecordingError, match="nothing says who wrote it"):
        write(speaks, QUESTIONS, tmp_path / "foreign.jsonl", **how)


@pytest.fixture
def speaker() -> Iterator[Speaker]:
    with serving(Speaker(causal("llama", **SIZES), tokenizer())) as found:
        yield found


def test_a_server_writes_and_its_tokens_are_counted(speaker: Speaker, tmp_path: Path) -> None:
    text = f"openai:{speaker.url}#small(ledger={str(tmp_path / 'book')!r}, retries=0, at_once=1, prices=(1, 10))"
    how: dict[str, Any] = {"length": 5, "temperature": 1.0, "chat": True}
    speaker.misbehaves = lambda request, number: number == 20 and answer(request, 500, {"error": "no"})
    with pytest.raises(TeacherStopped, match="state 500"):
        write(text, QUESTIONS, tmp_path / "a.jsonl", **how)
    found = write(text, QUESTIONS, tmp_path / "a.jsonl", **how)
    assert len(speaker.asked) == 31 and found.texts + found.cut == 30
    assert found.spent is not None and found.spent.requests == 10
    assert found.cost == pytest.approx((found.spent.asked + 10 * found.spent.said) / 1e6)


def test_prompts_of_every_form(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps({'messages': said, 'id': n})}\n" for n in range(3)))
    assert prompts(tmp_path / "a.jsonl") == [said[:1]] * 3
    first = {"role": "system", "content": "Be short."}
    assert prompts(tmp_path / "a.jsonl", system="Be short.", limit=2) == [[first, *said[:1]]] * 2
    (tmp_path / "b.csv").write_text("question,answer\nWhat?,That\nWhy?,So\n")
    assert prompts(tmp_path / "b.csv", column="question") == ["What?", "Why?"]
    assert prompts(tmp_path / "b.csv", column="question", chat=True)[1] == [{"role": "user", "content": "Why?"}]
    (tmp_path / "c.txt").write_text("One line\nand more\n\nAnother\n")
    assert prompts(str(tmp_path / "c.txt")) == ["One line\nand more", "Another"]
    for wrong, words in {
        "nothing.jsonl": "cannot be read|no prompts",
        "b.csv": "no column of prompts",
        "d.jsonl": "no prompt",
        "e.jsonl": "is .* no prompt",
    }.items():
        (tmp_path / "d.jsonl").write_text("")
        (tmp_path / "e.jsonl").write_text(json.dumps({"messages": [{"role": "user"}]}) + "\n")
        with pytest.raises(DataError, match=words):
            prompts(tmp_path / wrong)
    with pytest.raises(DataError, match="some prompts are texts"):
        prompts(["a", said])
    with pytest.raises(DataError, match="message of the system"):
        prompts(["a"], system="Be short.")


def test_the_command_writes_and_says_what_it_took(
    speaker: Speaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    (tmp_path / "p.jsonl").write_text("".join(f"{json.dumps({'prompt': each})}\n" for each in QUESTIONS[:4]))
    text = f"openai:{speaker.url}#small(prices=(1, 10))"
    asked = ["write", text, str(tmp_path / "p.jsonl"), "--to", str(tmp_path / "a.jsonl"), "--length", "5", "--chat"]
    with pytest.raises(SystemExit) as left:
        main([*asked, "--json"])
    said = json.loads(capsys.readouterr().out)
    assert left.value.code == 0 and said["texts"] + said["cut"] == 4 and said["spent"]["requests"] == 4
    assert said["cost"] > 0
    with pytest.raises(SystemExit) as left:
        main([*asked[:-2], "7"])
    told = capsys.readouterr()
    assert left.value.code == 6 and "texts with another sampling" in told.err


def test_a_changed_text_is_found_and_an_unfinished_file_says_so(
    counted: Counted, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limbeck.corpus._AT_ONCE", 7)
    how: dict[str, Any] = {"length": 40, "temperature": 2.0, "samples": 4, "seed": 3}
    path = tmp_path / "a.jsonl"

    def verified(*more: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["verify", str(path), *more])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    assert verified()[0] == 6
    stopping = Counted()
    stopping.stops = 14
    with pytest.raises(KeyboardInterrupt):
        write(stopping, QUESTIONS, path, **how)
    code, _, err = verified()
    assert code == 0 and "is not finished" in err
    found = write(counted, QUESTIONS, path, **how)
    code, out, _ = verified("--json")
    told = json.loads(out)
    assert (code, told["complete"], told["texts"], told["cut"]) == (0, True, found.texts, found.cut)
    assert told["written"]["fingerprint"] == counted.fingerprint
    for file in (found.path, found.cut_path):
        good = file.read_bytes()
        for bad in (good[:-9], good.replace(b"and two", b"and twi", 1)):
            assert bad != good
            file.write_bytes(bad)
            code, _, err = verified()
            assert code == 6 and f"{file} was changed since it was written" in err
        file.unlink()
        assert f"{file} is missing" in verified()[2]
        file.write_bytes(good)
    assert verified()[0] == 0
    # A line that is none any more is named; deleted, only what it held is written again, and then all is as noted.
    lost = found.path.read_text().splitlines(keepends=True)
    found.path.write_text("".join(["{broken\n", *lost[1:]]))
    with pytest.raises(RecordingError, match=r"line 1 of .* is damaged"):
        write(counted, QUESTIONS, path, **how)
    found.path.write_text("".join(lost[1:]))
    before = len(counted.asked)
    again = write(counted, QUESTIONS, path, **how)
    assert len(counted.asked) - before == 1 and again.texts == found.texts
    assert sorted(found.path.read_text().splitlines(keepends=True)) == sorted(lost)
    assert verified()[0] == 0


def test_what_makes_no_sense_is_refused(counted: Counted, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="at temperature 0 are all the same"):
        write(counted, ["a"], tmp_path / "a.jsonl", samples=2)
    with pytest.raises(LimbeckError, match="length=0"):
        write(counted, ["a"], tmp_path / "a.jsonl", length=0)
    assert not list(tmp_path.iterdir())
