"""Rows a teacher says nothing about: left out of what needs it, kept as such, counted, and too many stop it."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import refusing
import torch
from small_recordings import bytes_of

from limbeck.data.rows import TensorRows
from limbeck.errors import TeacherStopped
from limbeck.evaluation import likeness, score, teacher_answers
from limbeck.objective import Needs
from limbeck.objectives.kd import KD
from limbeck.objectives.labels import Labels
from limbeck.objectives.rkd import RKD
from limbeck.recordings.store import Recording
from limbeck.signals import Batch, Signals
from limbeck.tasks.classification import Classification
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.function import FunctionTeacher
from limbeck.teachers.ledger import Ledger
from limbeck.teachers.recording import RecordedTeacher

TASK = Classification()
CLASSES = refusing.CLASSES
LOGITS = Needs(logits=True)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows() -> TensorRows:
    return refusing.rows()


@pytest.fixture
def batch(rows: TensorRows) -> Batch:
    return Batch.of(rows.inputs[:60], rows.labels[:60], TASK, ids=rows.ids[:60])


@pytest.fixture
def refused(batch: Batch) -> torch.Tensor:
    found = torch.from_numpy(refusing.first_pixels(batch.inputs.numpy()))
    assert 1 < int(found.sum()) < 12
    return found


def prepared(function: Callable[[Any], Any], **arguments: Any) -> FunctionTeacher:
    teacher = FunctionTeacher(function, **{"failures": 0.5, **arguments})
    teacher.prepare(LOGITS, CLASSES)
    return teacher


def quietly(teacher: Any, batch: Batch) -> Signals:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*said nothing about")
        return teacher.signals(batch)


def losses(signals: Signals, batch: Batch, logits: torch.Tensor) -> dict[str, float]:
    objective = KD(2.0) + Labels() + RKD(25.0, 50.0)
    loss = objective.loss(Signals.dense(logits), signals, batch)
    return {name.partition("(")[0]: float(value) for name, value in loss.terms.items()}


def test_silent_rows_are_left_out_of_what_needs_the_teacher_and_keep_their_labels(
    batch: Batch, refused: torch.Tensor
) -> None:
    logits = torch.randn(60, 10, generator=torch.Generator().manual_seed(0))
    whole, gaps = prepared(refusing.linear).signals(batch), quietly(prepared(refusing.refusing), batch)
    spoken = (~refused).nonzero().flatten()
    without = losses(whole.rows(spoken), batch.rows(spoken), logits[spoken])
    found = losses(gaps, batch, logits)
    assert found["kd"] == pytest.approx(without["kd"], rel=1e-5)
    assert found["rkd"] == pytest.approx(without["rkd"], rel=1e-5)
    assert found["labels"] == pytest.approx(losses(whole, batch, logits)["labels"], rel=1e-6)
    assert found["labels"] != pytest.approx(without["labels"], rel=1e-4)
    objective = KD(2.0) + Labels()
    counts = objective.counts(batch, gaps)
    assert list(counts.values()) == [len(spoken), 60]
    parts = [
        float(objective.loss(Signals.dense(logits[part]), gaps.rows(part), batch.rows(part), counts=counts).total)
        for part in (slice(0, 25), slice(25, 60))
    ]
    assert sum(parts) == pytest.approx(float(objective.loss(Signals.dense(logits), gaps, batch).total), rel=1e-5)


def test_no_gradient_comes_from_a_silent_row(batch: Batch, refused: torch.Tensor) -> None:
    logits = torch.randn(60, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gaps = quietly(prepared(refusing.refusing), batch)
    KD(4.0).loss(Signals.dense(logits), gaps, batch).total.backward()
    assert logits.grad is not None
    assert not logits.grad[refused].any() and bool(logits.grad[~refused].any(dim=1).all())
    nothing = Signals.dense(torch.zeros(60, 10), said=torch.zeros(60, dtype=torch.bool))
    assert float(KD(4.0).loss(Signals.dense(logits.detach()), nothing, batch).total) == 0


def test_an_ensemble_is_silent_where_a_member_is(batch: Batch, refused: torch.Tensor) -> None:
    ensemble = EnsembleTeacher(
        [(1, FunctionTeacher(refusing.refusing, failures=0.5)), (1, FunctionTeacher(refusing.linear))]
    )
    ensemble.prepare(LOGITS, CLASSES)
    said = quietly(ensemble, batch)
    assert torch.equal(said.said, ~refused)
    alone = prepared(refusing.linear).signals(batch).logits.softmax(-1)
    torch.testing.assert_close(said.logits.softmax(-1)[~refused], alone[~refused])


def test_scores_and_likeness_are_over_the_rows_it_answered(rows: TensorRows) -> None:
    with pytest.warns(UserWarning, match="said nothing about"):
        gaps = teacher_answers(prepared(refusing.refusing), rows, TASK, batch_size=50)
    whole = teacher_answers(prepared(refusing.linear), rows, TASK, batch_size=50)
    spoken = ~torch.from_numpy(refusing.first_pixels(rows.inputs.numpy()))
    assert torch.equal(gaps.said, spoken)
    assert score(gaps, TASK, CLASSES).rows == int(spoken.sum())
    assert likeness(whole, gaps, TASK)["agreement"] == 1.0


def test_recorded_is_live_and_silent_rows_stay_silent(rows: TensorRows, tmp_path: Path) -> None:
    silent = torch.from_numpy(refusing.first_pixels(rows.inputs.numpy()))
    with pytest.warns(UserWarning, match="said nothing about") as said:
        folder = refusing.recorded(tmp_path / "r")
    last = str(said[-1].message)
    assert last.startswith(f"refusing said nothing about {int(silent.sum())} of 200 rows (ids ")
    recording = Recording(folder)
    assert recording.silent[0].tolist() == sorted(rows.ids[silent].tolist()) and list(recording.silent) == [0]
    recorded, live = RecordedTeacher(folder), prepared(refusing.refusing)
    recorded.prepare(LOGITS, CLASSES)
    order = rows.ids.argsort()
    for start in range(0, 200, 16):
        at = order[start : start + 16]
        asked = Batch.of(rows.inputs[at], rows.labels[at], TASK, ids=rows.ids[at])
        once, again = recorded.signals(asked), quietly(live, asked)
        assert torch.equal(once.logits, again.logits) and torch.equal(once.said, again.said)
    mixed = Batch.of(rows.inputs, rows.labels, TASK, ids=rows.ids)
    assert torch.equal(recorded.signals(mixed).said, ~silent)


@pytest.mark.slow
def test_killed_at_any_instant_and_taken_up_again_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*said nothing about")
        whole = bytes_of(refusing.recorded(tmp_path / "whole"))
        command = [sys.executable, str(Path(refusing.__file__)), str(tmp_path / "killed")]
        kills = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert kills > 20
    assert bytes_of(tmp_path / "killed") == whole


def test_too_many_failures_stop_it_and_what_was_recorded_is_kept(rows: TensorRows, tmp_path: Path) -> None:
    silent = refusing.first_pixels(rows.inputs.numpy()).sum()
    strict = FunctionTeacher(refusing.refusing, failures=(silent - 2) / 200)
    with pytest.warns(UserWarning, match="so far"), pytest.raises(TeacherStopped) as caught:
        refusing.recorded(tmp_path / "r", teacher=strict, shard_bytes=1 << 20, save_seconds=1000)
    assert caught.value.happened.startswith(f"refusing failed on {silent - 1} rows of 200 (row ")
    assert "ValueError: this one I cannot" in caught.value.happened
    assert (tmp_path / "r" / "00000.unfinished").is_file()
    assert caught.value.expected == f"at most {silent - 2} (failures={(silent - 2) / 200:g})"
    asked: list[tuple[int, int]] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*said nothing about")
        # The same stop again: rows of the earlier sitting still count.
        with pytest.raises(TeacherStopped, match=f"failed on {silent - 1} rows of 200"):
            refusing.recorded(tmp_path / "r", teacher=FunctionTeacher(refusing.refusing, failures=(silent - 2) / 200))
        words = {"shard_bytes": 1 << 20, "progress": lambda done, total: asked.append((done, total))}
        refusing.recorded(tmp_path / "r", **words)
        refusing.recorded(tmp_path / "whole", shard_bytes=1 << 20)
    assert asked[0][0] > 16 and asked[-1] == (200, 200)
    assert bytes_of(tmp_path / "r") == bytes_of(tmp_path / "whole")


def test_the_ledger_counts_each_row_once_in_each_view() -> None:
    ledger = Ledger("f", 0.1)
    ledger.expect(torch.arange(20))
    ledger.spoke()
    for _ in range(3):
        for number in (3, 5):
            ledger.fail(number, 0, "why")
            ledger.fail(number, 1, "why")
    assert len(ledger) == 4
    with pytest.raises(TeacherStopped, match="f failed on 5 rows of 20"):
        ledger.fail(6, 1, "why")
    other = Ledger("f", 0.1)
    other.spoke()
    other.ask(torch.arange(5))
    other.fail(100, 0, "why")
    with pytest.raises(TeacherStopped):
        other.fail(101, 0, "why")
    strict = Ledger("f", 0.0)
    strict.spoke()
    with pytest.raises(TeacherStopped, match=r"f failed on 1 rows of 1 \(row 3: why\)"):
        strict.fail(3, 0, "why")
