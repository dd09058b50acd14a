"""Recordings: equal to the live teacher bit for bit, and refused when they are not what is wanted."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recordings import CROP_MIXUP, LAYERS, LOGITS, TASK, Wanted, bytes_of, live, pieces

from limbeck.data.augment import parse
from limbeck.data.loader import batches
from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.errors import RecordingError, TeacherError
from limbeck.objective import Needs
from limbeck.recordings.store import Recording, verify
from limbeck.signals import Batch, Signals
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.recording import RecordedTeacher

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("augment", ["none", "crop(padding=1)", "crop(padding=1) + mixup(alpha=0.4)"])
def test_recorded_equals_live_bit_for_bit(digits: Data, tmp_path: Path, augment: str) -> None:
    chosen = None if augment == "none" else parse(augment)
    views = 1 if chosen is None else 3
    wanted = Wanted(digits.train, tmp_path / "r", augment=chosen, views=views, batch_size=128, shard_bytes=1 << 19)
    recorded = RecordedTeacher(wanted.record())
    recorded.fits(digits.train, chosen, 5)
    recorded.prepare(LAYERS, digits.classes)
    assert recorded.views == views
    assert recorded.recording.manifest.shards_per_view > 1
    seen = 0
    for view in range(views):
        for batch in pieces(digits.train, wanted, view, 128):
            was, now = recorded.signals(batch), wanted.teacher.signals(batch)
            assert was.logits is not None
            assert torch.equal(was.logits, now.logits)
            assert torch.equal(was.features["layer2"], now.features["layer2"])
            assert was.logits.dtype == now.logits.dtype == torch.float32
            seen += len(batch)
    assert seen == views * 1437


def test_recorded_equals_live_on_several_threads(few: TensorRows, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    wanted = Wanted(few, tmp_path / "r", views=1, batch_size=100)
    recorded = RecordedTeacher(wanted.record())
    recorded.prepare(LAYERS, wanted.classes)
    for batch in pieces(few, wanted, 0, 100):
        was, now = recorded.signals(batch), wanted.teacher.signals(batch)
        assert torch.equal(was.logits, now.logits)
        assert torch.equal(was.features["layer2"], now.features["layer2"])


@pytest.mark.parametrize("size", [1, 7, 100])
def test_another_batch_shape_is_within_the_stated_bound(few: TensorRows, tmp_path: Path, size: int) -> None:
    wanted = Wanted(few, tmp_path / "r")
    recorded = RecordedTeacher(wanted.record())
    recorded.prepare(LAYERS, wanted.classes)
    for batch in batches(few, TASK, batch_size=size, seed=1, epoch=4, view=1, augment=CROP_MIXUP, augment_seed=5):
        was, now = recorded.signals(batch), wanted.teacher.signals(batch)
        for one, other in ((was.logits, now.logits), (was.features["layer2"], now.features["layer2"])):
            assert float((one - other).abs().max()) <= 1e-5 * max(1.0, float(other.abs().max()))


def test_rows_of_several_views_in_one_batch_and_in_any_order(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r", views=3)
    recording = Recording(wanted.record())
    ids = few.ids[torch.tensor([5, 199, 0, 5, 77])]
    views = torch.tensor([2, 0, 1, 0, 2])
    together = recording.signals(ids, views, ("layer2",))
    for place in range(5):
        alone = recording.signals(ids[place : place + 1], views[place : place + 1], ("layer2",))
        assert torch.equal(alone.logits[0], together.logits[place])
        assert torch.equal(alone.features["layer2"][0], together.features["layer2"][place])
    assert not torch.equal(together.logits[0], together.logits[3])


def test_the_same_call_writes_the_same_bytes_and_tells_what_it_cost(few: TensorRows, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    first = Wanted(few, tmp_path / "a", progress=lambda done, total: calls.append((done, total))).record()
    second = Wanted(few, tmp_path / "b").record()
    assert bytes_of(first) == bytes_of(second)
    recording = Recording(first)
    assert recording.bytes == sum(path.stat().st_size for path in first.glob("*.safetensors"))
    assert 0 < recording.seconds < 60
    assert calls[:2] == [(0, 400), (32, 400)]
    assert calls[-1] == (400, 400)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert sorted(path.name for path in first.iterdir() if path.suffix != ".safetensors") == [
        "manifest.json",
        "timing.json",
    ]
    (first / "timing.json").unlink()
    assert Recording(first).seconds != Recording(first).seconds


def test_a_finished_recording_is_left_as_it_is_also_for_fewer_layers(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r")
    before = {path: path.stat().st_mtime_ns for path in wanted.record().glob("*.safetensors")}
    told: list[tuple[int, int]] = []
    wanted.needs, wanted.progress = LOGITS, lambda done, total: told.append((done, total))
    wanted.record()
    assert told == [(400, 400)], "asked the teacher again"
    assert before == {path: path.stat().st_mtime_ns for path in wanted.to.glob("*.safetensors")}


def test_half_precision_is_kept_as_it_was_said(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r", needs=LAYERS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recorded = RecordedTeacher(wanted.record())
        recorded.prepare(LAYERS, wanted.classes)
        batch = next(pieces(few, wanted, 1, 32))
        was, now = recorded.signals(batch), wanted.teacher.signals(batch)
    assert was.logits.dtype == torch.bfloat16
    assert torch.equal(was.logits, now.logits)
    assert torch.equal(was.features["layer2"], now.features["layer2"])
    with pytest.raises(RecordingError, match="was made in the precision autocast bfloat16"):
        wanted.record()


def test_an_ensemble_is_recorded_like_any_teacher(few: TensorRows, tmp_path: Path) -> None:
    ensemble = EnsembleTeacher([(1, live(0)), (2, live(1))])
    wanted = Wanted(few, tmp_path / "r", teacher=ensemble, needs=LOGITS)
    recorded = RecordedTeacher(wanted.record())
    recorded.prepare(LOGITS, wanted.classes)
    batch = next(pieces(few, wanted, 1, 32))
    assert torch.equal(recorded.signals(batch).logits, ensemble.signals(batch).logits)
    assert recorded.name == "ensemble(cnn 0, cnn 1)"


def other_rows(rows: TensorRows) -> TensorRows:
    return TensorRows(rows.inputs, rows.labels, rows.known, rows.ids + 1000)


def test_a_recording_holds_whatever_is_known_of_the_labels(few: TensorRows, tmp_path: Path) -> None:
    """The teacher is not shown them: the bytes are equal, and each may go on with, or learn from, the other's."""
    assert few.labels is not None
    wrong = TensorRows(few.inputs, few.labels.flip(0), few.known, few.ids)
    whole = bytes_of(Wanted(few, tmp_path / "whole").record())
    for number, rows in enumerate(
        (few.hide_labels(torch.arange(50)), wrong, TensorRows(few.inputs, None, torch.zeros_like(few.known), few.ids))
    ):
        to = tmp_path / f"{number}"
        assert bytes_of(Wanted(rows, to).record()) == whole
        RecordedTeacher(to).fits(few, CROP_MIXUP, 5)
        forget(to, "00001.safetensors")
        assert bytes_of(Wanted(few, to).record()) == whole


def test_a_teacher_that_reads_labels_is_not_recorded(few: TensorRows, tmp_path: Path) -> None:
    class Copying(ModuleTeacher):
        def signals(self, batch: Batch) -> Signals:
            assert batch.labels is not None, "no labels"
            return super().signals(batch)

    taught = Copying(live().model, "copying")
    with pytest.raises(AssertionError, match="no labels"):
        Wanted(few, tmp_path / "r", teacher=taught).record()


REFUSALS: dict[str, tuple[Callable[[Wanted], object], str]] = {
    "teacher": (lambda w: setattr(w, "teacher", live(1)), "was made of another teacher"),
    "data": (lambda w: setattr(w, "rows", other_rows(w.rows)), "was made of other data"),
    "classes": (lambda w: setattr(w, "classes", tuple("abcdefghij")), "was made for other classes"),
    "augment": (lambda w: setattr(w, "augment", parse("crop(padding=2)")), "was made with another augmentation: crop"),
    "seed": (lambda w: setattr(w, "augment_seed", 6), "was made with the augmentation seed 5"),
    "views": (lambda w: setattr(w, "views", 3), "was made with 2 views of each row"),
    "layers": (lambda w: setattr(w, "needs", Needs(teacher_layers=frozenset({"layer3"}))), "holds no layer 'layer3'"),
    "batch": (lambda w: setattr(w, "batch_size", 16), "was made in batches of 32 rows"),
}


@pytest.mark.parametrize("what", REFUSALS)
@pytest.mark.parametrize("finished", [True, False])
def test_a_recording_of_something_else_is_refused(few: TensorRows, tmp_path: Path, what: str, finished: bool) -> None:
    wanted = Wanted(few, tmp_path / "r")
    wanted.record()
    if not finished:
        forget(wanted.to, "00001.safetensors")
    before = bytes_of(wanted.to)
    change, message = REFUSALS[what]
    change(wanted)
    with pytest.raises(RecordingError, match=message) as caught:
        wanted.record()
    assert "give another folder" in caught.value.remedy
    assert caught.value.expected
    assert bytes_of(wanted.to) == before


def forget(folder: Path, shard: str) -> None:
    """Takes a finished recording back to where one shard was not yet written."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["shards"][shard]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / shard).unlink()


def test_a_recorded_teacher_refuses_other_rows_and_augmentations(few: TensorRows, tmp_path: Path) -> None:
    recorded = RecordedTeacher(Wanted(few, tmp_path / "r").record())
    recorded.fits(few, CROP_MIXUP, 5)
    with pytest.raises(RecordingError, match="was made of other data"):
        recorded.fits(few.select(torch.arange(100)), CROP_MIXUP, 5)
    with pytest.raises(RecordingError, match="with another augmentation") as caught:
        recorded.fits(few, None)
    assert caught.value.expected == "augmentation: none"
    with pytest.raises(RecordingError, match="augmentation seed 5"):
        recorded.fits(few, CROP_MIXUP, 4)
    with pytest.raises(RecordingError, match="for the classes 0, 1, 2"):
        recorded.prepare(LOGITS, tuple("9876543210"))
    with pytest.raises(TeacherError, match="holds no features of the layer 'layer22'") as missing:
        recorded.prepare(Needs(teacher_layers=frozenset({"layer22"})), tuple("0123456789"))
    assert missing.value.expected == "did you mean 'layer2'?"


def test_rows_and_views_that_were_not_recorded_are_refused(few: TensorRows, tmp_path: Path) -> None:
    recording = Recording(Wanted(few, tmp_path / "r").record())
    present = few.ids[:2]
    absent = next(number for number in range(2000) if number not in set(few.ids.tolist()))
    with pytest.raises(RecordingError, match=rf"holds no row with id {absent} \(1 of 2 miss\)"):
        recording.signals(torch.tensor([int(present[0]), absent]), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(RecordingError, match="holds no view 2") as caught:
        recording.signals(present, torch.tensor([0, 2]))
    assert caught.value.expected == "views from 0 to 1"
    with pytest.raises(RecordingError, match="holds no view -1"):
        recording.signals(present, torch.tensor([0, -1]))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: os.truncate(path, path.stat().st_size - 1), "is torn: it has"),
    "empty": (lambda path: os.truncate(path, 0), "is torn: it has 0 bytes"),
    "flipped": (lambda path: path.write_bytes(flipped(path.read_bytes())), "is damaged: its SHA-256"),
    "missing": (lambda path: path.unlink(), "is missing"),
}


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_shard_is_named_and_can_be_made_anew(few: TensorRows, tmp_path: Path, how: str) -> None:
    wanted = Wanted(few, tmp_path / "r")
    whole = bytes_of(wanted.record())
    assert len(whole) > 3
    shard = wanted.to / "00002.safetensors"
    damage, message = DAMAGE[how]
    damage(shard)
    for opened in (RecordedTeacher, Recording, verify):
        with pytest.raises(RecordingError, match=rf"00002\.safetensors {message}") as caught:
            opened(wanted.to)
        assert "record again into the same folder" in caught.value.remedy
    if how != "missing":
        with pytest.raises(RecordingError, match=rf"00002\.safetensors {message}"):
            wanted.record()
        shard.unlink()
    asked: list[int] = []
    wanted.progress = lambda done, total: asked.append(done)
    wanted.record()
    assert bytes_of(wanted.to) == whole
    assert 0 < len(asked) <= 4
    assert verify(wanted.to).complete


def test_an_unverified_recording_still_refuses_a_torn_shard(few: TensorRows, tmp_path: Path) -> None:
    folder = Wanted(few, tmp_path / "r").record()
    os.truncate(folder / "00000.safetensors", 1000)
    with pytest.raises(RecordingError, match=r"00000\.safetensors is not as its manifest describes it"):
        Recording(folder, verify=False)


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "future": (lambda raw: raw.update(schema=99), "has schema 99, from a newer Limbeck"),
    "past": (lambda raw: raw.update(schema=1), "has schema 1, from an older Limbeck"),
    "keep": (
        lambda raw: raw["identity"].update(keep="topj"),
        "keeps its answers as 'topj', which this Limbeck does not know",
    ),
    "unfinished": (lambda raw: raw["shards"].pop("00001.safetensors"), r"is not finished: \d+ of \d+ shards"),
    "escape": (lambda raw: raw["shards"].update({"../x": raw["shards"]["00000.safetensors"]}), "'../x' has no place"),
    "word": (lambda raw: raw["identity"].pop("views"), "is damaged"),
    "kind": (lambda raw: raw.update(shards=[1, 2]), "is damaged"),
    "zero": (lambda raw: raw.update(shard_rows=0), "is damaged"),
    "columns": (lambda raw: raw["columns"]["logits"].update(shape=[11]), "is not as its manifest describes it"),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_that_cannot_be_right_is_refused(few: TensorRows, tmp_path: Path, what: str) -> None:
    folder = Wanted(few, tmp_path / "r").record()
    raw = json.loads((folder / "manifest.json").read_text())
    change, message = MANIFESTS[what]
    change(raw)
    (folder / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(RecordingError, match=message) as caught:
        RecordedTeacher(folder)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "{", '{"schema": 2}', "[]", "null", "\x00"])
def test_a_torn_manifest_is_refused(few: TensorRows, tmp_path: Path, text: str) -> None:
    wanted = Wanted(few, tmp_path / "r")
    (wanted.record() / "manifest.json").write_text(text)
    for attempt in (lambda: RecordedTeacher(wanted.to), wanted.record):
        with pytest.raises(RecordingError, match=r"manifest\.json is damaged"):
            attempt()


def test_a_folder_that_is_no_recording_is_refused_and_left_alone(few: TensorRows, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tmp").write_text("three years")
    with pytest.raises(RecordingError, match=r"is not a recording and is not empty: it holds 'thesis\.tmp'"):
        Wanted(few, tmp_path / "home").record()
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.tmp"]
    Wanted(few, tmp_path / "r").record()
    with pytest.raises(RecordingError, match=r"is not a recording: it has no manifest\.json") as caught:
        RecordedTeacher(tmp_path / "home")
    assert caught.value.remedy == "a folder beside it that is one: r"


def test_what_cannot_be_recorded_is_refused_before_the_teacher_is_asked(few: TensorRows, tmp_path: Path) -> None:
    refusals = [
        (dict(augment=None), "2 views were asked for without an augmentation"),
        (dict(views=0), "a recording of views=0 was asked for"),
        (dict(batch_size=0), "a recording of batch_size=0 was asked for"),
        (dict(rows=few.select(torch.arange(0))), "a recording of rows=0 was asked for"),
        (dict(rows=few.select(torch.tensor([3, 4, 3]))), f"two rows have the id {int(few.ids[3])}"),
    ]
    for change, message in refusals:
        wanted = Wanted(**{"rows": few, "to": tmp_path / "r", **change})
        with pytest.raises(RecordingError, match=message):
            wanted.record()
    assert not (tmp_path / "r").exists()
    with pytest.raises(TeacherError, match="has no layer 'layer22'"):
        Wanted(few, tmp_path / "r", needs=Needs(teacher_layers=frozenset({"layer22"}))).record()
    assert not (tmp_path / "r").exists()
