"""How a recording keeps answers: forms and their texts, shares that are merged, views, reading while it is written."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_recordings import CROP_MIXUP, LAYERS, LOGITS, TASK, Wanted, bytes_of, live, pieces

from limbeck.data.augment import parse as augmentation
from limbeck.data.rows import TensorRows
from limbeck.errors import Interrupted, RecipeError, RecordingError
from limbeck.recordings.columns import Blocks, joined, taken
from limbeck.recordings.form import known_forms, parse
from limbeck.recordings.index import Index
from limbeck.recordings.merging import merge
from limbeck.recordings.store import Recording, verify
from limbeck.recordings.writer import Share
from limbeck.teachers.recording import RecordedTeacher

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("dense", "dense(precision='as said')"),
        ("dense('float16')", "dense(precision='float16')"),
        (
            "dense + features(precision='bfloat16')",
            "dense(precision='as said') + features(precision='bfloat16')",
        ),
    ],
)
def test_what_is_kept_is_read_and_written_back(text: str, written: str) -> None:
    assert repr(parse(text)) == written
    assert parse(written) == parse(text)


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("dence", "keep knows no form called 'dence'", "did you mean 'dense'?"),
        ("dense(precison='float16')", "dense has no argument 'precison'", "did you mean 'precision'?"),
        ("dense('float15')", "dense was asked for precision='float15'", "did you mean 'float16'?"),
        ("dense(precision=16)", "dense has precision=16", ""),
        ("dense('float16', precision='float16')", "dense was given precision twice", ""),
        ("2 * dense", "dense in keep: 2 * dense has the weight 2.0", ""),
        ("features", "names 0 forms of logits and 1 of features", ""),
        ("dense + dense", "names 2 forms of logits and 0 of features", ""),
        ("dense + features + features", "names 1 forms of logits and 2 of features", ""),
        ("dense +", "the keep cannot be read", ""),
    ],
)
def test_what_cannot_be_kept_is_refused(text: str, message: str, remedy: str) -> None:
    with pytest.raises(RecipeError, match=message.replace("*", r"\*")) as caught:
        parse(text)
    assert caught.value.remedy.startswith(remedy)


def test_every_form_is_written_by_its_name() -> None:
    assert {"dense", "features"} <= set(known_forms())


@pytest.mark.parametrize(("precision", "bound"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8), ("float32", 0.0)])
def test_two_bytes_a_number_are_off_by_what_is_stated(
    few: TensorRows, tmp_path: Path, precision: str, bound: float
) -> None:
    wanted = Wanted(few, tmp_path / "r", keep=f"dense({precision!r}) + features({precision!r})")
    whole = Wanted(few, tmp_path / "whole")
    kept, said = (RecordedTeacher(each.record()) for each in (wanted, whole))
    for teacher in (kept, said):
        teacher.prepare(LAYERS, wanted.classes)
    for batch in pieces(few, wanted, 1, 32):
        one, other = kept.signals(batch), said.signals(batch)
        for near, exact in ((one.logits, other.logits), (one.features["layer2"], other.features["layer2"])):
            assert bool(((near.float() - exact).abs() <= bound * exact.abs() + 1e-7).all())
            assert near.dtype == getattr(torch, precision)
    if bound:
        assert kept.bytes < 0.6 * said.bytes


def test_numbers_that_half_precision_cannot_hold_are_refused(few: TensorRows, tmp_path: Path) -> None:
    teacher = live()
    with torch.no_grad():
        teacher.model.network.head[3].bias[4] = 1e5
    with pytest.raises(RecordingError, match="the logits reach 100000, which float16 cannot hold") as caught:
        Wanted(few, tmp_path / "r", teacher=teacher, keep="dense('float16')").record()
    assert "bfloat16" in caught.value.remedy
    assert not list((tmp_path / "r").glob("0*"))


def test_a_folder_holds_one_form(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r")
    wanted.record()
    wanted.keep = "dense('float16')"
    with pytest.raises(RecordingError, match=r"was made with its answers kept as dense\(precision='as said'\)"):
        wanted.record()


def test_shares_in_folders_of_their_own_merge_into_the_bytes_of_one(few: TensorRows, tmp_path: Path) -> None:
    whole = bytes_of(Wanted(few, tmp_path / "whole").record())
    parts = []
    for number in range(3):
        wanted = Wanted(few, tmp_path / f"part{number}", share=Share(number, 3))
        parts.append(wanted.record())
        with pytest.raises(RecordingError, match="is not finished"):
            Recording(wanted.to)
    half = merge(parts[:2], tmp_path / "merged")
    assert not half.complete
    assert merge(parts[2:], tmp_path / "merged").complete
    assert bytes_of(tmp_path / "merged") == whole
    assert verify(tmp_path / "merged").complete
    # What is missing of a merging can also be recorded into it.
    merge(parts[1:], tmp_path / "rest")
    assert bytes_of(Wanted(few, tmp_path / "rest").record()) == whole


def test_shares_of_another_recording_are_not_merged(few: TensorRows, tmp_path: Path) -> None:
    one = Wanted(few, tmp_path / "one", share=Share(0, 2)).record()
    other = Wanted(few, tmp_path / "other", teacher=live(1), share=Share(1, 2)).record()
    with pytest.raises(RecordingError, match="was made of another teacher"):
        merge([one, other], tmp_path / "both")
    wider = Wanted(few, tmp_path / "wider", share=Share(1, 2), shard_bytes=1 << 20).record()
    with pytest.raises(RecordingError, match=r"is laid out otherwise than .*: another shard rows"):
        merge([one, wider], tmp_path / "both")
    shard = next(one.glob("0*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(RecordingError, match=rf"{shard.name} is damaged"):
        merge([one], tmp_path / "both")
    with pytest.raises(RecordingError, match="no recordings to merge"):
        merge([], tmp_path / "both")


def test_a_recording_is_read_up_to_its_last_finished_shard_while_it_is_written(few: TensorRows, tmp_path: Path) -> None:
    wanted, seen = Wanted(few, tmp_path / "r"), []

    def look(done: int, total: int) -> None:
        if done > 320:  # in view 1, with view 0 finished
            seen.append(Recording(wanted.to, unfinished=True))
            raise KeyboardInterrupt

    wanted.progress = look
    with pytest.raises(Interrupted):
        wanted.record()
    early = seen[0]
    first = early.signals(few.ids, torch.zeros_like(few.ids))
    with pytest.raises(RecordingError, match=r"is still being written, and its shard [0-9]+ is not finished"):
        early.signals(few.ids, torch.ones_like(few.ids))
    with pytest.raises(RecordingError, match=r"is not finished: \d+ of \d+ shards"):
        Recording(wanted.to)
    wanted.progress = None
    whole = Recording(wanted.record())
    assert torch.equal(first.logits, whole.signals(few.ids, torch.zeros_like(few.ids)).logits)


def test_the_number_of_views_is_never_taken_for_one(few: TensorRows, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"how many views of each row crop\(padding=1\) .* was not said"):
        Wanted(few, tmp_path / "r", views=None).record()
    plain = Recording(Wanted(few, tmp_path / "r", views=None, augment=None).record())
    assert plain.manifest.identity.views == 1


def test_mirrored_rows_meet_mirrored_features(few: TensorRows, tmp_path: Path) -> None:
    """A peer's cache held features of the rows as they were first seen; here every view has its own."""
    flip = augmentation("flip")
    wanted = Wanted(few, tmp_path / "r", augment=flip, views=4)
    recorded = RecordedTeacher(wanted.record())
    recorded.prepare(LAYERS, wanted.classes)
    turned = 0
    for view in range(1, 4):
        for batch in pieces(few, wanted, view, 32):
            was = recorded.signals(batch).features["layer2"].flatten(1)
            now = wanted.teacher.signals(batch).features["layer2"].flatten(1)
            first = recorded.signals(replace(batch, views=torch.zeros_like(batch.views))).features["layer2"].flatten(1)
            assert float(torch.cosine_similarity(was, now).min()) > 0.99999
            turned += int((torch.cosine_similarity(first, now) < 0.99).sum())
    assert turned > 100  # of 600: half of the pairs of views differ by a flip


def test_recordings_that_hold_more_than_is_asked_serve_it(few: TensorRows, tmp_path: Path) -> None:
    recorded = RecordedTeacher(Wanted(few, tmp_path / "r").record())
    recorded.prepare(LOGITS, tuple("0123456789"))
    batch = next(pieces(few, Wanted(few, tmp_path / "r", augment=CROP_MIXUP), 0, 32))
    assert recorded.signals(batch).features == {}
    assert batch.task is TASK


@given(rows=st.lists(st.lists(st.binary(max_size=12), min_size=1, max_size=5), min_size=1, max_size=4), data=st.data())
def test_bytes_of_any_length_come_back_in_the_order_asked_for(rows: list[list[bytes]], data: st.DataObject) -> None:
    shards = {number: Blocks.of(part) for number, part in enumerate(rows)}
    numbers = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8))
    places = [data.draw(st.integers(0, len(rows[number]) - 1)) for number in numbers]
    found = taken(shards, torch.tensor(numbers), torch.tensor(places))
    assert isinstance(found, Blocks)
    assert found.rows(torch.arange(len(found))) == [rows[n][p] for n, p in zip(numbers, places, strict=True)]
    whole = joined([{"x": Blocks.of(part)} for part in rows])["x"]
    assert isinstance(whole, Blocks)
    assert whole.rows(torch.arange(len(whole))) == [row for part in rows for row in part]


@given(ids=st.sets(st.integers(0, 60), min_size=1, max_size=30), data=st.data())
def test_ids_are_found_with_and_without_gaps(ids: set[int], data: st.DataObject) -> None:
    ordered = sorted(ids)
    index = Index(torch.tensor(ordered), {})
    asked = data.draw(st.lists(st.sampled_from(ordered), min_size=1, max_size=10))
    assert index.positions(torch.tensor(asked), Path("r")).tolist() == [ordered.index(each) for each in asked]
    absent = next(each for each in range(-1, 100) if each not in ids)
    with pytest.raises(RecordingError, match=f"holds no row with id {absent}"):
        index.positions(torch.tensor([absent]), Path("r"))
