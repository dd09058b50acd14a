"""Targets of which some positions name fewer symbols than others: what is not named is in the tail alone."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from targets_by_hand import by_hand, merged, slope
from torch import Tensor

from limbeck.divergences import Divergence, JensenShannon, SkewKL, kl, reverse_kl, total_variation
from limbeck.errors import RecordingError, TeacherError
from limbeck.objective import Needs
from limbeck.recordings import form
from limbeck.recordings.form import parse
from limbeck.signals import Batch, Signals
from limbeck.targets.topk import TopKTargets
from limbeck.tasks.language import Language

DIVERGENCES: list[Divergence] = [kl, reverse_kl, total_variation, JensenShannon(0.3), SkewKL(0.1)]
SYMBOLS, KEPT = 9, 4


def partial(logits: Tensor, named: Tensor) -> TopKTargets:
    """Of the 4 largest logits those that are named; the others are in the tail."""
    whole = TopKTargets.of(logits, KEPT)
    missing = SYMBOLS + torch.arange(KEPT)
    rest = whole.logits.masked_fill(named, -math.inf)
    return TopKTargets(
        torch.where(named, whole.symbols, missing),
        whole.logits.masked_fill(~named, -math.inf),
        torch.logaddexp(whole.tails, torch.logsumexp(rest, dim=-1, keepdim=True)),
        (1.0,),
        SYMBOLS,
        partial=True,
    )


def drawn(seed: int, rows: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (3 * torch.randn(rows, SYMBOLS, generator=generator, dtype=torch.float64) for _ in range(2))
    named = torch.rand(rows, KEPT, generator=generator) < 0.6
    named[0], named[1] = True, False  # all of them, and none
    return teacher, student, named


@pytest.mark.parametrize("divergence", DIVERGENCES, ids=lambda each: each.__name__)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31))
def test_value_and_gradient_are_those_of_the_named_symbols_and_all_others_as_one(
    divergence: Divergence, seed: int
) -> None:
    teacher, student, named = drawn(seed)
    targets, said = partial(teacher, named), student.requires_grad_()
    values = targets.divergence(divergence, said, 1.0)
    (gradients,) = torch.autograd.grad(values.sum(), said)
    for row in range(len(teacher)):
        symbols = [symbol for symbol in targets.symbols[row].tolist() if symbol < SYMBOLS]
        p = merged(teacher[row].tolist(), symbols, 1.0)

        def value(at: list[float], p: list[float] = p, symbols: list[int] = symbols) -> float:
            return by_hand(divergence, p, merged(at, symbols, 1.0))

        assert values[row].item() == pytest.approx(value(student[row].tolist()), rel=1e-10, abs=1e-14)
        assert gradients[row].tolist() == pytest.approx(slope(value, student[row].tolist()), rel=1e-6, abs=1e-9)
    equal = targets.divergence(divergence, teacher, 1.0)
    assert float(equal.detach().abs().max()) < 1e-14


def test_fewer_of_some_are_the_largest_and_the_rest_is_in_the_tail() -> None:
    teacher, student, _ = drawn(3)
    few = TopKTargets.of(teacher - 7.0, 6, (1.0, 2.0)).fewer(3)
    for temperature in (1.0, 2.0):
        found = few.divergence(kl, student, temperature)
        torch.testing.assert_close(
            found, TopKTargets.of(teacher, 3, (temperature,)).divergence(kl, student, temperature), rtol=1e-12, atol=0
        )
    assert float(few.logits.amax(dim=-1).abs().max()) == 0
    with pytest.raises(TeacherError, match="stored at T=2 alone"):
        few.at((2.0,)).divergence(kl, student, 1.0)


def batch(rows: int) -> Batch:
    tokens = torch.zeros(rows, 2, 5).long()
    return Batch.of(tokens, torch.zeros(rows, 5).long(), Language())


@pytest.mark.parametrize("keep", ["topk(k=4, precision='float32')", "topk(k=2, precision='float32')"])
def test_a_recording_keeps_them_as_they_were_said(keep: str) -> None:
    teacher, student, named = drawn(5, rows=15)
    said = partial(teacher.float(), named)
    shaped = TopKTargets(*(part.view(3, 5, -1) for part in (said.symbols, said.logits, said.tails)), (1.0,), 9, True)
    signals = Signals(None, {}, shaped)
    kept = parse(keep).settled(Needs(soft=frozenset({(kl, 1.0)})), positions=True)
    tables = kept.form.tables(signals, lambda layer: (torch.zeros(1, 1), None))
    heard = kept.unpack(kept.pack(signals, batch(3), (), tables), (), tables)
    assert heard.targets is not None
    found = heard.targets.divergence(kl, student.view(3, 5, -1), 1.0).flatten()
    k = int(keep[7])
    torch.testing.assert_close(found, said.fewer(k).divergence(kl, student, 1.0), rtol=1e-5, atol=1e-6)


def test_what_cannot_be_kept_of_them_is_refused() -> None:
    said = partial(*drawn(5)[::2])
    signals = Signals(None, {}, TopKTargets(said.symbols, said.logits, said.tails, (1.0,), 9, True))
    for keep, needs, words in (
        ("topk(k=5)", Needs(), r"k=5\) was asked of a teacher with 4 logits"),
        ("topk(k=2, temperatures=(1, 4))", Needs(), "tails at T=4, and the teacher says the 4 largest of 9"),
    ):
        kept = parse(keep).settled(needs, positions=False)
        with pytest.raises(RecordingError, match=words):
            kept.form.tables(signals, lambda layer: (torch.zeros(1, 1), None))
    for keep in ("dense", "sampled"):
        with pytest.raises(TeacherError, match="no dense logits; what was kept is the 4 largest of 9 logits"):
            form.refuse_unusable(signals, (), parse(keep).form)


def test_a_recording_of_one_position_a_row_keeps_them_too(tmp_path: Path) -> None:
    teacher, student, named = drawn(8)
    said = partial(teacher.float(), named)
    kept = parse("topk(k=4, precision='float32')").settled(Needs(), positions=False)
    signals = Signals(None, {}, said)
    tables = kept.form.tables(signals, lambda layer: (torch.zeros(1, 1), None))
    heard = kept.unpack(kept.pack(signals, batch(5), (), tables), (), tables)
    assert heard.targets is not None
    torch.testing.assert_close(
        heard.targets.divergence(kl, student, 1.0), said.divergence(kl, student, 1.0), rtol=1e-5, atol=1e-6
    )
