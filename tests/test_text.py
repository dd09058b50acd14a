"""Text files, tables and generators as rows of tokens: what is read, what is refused, and what the report says."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, DatasetDict
from small_files import csv, loaded
from small_languages import CHATML, SENTENCES, folder, tokenizer

from limbeck.data.documents import PackedInputs
from limbeck.data.loader import batches, in_order
from limbeck.data.mapped import MappedInputs
from limbeck.data.source import Data
from limbeck.data.standardise import statistics
from limbeck.errors import DataError, RecipeError
from limbeck.examination.checks import of_data
from limbeck.languages.vocabulary import fingerprint, vocabulary
from limbeck.recipe import Recipe
from limbeck.signals import Batch
from limbeck.tasks.sequence import SequenceLabels

TEXTS = [f"{SENTENCES[place % 5]} This is number {place}." for place in range(40)]


class Speech(SequenceLabels):
    """A task whose labels are the next tokens, until there is one in the library."""

    name = "speech"
    labels = "tokens"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("small"))


def text(source, small: str, *, length: int = 64, columns=None, data=None, **said) -> Data:
    more = {} if columns is None else {"columns": columns}
    return loaded(
        source, labels="tokens", tokens={"tokenizer": small, "length": length, **said}, **more, **(data or {})
    )


def documents(data: Data) -> dict[str, list[tuple[str, str]]]:
    """By split, sorted: the text of each document, and what of it is learnt."""
    found = {}
    for name, rows in data.splits().items():
        piece = rows.take(torch.arange(len(rows)))
        said = []
        for (tokens, number), labels in zip(piece.inputs.tolist(), piece.labels.tolist(), strict=True):
            for document in range(1, max(number) + 1):
                at = [place for place, owner in enumerate(number) if owner == document]
                whole = "".join(data.classes[tokens[place]] for place in at)
                said.append((plain(whole), plain("".join(data.classes[n] for p in at if (n := labels[p]) >= 0))))
        found[name] = sorted(said)
    return found


def plain(tokens: str) -> str:
    return tokenizer().convert_tokens_to_string([tokens])


def every(data: Data) -> list[str]:
    return sorted(whole for split in documents(data).values() for whole, _ in split)


def test_lists_generators_columns_and_tables_give_the_same_rows(small, tmp_path):
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": line, "more": 1}) for line in TEXTS))
    csv(tmp_path / "a.csv", {"text": [f'"{line}"' for line in TEXTS]})
    (tmp_path / "a.txt").write_text("\n\n".join(TEXTS))
    sources = {
        "list": TEXTS,
        "generator": (line for line in TEXTS),
        "rows": [{"text": line} for line in TEXTS],
        "columns": {"text": TEXTS},
        "datasets": Dataset.from_dict({"text": TEXTS}),
        **{name: tmp_path / name for name in ("a.parquet", "a.jsonl", "a.csv")},
    }
    found = {name: text(source, small) for name, source in sources.items()}
    found["a.txt"] = text(tmp_path / "a.txt", small, documents="paragraph")
    assert {data.fingerprint for data in found.values()} == {found["list"].fingerprint}
    data = found["list"]
    assert every(data) == sorted(line + "<|end|>" for line in TEXTS)
    assert data.classes == vocabulary(tokenizer()) and len(data.classes) == 360
    assert data.reader == fingerprint(tokenizer()) == data.facts["tokens"]["fingerprint"]
    assert len(json.dumps(data.description)) < 2000
    counts = {name: split["documents"] for name, split in data.description["documents"].items()}
    assert counts == {"train": 32, "valid": 4, "test": 4}


def test_text_files_are_documents_and_folders_hold_splits(small, tmp_path):
    for place, line in enumerate(TEXTS):
        file = tmp_path / "all" / f"part{place % 3}" / f"{place}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(line + "\r\n\r\nA second paragraph.\n", newline="")
    (tmp_path / "all" / "part0" / "0.txt").unlink()
    (tmp_path / "all" / "part0" / "0.txt.gz").write_bytes(
        gzip.compress(f"{TEXTS[0]}\n\nA second paragraph.\n".encode())
    )
    (tmp_path / "all" / ".hidden").mkdir()
    (tmp_path / "all" / ".hidden" / "x.txt").write_text("nobody reads this")
    data = text(tmp_path / "all", small)
    assert every(data) == sorted(f"{line}\n\nA second paragraph.\n<|end|>" for line in TEXTS)
    apart = text(tmp_path / "all", small, documents="paragraph")
    assert every(apart) == sorted([f"{line}<|end|>" for line in TEXTS] + ["A second paragraph.<|end|>"] * 40)
    for split, lines in (("train", TEXTS[:30]), ("test", TEXTS[30:])):
        (tmp_path / "split" / split).mkdir(parents=True)
        for place, line in enumerate(lines):
            (tmp_path / "split" / split / f"{place}.txt").write_text(line)
    data = text(tmp_path / "split", small, data={"test": 0.5, "valid": 3})
    assert {name: len(split) for name, split in documents(data).items()} == {"train": 27, "valid": 3, "test": 5}
    assert {whole for whole, _ in documents(data)["test"]} <= {line + "<|end|>" for line in TEXTS[30:]}


def test_prompts_and_messages_are_found_by_their_usual_names_and_learnt_in_part(small):
    rows = [{"prompt": f"What is {n} and one?", "completion": f" It is {n + 1}."} for n in range(30)]
    data = text(rows, small)
    assert data.facts["tokens"]["learnt"] == "completions"
    wanted = {(f"{row['prompt']}{row['completion']}<|end|>", f"{row['completion']}<|end|>") for row in rows}
    assert {document for split in documents(data).values() for document in split} == wanted
    pairs = text([(row["prompt"], row["completion"]) for row in rows], small)
    assert pairs.fingerprint == data.fingerprint
    named = [{"q": row["prompt"], "a": row["completion"]} for row in rows]
    assert text(named, small, columns={"inputs": "q", "label": "a"}).fingerprint == data.fingerprint
    talks = [
        [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]
        for row in rows
    ]
    found = text([{"messages": talk} for talk in talks], small)
    assert {said for split in documents(found).values() for _, said in split} == {
        f"{row['completion']}<|im_end|>" for row in rows
    }
    held = DatasetDict(train=Dataset.from_dict({"messages": talks}))
    assert text(held, small).fingerprint == found.fingerprint
    everything = text([{"messages": talk} for talk in talks], small, learn="all")
    whole = {tokenizer().apply_chat_template(talk, tokenize=False) for talk in talks}
    assert {document for split in documents(everything).values() for document, _ in split} == whole


def test_what_does_not_fit_a_row_is_cut_where_all_is_learnt_and_left_out_where_completions_are(small):
    whole = "".join(f" word{n}" for n in range(60))
    data = text([whole] * 5, small, length=16, data={"valid": 1, "test": 1})
    assert data.facts["tokens"]["longer_than_a_row"] == {"documents": 5, "left_out_tokens": 0}
    tokens = tokenizer()(whole)["input_ids"]
    assert len(data.valid) == -(-(len(tokens) + 1) // 16)
    long, short = {"prompt": whole, "completion": " yes"}, {"prompt": "a", "completion": whole}
    with pytest.warns(UserWarning, match=r"2 documents have no token to learn .*row 0, train, row 1"):
        data = text([long, long, *[{"prompt": "a", "completion": f" {n}"} for n in range(9)]], small, length=16)
    assert data.facts["tokens"]["nothing_to_learn"] == {"count": 2, "first": ["train, row 0", "train, row 1"]}
    assert sum(len(found) for found in documents(data).values()) == 9
    with pytest.warns(UserWarning, match=r"6 documents are longer than a row, and their last .* tokens are left out"):
        data = text([short] * 6, small, length=16)
    assert {len(row) for row in data.train.known} == {16} and int(data.train.known[0].sum()) == 15
    with pytest.raises(DataError, match=r"a greater data\.tokens\.length"):
        text([long] * 6, small, length=16)


def test_a_tokenizer_with_another_template_or_rule_is_another_reader(small, tmp_path):
    first = text(TEXTS, small)
    assert text(TEXTS, folder(tmp_path / "same")).fingerprint == first.fingerprint
    other = text(TEXTS, folder(tmp_path / "other", template=CHATML + " "))
    assert other.train.fingerprint == first.train.fingerprint and other.fingerprint != first.fingerprint
    padded = tokenizer()
    padded(["a", "b c"], padding=True, truncation=True, max_length=4)
    assert fingerprint(padded) == first.reader
    assert fingerprint(tokenizer(bos=True)) != first.reader


def test_text_that_outgrows_memory_lies_in_a_file_and_is_found_again(small, tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": line * 40, "who": f"p{n % 7}"}) for n, line in enumerate(TEXTS)))
    columns = {"inputs": "text", "group": "who"}
    held = text(path, small, columns=columns, length=100)
    mapped = text(path, small, columns=columns, length=100, data={"memory": "1KB"})
    inputs = mapped.train.inputs
    assert isinstance(inputs, PackedInputs) and isinstance(inputs.pages, MappedInputs)
    assert mapped.facts["kept"]["in"] == "a mapped file"
    again = text(path, small, columns=columns, length=100, pack=False, data={"memory": "1KB"})
    assert len(list((tmp_path / "cache" / "data").iterdir())) == 1
    assert held.fingerprint == mapped.fingerprint and every(again) == every(held)
    assert held.facts["how"] == mapped.facts["how"]


def test_batches_count_the_positions_that_are_learnt(small):
    data = text([{"prompt": f"Count {n}", "completion": f" is {n}"} for n in range(40)], small, length=32)
    task = Speech()
    for batch in [
        *batches(data.train, task, batch_size=3, seed=0, epoch=0),
        *in_order(data.test, task, batch_size=2),
    ]:
        assert torch.equal(batch.mask, batch.known) and torch.equal(batch.known, batch.labels >= 0)
        assert batch.labels.dtype == torch.int64 and batch.inputs.dtype == torch.int32
        own = Batch.of(batch.inputs, batch.labels, task)
        assert torch.equal(own.mask, batch.mask) and torch.equal(own.known, batch.known)
    usual = Batch.of(torch.zeros(2, 3), torch.tensor([[0, 1], [1, 0]]), SequenceLabels())
    assert bool(usual.mask.all()) and bool(usual.known.all())


def test_the_examination_finds_equal_documents_and_takes_tokens_for_no_numbers(small):
    data = text(TEXTS, small)
    for limited in (True, False):
        assert [finding.subject for finding in of_data(data, Speech(), limited=limited).findings] == []
    mean, deviation = statistics(data.train, data.labels)
    assert mean.tolist() == [0, 0] and deviation.tolist() == [1, 1]
    twice = text([*TEXTS[:20], *TEXTS[:20]], small, length=300, data={"valid": 0.3, "test": 0.3})
    subjects = {finding.subject for finding in of_data(twice, Speech(), limited=True).findings}
    assert "the same documents in training and test" in subjects
    # in whatever company they lie
    rows = twice.train.inputs.take(torch.arange(len(twice.train)))
    others = twice.test.inputs.take(torch.arange(len(twice.test)))
    assert not any(bool((row == other).all()) for row in rows for other in others)


def test_rows_of_a_person_s_own_are_taken_with_a_vocabulary():
    inputs = np.zeros((6, 2, 4), dtype=np.int32)
    inputs[:, 0], inputs[:, 1, :3] = 3, 1
    labels = np.full((6, 4), -1)
    labels[:, :2] = 3
    data = loaded({"train": (inputs, labels), "classes": list("abcde")}, labels="tokens", valid=1, test=1)
    assert data.train.known.sum(dim=1).tolist() == [2] * 4
    for wrong, message in (
        ({"train": (inputs, labels)}, "the vocabulary of the tokens is not known"),
        ({"train": (inputs, labels + 5), "classes": list("abcde")}, "from 4 to 8"),
        ({"train": (inputs, labels[:, 0]), "classes": list("abcde")}, "whole numbers of shape"),
        ({"train": (inputs, labels * 0 - 1), "classes": list("abcde")}, "no position of the train rows"),
        ({"train": (inputs[:, 0], labels), "classes": list("abcde")}, "whole numbers of shape (rows, 2, 4)"),
        ({"train": (inputs * 2, labels), "classes": list("abcde")}, "tokens from 6 to 6"),
    ):
        with pytest.raises(DataError) as caught:
            loaded(wrong, labels="tokens", valid=1, test=1)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        ([{"text": "a b", "messages": []}] * 9, {}, "columns.inputs, because there are text, messages"),
        ([{"body": "a b"}] * 9, {}, "no column is said to be the text, and there are body"),
        ([{"body": "a b"}] * 9, {"columns": {"inputs": "bodi"}}, "did you mean 'body'"),
        ([{"text": 4.5}] * 9, {}, "the column 'text' holds numbers"),
        ([{"prompt": "a", "completion": 7}] * 9, {}, "the column 'completion' holds numbers"),
        ([{"text": ["a", "b"]}] * 9, {"columns": {"inputs": "text"}}, "a message without a role"),
        ([{"text": "a b"}] * 9, {"columns": {"inputs": ["text", "b"]}}, "names 2 columns"),
        ([{"text": "a b"}] * 9, {"columns": {"inputs": "text", "label": "text"}}, "is the prompt and also"),
        ([{"text": "a b"}] * 9, {"learn": "completions"}, "holds plain text"),
        ([{"text": "a b"}, {"text": "  "}], {}, "train, row 1: column 'text' is empty"),
        ([{"prompt": "a", "completion": ""}] * 9, {}, "column 'completion' is empty"),
        ([{"messages": [{"role": "user", "content": "a"}]}] * 9, {}, "no turn of the assistant"),
        ([{"messages": [{"role": "assistant", "content": "a"}]}] * 9, {"eos": True}, "tokens.eos is said"),
        (["a b"] * 9, {"data": {"labelled": 3}}, "labelled=3"),
        (["a b"] * 9, {"data": {"omit": ["a"]}}, "no single class"),
        (["a b"] * 9, {"data": {"windows": {"steps": 3}}}, "data.windows is said beside data.tokens"),
        (["a b"] * 9, {"data": {"valid": 0.9}}, "leaves no row to train on"),
        ([3, 4], {}, "row 0 of the train rows is int"),
        ([], {}, "holds no document"),
        ({"train": ["a b"] * 9, "valid": []}, {}, "the valid split of a generator holds no document"),
    ],
)
def test_what_is_wrong_with_text_is_said_before_work(small, rows, keys, message):
    with pytest.raises(DataError) as caught:
        text(rows, small, **keys)
    assert message in str(caught.value)


def test_a_share_of_unreadable_documents_is_left_out_and_listed(small, tmp_path):
    for place, line in enumerate(TEXTS):
        (tmp_path / f"{place:02d}.txt").write_text(line)
    (tmp_path / "20.txt").write_bytes(b"\xff\xfe\x00broken")
    (tmp_path / "21.txt").write_text(" \n")
    with pytest.raises(DataError, match=r"2 of 40 documents"):
        text(tmp_path, small)
    data = text(tmp_path, small, data={"unreadable": 0.1})
    assert data.facts["unreadable"]["count"] == 2
    first = data.facts["unreadable"]["first"]
    assert first[0].startswith("20.txt: is no text in UTF-8") or first[1].startswith("20.txt: is no text in UTF-8")
    assert len(every(data)) == 38


def test_tokens_and_task_must_fit(small, tmp_path):
    (tmp_path / "a.txt").write_text("a b")
    with pytest.raises(DataError, match="no tokenizer is said"):
        loaded(tmp_path / "a.txt", labels="tokens")
    with pytest.raises(DataError, match="the task reads no text"):
        loaded(tmp_path / "a.txt", tokens={"tokenizer": small, "length": 4})
    with pytest.raises(DataError, match=r"data.tokens is said, and digits is a known set"):
        loaded("digits", labels="tokens", tokens={"tokenizer": small, "length": 4})
    (tmp_path / "rows.npy").write_bytes(b"")
    with pytest.raises(DataError, match="is no text, and holds none"):
        text(tmp_path / "rows.npy", small)
    with pytest.raises(RecipeError, match=r"did you mean 'tokenizer'"):
        Recipe.make(data={"source": "a.txt", "tokens": {"tokeniser": "x", "length": 4}}, student="mlp")
    with pytest.raises(RecipeError, match=r"data.tokens.tokenizer is missing"):
        Recipe.make(data={"source": "a.txt", "tokens": {"length": 4}}, student="mlp")
    said = {"source": "a.txt", "tokens": {"tokenizer": "hf:x", "length": 4, "pack": False, "eos": False}}
    recipe = Recipe.make(data=said, student="mlp")
    assert Recipe.parse(recipe.yaml()) == recipe
