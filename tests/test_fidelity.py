"""How far a recording says it is from all logits: against the definition in float64, and where a person reads it."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recordings import Wanted, bytes_of, pieces
from small_runs import small
from test_diagnosis import Hearing
from test_recorded_targets import speaking
from torch import Tensor

from limbeck.cli import main
from limbeck.data.rows import TensorRows
from limbeck.divergences import kl, reverse_kl
from limbeck.errors import Interrupted
from limbeck.objective import Needs
from limbeck.recordings.fidelity import Fidelity, measured
from limbeck.recordings.form import parse
from limbeck.recordings.manifest import FILE, read_manifest
from limbeck.recordings.store import Recording
from limbeck.recordings.writer import Share
from limbeck.records import read_record
from limbeck.replay import Draw
from limbeck.run import Run
from limbeck.signals import Signals
from limbeck.targets.distance import Distance
from limbeck.targets.topk import TopKTargets

pytestmark = pytest.mark.usefixtures("one_thread")

TEMPERATURES = (1.0, 2.0, 4.0, 20.0)
SOFT = Needs(soft=frozenset({(kl, temperature) for temperature in TEMPERATURES}))


def first_logits(wanted: Wanted) -> Tensor:
    """What the teacher says of the first 32 rows in view 0, in float64."""
    logits = wanted.teacher.signals(next(pieces(wanted.rows, wanted, 0, 32))).logits
    assert logits is not None
    return logits.detach().double()


def student_of(teacher: Tensor) -> Tensor:
    """A nat of noise away from the teacher."""
    return teacher + torch.randn(teacher.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def softmax(logits: Tensor, temperature: float) -> Tensor:
    soft = (logits / temperature).exp()
    return soft / soft.sum(dim=-1, keepdim=True)


def compared(values: tuple[Tensor, Tensor], gradients: tuple[Tensor, Tensor], temperature: float) -> Distance:
    dense, kept = (float(value.mean()) for value in values)
    whole, part = (gradient.flatten() for gradient in gradients)
    length = math.sqrt(float((whole * whole).sum()))
    away = math.sqrt(float(((whole - part) ** 2).sum())) / length
    return Distance("kl", temperature, dense, kept, away, float((whole * part).sum()) / length / float(part.norm()))


def all_logits(teacher: Tensor, student: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Σ p log(p / q) of each row, and its gradient (q - p) / T in the student's logits."""
    p, q = softmax(teacher, temperature), softmax(student, temperature)
    return (p * (p / q).log()).sum(dim=-1), (q - p) / temperature


def largest(teacher: Tensor, student: Tensor, temperature: float, k: int, kept: torch.dtype) -> tuple[Tensor, Tensor]:
    """The same over the k largest in a precision and all others as one, which pulls at each by its share of them."""
    away = teacher.float() - teacher.float().amax(dim=-1, keepdim=True)
    inside = torch.zeros_like(teacher, dtype=torch.bool).scatter(-1, away.topk(k).indices, True)
    rounded = torch.where(inside, away.to(kept).double(), -math.inf)
    tail = torch.where(inside, 0.0, (away.double() / temperature).exp()).sum(dim=-1, keepdim=True)
    whole = (rounded / temperature).exp().sum(dim=-1, keepdim=True) + tail
    p, q = (rounded / temperature).exp() / whole, softmax(student, temperature)
    p_tail, q_tail = tail / whole, torch.where(inside, 0.0, q).sum(dim=-1, keepdim=True)
    value = torch.where(inside, p * (p / q).log(), 0.0).sum(dim=-1) + (p_tail * (p_tail / q_tail).log())[:, 0]
    return value, torch.where(inside, q - p, q - p_tail * q / q_tail) / temperature


def same(found: Distance, expected: Distance) -> None:
    assert (found.divergence, found.temperature) == (expected.divergence, expected.temperature)
    for word in ("dense", "kept", "gradient", "cosine"):
        # The manifest has five digits; a recorded tail is float32.
        assert getattr(found, word) == pytest.approx(getattr(expected, word), rel=6e-5), (word, found, expected)


@pytest.mark.parametrize(("precision", "kept"), [("float16", torch.float16), ("bfloat16", torch.bfloat16)])
def test_the_largest_logits_are_as_far_from_all_as_the_definition_says(
    few: TensorRows, tmp_path: Path, precision: str, kept: torch.dtype
) -> None:
    wanted = Wanted(few, tmp_path / "r", keep=f"topk(k=4, precision={precision!r})", needs=SOFT)
    fidelity = read_manifest(wanted.record()).fidelity
    teacher = first_logits(wanted)
    student = student_of(teacher)
    assert fidelity is not None and fidelity.positions == 32
    assert [each.temperature for each in fidelity.distances] == list(TEMPERATURES)
    for found in fidelity.distances:
        sides = all_logits(teacher, student, found.temperature), largest(teacher, student, found.temperature, 4, kept)
        same(found, compared(*zip(*sides, strict=True), found.temperature))
    assert fidelity.distances[2].gradient > 0.01


def test_draws_are_as_far_from_all_logits_as_the_definition_says(few: TensorRows, tmp_path: Path) -> None:
    needs = Needs(soft=frozenset({(kl, 2.0)}))
    wanted = Wanted(few, tmp_path / "r", keep="sampled(draws=9)", needs=needs)
    fidelity = read_manifest(wanted.record()).fidelity
    assert fidelity is not None
    teacher = first_logits(wanted)
    student = student_of(teacher)
    p, q = softmax(teacher, 2.0), softmax(student, 2.0)
    uniforms = Draw.of(few.ids.sort().values[:32], 0, 0, "sampled").uniforms(1, 9)[:, 0]
    drawn = (uniforms[..., None] >= p.cumsum(dim=-1)[:, None, :]).sum(dim=-1)
    shares = torch.zeros_like(p).scatter_add(-1, drawn, torch.full(drawn.shape, 1 / 9, dtype=torch.float64))
    value = (p * p.log()).sum(dim=-1) - (shares * q.log()).sum(dim=-1)
    expected = compared(*zip(all_logits(teacher, student, 2.0), (value, (q - shares) / 2), strict=True), 2.0)
    same(fidelity.distances[0], expected)
    assert expected.gradient > 0.5, "nine draws of 32 rows are noise, and that is what is said of them"


def test_what_keeps_all_bits_has_no_distance_and_half_of_them_a_small_one(few: TensorRows, tmp_path: Path) -> None:
    assert read_manifest(Wanted(few, tmp_path / "d", needs=SOFT).record()).fidelity is None
    half = read_manifest(Wanted(few, tmp_path / "h", needs=SOFT, keep="dense('float16')").record()).fidelity
    assert half is not None and all(0 < each.gradient < 1e-3 for each in half.distances)


def test_every_divergence_that_is_asked_and_kl_where_tails_are_stored(few: TensorRows, tmp_path: Path) -> None:
    needs = Needs(soft=frozenset({(reverse_kl, 2.0)}))
    keep = "topk(k=4, temperatures=(1, 2))"
    fidelity = read_manifest(Wanted(few, tmp_path / "r", needs=needs, keep=keep).record()).fidelity
    assert fidelity is not None
    assert [(d.divergence, d.temperature) for d in fidelity.distances] == [
        ("kl", 1.0),
        ("kl", 2.0),
        ("reverse_kl", 2.0),
    ]
    panel = fidelity.panel("kept", "somebody", {(kl, 2.0), (kl, 3.0)})
    assert [row[:3] for row in panel.data["rows"]] == [
        ["kl", 2.0, fidelity.distances[1].dense],
        ["kl", 3.0, None],
    ]


def test_silent_rows_and_impossible_classes_are_no_part_of_it() -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(4))
    logits[:, 0] = -math.inf
    said = torch.tensor([True, False, True, True, False, True])
    silent = logits.clone()
    silent[~said] = 0.0
    found = [
        measured(TopKTargets.of(each, 2, (1.0,)), Signals(each, {}, None, heard), {(kl, 1.0)})
        for each, heard in ((silent, said), (logits[said], None))
    ]
    assert found[0] == found[1] and found[0] is not None and found[0].positions == 4
    assert math.isfinite(found[0].distances[0].gradient)
    nobody = Signals(silent, {}, None, torch.zeros(6, dtype=torch.bool))
    assert measured(TopKTargets.of(silent, 2, (1.0,)), nobody, {(kl, 1.0)}) is None


def test_of_a_large_vocabulary_some_positions_are_measured() -> None:
    logits = torch.randn(3, 40, 1 << 16, generator=torch.Generator().manual_seed(5))
    found = measured(TopKTargets.of(logits, 8, (1.0,)), Signals.dense(logits), ())
    assert found is not None and found.positions == (1 << 22) // (1 << 16)


@pytest.mark.parametrize("keep", ["topk(k=3)", "sampled(draws=5)"])
def test_shares_and_stops_do_not_change_it(few: TensorRows, tmp_path: Path, keep: str) -> None:
    settings: dict[str, Any] = {"keep": keep, "needs": Needs(soft=frozenset({(kl, 4.0)})), "shard_bytes": 1 << 11}
    whole = Wanted(few, tmp_path / "whole", **settings).record()
    for number in (1, 0):
        Wanted(few, tmp_path / "r", share=Share(number, 2), **settings).record()
    stopped = Wanted(few, tmp_path / "s", save_seconds=0, **settings)

    def stop(done: int, total: int) -> None:
        if done > 250:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        replace(stopped, progress=stop).record()
    stopped.record()
    assert read_manifest(whole).fidelity is not None
    assert bytes_of(tmp_path / "r") == bytes_of(tmp_path / "s") == bytes_of(whole)


def test_a_recording_of_an_earlier_version_is_read_as_it_was_written(few: TensorRows, tmp_path: Path) -> None:
    """Before there was a distance, and while a precision that was left out was float16, which its manifest says."""
    place = Wanted(few, tmp_path / "r", keep="topk(k=4)", needs=SOFT).record()
    raw = json.loads((place / FILE).read_text())
    assert raw["identity"]["keep"] == "topk(k=4, temperatures=(1.0, 2.0, 4.0, 20.0), precision='float16')"
    del raw["fidelity"]
    (place / FILE).write_text(json.dumps(raw))
    recording = Recording(place)
    assert recording.manifest.fidelity is None
    targets = recording.signals(few.ids[:3], torch.zeros(3, dtype=torch.int64)).targets
    assert isinstance(targets, TopKTargets) and targets.logits.dtype == torch.float16


def test_rows_of_several_positions_are_companded_unless_it_is_said_otherwise(few: TensorRows, tmp_path: Path) -> None:
    texts = TensorRows(few.inputs, None, torch.zeros(len(few), 6, dtype=torch.bool), few.ids)
    settings: dict[str, Any] = {"teacher": speaking(), "needs": SOFT, "augment": None, "views": None}
    found = read_manifest(Wanted(texts, tmp_path / "r", keep="topk(k=8)", **settings).record())
    assert found.identity.keep.endswith("precision='companded')")
    exact = read_manifest(Wanted(texts, tmp_path / "e", keep="topk(k=8, precision='float32')", **settings).record())
    assert found.fidelity is not None and exact.fidelity is not None and found.fidelity.positions == 32 * 6
    for near, far in zip(found.fidelity.distances, exact.fidelity.distances, strict=True):
        assert near.kept == pytest.approx(far.kept, abs=1e-3), "its rounding is little beside what is merged"
        assert near.gradient == pytest.approx(far.gradient, rel=0.02)
        assert far.gradient > 0.1


def test_what_was_left_open_follows_from_objective_and_rows() -> None:
    for positions, precision in ((True, "companded"), (False, "float16")):
        settled = parse("topk(k=8)").settled(Needs(soft=frozenset({(kl, 2.0)})), positions)
        assert repr(settled) == f"topk(k=8, temperatures=(2.0,), precision={precision!r})"
        assert parse(repr(settled)) == settled == settled.settled(SOFT, not positions)


def test_a_run_states_it_and_so_do_record_and_verify(
    good_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hearing = Hearing()
    words: dict[str, Any] = {"objective": "kd(temperature=2)", "record": 1, "keep": "topk(k=3)", "control": False}
    run = small(good_run, tmp_path / "run", budget="2 steps", progress=hearing, **words)
    settled = "keep: topk(k=3) is topk(k=3, temperatures=(2.0,), precision='float16')"
    assert [message for message in hearing.said if message.startswith(settled)]
    (place,) = (run.folder / "recording").iterdir()
    fidelity = read_manifest(place).fidelity
    assert isinstance(fidelity, Fidelity)
    (only,) = fidelity.distances
    panel = next(panel for panel in read_record(run.folder).panels if panel.name.startswith("kept-"))
    assert panel.data["rows"] == [["kl", 2.0, only.dense, only.kept, only.gradient, only.cosine]]
    page = (run.folder / "report.html").read_text()
    assert panel.title in page and "gradient off by" in page
    with pytest.raises(SystemExit):
        main(("verify", str(place)))
    assert fidelity.sentences()[0] in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main(("verify", str(place), "--json"))
    assert json.loads(capsys.readouterr().out)["fidelity"]["distances"][0]["gradient"] == only.gradient
