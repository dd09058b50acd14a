"""Rows of documents: every token once and in order, labels that are the next tokens, nothing lost by packing."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.documents import PAGE, Documents
from limbeck.data.packing import pieces, shared
from limbeck.data.raw import Raw
from limbeck.data.source import load

# a document: its tokens, and how many of the first are only read
DOCUMENT = st.lists(st.integers(0, 9), min_size=1, max_size=23).flatmap(
    lambda tokens: st.tuples(st.just(tokens), st.integers(0, len(tokens)))
)
CORPUS = st.lists(DOCUMENT, min_size=1, max_size=30)


def documents(corpus, length: int, pack: bool, *, shift: int = 0) -> Documents:
    kept = [~token if place < read else token for tokens, read in corpus for place, token in enumerate(tokens)]
    kept = [0] * shift + kept
    pages = torch.tensor(kept + [0] * (-len(kept) % PAGE), dtype=torch.int32).reshape(-1, PAGE)
    sizes = np.array([shift, *(len(tokens) for tokens, _ in corpus)], dtype=np.int64)
    return Documents.of(pages, sizes, length, pack).select(torch.arange(1, len(sizes)))


def laid(found: Documents):
    """By row: each document's tokens and labels, as plain lists."""
    rows = found.rows.take(torch.arange(found.rows.shape[0]))
    labels = found.rows.labels()
    assert rows.dtype == torch.int32 and rows.shape == found.rows.shape and labels.shape == rows[:, 0].shape
    for row, said in zip(rows.tolist(), labels.tolist(), strict=True):
        tokens, numbers = row
        there = [number for number in numbers if number]
        # from 1, one after the other, padding behind them
        assert numbers == there + [0] * (len(numbers) - len(there))
        assert there == sorted(there) and set(there) == set(range(1, max(there) + 1))
        assert all(label == -1 for label, number in zip(said, numbers, strict=True) if not number)
        yield [
            [(tokens[at], said[at]) for at in range(len(numbers)) if numbers[at] == number]
            for number in range(1, max(there) + 1)
        ]


def wanted(corpus, length: int) -> list[list[tuple[int, int]]]:
    """Pieces with their labels, written down from the words of decision 7."""
    found = []
    for tokens, read in corpus:
        for first in range(0, len(tokens), length):
            piece = list(range(first, min(first + length, len(tokens))))
            found.append([(tokens[at], tokens[at + 1] if at + 1 in piece and at + 1 >= read else -1) for at in piece])
    return found


@settings(deadline=None, max_examples=150)
@given(corpus=CORPUS, length=st.integers(2, 12), pack=st.booleans(), shift=st.sampled_from([0, 1, PAGE - 3]))
def test_every_token_of_every_document_is_there_once_in_order_and_the_label_is_the_next_one(
    corpus, length, pack, shift
):
    found = documents(corpus, length, pack, shift=shift)
    rows = list(laid(found))
    said = [piece for row in rows for piece in row]
    assert Counter(map(tuple, said)) == Counter(map(tuple, wanted(corpus, length)))
    assert found.facts()["tokens"] == sum(len(tokens) for tokens, _ in corpus)
    if not pack:
        assert said == wanted(corpus, length)
        assert all(len(row) == 1 for row in rows)


@settings(deadline=None, max_examples=60)
@given(corpus=CORPUS, length=st.integers(2, 12))
def test_packed_and_unpacked_rows_hold_the_same_documents_positions_and_labels(corpus, length):
    packed, apart = (
        [piece for row in laid(documents(corpus, length, pack)) for piece in row] for pack in (True, False)
    )
    assert Counter(map(tuple, packed)) == Counter(map(tuple, apart))
    again = documents(corpus, length, True).rows
    assert torch.equal(
        again.take(torch.arange(len(again.first))),
        documents(corpus, length, True).rows.take(torch.arange(len(again.first))),
    )


@settings(deadline=None, max_examples=150)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=80), length=st.integers(2, 30))
def test_rows_are_never_too_full_and_no_two_of_them_would_fit_into_one(sizes, length):
    document, first, cut = pieces(np.array(sizes), length)
    assert [int(cut[document == place].sum()) for place in range(len(sizes))] == sizes
    assert all(first[place] + cut[place] <= sizes[document[place]] for place in range(len(cut)))
    rows = shared(cut, length)
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(cut)))
    filled = [int(cut[row].sum()) for row in rows]
    assert max(filled) <= length
    assert all(filled[one] + filled[other] > length for one in range(len(rows)) for other in range(one))


def test_best_fit_takes_the_fullest_row_that_has_room_and_the_longest_first():
    # 6 and 4 fill a row, 5 and 5 another, 7 and 3 a third; taken in order they would need four
    sizes = np.array([6, 5, 7, 4, 5, 3])
    assert [row.tolist() for row in shared(sizes, 10)] == [[0, 3], [1, 4], [2, 5]]


@settings(deadline=None, max_examples=60)
@given(
    corpus=st.lists(DOCUMENT, min_size=8, max_size=30),
    valid=st.floats(0.13, 0.3) | st.integers(1, 3),
    test=st.floats(0.13, 0.3) | st.integers(1, 3),
    seed=st.integers(0, 20),
    pack=st.booleans(),
)
def test_no_document_is_in_two_splits_and_none_is_lost(corpus, valid, test, seed, pack):
    # each document says its own number first, and has a token to learn
    numbered = [([10 + place, *tokens], 0) for place, (tokens, _) in enumerate(corpus)]
    length = 40
    raw = Raw("texts", (documents(numbered, length, pack), None), classes=tuple(map(str, range(60))))
    data = load(raw, labels="tokens", valid=valid, test=test, seed=seed)
    there = {}
    for name, rows in data.splits().items():
        piece = rows.take(torch.arange(len(rows)))
        tokens, number = piece.inputs[:, 0], piece.inputs[:, 1]
        first = (number > 0) & (number != torch.cat([torch.zeros_like(number[:, :1]), number[:, :-1]], dim=1))
        there[name] = sorted((tokens[first] - 10).tolist())
        assert torch.equal(piece.known, piece.labels >= 0) and piece.labels.dtype == torch.int64
    assert sorted(number for found in there.values() for number in found) == list(range(len(corpus)))
    for name, asked in (("valid", valid), ("test", test)):
        assert len(there[name]) == (asked if isinstance(asked, int) else round(asked * len(corpus)))
        assert data.description["documents"][name]["documents"] == len(there[name])
    ids = torch.cat([rows.ids for rows in data.splits().values()])
    assert len(torch.unique(ids)) == len(ids)
    assert load(raw, labels="tokens", valid=valid, test=test, seed=seed).fingerprint == data.fingerprint


def test_amounts_are_taken_of_a_source_s_own_splits_once():
    corpus = [([10 + place, 1, 2], 0) for place in range(40)]
    splits = [documents(corpus[:20], 8, True), documents(corpus[20:30], 8, True), documents(corpus[30:], 8, True)]
    raw = Raw("texts", *((split, None) for split in splits), classes=tuple(map(str, range(60))))
    data = load(raw, labels="tokens", valid=4, test=0.5)
    said = data.description["documents"]
    assert {name: split["documents"] for name, split in said.items()} == {"train": 20, "valid": 4, "test": 5}
    assert data.facts["how"] == {"valid": "4 of its own 10 documents", "test": "5 of its own 10 documents"}
    firsts = {name: rows.take(torch.arange(len(rows))).inputs[:, 0].unique() for name, rows in data.splits().items()}
    assert all(20 <= number - 10 < 30 for number in firsts["valid"].tolist() if number >= 10)
    assert all(30 <= number - 10 < 40 for number in firsts["test"].tolist() if number >= 10)


def test_groups_and_times_divide_documents_before_they_are_packed():
    corpus = [([10 + place, 1, 2], 0) for place in range(30)]
    people = np.array([f"p{place % 6}" for place in range(30)])
    source = Raw(
        "texts", (documents(corpus, 12, True), None), classes=tuple(map(str, range(60))), groups={"train": people}
    )
    data = load(source, labels="tokens", valid=["p1"], test=["p4"])
    for split, person in (("valid", 1), ("test", 4)):
        rows = data.splits()[split]
        found = {int(token) - 10 for token in rows.take(torch.arange(len(rows))).inputs[:, 0].flatten() if token >= 10}
        assert found == {place for place in range(30) if place % 6 == person}
    moment = np.arange(30, dtype=np.float64)
    timed = Raw(
        "texts",
        (documents(corpus, 12, True), None),
        classes=tuple(map(str, range(60))),
        times={"train": (moment, moment)},
    )
    test = load(timed, labels="tokens", split="time", valid=5, test=5).test
    found = {int(token) - 10 for token in test.take(torch.arange(len(test))).inputs[:, 0].flatten() if token >= 10}
    assert found == set(range(25, 30))
