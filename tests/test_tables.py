"""CSV, Parquet and JSONL with named columns: what is read, what is refused, and which lines are left out."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_files import csv, loaded, picture, rows_by_id, vitals

from limbeck.errors import DataError

COLUMNS = {"inputs": ["pulse", "age"], "label": "label"}


def write(path: Path, columns: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if name.endswith(".parquet"):
        pq.write_table(pa.table(columns), path)
    elif ".jsonl" in name:
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
        text = "\n".join(lines)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    elif name.endswith(".gz"):
        plain = csv(path.with_name("plain.csv"), columns, "\t" if ".tsv" in name else ",")
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    else:
        csv(path, columns, "\t" if name.endswith(".tsv") else ",")
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.tsv.gz", "a.parquet", "a.jsonl", "a.jsonl.gz"])
def test_every_kind_of_table_gives_the_same_rows_in_the_order_that_was_said(name, tmp_path):
    columns = vitals()
    data = loaded(write(tmp_path / name, columns), columns=COLUMNS)
    assert data.classes == ("ill", "well")
    wanted = np.stack([columns["pulse"], columns["age"]], axis=1).astype(np.float32)
    found = rows_by_id(data)
    assert {place: row for place, (row, _) in found.items()} == {p: wanted[p].tobytes() for p in range(40)}
    assert [found[place][1] for place in range(40)] == columns["label"]
    assert data.description["columns"] == {"inputs": ["pulse", "age"], "label": ["label"]}
    assert data.fingerprint == loaded(tmp_path / name, columns=COLUMNS).fingerprint


def test_without_names_every_numeric_column_that_nothing_else_names_is_an_input(tmp_path):
    data = loaded(csv(tmp_path / "a.csv", vitals()), columns={"label": "label", "group": "person", "time": "when"})
    assert data.description["columns"]["inputs"] == ["age", "pulse"]


def test_files_of_a_folder_are_its_splits_and_numbered_ones_are_joined(tmp_path):
    one, two, three = (vitals(rows) for rows in (24, 12, 8))
    pq.write_table(pa.table(one), tmp_path / "train-00001-of-00002.parquet")
    pq.write_table(pa.table(two), tmp_path / "train-00000-of-00002.parquet")
    csv(tmp_path / "validation.csv", three)
    data = loaded(tmp_path, columns=COLUMNS, test=6)
    assert (len(data.train), len(data.valid), len(data.test)) == (30, 8, 6)
    assert rows_by_id(data)[0][0] == np.array([two["pulse"][0], two["age"][0]], np.float32).tobytes()
    (tmp_path / "rest.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"beside them rest.csv"):
        loaded(tmp_path, columns=COLUMNS)


def test_a_folder_of_other_names_is_read_in_their_order_whatever_the_order_on_disk(tmp_path):
    for folder, order in (("a", "xyz"), ("b", "zxy")):
        for name in order:
            csv(tmp_path / folder / f"{name}.csv", vitals(10 + ord(name) % 7))
    first, second = (loaded(tmp_path / folder, columns=COLUMNS) for folder in "ab")
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"inputs": ["puls"], "label": "label"}, ["no column 'puls'", "did you mean 'pulse'?"]),
        ({"inputs": ["pulse"], "label": "lable"}, ["no column 'lable'", "did you mean 'label'?"]),
        ({"label": "label", "group": "persn"}, ["no column 'persn'", "did you mean 'person'?"]),
        ({"inputs": ["pulse", "sex"], "label": "label"}, ["no numbers: 'sex' (text)", "0/1 column"]),
        ({"inputs": ["sex"], "label": "label"}, ["no numbers: 'sex' (text)"]),
        ({"inputs": ["pulse", "label"], "label": "label"}, ["'label' is an input and also the label"]),
        ({"inputs": ["pulse"]}, ["is said to be the label", "columns: {label: label}"]),
        ({"inputs": ["pulse"], "label": ["label", "age"]}, ["names 2 columns", "task: multilabel"]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_wrong_columns_are_refused_with_a_remedy(kind, columns, parts, tmp_path):
    with pytest.raises(DataError) as caught:
        loaded(write(tmp_path / f"a.{kind}", vitals()), columns=columns)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_true_and_false_among_the_inputs_are_no_numbers(kind, tmp_path):
    columns = {**vitals(), "smokes": [place % 5 == 0 for place in range(40)]}
    with pytest.raises(DataError, match=r"no numbers: 'smokes' \(true/false\)"):
        loaded(write(tmp_path / f"a.{kind}", columns), columns={"inputs": ["age", "smokes"], "label": "label"})


def test_stray_texts_and_missing_values_are_listed_with_line_and_value(tmp_path):
    columns = vitals()
    columns["pulse"][4], columns["age"][9], columns["pulse"][30] = "fast", None, "inf"
    path = csv(tmp_path / "a.csv", columns)
    with pytest.raises(DataError) as caught:
        loaded(path, columns=COLUMNS)
    said = str(caught.value)
    assert "3 of 40 rows (7.50%) cannot be read:" in said
    assert "a.csv:6: column 'pulse' holds 'fast', no number" in said
    assert "a.csv:11: column 'age' is empty" in said
    assert "a.csv:32: column 'pulse' holds 'inf', no number" in said
    assert "unreadable: 0.01" in said
    with pytest.raises(DataError, match=r"expected: at most 7.00%"):
        loaded(path, columns=COLUMNS, unreadable=0.07)
    data = loaded(path, columns=COLUMNS, unreadable=0.075)
    assert sum(len(rows) for rows in data.splits().values()) == 37
    assert data.description["unreadable"]["count"] == 3
    assert len(data.description["unreadable"]["first"]) == 3


def test_broken_lines_do_not_shift_the_numbers_of_those_after_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\ufeffx,y,label\n1,2,a\n\n3,4\n5,6,b,c\n7,?,a\n8,9,b\n10,11,b\n", encoding="utf-8")
    data = loaded(path, columns={"inputs": ["x", "y"], "label": "label"}, unreadable=0.5, valid=1, test=1)
    assert data.description["unreadable"] == {
        "count": 3,
        "first": ["a.csv:4: 2 values, not 3", "a.csv:5: 4 values, not 3", "a.csv:6: column 'y' holds '?', no number"],
    }
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"x": 1, "label": "a"}\n\n{"x": 2, \n[3]\n{"x": "4", "label": "b"}\n{"x": true, "label": "b"}\n')
    with pytest.raises(DataError) as caught:
        loaded(lines, columns={"inputs": "x", "label": "label"}, valid=1, test=1)
    assert "a.jsonl:3: no JSON object" in str(caught.value)
    assert "a.jsonl:4: no JSON object: is no object" in str(caught.value)
    assert "a.jsonl:6: column 'x' holds True, no number" in str(caught.value)


def test_a_reading_stops_as_soon_as_the_list_is_full(tmp_path):
    columns = vitals(20_000)
    columns["pulse"][5000:] = ["?"] * 15_000
    with pytest.raises(DataError, match="at least 20 rows cannot be read"):
        loaded(csv(tmp_path / "a.csv", columns), columns=COLUMNS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.csv is empty"),
        (b"x;label\n1;a\n", "single column 'x;label'"),
        (b"x,x,label\n1,2,a\n", "two columns 'x'"),
        (b"x,label\n", "holds no row"),
        (b"x,label\n1,\xff\xfe\n", "cannot be read"),
    ],
)
def test_files_that_are_no_tables(content, message, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        loaded(tmp_path / "a.csv", columns={"label": "label"})
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"a.parquet cannot be read"):
        loaded(tmp_path / "a.parquet", columns={"label": "label"})


def test_labels_may_be_missing_and_numbers_are_told_from_names(tmp_path):
    columns = {"x": list(range(12)), "label": [10, 9, None, 10, 9, 10, None, 9, 10, 9, 10, 9]}
    data = loaded(csv(tmp_path / "a.csv", columns), columns={"label": "label"}, valid=1, test=1)
    assert data.classes == ("9", "10")
    assert [name for _, (_, name) in sorted(rows_by_id(data).items())][:4] == ["10", "9", None, "10"]
    columns["label"] = ["007", "08", None] * 4
    data = loaded(csv(tmp_path / "a.csv", columns), columns={"label": "label"}, valid=1, test=1)
    assert data.classes == ("007", "08")
    pq.write_table(pa.table({"x": range(12), "label": [1.0, 0.0, float("nan")] * 4}), tmp_path / "a.parquet")
    data = loaded(tmp_path / "a.parquet", columns={"label": "label"}, valid=1, test=1)
    assert data.classes == ("0", "1")


def test_quantities_and_several_classes_have_the_names_of_their_columns(tmp_path):
    columns = {
        "x": list(range(30)),
        "price": [1.5, None, 3.0] * 10,
        "size": [2, 3, 4] * 10,
        "tags": ["a;b", "b", ""] * 10,
    }
    path = csv(tmp_path / "a.csv", columns)
    data = loaded(path, labels="values", columns={"inputs": "x", "label": ["price", "size"]})
    assert data.classes == ("price", "size")
    assert data.train.labels.shape[1] == 2
    assert int(torch.isnan(data.train.labels[:, 0]).sum()) == int((data.train.labels[:, 1] == 3).sum())
    data = loaded(path, labels="several", columns={"inputs": "x", "label": "tags"})
    assert data.classes == ("a", "b")
    columns = {"x": list(range(30)), "cat": [0, 1, 1] * 10, "dog": [1, 1, None] * 10}
    data = loaded(csv(path, columns), labels="several", columns={"inputs": "x", "label": ["cat", "dog"]})
    assert data.classes == ("cat", "dog")
    assert int((~data.train.known).sum() + (~data.valid.known).sum() + (~data.test.known).sum()) == 10


def test_a_column_of_arrays_is_an_input(tmp_path):
    rows = [[float(place), 1, 2] for place in range(20)]
    rows[7] = [1.0, 2]
    path = write(tmp_path / "a.jsonl", {"x": rows, "label": [place % 2 for place in range(20)]})
    data = loaded(path, columns={"inputs": "x", "label": "label"}, unreadable=0.1)
    assert data.description["inputs"] == "float32 (3,)"
    assert "a.jsonl:8: column 'x' holds torch.float32 of shape (2,)" in data.description["unreadable"]["first"][0]


# groups and time


def test_no_group_is_in_two_splits(tmp_path):
    path = csv(tmp_path / "a.csv", vitals(80))
    keys = {"columns": {**COLUMNS, "group": "person"}}
    data = loaded(path, valid=0.25, test=["p3"], **keys)
    groups = [set(split["groups"]) for split in data.description["splits"].values()]
    assert groups[2] == {"p3"}
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert set.union(*groups) == {f"p{number}" for number in range(8)}
    assert loaded(path, valid=0.25, test=["p3"], **keys).fingerprint == data.fingerprint
    with pytest.raises(DataError, match=r"names the group 'p33'(.|\n)*did you mean 'p3'\?"):
        loaded(path, test=["p33"], **keys)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl", "dates"])
def test_the_last_rows_by_time_are_the_test_and_those_before_them_validation(kind, tmp_path):
    columns = vitals(40)
    order = np.random.default_rng(1).permutation(40)
    shuffled = {name: [values[place] for place in order] for name, values in columns.items()}
    if kind == "dates":
        kind, shuffled["when"] = "parquet", np.array(shuffled["when"], "datetime64[ms]")
    data = loaded(
        write(tmp_path / f"a.{kind}", shuffled), columns={**COLUMNS, "time": "when"}, split="time", valid=8, test=4
    )
    times = [{int(order[place]) for place in rows.ids.tolist()} for rows in data.splits().values()]
    assert times == [set(range(28)), set(range(28, 36)), set(range(36, 40))]


def test_rows_without_group_or_time_are_unreadable(tmp_path):
    columns = vitals()
    columns["person"][3], columns["when"][5], columns["when"][6] = None, "yesterday", None
    with pytest.raises(DataError) as caught:
        loaded(csv(tmp_path / "a.csv", columns), columns={**COLUMNS, "group": "person", "time": "when"})
    assert "a.csv:5: no group in column 'person'" in str(caught.value)
    assert "a.csv:7: column 'when' holds 'yesterday', no time" in str(caught.value)
    assert "a.csv:8: column 'when' is empty" in str(caught.value)


def test_series_are_handed_over_to_be_cut_into_windows(tmp_path):
    rows = 120
    columns = {
        "time": [f"2024-01-01T00:{place % 60:02d}:00" for place in range(60)] * 2,
        "id": ["a"] * 60 + ["b"] * 60,
        "level": [100 + place for place in range(rows)],
    }
    columns["level"][30], columns["level"][90] = None, "NA"
    data = loaded(
        csv(tmp_path / "a.csv", columns),
        labels="values",
        columns={"inputs": "level", "group": "id", "time": "time"},
        windows={"steps": 8, "horizon": 2, "fill": 1},
        split="time",
    )
    assert data.train.inputs.shape[1:] == (1, 8)
    assert data.description["windows"]["readings"] == rows


# pictures named in a table


def test_a_table_with_picture_files_reads_them_beside_itself(tmp_path):
    names = [f"shots/{place}.png" for place in range(20)]
    for place, name in enumerate(names):
        picture(tmp_path / name, 4, 5, colour=(place, 0, 0))
    names[3] = "shots/none.png"
    (tmp_path / names[6]).write_bytes(b"no picture")
    path = csv(tmp_path / "labels.csv", {"file": names, "kind": ["cat", "dog"] * 10})
    keys = {"columns": {"inputs": "file", "label": "kind"}}
    with pytest.raises(DataError) as caught:
        loaded(path, **keys)
    assert "labels.csv:5: there is no such file" in str(caught.value)
    assert "labels.csv:8: is no picture" in str(caught.value)
    data = loaded(tmp_path, unreadable=0.1, **keys)  # the folder with the table beside its pictures
    assert data.description["inputs"] == "uint8 (3, 4, 5)"
    assert sum(len(rows) for rows in data.splits().values()) == 18
    reds = [int(rows.inputs[place, 0, 1, 1]) for rows in data.splits().values() for place in range(len(rows))]
    assert sorted(reds) == [place for place in range(20) if place not in (3, 6)]


def test_pictures_inside_a_parquet_file(tmp_path):
    content = picture(tmp_path / "one.png", 4, 4, colour=7).read_bytes()
    columns = {"image": [{"bytes": content, "path": None}] * 12, "label": [0, 1] * 6}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    data = loaded(tmp_path / "a.parquet", columns={"label": "label"})
    assert data.description["inputs"] == "uint8 (1, 4, 4)"
