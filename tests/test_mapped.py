"""Inputs larger than `data.memory`: the same bits as in memory, in a file that is whole or not there."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_files import csv, flowers, loaded, vitals
from small_runs import SETTLED, same_bits, weights
from test_bad_input import _small_files

from limbeck import distill
from limbeck.data import cache
from limbeck.data.inputs import Inputs, blocks
from limbeck.data.mapped import MappedInputs, MapWriter
from limbeck.data.rows import TensorRows
from limbeck.data.shelf import Shelf
from limbeck.data.standardise import statistics
from limbeck.errors import DataError, StorageError

KEYS = {"columns": {"inputs": ["pulse", "age"], "label": "label", "group": "person", "time": "when"}}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))


def entries() -> list[Path]:
    folder = cache.folder() / "data"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def mapped(path: Path, rows: torch.Tensor, *, at_once: int = 3) -> MappedInputs:
    writer = MapWriter(path)
    for part in rows.split(at_once):
        writer.add(part)
    writer.close()
    return MappedInputs.open(path)


# the file


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32])
def test_a_mapped_file_gives_the_rows_that_were_written(kind, tmp_path):
    rows = (torch.rand(11, 3, 5) * 200).to(kind)
    found = mapped(tmp_path / "a", rows)
    assert isinstance(found, Inputs)
    assert (found.shape, found.dtype) == ((11, 3, 5), kind)
    places = torch.tensor([9, 0, 4, 4])
    assert torch.equal(found.take(places), rows[places])
    some = found.select(torch.tensor([10, 2, 7])).select(torch.tensor([2, 0]))
    assert torch.equal(some.take(torch.arange(2)), rows[[7, 10]])
    assert torch.equal(torch.cat(list(blocks(found))), rows)
    assert torch.equal(load_file(tmp_path / "a")["inputs"], rows)  # what others make of it


def test_what_was_taken_is_the_takers_own(tmp_path):
    found = mapped(tmp_path / "a", torch.zeros(4, 2))
    found.take(torch.arange(4)).add_(1)
    assert float(found.take(torch.arange(4)).sum()) == 0


def test_a_fingerprint_does_not_depend_on_where_rows_are_kept(tmp_path, monkeypatch):
    rows = torch.randn(50, 3, 4)
    held = mapped(tmp_path / "a", rows)
    dense = TensorRows.of(rows, torch.arange(50) % 3)
    other = TensorRows(held, dense.labels, dense.known, dense.ids)
    assert other.fingerprint == dense.fingerprint
    picked = torch.randperm(50)[:20]
    monkeypatch.setattr("limbeck.data.inputs._BLOCK_BYTES", 100)
    assert other.select(picked).fingerprint == dense.select(picked).fingerprint
    for mine, theirs in zip(statistics(other), statistics(dense), strict=True):
        assert torch.equal(mine, theirs)


def test_a_torn_or_changed_file_is_refused(tmp_path):
    path = tmp_path / "a"
    mapped(path, torch.randn(9, 4))
    whole = path.read_bytes()
    for torn in (whole[:-1], whole[:4200], whole[:100], b"", b"\0" * 4096 + whole[4096:], whole + b"x"):
        path.write_bytes(torn)
        with pytest.raises(DataError, match="delete it: the data is then read again"):
            MappedInputs.open(path)
    changed = bytearray(whole)
    changed[4096 + 5 * 16 + 3] ^= 1
    path.write_bytes(changed)
    found = MappedInputs.open(path)
    found.take(torch.arange(5))
    with pytest.raises(DataError, match=r"row 5 of .* is damaged"):
        found.take(torch.arange(9))
    writer = MapWriter(path)
    writer.add(torch.randn(9, 4))
    writer.abandon()
    with pytest.raises(DataError):
        MappedInputs.open(path)


# the shelf


def sources(folder: Path) -> dict[str, tuple[Path, dict]]:
    np.savez(folder / "a.npz", x=np.random.default_rng(0).normal(size=(60, 3, 4)), y=np.arange(60) % 3)
    (folder / "splits").mkdir()
    for name in ("train", "test"):
        people = [f"{name} {person}" for person in vitals(40)["person"]]
        csv(folder / "splits" / f"{name}.csv", {**vitals(40), "person": people})
    bad = vitals(40)
    bad["age"][7] = "old"
    return {
        "table": (csv(folder / "a.csv", bad), {**KEYS, "unreadable": 0.1}),
        "splits": (folder / "splits", KEYS),
        "pictures": (flowers(folder / "flowers"), {}),
        "arrays": (folder / "a.npz", {}),
    }


@pytest.mark.parametrize("form", ["table", "splits", "pictures", "arrays"])
def test_data_that_outgrows_memory_is_equal_and_read_once(form, tmp_path, monkeypatch):
    source, keys = sources(tmp_path)[form]
    dense = loaded(source, **keys)
    assert not entries()
    small = loaded(source, memory="100B", **keys)
    assert not isinstance(small.train.inputs, torch.Tensor)
    assert small.fingerprint == dense.fingerprint
    assert small.description["kept"]["in"] == "a mapped file"
    assert {**small.description, "kept": 0} == {**dense.description, "kept": 0}
    assert len(entries()) == 1
    # the second time nothing is decoded or parsed, and a larger limit reads the file into memory
    monkeypatch.setattr("limbeck.data.forms.assembly.Assembly.keep", None)
    assert loaded(source, memory="100B", **keys).description == small.description
    again = loaded(source, **keys)
    assert isinstance(again.train.inputs, torch.Tensor)
    assert again.description == dense.description


def test_a_source_that_changed_is_read_anew_and_so_is_another_reading_of_it(tmp_path):
    path = csv(tmp_path / "a.csv", vitals(40))
    first = loaded(path, memory="100B", **KEYS)
    loaded(path, memory="100B", valid=3, **KEYS)
    assert len(entries()) == 1
    csv(path, vitals(41))
    os.utime(path, ns=(1, 1))
    assert loaded(path, memory="100B", **KEYS).fingerprint != first.fingerprint
    loaded(path, memory="100B", columns={"inputs": "age", "label": "label"})
    assert len(entries()) == 3


def test_generators_are_kept_by_their_content(tmp_path):
    def rows(shift: float):
        return ((np.full(4, place + shift, np.float32), place % 2) for place in range(40))

    one, two, three = (loaded(rows(shift), memory=100) for shift in (0.0, 0.0, 1.0))
    assert one.fingerprint == two.fingerprint == loaded(rows(0.0)).fingerprint
    assert three.fingerprint != one.fingerprint
    assert len(entries()) == 2


def test_a_damaged_entry_is_warned_of_and_made_again(tmp_path):
    path = csv(tmp_path / "a.csv", vitals(40))
    whole = loaded(path, memory="100B", **KEYS).fingerprint
    for name, content in (("train.safetensors", b"torn"), ("rest.json", b'{"bytes": 3')):
        (entries()[0] / name).unlink()  # a file that is cut short under a map takes the process with it
        (entries()[0] / name).write_bytes(content)
        with pytest.warns(UserWarning, match="is damaged"):
            again = loaded(path, memory="100B", **KEYS)
        assert again.fingerprint == whole
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded(path, memory="100B", **KEYS)


def test_a_reading_that_fails_leaves_nothing_and_what_was_killed_is_swept(tmp_path):
    columns = vitals(40)
    columns["age"][39] = "old"
    path = csv(tmp_path / "a.csv", columns)
    with pytest.raises(DataError):
        loaded(path, memory="100B", **KEYS)
    assert not entries()
    for name, age in (("partial-old", 100_000), ("partial-new", 0)):
        (cache.folder() / "data" / name).mkdir()
        (cache.folder() / "data" / name / "train.safetensors").write_bytes(b"half")
        for place in (cache.folder() / "data" / name / "train.safetensors", cache.folder() / "data" / name):
            os.utime(place, (time.time() - age,) * 2)
    loaded(path, memory="100B", unreadable=0.1, **KEYS)
    assert [entry.name for entry in entries() if entry.name.startswith("partial")] == ["partial-new"]


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="set LIMBECK_CACHE to a folder on another disk"), Shelf(10) as shelf:
        shelf.add("train", torch.zeros(9, 9))


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache.folder() == tmp_path / "cache"
    monkeypatch.delenv("LIMBECK_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "limbeck"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "Library" / "Caches" / "limbeck"


# training


def train(source: Path, to: Path, *, memory: str, **more):
    settings = {**SETTLED, "batch": 8, "threads": 1}
    return distill(
        None, "cnn(size=4)", source, to=to, memory=memory, budget="4 epochs", training=settings, device="cpu", **more
    )


@pytest.mark.slow
def test_training_from_a_map_gives_the_bits_of_training_from_memory(tmp_path):
    folder = flowers(tmp_path / "flowers", each=30)
    runs = [train(folder, tmp_path / memory, memory=memory, augment="flip") for memory in ("1GB", "1KB", "1B")]
    assert same_bits(weights(runs[0]), weights(runs[1]))
    assert same_bits(weights(runs[0]), weights(runs[2]))
    assert runs[0].record.data["fingerprint"] == runs[1].record.data["fingerprint"]


RECIPE = """\
data: {source: flowers, memory: 1KB}
student: cnn(size=4)
budget: 40 epochs
training: {batch: 8, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
"""


@pytest.mark.slow
def test_training_from_a_map_that_was_killed_ends_in_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flowers(tmp_path / "flowers", each=60)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "limbeck", "distill", "mine.yaml", "--quiet", "--to"]
    subprocess.run([*command, "whole"], check=True)
    process = subprocess.Popen([*command, "killed"])
    while process.poll() is None and not Path("killed/checkpoint").is_dir():
        time.sleep(0.05)
    process.kill()
    process.wait()
    subprocess.run([*command, "killed", "--resume"], check=True)
    assert same_bits(weights(Path("whole")), weights(Path("killed")))


@pytest.mark.slow
def test_a_full_disk_while_converting_says_so_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flowers(tmp_path / "flowers", each=60)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    command = [sys.executable, "-m", "limbeck", "distill", "mine.yaml", "--quiet", "--to", "run"]
    full = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_small_files(8000))
    assert full.returncode == 8, full.stderr
    assert "could not be written" in full.stderr
    assert not entries()


BIG = """
import resource, sys
import numpy as np
import torch
from limbeck.catalog.data import data_of
from limbeck.data.loader import batches
from limbeck.data.standardise import statistics
from limbeck.recipe import DataSpec
from limbeck.tasks.classification import Classification

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

data_of(DataSpec(source=sys.argv[1], memory="1MB"))          # whatever is imported or warmed up once
before = peak()
data = data_of(DataSpec(source=sys.argv[2], memory="20MB"))
statistics(data.train)
for batch in batches(data.train, Classification(), batch_size=64, seed=0, epoch=0):
    batch.inputs.float().sum()
data.fingerprint
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
def test_memory_stays_small_whatever_the_size_of_the_data(tmp_path):
    generator = np.random.default_rng(0)
    for name, rows in (("small", 600), ("large", 100_000)):
        np.savez(
            tmp_path / f"{name}.npz", x=generator.integers(0, 256, (rows, 3, 32, 32), np.uint8), y=np.arange(rows) % 3
        )
    big = subprocess.run(
        [sys.executable, "-c", BIG, tmp_path / "small.npz", tmp_path / "large.npz"],
        capture_output=True,
        text=True,
        check=True,
    )
    # 307 MB of inputs; the limit is 20 MB, and beside it there are a few blocks of 4 MB and 32 MB of mapped pages
    assert float(big.stdout) < 250
