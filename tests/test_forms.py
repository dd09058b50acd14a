"""Arrays in files, Hugging Face data sets and generators; how a form is found; mistakes on the command line."""

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from small_files import csv, flowers, loaded, picture, rows_by_id, vitals
from small_runs import SETTLED
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from limbeck import distill
from limbeck.cli import main
from limbeck.errors import DataError

ROWS = np.arange(60 * 3, dtype=np.float32).reshape(60, 3)
CLASSES = np.arange(60) % 3


# arrays in files


@pytest.mark.parametrize("kind", ["npz", "safetensors", "pt", "folder"])
def test_every_kind_of_array_file_gives_the_same_rows(kind, tmp_path):
    arrays = {"x_train": ROWS, "y_train": CLASSES, "test_x": ROWS[:9] + 1, "test_y": CLASSES[:9]}
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        np.savez_compressed(path, **arrays)
    elif kind == "safetensors":
        save_file(arrays, path)
    elif kind == "pt":
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)  # noqa: TID251
    else:
        path.mkdir()
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)
    data = loaded(path, valid=10)
    assert (len(data.train), len(data.valid), len(data.test)) == (50, 10, 9)
    found = rows_by_id(data)
    assert [found[place] for place in range(60)] == [(ROWS[p].tobytes(), str(CLASSES[p])) for p in range(60)]
    assert [found[60 + place][0] for place in range(9)] == [(ROWS[p] + 1).tobytes() for p in range(9)]


def test_files_of_a_folder_may_be_splits_and_arrays_may_have_other_names(tmp_path):
    pixels = np.arange(30 * 4 * 4, dtype=np.uint8).reshape(30, 4, 4)
    for name in ("train", "valid", "test"):
        who = [f"{name}{place // 3}" for place in range(30)]
        np.savez(tmp_path / f"{name}.npz", pixels=pixels, kind=[f"k{n}" for n in CLASSES[:30]], who=who)
    data = loaded(tmp_path, columns={"inputs": "pixels", "label": "kind", "group": "who"})
    assert data.description["inputs"] == "uint8 (1, 4, 4)"
    assert data.classes == ("k0", "k1", "k2")
    assert [len(rows) for rows in data.splits().values()] == [30, 30, 30]


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    def refusal(**arrays) -> str:
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(DataError) as caught:
            loaded(tmp_path / "a.npz")
        return str(caught.value)

    assert "no array called labels or label or y or targets: there are x" in refusal(x=ROWS)
    assert "differ in length: {'x': 60, 'y': 59}" in refusal(x=ROWS, y=CLASSES[:59])
    assert "holds no array 'y' for test" in refusal(x=ROWS, y=CLASSES, x_test=ROWS)
    assert "holds Python objects" in refusal(x=ROWS, y=np.array([{}] * 60))
    broken = ROWS.copy()
    broken[7, 1] = np.nan
    assert "train, row 7: column 'x' holds NaN or infinity" in refusal(x=broken, y=CLASSES)
    for name in ("a.npz", "a.npy", "a.safetensors", "a.pt"):
        (tmp_path / name).write_bytes(b"neither of these")
        with pytest.raises(DataError, match=f"{name} cannot be read"):
            loaded(tmp_path / name)


def test_a_pt_file_that_would_run_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"x": Trap()}, tmp_path / "a.pt")  # noqa: TID251
    with pytest.raises(DataError, match=r"a.pt cannot be read"):
        loaded(tmp_path / "a.pt")
    assert not (tmp_path / "sprung").exists()


def test_an_array_of_a_compressed_file_is_read_in_blocks(tmp_path, monkeypatch):
    from limbeck.data.forms import arrays

    np.savez_compressed(tmp_path / "a.npz", x=ROWS, y=CLASSES)
    whole = loaded(tmp_path / "a.npz").fingerprint
    monkeypatch.setattr(arrays, "_BLOCK_BYTES", 100)
    assert loaded(tmp_path / "a.npz").fingerprint == whole


# Hugging Face


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def images(rows: int):
    import datasets

    features = datasets.Features(
        {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"]), "note": datasets.Value("string")}
    )
    photos = [Image.fromarray(np.full((4, 4, 3), place, np.uint8)) for place in range(rows)]
    columns = {"photo": photos, "kind": [place % 2 for place in range(rows)], "note": ["x"] * rows}
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.mark.usefixtures("no_network")
def test_a_hugging_face_data_set_names_its_own_picture_and_classes(tmp_path):
    import datasets

    both = datasets.DatasetDict({"train": images(20), "validation": images(6), "test": images(4)})
    both.save_to_disk(str(tmp_path / "saved"))
    held = loaded(both)
    assert held.classes == ("cat", "dog")
    assert held.description["inputs"] == "uint8 (3, 4, 4)"
    assert [len(rows) for rows in held.splits().values()] == [20, 6, 4]
    assert held.train.inputs[:, 0, 0, 0].tolist() == list(range(20))
    for source in (
        f"hf:{tmp_path / 'saved'}",
        tmp_path / "saved",
        {"train": images(20), "valid": images(6), "test": images(4)},
    ):
        assert loaded(source).fingerprint == held.fingerprint
    shuffled = loaded(images(20).select(range(19, -1, -1)), valid=3, test=3)
    assert sorted(rows_by_id(shuffled).values()) == sorted(rows_by_id(loaded(images(20), valid=3, test=3)).values())


@pytest.mark.usefixtures("no_network")
def test_a_hugging_face_table_is_read_by_its_columns(tmp_path):
    import datasets

    table = datasets.Dataset.from_dict(vitals())
    data = loaded(table, columns={"inputs": ["pulse", "age"], "label": "label"})
    path = csv(tmp_path / "a" / "train.csv", vitals())
    assert data.fingerprint == loaded(path, columns={"inputs": ["pulse", "age"], "label": "label"}).fingerprint
    with pytest.raises(DataError, match="did you mean 'pulse'"):
        loaded(table, columns={"inputs": "puls", "label": "label"})


def test_a_hub_name_is_asked_of_the_hub_alone_and_nothing_is_counted(monkeypatch):
    import datasets
    from huggingface_hub import constants

    asked = []

    def load_dataset(name, configuration, *, revision):
        asked.append((name, configuration, revision))
        assert not datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
        assert constants.HF_HUB_DISABLE_TELEMETRY
        if name == "who/none":
            raise datasets.exceptions.DatasetNotFoundError("Dataset 'who/none' doesn't exist on the Hub")
        return datasets.DatasetDict({"train": images(20)})

    before = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, constants.HF_HUB_DISABLE_TELEMETRY
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert loaded("hf:who/pets@v2#small").name == "pets@v2#small"
    with pytest.raises(DataError, match="hf:who/none cannot be loaded"):
        loaded("hf:who/none")
    assert asked == [("who/pets", "small", "v2"), ("who/none", None, None)]
    assert (datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, constants.HF_HUB_DISABLE_TELEMETRY) == before


# generators


def pairs(count: int = 60):
    for place in range(count):
        yield ROWS[place], int(CLASSES[place])


class Stream(IterableDataset):
    def __iter__(self):
        yield from pairs()


@pytest.mark.parametrize("make", [pairs, Stream, lambda: ({"a": r[0], "x": r, "y": str(c)} for r, c in pairs())])
def test_a_generator_is_read_once_into_the_rows_of_the_arrays(make):
    keys = {} if make in (pairs, Stream) else {"columns": {"inputs": "x", "label": "y"}}
    data = loaded(make(), **keys)
    assert rows_by_id(data) == rows_by_id(loaded((ROWS, CLASSES)))
    assert data.train.fingerprint == loaded((ROWS, CLASSES)).train.fingerprint


def test_generators_by_split_of_pictures_and_of_numbers():
    def photos(count):
        return ((Image.fromarray(np.full((6, 8, 3), place, np.uint8)), "ab"[place % 2]) for place in range(count))

    data = loaded({"train": photos(20), "test": photos(4)}, size=5, valid=4)
    assert data.description["inputs"] == "uint8 (3, 5, 5)"
    assert len(data.test) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "gave no row"),
        ([1, 2], "row 0 of the train rows is int, not a pair or a dict"),
        ([(1, 2), {"x": 1}], "row 1 of the train rows is dict"),
        ([(1, 2, 3)], "row 0 of the train rows has 3 parts"),
        ([(ROWS[0], 1), (ROWS[0, :2], 0)], "train, row 1: column 'input' holds torch.float32 of shape"),
        ([(ROWS[0] * np.nan, 1)], "train, row 0: column 'input' holds NaN or infinity"),
        ([("x", 1), ("y", 0)], "no numbers: 'input' (text)"),
        ([{"x": 1.0, "y": 0}], "is said to be the label: there are x, y"),
    ],
)
def test_generators_that_cannot_be_used(rows, message):
    with pytest.raises(DataError) as caught:
        loaded(iter(rows))
    assert message in str(caught.value)


# how the form is found


def test_what_is_said_about_reading_is_not_passed_over_where_nothing_is_read():
    for source in ("digits", (ROWS, CLASSES), TensorDataset(torch.from_numpy(ROWS), torch.from_numpy(CLASSES))):
        with pytest.raises(DataError, match=r"data.size is said"):
            loaded(source, size=8)
    with pytest.raises(DataError, match=r"loader.dataset"):
        loaded(DataLoader(TensorDataset(torch.from_numpy(ROWS), torch.from_numpy(CLASSES))))
    with pytest.raises(DataError, match=r"data.windows is said, and the rows come one by one"):
        loaded(pairs(), windows={"steps": 3})


def test_columns_in_memory_are_a_table():
    generator = np.random.default_rng(0)
    table = {"a": generator.normal(size=40), "b": generator.normal(size=40), "kind": CLASSES[:40], "who": CLASSES[:40]}
    data = loaded(table, columns={"inputs": ["b", "a"], "label": "kind"})
    assert rows_by_id(data)[0][0] == np.array([table["b"][0], table["a"][0]], np.float32).tobytes()
    data = loaded(
        {"level": np.arange(200.0)}, labels="values", columns={"inputs": "level"}, windows={"steps": 5, "horizon": 2}
    )
    assert data.train.inputs.shape[1:] == (1, 5)


OWN = """
import numpy as np
def rows(count=40):
    for place in range(count):
        yield np.full(3, place, np.float32), place % 2
def table():
    return "people.csv"
"""

RECIPE = """\
student: mlp(size=8)
budget: 1 epochs
training: {batch: 16, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    (tmp_path / "forms_own.py").write_text(OWN)
    csv(tmp_path / "people.csv", vitals())
    flowers(tmp_path / "flowers")
    picture(tmp_path / "odd" / "a" / "1.png", 3, 3)
    picture(tmp_path / "odd" / "b" / "1.png", 4, 3)
    np.savez(tmp_path / "a.npz", x=ROWS, z=CLASSES)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "forms_own", raising=False)


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("digist", ["'digist'", "did you mean 'digits'?"]),
        ("poeple.csv", ["'poeple.csv'", "did you mean 'people.csv'?"]),
        ("mine.yaml", ["mine.yaml is of no known kind", ".parquet"]),
        ("{source: people.csv, columns: {label: lable}}", ["no column 'lable'", "did you mean 'label'?"]),
        ("{source: people.csv, columns: {inputs: [age, sex], label: label}}", ["'sex' (text)"]),
        ("{source: people.csv, columns: {label: label}, size: 8}", ["data.size is said"]),
        ("{source: people.csv, columns: {label: label}, split: groups}", ["columns: {group: NAME}"]),
        ("odd", ["2 sizes", "data: {size: 3}"]),
        ("a.npz", ["no array called labels", "columns: {inputs: NAME, label: NAME}"]),
        ("hf:./nowhere", ["hf:./nowhere cannot be loaded"]),
        ("forms_own:row", ["cannot be imported"]),
    ],
)
def test_a_mistake_is_said_on_the_command_line(data, parts, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit) as left:
        main(["distill", "mine.yaml", "--to", "run", "--quiet", "--set", f"data={data}"])
    said = capsys.readouterr().err
    assert left.value.code == 3, said
    assert "Traceback" not in said
    for part in parts:
        assert part in said
    assert not Path("run").exists()


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("flowers", {"size": 5}),
        (Path("people.csv"), {"columns": {"label": "label", "group": "person"}, "valid": 0.2, "test": ["p1"]}),
        ("forms_own:rows(count=50)", {"valid": 8}),
        ("forms_own:table", {"columns": {"label": "label"}, "labelled": 10}),
        (((row, int(c)) for row, c in pairs()), {}),
    ],
)
def test_distill_takes_every_form_with_the_keys_of_its_data(source, keys):
    run = distill(None, "mlp(size=8)", source, to="run", budget="1 epochs", training=SETTLED, device="cpu", **keys)
    assert run.record.status == "finished"


def test_rows_for_validation_beside_named_data_are_refused_not_dropped():
    with pytest.raises(DataError, match="valid is given as rows, and the training data is named"):
        distill(None, "mlp(size=8)", "digits", valid=(ROWS, CLASSES))
