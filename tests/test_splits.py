"""Laws of splitting: disjoint, complete, in proportion, repeatable; hidden labels and omitted classes."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tables import ids, table
from torch.utils.data import TensorDataset

from limbeck.data.source import load
from limbeck.data.splits import shares
from limbeck.errors import DataError


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(20, 90),
    classes=st.integers(2, 5),
    valid=st.floats(0.05, 0.4) | st.integers(1, 8),
    test=st.floats(0.05, 0.4) | st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_splits_are_disjoint_cover_the_rows_and_are_in_proportion(rows, classes, valid, test, seed):
    inputs, labels = table(rows, classes)
    data = load((inputs, labels), valid=valid, test=test, seed=seed)
    train_ids, valid_ids, test_ids = ids(data)
    assert sorted(train_ids + valid_ids + test_ids) == list(range(rows))
    for split, asked in ((data.valid, valid), (data.test, test)):
        assert len(split) == (asked if isinstance(asked, int) else round(asked * rows))
    counts = torch.bincount(data.test.labels, minlength=classes)
    exact = np.bincount(labels, minlength=classes) * len(data.test) / rows
    assert (np.abs(counts.numpy() - exact) < 1).all()
    for split in (data.train, data.valid, data.test):
        assert np.array_equal(split.inputs.numpy(), inputs[split.ids.numpy()])
        assert np.array_equal(split.labels.numpy(), labels[split.ids.numpy()])
    again = load((inputs, labels), valid=valid, test=test, seed=seed)
    assert ids(again) == ids(data)
    assert again.fingerprint == data.fingerprint


@given(sizes=st.lists(st.integers(0, 40), min_size=1), part=st.floats(0, 1), least=st.integers(0, 2))
def test_shares_add_up_stay_within_the_groups_and_are_fair(sizes, part, least):
    smallest = sum(min(size, least) for size in sizes)
    total = smallest + round(part * (sum(sizes) - smallest))
    given_out = shares(sizes, total, least)
    assert sum(given_out) == total
    assert all(min(size, least) <= number <= size for size, number in zip(sizes, given_out, strict=True))
    if least == 0 and total:
        assert all(abs(n - total * size / sum(sizes)) < 1 for n, size in zip(given_out, sizes, strict=True))


def test_another_seed_takes_other_rows_and_the_test_rows_do_not_depend_on_the_valid_ones():
    first, second = load("digits", seed=0), load("digits", seed=1)
    assert ids(first)[2] != ids(second)[2]
    assert load("digits", seed=0, valid=5).test.fingerprint == first.test.fingerprint


def test_a_sets_own_split_is_kept_or_thinned_and_given_rows_are_used():
    own = {"train": table(60), "test": table(20), "classes": ["a", "b", "c", "d"]}
    data = load(own)
    assert data.test.ids.tolist() == list(range(60, 80))
    assert data.classes == ("a", "b", "c", "d")
    assert data.description["how"] == {"test": "own rows", "valid": "6 of the 60 train rows, stratified"}
    thin = load(own, test=0.4)
    assert len(thin.test) == 8
    assert set(thin.test.ids.tolist()) <= set(range(60, 80))
    assert thin.train.fingerprint == data.train.fingerprint
    pair = load(table(60), valid=table(10), test=TensorDataset(*map(torch.from_numpy, table(12))))
    assert [len(part) for part in ids(pair)] == [60, 10, 12]
    assert ids(pair)[1:] == [list(range(60, 70)), list(range(70, 82))]


def test_labels_are_hidden_in_proportion_with_one_of_each_class_at_least():
    labels = np.array([0] * 90 + [1] * 9 + [2])
    source = {"train": (table(100)[0], labels), "valid": table(8, 3), "test": table(8, 3)}
    data = load(source, labelled=11)
    shown = data.train.labels[data.train.known]
    # one of each first, then the other eight in proportion to 89 : 8 : 0
    assert torch.bincount(shown).tolist() == [8, 2, 1]
    assert len(data.train) == 100
    assert not data.train.labels[~data.train.known].any(), "hidden labels are erased"
    assert data.description["splits"]["train"]["labelled"] == 11
    assert data.description["labelled"] == 11
    with pytest.raises(
        DataError, match="labelled=2 of 100 labelled train rows in 3 classes\n  expected: a number from 3"
    ):
        load(source, labelled=2)


def test_omitted_classes_leave_the_train_rows_only():
    data = load("digits", omit=["3", "8"])
    counts = {name: split["class_counts"] for name, split in data.description["splits"].items()}
    assert counts["train"]["3"] == counts["train"]["8"] == 0
    assert counts["valid"]["3"] > 0
    assert counts["test"]["8"] > 0
    assert data.test.fingerprint == load("digits").test.fingerprint
    with pytest.raises(DataError, match=r"omit names 'three', which is no class"):
        load("digits", omit=["three"])
    with pytest.raises(DataError, match=r"leaves no row to train on"):
        load(table(), omit=["0", "1", "2", "3"])


def test_the_description_is_json():
    description = load("digits", labelled=100, omit=["1"], seed=4).description
    assert json.loads(json.dumps(description)) == description
    assert description["inputs"] == "uint8 (1, 8, 8)"
    assert description["seed"] == 4
    assert len(description["fingerprint"]) == 32
