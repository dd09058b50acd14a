"""Every form of a recording against the teacher live: equal divergences and gradients, within what a form promises."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_recordings import TASK, Sixteenths, Wanted, bytes_of, live, pieces
from torch import Tensor, nn

from limbeck.catalog.objectives import objective
from limbeck.data.rows import TensorRows
from limbeck.divergences import AdaptiveKL, kl, reverse_kl
from limbeck.errors import Interrupted, RecordingError, TeacherError
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.recordings.form import parse
from limbeck.recordings.store import Recording
from limbeck.recordings.writer import Share
from limbeck.replay import Draw
from limbeck.signals import Signals
from limbeck.targets.sampled import SampledTargets
from limbeck.targets.topk import TopKTargets
from limbeck.teachers.module import ModuleTeacher
from limbeck.teachers.recording import RecordedTeacher

pytestmark = pytest.mark.usefixtures("one_thread")

TEMPERATURES = (1.0, 2.0, 4.0, 20.0)
SOFT = Needs(soft=frozenset({(kl, temperature) for temperature in TEMPERATURES}))
PENULTIMATE = "head[:3]"


def asked(rows: TensorRows, to: Path, keep: str, **more: Any) -> Wanted:
    return Wanted(rows, to, keep=keep, needs=SOFT, **more)


def both(student: Tensor, signals: Signals, temperature: float) -> tuple[Tensor, Tensor]:
    said = student.clone().requires_grad_()
    assert signals.targets is not None
    value = signals.targets.divergence(kl, said, temperature)
    (gradient,) = torch.autograd.grad(value.sum(), said)
    return value.detach(), gradient


def replayed(wanted: Wanted, view: int = 1) -> Any:
    recorded = RecordedTeacher(wanted.record())
    recorded.prepare(wanted.needs, wanted.classes)
    for batch in pieces(wanted.rows, wanted, view, 32):
        student = torch.randn(len(batch), 10, generator=torch.Generator().manual_seed(int(batch.ids[0])))
        yield batch, student, recorded.signals(batch), wanted.teacher.signals(batch)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("keep", ["topk(k=10, precision='float32')", "hidden('stem', 'head')"])
def test_what_keeps_everything_equals_live(few: TensorRows, tmp_path: Path, keep: str, temperature: float) -> None:
    wanted = asked(few, tmp_path / "r", keep, teacher=headed())
    for _, student, was, now in replayed(wanted):
        for one, other in zip(both(student, was, temperature), both(student, now, temperature), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_largest_logits_equal_the_merged_distribution_of_the_live_ones(
    few: TensorRows, tmp_path: Path, temperature: float
) -> None:
    wanted = asked(few, tmp_path / "r", "topk(k=4, precision='float32')")
    below = 0
    for _, student, was, now in replayed(wanted):
        exact = Signals(None, {}, TopKTargets.of(now.logits.double(), 4, (temperature,)))
        for one, other in zip(both(student, was, temperature), both(student.double(), exact, temperature), strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-6)
        dense = both(student, now, temperature)[0]
        assert bool((both(student, was, temperature)[0] <= dense + 1e-6).all())
        below += int((both(student, was, temperature)[0] < dense - 1e-6).sum())
        same, nothing = both(now.logits, was, temperature)
        torch.testing.assert_close(same, torch.zeros_like(same), atol=1e-5, rtol=0)
        torch.testing.assert_close(nothing, torch.zeros_like(nothing), atol=1e-5, rtol=0)
    assert below > 0


def test_half_precision_costs_the_largest_logits_little(few: TensorRows, tmp_path: Path) -> None:
    whole = replayed(asked(few, tmp_path / "whole", "topk(k=4, precision='float32')"))
    half = replayed(asked(few, tmp_path / "half", "topk(k=4)"))
    for (_, student, exact, _), (_, _, rounded, _) in zip(whole, half, strict=True):
        for temperature in TEMPERATURES:
            one, other = both(student, exact, temperature)[0], both(student, rounded, temperature)[0]
            assert float((one - other).abs().max()) < 2e-3


def test_draws_are_the_same_whatever_the_batch_and_the_sitting(few: TensorRows, tmp_path: Path) -> None:
    needs = Needs(soft=frozenset({(kl, 2.0)}))
    whole = Wanted(few, tmp_path / "whole", keep="sampled(draws=40)", needs=needs)
    stopped = Wanted(few, tmp_path / "r", keep="sampled(draws=40)", needs=needs, save_seconds=0)

    def stop(done: int, total: int) -> None:
        if done > 250:
            raise KeyboardInterrupt

    stopped.progress = stop
    with pytest.raises(Interrupted):
        stopped.record()
    stopped.progress = None
    assert bytes_of(stopped.record()) == bytes_of(whole.record())
    views = [torch.cat([was.targets.symbols for _, _, was, _ in replayed(whole, view)]) for view in (0, 1)]
    assert not torch.equal(*views)


def test_draws_are_right_on_average(few: TensorRows, tmp_path: Path) -> None:
    """Over 200 rows, with 255 draws each: the mean error is within four of its standard errors."""
    needs = Needs(soft=frozenset({(kl, 2.0)}))
    wanted = Wanted(few, tmp_path / "r", keep="sampled(draws=255)", needs=needs)
    errors = []
    for _, student, was, now in replayed(wanted):
        assert repr(parse(wanted.keep).settled(needs, positions=False)) == "sampled(draws=255, temperature=2, seed=0)"
        errors.append(both(student, was, 2.0)[0] - both(student, now, 2.0)[0])
    away = torch.cat(errors)
    assert float(away.abs().max()) > 1e-3
    assert abs(float(away.mean())) < 4 * float(away.std()) / len(away) ** 0.5
    assert float(away.std()) < 0.2


@pytest.mark.parametrize(
    ("keep", "needs", "message"),
    [
        ("topk(k=4)", Needs(logits=True), "has no dense logits, and the objective reads them"),
        ("topk(k=4)", Needs(soft=frozenset({(AdaptiveKL(0.5), 1.0)})), "cannot answer adaptive_kl.* at T=1"),
        ("topk(k=4, temperatures=(1, 2))", Needs(soft=frozenset({(kl, 4.0)})), "cannot answer kl at T=4: the tails"),
        ("sampled", Needs(soft=frozenset({(reverse_kl, 1.0)})), "cannot answer reverse_kl at T=1"),
        ("sampled", Needs(soft=frozenset({(kl, 1.0), (kl, 4.0)})), "cannot answer kl at T=4"),
        ("topk(k=11)", Needs(), r"topk\(k=11\) was asked of a teacher with 10 logits"),
        ("hidden('stem', 'layer1')", Needs(), "has no linear layer 'layer1'"),
        ("hidden('layer1', 'head')", Needs(), "is not what the head 'head' makes the teacher's logits of"),
    ],
)
def test_a_form_that_cannot_serve_is_refused_before_anything_is_recorded(
    few: TensorRows, tmp_path: Path, keep: str, needs: Needs, message: str
) -> None:
    calls: list[int] = []
    wanted = Wanted(few, tmp_path / "r", keep=keep, needs=needs, teacher=headed())
    wanted.progress = lambda done, total: calls.append(done)
    with pytest.raises((RecordingError, TeacherError), match=message) as caught:
        wanted.record()
    assert caught.value.remedy
    assert not calls and not list((tmp_path / "r").glob("*.safetensors"))


def test_a_recording_refuses_an_objective_it_cannot_answer(few: TensorRows, tmp_path: Path) -> None:
    recorded = RecordedTeacher(asked(few, tmp_path / "r", "topk(k=4)").record())
    for text, message in (("kd(temperature=3)", "cannot answer kl at T=3"), ("logit_mse", "has no dense logits")):
        with pytest.raises(RecordingError, match=message):
            recorded.prepare(objective(text).needs(), tuple("0123456789"))
    recorded.prepare(objective("kd(temperature=4)").needs(), tuple("0123456789"))


def test_hidden_states_give_the_logits_where_they_are_read(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r", keep="hidden('stem', 'head')", needs=Needs(logits=True), teacher=headed())
    for _, _, was, now in replayed(wanted):
        torch.testing.assert_close(was.logits, now.logits, rtol=1e-5, atol=1e-5)
    recording = Recording(wanted.to)
    assert recording.signals(few.ids[:3], torch.zeros(3, dtype=torch.int64), dense=False).logits is None


def test_classes_in_another_order_keep_their_head(few: TensorRows, tmp_path: Path) -> None:
    wanted = asked(few, tmp_path / "r", "hidden('stem', 'head')", teacher=headed(tuple("9876543210")))
    for _, student, was, now in replayed(wanted):
        torch.testing.assert_close(both(student, was, 1.0)[0], both(student, now, 1.0)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("keep", ["topk(k=3)", "sampled(draws=5)", "dense('float16')", "hidden('stem', 'head')"])
def test_shares_make_the_bytes_of_one_in_every_form(few: TensorRows, tmp_path: Path, keep: str) -> None:
    needs = Needs(soft=frozenset({(kl, 4.0)}))
    settings: dict[str, Any] = dict(keep=keep, needs=needs, teacher=headed(), shard_bytes=1 << 11)
    whole = Wanted(few, tmp_path / "whole", **settings).record()
    for number in (1, 0):
        Wanted(few, tmp_path / "r", share=Share(number, 2), **settings).record()
    assert bytes_of(tmp_path / "r") == bytes_of(whole)
    assert len(list(whole.glob("0*.safetensors"))) > 2


def headed(classes: tuple[str, ...] = ()) -> Any:
    """A teacher whose last layer reads what its first one gives, so that the hidden states are a layer's output."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        stem = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.Tanh())
        network = nn.Sequential()
        network.add_module("stem", stem)
        network.add_module("head", nn.Linear(6, 10))
        network.add_module("layer1", nn.Identity())
    return ModuleTeacher(Model(network, Sixteenths(), classes), "headed")


def test_the_objective_sees_no_difference_between_forms_that_keep_everything(few: TensorRows, tmp_path: Path) -> None:
    method = objective("0.9 * kd(temperature=4) + 0.1 * labels")
    wanted = Wanted(few, tmp_path / "r", keep="topk(k=10, precision='float32')", needs=method.needs(), teacher=live())
    for batch, student, was, now in replayed(wanted):
        plain = replace(batch, partner=None)
        one, other = (method.loss(Signals.dense(student), heard, plain).total for heard in (was, now))
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert plain.task is TASK


def speaking(positions: int = 6, symbols: int = 40) -> Any:
    """A teacher that says logits at several positions of a row, as one of texts does."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = nn.Sequential()
        network.add_module("stem", nn.Sequential(nn.Flatten(), nn.Linear(64, positions * 5), nn.Tanh()))
        network.add_module("steps", nn.Unflatten(1, (positions, 5)))
        network.add_module("head", nn.Linear(5, symbols))
    return ModuleTeacher(Model(network, Sixteenths()), "speaking")


@pytest.mark.parametrize(
    ("precision", "bound"), [("float32", 1e-5), ("float16", 2e-3), ("bfloat16", 2e-2), ("companded", 3e-2)]
)
def test_packed_rows_of_several_positions_equal_what_was_packed(
    few: TensorRows, tmp_path: Path, precision: str, bound: float
) -> None:
    keep = f"topk(k=8, precision={precision!r})"
    wanted = asked(few, tmp_path / "r", keep, teacher=speaking(), shard_bytes=1 << 13)
    recorded = RecordedTeacher(wanted.record())
    recorded.prepare(SOFT, wanted.classes)
    assert recorded.recording.manifest.columns["symbols"].dtype == "bytes"
    order = torch.randperm(len(few), generator=torch.Generator().manual_seed(1))[:50]
    said = {
        int(b.ids[i]): wanted.teacher.signals(b).logits[i] for b in pieces(few, wanted, 1, 32) for i in range(len(b))
    }
    heard = recorded.recording.signals(few.ids[order], torch.ones(50, dtype=torch.int64)).targets
    live_logits = torch.stack([said[int(number)] for number in few.ids[order]])
    assert isinstance(heard, TopKTargets) and heard.symbols.shape == (50, 6, 8)
    student = torch.randn(50, 6, 40, generator=torch.Generator().manual_seed(3))
    for temperature in TEMPERATURES:
        exact = TopKTargets.of(live_logits, 8, (temperature,)).divergence(kl, student, temperature)
        near = heard.divergence(kl, student, temperature)
        assert float((near - exact).abs().max()) < bound


@pytest.mark.parametrize("keep", ["topk(k=8, precision='companded')", "sampled(draws=7)", "hidden('steps', 'head')"])
def test_rows_of_several_positions_in_shares_and_after_a_stop(few: TensorRows, tmp_path: Path, keep: str) -> None:
    needs = Needs(soft=frozenset({(kl, 1.0)}))
    settings: dict[str, Any] = dict(keep=keep, needs=needs, teacher=speaking(), shard_bytes=1 << 13)
    whole = Wanted(few, tmp_path / "whole", **settings).record()
    for number in (1, 0):
        Wanted(few, tmp_path / "shares", share=Share(number, 2), **settings).record()
    assert bytes_of(tmp_path / "shares") == bytes_of(whole)
    stopped = Wanted(few, tmp_path / "stopped", save_seconds=0, **settings)

    def stop(done: int, total: int) -> None:
        if done > 250:
            raise KeyboardInterrupt

    stopped.progress = stop
    with pytest.raises(Interrupted):
        stopped.record()
    stopped.progress = None
    assert bytes_of(stopped.record()) == bytes_of(whole)
    assert len(list(whole.glob("0*.safetensors"))) > 2


def test_a_precision_for_packed_rows_alone_is_refused_for_others(few: TensorRows, tmp_path: Path) -> None:
    wanted = asked(few, tmp_path / "r", "topk(k=4, precision='companded')")
    with pytest.raises(RecordingError, match="cannot keep rows of one position in the precision 'companded'"):
        wanted.record()
    packed = asked(few, tmp_path / "p", "topk(k=4, precision='as said')", teacher=speaking())
    with pytest.raises(RecordingError, match="cannot keep rows of several positions in the precision 'as said'"):
        packed.record()


def test_features_in_one_byte_are_off_by_half_a_step(few: TensorRows, tmp_path: Path) -> None:
    needs = Needs(logits=True, teacher_layers=frozenset({"layer2"}))
    wanted = Wanted(few, tmp_path / "r", keep="dense + features('int8')", needs=needs)
    for _, _, was, now in replayed(wanted):
        kept, said = was.features["layer2"], now.features["layer2"]
        spread = said.amax(dim=(2, 3), keepdim=True) - said.amin(dim=(2, 3), keepdim=True)
        assert bool(((kept - said).abs() <= spread / 510 + 1e-5).all())
        assert float((kept - said).abs().max()) > 0


def test_packed_draws_are_those_that_were_drawn(few: TensorRows, tmp_path: Path) -> None:
    needs = Needs(soft=frozenset({(kl, 2.0)}))
    wanted = Wanted(few, tmp_path / "r", keep="sampled(draws=9)", needs=needs, teacher=speaking())
    for batch, _, was, now in replayed(wanted):
        uniforms = Draw.of(batch.ids, 0, 1, "sampled").uniforms(6, 9)
        exact = SampledTargets.of(now.logits, uniforms, 2.0)
        assert isinstance(was.targets, SampledTargets)
        assert torch.equal(shares(was.targets), shares(exact))
        torch.testing.assert_close(was.targets.entropy.double(), exact.entropy, rtol=2**-10, atol=0)
    assert RecordedTeacher(wanted.to).recording.manifest.columns.keys() == {"draws"}


def shares(targets: SampledTargets) -> Tensor:
    """How often each symbol was drawn, by symbol."""
    empty = torch.zeros(*targets.symbols.shape[:-1], targets.size, dtype=torch.int64)
    return empty.scatter_add(-1, targets.symbols, targets.counts)
