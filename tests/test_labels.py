"""The four kinds of labels: what is read, what is refused, and in proportion to what a random split is made."""

import numpy as np
import pytest
import torch

from limbeck.data.source import load
from limbeck.errors import DataError

INPUTS = np.arange(40, dtype=np.float32).reshape(20, 2)


def read(labels, kind: str, *, classes=None, valid=4, test=4, **more):
    """All rows' labels and which are known, in the order of ids; and the data."""
    source = {"train": (INPUTS, labels), **({} if classes is None else {"classes": classes})}
    data = load(source, labels=kind, valid=valid, test=test, **more)
    rows = list(data.splits().values())
    order = torch.argsort(torch.cat([split.ids for split in rows]))
    return torch.cat([r.labels for r in rows])[order], torch.cat([r.known for r in rows])[order], data


def refusal(labels, kind: str, **more) -> str:
    with pytest.raises(DataError) as caught:
        read(labels, kind, **more)
    return str(caught.value)


# single


def test_a_single_label_is_a_number_or_a_name():
    labels, known, data = read(np.arange(20) % 3, "single")
    assert data.classes == ("0", "1", "2")
    assert labels.tolist() == [place % 3 for place in range(20)]
    assert known.all()
    names = ["b", "a", None, "b", float("nan")] * 4
    labels, known, data = read(np.array(names, dtype=object), "single")
    assert data.classes == ("a", "b")
    assert known.tolist() == [True, True, False, True, False] * 4
    assert labels[known].tolist() == [1, 0, 1] * 4
    assert "task: multilabel" in refusal(np.eye(20), "single")
    assert "task: regression if they are quantities" in refusal(np.linspace(0, 1, 20), "single")
    assert "'dgo' is no class" in refusal(["dog", "dgo"] * 10, "single", classes=["cat", "dog"])


# several


@pytest.mark.parametrize(
    "labels",
    [
        ["a;b", "b", "", "a|c", None] * 4,
        [["a", "b"], ["b"], [], ["c", "a"], None] * 4,
        [[], ["b"], [], ["c", "a"], None] * 3 + [("a", "b"), {"b"}, [], np.array(["a", "c"]), float("nan")],
    ],
)
def test_several_classes_are_texts_or_lists_of_names(labels):
    found, known, data = read(labels, "several")
    assert data.classes == ("a", "b", "c")
    assert known.tolist() == [True, True, True, True, False] * 4
    assert found[15:19].tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]]
    counts = [split["class_counts"]["b"] for split in data.description["splits"].values()]
    assert sum(counts) == sum("b" in (row if isinstance(row, list | tuple | set | str) else []) for row in labels)


def test_several_classes_are_a_column_of_0_and_1_each():
    matrix = np.tile([[1, 0], [0, 0], [1, 1], [-1, -1]], (5, 1))
    found, known, data = read(matrix, "several", classes=["hot", "wet"])
    assert data.classes == ("hot", "wet")
    assert known.tolist() == [True, True, True, False] * 5
    assert found.dtype == torch.float32
    assert found[:4].tolist() == [[1, 0], [0, 0], [1, 1], [0, 0]]
    assert read(torch.from_numpy(matrix), "several")[2].classes == ("0", "1")
    assert read(matrix == 1, "several")[1].all()
    assert "row 3 of the train labels holds 2" in refusal(np.where(np.arange(20)[:, None] == 3, 2, matrix), "several")
    assert "holds nan" in refusal(matrix * np.nan, "several")
    assert "task: classification" in refusal(np.arange(20) % 2, "several")
    assert "2 columns" in refusal(matrix, "several", classes=["hot"])
    assert "'wett' is no class" in refusal(["hot;wett"] * 20, "several", classes=["hot", "wet"])


def test_a_random_split_has_its_part_of_the_rarest_class():
    matrix = np.zeros((400, 3), dtype=int)
    matrix[:, 0], matrix[::2, 1], matrix[::20, 2] = 1, 1, 1
    inputs = np.arange(400, dtype=np.float32)[:, None]
    data = load((inputs, matrix), labels="several", valid=0.1, test=0.1)
    assert data.description["splits"]["test"]["class_counts"]["2"] == 2
    assert data.description["splits"]["valid"]["class_counts"]["2"] == 2


# steps


def test_each_step_has_a_class_of_its_own():
    grid = np.tile([["rest", "walk", None]], (20, 1)).astype(object)
    labels, known, data = read(grid, "steps")
    assert data.classes == ("rest", "walk")
    assert labels.shape == known.shape == (20, 3)
    assert known[0].tolist() == [True, True, False]
    assert labels[0, :2].tolist() == [0, 1]
    assert data.description["splits"]["train"]["step_counts"] == {"rest": 12, "walk": 12}
    numbers = np.where(np.arange(60).reshape(20, 3) % 7 == 0, -1, 1)
    numbers[0, 1] = 0
    assert int((~read(numbers, "steps")[1]).sum()) == 9
    assert "expected: one label for each step of each row: (20, steps)" in refusal(np.zeros(20, int), "steps")
    splits = {"train": (INPUTS, np.zeros((20, 3), int)), "test": (INPUTS, np.zeros((20, 4), int))}
    with pytest.raises(DataError, match="steps are"):
        load(splits, labels="steps")


def test_hidden_steps_are_hidden_whole():
    grid = np.arange(60).reshape(20, 3) % 3
    _, _, data = read(grid, "steps", labelled=5)
    assert sorted(data.train.known.sum(dim=1).tolist()) == [0] * 7 + [3] * 5


# values


def test_values_are_numbers_and_may_be_unknown_one_by_one():
    numbers = np.stack([np.arange(20.0), np.arange(20.0) ** 2], axis=1)
    numbers[3] = np.nan
    numbers[5, 0] = np.nan
    labels, known, data = read(numbers, "values", classes=["price", "size"])
    assert data.classes == ("price", "size")
    assert known.tolist() == [place != 3 for place in range(20)]
    assert torch.isnan(labels[5, 0]) and float(labels[5, 1]) == 25
    ranges = data.description["splits"]["train"]["ranges"]
    assert set(ranges) == {"price", "size"}
    assert read([1.5, None] * 10, "values")[1].tolist() == [True, False] * 10
    assert "are no numbers" in refusal(["cheap"] * 20, "values")
    assert "row 2 of the train labels is infinite" in refusal(np.where(np.arange(20) == 2, np.inf, 1.0), "values")
    assert "2 columns and 1 names" in refusal(numbers, "values", classes=["price"])


def test_a_random_split_of_values_covers_their_range():
    prices = np.random.default_rng(0).lognormal(size=500)
    data = load((np.arange(500, dtype=np.float32)[:, None], prices), labels="values", valid=0.1, test=0.1)
    edges = np.quantile(prices, np.linspace(0, 1, 11))
    for rows in (data.valid, data.test):
        counts = np.histogram(rows.labels[:, 0].numpy(), edges)[0]
        assert counts.min() >= 4 and counts.max() <= 6


@pytest.mark.parametrize("kind", ["single", "several", "steps", "values"])
def test_labels_of_another_length_than_the_rows(kind):
    shape = (19,) if kind in ("single", "values") else (19, 2)
    assert "has 20 rows of inputs and 19 labels" in refusal(np.zeros(shape, int), kind)
