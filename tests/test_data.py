"""Loading real digits, real MNIST and Fashion-MNIST, arrays and torch data sets; and what is refused."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from small_tables import ids, table
from torch.utils.data import Dataset, Subset

from limbeck.data.rows import Rows, TensorRows
from limbeck.data.sets.fashion_mnist import DEBIAN
from limbeck.data.source import Data, known_names, load
from limbeck.data.standardise import statistics
from limbeck.errors import DataError
from limbeck.tasks.classification import Classification

TASK = Classification()
MNIST = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist" / "mnist.npz"
needs_fashion = pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
needs_mnist = pytest.mark.skipif(not MNIST.is_file(), reason="needs ../shared/data/mnist/mnist.npz")


@pytest.fixture(scope="module")
def fashion() -> Data:
    return load("fashion-mnist", valid=5000)


# known sets


def test_digits_are_the_ones_of_scikit_learn_each_under_its_place_in_the_set():
    from sklearn.datasets import load_digits

    digits, data = load_digits(), load("digits")
    assert known_names() == ["digits", "fashion-mnist", "mit-bih", "mnist"]
    assert data.classes == tuple("0123456789")
    assert (len(data.train), len(data.valid), len(data.test)) == (1437, 180, 180)
    for rows in (data.train, data.valid, data.test):
        assert isinstance(rows, Rows)
        assert rows.inputs.dtype == torch.uint8
        assert np.array_equal(rows.inputs[:, 0].numpy(), digits.images[rows.ids.numpy()])
        assert np.array_equal(rows.labels.numpy(), digits.target[rows.ids.numpy()])
    assert sorted(place for part in ids(data) for place in part) == list(range(1797))


@needs_fashion
def test_fashion_mnist_has_its_published_size_classes_and_statistics(fashion):
    assert fashion.classes[0] == "T-shirt/top"
    assert fashion.classes[-1] == "Ankle boot"
    assert fashion.train.inputs.shape == (55000, 1, 28, 28)
    assert fashion.test.ids.tolist() == list(range(60000, 70000))
    assert fashion.description["splits"]["test"]["class_counts"] == dict.fromkeys(fashion.classes, 1000)
    assert fashion.description["splits"]["valid"]["class_counts"] == dict.fromkeys(fashion.classes, 500)
    mean, std = statistics(fashion.train)
    # 0.2860 and 0.3530 of 255 are the usual numbers for all 60,000
    assert float(mean) == pytest.approx(0.2860 * 255, rel=0.003)
    assert float(std) == pytest.approx(0.3530 * 255, rel=0.003)


@needs_mnist
def test_mnist_has_its_published_counts_and_can_lose_its_threes():
    data = load("mnist", path=MNIST, valid=10, omit=["3"])
    assert len(data.train) == 60000 - 6131 - 9  # one of the ten validation rows is a three
    counts = {name: split["class_counts"]["3"] for name, split in data.description["splits"].items()}
    assert counts == {"train": 0, "valid": 1, "test": 1010}


def write_idx(folder: Path, name: str, array: np.ndarray, *, packed: bool = False) -> Path:
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    path = folder / (name + ".gz" if packed else name)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    images, labels = np.arange(40 * 6).reshape(40, 2, 3) % 251, np.arange(40) % 10
    write_idx(tmp_path, "train-images-idx3-ubyte", images, packed=True)
    write_idx(tmp_path, "train-labels-idx1-ubyte", labels)
    write_idx(tmp_path, "t10k-images-idx3-ubyte", images[:20])
    write_idx(tmp_path, "t10k-labels-idx1-ubyte", labels[:20], packed=True)
    return tmp_path


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_are_read_packed_or_not(name, idx_folder):
    data = load(name, path=idx_folder, valid=10)
    place = int(data.train.ids[3])
    assert data.train.inputs[3, 0].flatten().tolist() == [n % 251 for n in range(place * 6, place * 6 + 6)]
    assert data.train.labels.tolist() == [n % 10 for n in data.train.ids.tolist()]
    assert (len(data.train), len(data.valid), len(data.test)) == (30, 10, 20)


def test_damaged_and_missing_idx_files_are_named(idx_folder, tmp_path):
    def refusal() -> str:
        with pytest.raises(DataError) as caught:
            load("mnist", path=idx_folder)
        return str(caught.value)

    images = idx_folder / "t10k-images-idx3-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-3])
    assert (
        f"{images} is damaged: it holds 117 bytes of data\n  expected: 120 bytes for the shape (20, 2, 3)" in refusal()
    )
    images.write_bytes(b"\x89PNG" + whole)
    assert f"{images} is not an IDX file of unsigned bytes\n  expected: a file that begins with 00 00 08" in refusal()
    images.unlink()
    assert "holds no t10k-images-idx3-ubyte for mnist" in refusal()
    packed = idx_folder / "train-images-idx3-ubyte.gz"
    write_idx(idx_folder, images.name, np.zeros((20, 2, 3)))
    packed.write_bytes(packed.read_bytes()[:-9])
    assert f"{packed} cannot be read" in refusal()


def test_an_archive_without_its_arrays_or_that_is_none_is_refused(tmp_path):
    np.savez(tmp_path / "some.npz", x_train=np.zeros(3))
    with pytest.raises(DataError, match=r"some.npz holds no array 'y_train'\n  expected: the arrays x_train, y_train"):
        load("mnist", path=tmp_path / "some.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"text.npz cannot be read"):
        load("mnist", path=tmp_path / "text.npz")


def test_a_set_that_is_nowhere_says_where_it_was_looked_for(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.write_text("a file, so that nothing can be fetched into it")
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(DataError) as caught:
        load("mnist")
    assert f"mnist is not on this machine (looked in {home}/.cache/limbeck/MNIST/raw) and " in str(caught.value)
    assert "path=FILE.npz or path=FOLDER" in caught.value.remedy


def test_wrong_names_and_paths_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no data set is called 'fashon-mnist'(.|\n)*did you mean 'fashion-mnist'\?"):
        load("fashon-mnist")
    with pytest.raises(DataError, match=r"the path .*nowhere of mnist does not exist"):
        load("mnist", path=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"digits was given the path .*\n  expected: no path"):
        load("digits", path=tmp_path)
    with pytest.raises(DataError, match=r"path=x was given with data that has no name"):
        load(table(), path="x")


# labels and inputs


def test_text_labels_become_sorted_class_names():
    data = load((table(8)[0], ["dog", "cat", None, "cat", "dog", "ant", "ant", "dog"]), valid=1, test=1)
    assert data.classes == ("ant", "cat", "dog")
    everything = {}
    for rows in (data.train, data.valid, data.test):
        shown = zip(rows.ids.tolist(), rows.labels.tolist(), rows.known.tolist(), strict=True)
        everything |= {place: label if known else None for place, label, known in shown}
    assert [everything[place] for place in range(8)] == [2, 1, None, 1, 2, 0, 0, 2]
    assert data.train.labels.dtype == torch.int64


def test_numbers_that_do_not_start_at_zero_name_their_classes_and_minus_one_means_unknown():
    labels = np.array([7, 10, 7, -1, 10, 7, 9, 9])
    data = load({"train": (table(8)[0], labels), "valid": (table(4)[0], np.array([7, 7, 9, 10]))}, test=1)
    assert data.classes == ("7", "9", "10")
    numbers = [data.classes[label] for label in data.valid.labels.tolist()]
    assert numbers == ["7", "7", "9", "10"]
    assert int(data.train.known.sum() + data.test.known.sum()) == 7


def test_rows_may_come_without_labels():
    data = load({"train": (table(20)[0], None), "valid": table(8), "test": table(8)})
    assert not data.train.known.any()
    assert data.description["splits"]["train"] == {
        "rows": 20,
        "labelled": 0,
        "class_counts": {"0": 0, "1": 0, "2": 0, "3": 0},
    }


@pytest.mark.parametrize(
    ("inputs", "kept"),
    [
        (np.zeros((40, 8, 6), np.uint8), "uint8 (1, 8, 6)"),
        (np.zeros((40, 3, 8, 6), np.float64), "float32 (3, 8, 6)"),
        (np.zeros((40, 5), np.uint16), "int32 (5,)"),
        (np.zeros((40, 5), bool), "uint8 (5,)"),
        (torch.zeros(40, 5, dtype=torch.bfloat16), "bfloat16 (5,)"),
        ([[1.0, 2.0]] * 40, "float32 (2,)"),
    ],
)
def test_types_of_inputs_are_kept_where_they_can_be(inputs, kept):
    assert load((inputs, np.arange(40) % 2)).description["inputs"] == kept


def broken(place: tuple[int, int], value: float) -> np.ndarray:
    inputs = table()[0]
    inputs[place] = value
    return inputs


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((broken((7, 2), np.nan), table()[1]), "train inputs hold NaN or infinity in 1 of 60 rows; the first is row 7"),
        ((broken((9, 0), np.inf), table()[1]), "the first is row 9\n  expected: finite numbers\n  try: fill or drop"),
        (
            (table()[0], table()[1][:59]),
            "the train split has 60 rows of inputs and 59 labels\n  expected: one label for",
        ),
        ((table()[0], np.eye(60)), "the train labels have shape (60, 60)\n  expected: one label for each row: (60,)"),
        (
            (table()[0], table()[1] / 2),
            "the train labels are of type float64\n  expected: class numbers (whole numbers)",
        ),
        ((table()[0], np.zeros(60, int)), "the labels name 1 classes (0)\n  expected: at least two classes"),
        ((np.zeros((0, 5)), np.zeros(0, int)), "the train inputs have shape (0, 5)\n  expected: at least one row"),
        ((np.zeros(60), table()[1]), "the train inputs have shape (60,)"),
        ((np.zeros((60, 28, 28, 3)), table()[1]), "which looks like images with their channels last"),
        (([[1.0], [2.0, 3.0]], [0, 1]), "the train inputs cannot be made a tensor"),
        (([["a"], ["b"]], [0, 1]), "the train inputs cannot be made a tensor"),
        (
            {"train": table(), "classes": ["a", "b", "c"]},
            "row 3 of the train split has label 3\n  expected: a class number from 0 to 2, or -1 for no label",
        ),
        (
            {"train": (table()[0], ["cat"] * 59 + ["dgo"]), "classes": ["cat", "dog"]},
            "the train label 'dgo' is no class\n  expected: a class name\n  try: did you mean 'dog'?",
        ),
        ({"train": table(), "tets": table()}, "the mapping of splits has the key 'tets'"),
        ({"test": table()}, "the mapping of splits has no train"),
        (
            {"train": table(), "test": (np.zeros((9, 4)), table(9)[1])},
            "the rows differ in shape: {'train': (5,), 'test':",
        ),
        (table()[0], "the train data is ndarray\n  expected: a pair (inputs, labels)"),
    ],
)
def test_data_that_cannot_be_used_is_refused_with_the_reason(source, message):
    with pytest.raises(DataError) as caught:
        load(source)
    assert message in str(caught.value)


@pytest.mark.parametrize("part", [0, 0.0, 0.001, 1.0, -1, 61, True])
def test_a_split_may_not_be_empty_or_too_large(part):
    with pytest.raises(DataError, match=f"valid={part} of 60 rows is an empty split or more than there is"):
        load(table(), valid=part)
    with pytest.raises(DataError, match="leaves no row to train on"):
        load(table(), valid=30, test=30)


# torch data sets


class Noisy(Dataset):
    """Pictures with a random transform, as torchvision users write them."""

    classes = ("even", "odd")

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def __len__(self) -> int:
        return 40

    def __getitem__(self, place: int):
        if not 0 <= place < 40:
            raise IndexError(place)
        return torch.full((1, 2, 2), float(place)) + self.noise * torch.rand(1), place % 2


def test_a_torch_data_set_is_read_once_into_memory():
    data = load(Noisy(0), valid=Subset(Noisy(0), range(6)))
    assert data.classes == ("even", "odd")
    assert data.train.inputs[:, 0, 0, 0].tolist() == [float(place) for place in data.train.ids]
    assert data.train.labels.tolist() == [place % 2 for place in data.train.ids.tolist()]
    assert len(data.valid) == 6


def test_pictures_of_pil_become_channels_first_bytes():
    from PIL import Image

    class Pictures(Noisy):
        def __getitem__(self, place: int):
            return Image.fromarray(np.full((4, 6, 3), place, np.uint8)), place % 2

    assert load(Pictures(0)).description["inputs"] == "uint8 (3, 4, 6)"


def test_a_data_set_with_random_transforms_or_other_rows_is_refused():
    with pytest.raises(DataError, match=r"row 0 of the train data set is different each time(.|\n)*augment="):
        load(Noisy(1))
    with pytest.raises(DataError, match="row 0 of the train data set is Tensor, not a pair"):
        load(Rowless())
    with pytest.raises(DataError, match=r"have 2 shapes: \(1,\), \(2,\)"):
        load(Ragged(0))


class Rowless(Noisy):
    """Rows without labels."""

    def __init__(self) -> None:
        super().__init__(0)

    def __getitem__(self, place: int):
        return torch.zeros(3)


class Ragged(Noisy):
    """Rows that differ in length."""

    def __getitem__(self, place: int):
        return torch.zeros(1 + place % 2), 0


# rows


def test_a_fingerprint_changes_with_any_part_and_only_then():
    inputs, labels = map(torch.from_numpy, table(12))
    rows = TensorRows.of(inputs, labels)
    same = TensorRows.of(inputs.clone(), labels.clone())
    assert rows.fingerprint == same.fingerprint
    changed = inputs.clone()
    changed[11, 4] += 1e-6
    others = [
        TensorRows.of(changed, labels),
        TensorRows.of(inputs, labels.flip(0)),
        TensorRows.of(inputs),
        TensorRows.of(inputs.double(), labels),
        TensorRows.of(inputs.reshape(12, 1, 5), labels),
        rows.hide_labels(torch.arange(11)),
        rows.select(torch.arange(11)),
        rows.select(torch.arange(12).flip(0)),
        TensorRows(inputs, labels, rows.known, rows.ids + 1),
    ]
    prints = {rows.fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == len(others) + 1
    assert rows.select(torch.arange(12)).fingerprint == rows.fingerprint


def test_what_a_teacher_sees_is_told_apart_by_inputs_and_ids_alone():
    inputs, labels = map(torch.from_numpy, table(12))
    rows = TensorRows.of(inputs, labels)
    for same in (
        TensorRows.of(inputs.clone(), labels.flip(0)),
        TensorRows.of(inputs),
        rows.hide_labels(torch.arange(3)),
        TensorRows(inputs, labels, rows.known, rows.ids, groups=rows.ids),
    ):
        assert same.inputs_fingerprint == rows.inputs_fingerprint
    changed = inputs.clone()
    changed[11, 4] += 1e-6
    others = [
        TensorRows.of(changed, labels),
        TensorRows.of(inputs.double(), labels),
        TensorRows.of(inputs.reshape(12, 1, 5), labels),
        rows.select(torch.arange(11)),
        rows.select(torch.arange(12).flip(0)),  # a mixup partner is chosen by its place
        TensorRows(inputs, labels, rows.known, rows.ids + 1),
    ]
    assert len({rows.inputs_fingerprint, *(other.inputs_fingerprint for other in others)}) == len(others) + 1
    assert rows.inputs_fingerprint not in {rows.fingerprint, TensorRows.of(inputs).fingerprint}


def test_rows_without_some_labels_keep_those_whose_label_is_unknown():
    rows = TensorRows.of(torch.arange(6).reshape(6, 1), torch.tensor([0, 1, 2, 0, 1, 2])).hide_labels(
        torch.arange(1, 6)
    )
    assert rows.without(0, 2).ids.tolist() == [0, 1, 4]


def test_a_label_that_is_unknown_stays_so_when_it_is_asked_to_be_kept():
    rows = TensorRows.of(torch.zeros(4, 1), torch.tensor([1, 2, 1, 2])).hide_labels(torch.tensor([0, 1]))
    assert rows.hide_labels(torch.tensor([1, 2])).known.tolist() == [False, True, False, False]
