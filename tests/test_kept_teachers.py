"""A teacher of which only part was kept: what preflight lets it teach, and what it refuses before training."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from limbeck.catalog.objectives import objective
from limbeck.data.rows import TensorRows
from limbeck.errors import TeacherError
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.preflight import check
from limbeck.replay import Draw
from limbeck.signals import Batch, Signals
from limbeck.targets.hidden import HiddenTargets
from limbeck.targets.protocol import SoftTargets
from limbeck.targets.sampled import SampledTargets
from limbeck.targets.topk import TopKTargets
from limbeck.tasks.classification import Classification
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.module import ModuleTeacher

CLASSES = tuple("0123456789")
TASK = Classification()

pytestmark = pytest.mark.usefixtures("one_thread")

Keeping = Callable[[Tensor, Tensor], SoftTargets]
KEPT: dict[str, Keeping] = {
    "top 4": lambda logits, ids: TopKTargets.of(logits, 4, (1.0, 4.0)),
    "top 64": lambda logits, ids: TopKTargets.of(logits, 64, (1.0,)),
    "draws": lambda logits, ids: SampledTargets.of(logits, Draw.of(ids, 0, 0, "targets").uniforms(12), 1.0),
    "hidden": lambda logits, ids: HiddenTargets(logits, torch.eye(10)),
}


class Kept(ModuleTeacher):
    """A live network that says its soft targets in the form in which a recording would have kept them."""

    def __init__(self, kind: str) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        super().__init__(Model(network), kind)
        self.keeping = KEPT[kind]

    def signals(self, batch: Batch) -> Signals:
        logits = super().signals(batch).logits
        assert logits is not None
        return Signals(targets=self.keeping(logits, batch.ids))


def checked(text: str, teacher: ModuleTeacher | EnsembleTeacher, rows: TensorRows) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        student = Model(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    batch = Batch.of(rows.inputs[:16].float(), rows.labels[:16], TASK, ids=rows.ids[:16])
    check(student, teacher, objective(text), TASK, CLASSES, batch, rows)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("top 4", "0.9 * kd(temperature=4) + 0.1 * labels"),
        ("top 4", "jensen_shannon(beta=linear(0.1, 0.9))"),
        ("top 4", "linear(0.9, 0.1) * reverse_kl(temperature=4) + skew_kl + total_variation"),
        ("top 64", "kd(temperature=7) + adaptive_kl(temperature=3)"),
        ("draws", "kd(temperature=1) + labels"),
        ("hidden", "kd(temperature=cosine(8, 1)) + adaptive_kl"),
    ],
)
def test_what_was_kept_teaches_what_it_can_answer(kind: str, text: str, few: TensorRows) -> None:
    checked(text, Kept(kind), few)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("top 4", "kd(temperature=2)", r"kl at T=2: the tails were stored at T=1, 4 alone; record .* T=2 among"),
        ("top 4", "labels + adaptive_kl", r"adaptive_kl\(head=0.5\) at T=1: merging symbols can raise it"),
        ("top 4", "labels + logit_mse", r"logit_mse reads them; what was kept is the 4 largest of 10 logits"),
        ("top 4", "kd(temperature=4) + taid", r"taid\(.*\) reads them; what was kept is the 4 largest of 10 logits"),
        ("top 4", "kd(standardise=True)", r"kd\(.*\) reads them; what was kept is the 4 largest of 10 logits"),
        ("top 64", "dkd", r"dkd\(.*\) reads them; what was kept is the 10 largest of 10 logits"),
        ("draws", "kd(temperature=4)", r"kl at T=4: the draws are from the distribution at T=1"),
        ("draws", "reverse_kl", r"reverse_kl at T=1: .* the forward kl alone; record the largest logits"),
        ("draws", "labels + logit_mse", r"logit_mse reads them; what was kept is draws from 10 symbols at T=1"),
        ("hidden", "logit_mse", r"logit_mse reads them; what was kept is hidden states of width 10"),
    ],
)
def test_what_it_cannot_answer_is_refused_before_training(kind: str, text: str, said: str, few: TensorRows) -> None:
    with pytest.raises(TeacherError, match=said) as caught:
        checked(text, Kept(kind), few)
    assert "record" in str(caught.value)


@pytest.mark.parametrize("text", ["kd(temperature=linear(4, 1))", "labels + 0.5 * kd(temperature=cosine(4, 1))"])
def test_a_temperature_that_moves_between_stored_ones_is_refused_before_training(text: str, few: TensorRows) -> None:
    """Both its ends are stored; what lies between is asked for at the second step."""
    with pytest.raises(TeacherError, match=r"a schedule in .* moves through .* kl at T=2.5 among others") as caught:
        checked(text, Kept("top 4"), few)
    assert "the 4 largest of 10 logits and their tails at T=1, 4" in str(caught.value)
    assert 'keep="dense"' in caught.value.remedy


def test_what_a_schedule_needs_between_its_ends_is_told_apart() -> None:
    moves, stands = objective("kd(temperature=linear(4, 1)) + labels").needs(), objective("kd(temperature=4)").needs()
    assert {temperature for _, temperature in moves.soft} == {1.0, 4.0}
    assert [temperature for _, temperature in moves.between] == [2.5]
    assert not stands.between and not objective("linear(1, 0) * kd").needs().between
    assert (moves | stands).between == moves.between
    assert Needs().between == frozenset()


def test_members_of_an_ensemble_must_have_all_their_logits(few: TensorRows) -> None:
    teacher = EnsembleTeacher([(1, Kept("top 4")), (1, Kept("top 4"))])
    with pytest.raises(TeacherError, match=r"top 4 in .* says no dense logits; what was kept is the 4 largest"):
        checked("kd(temperature=4)", teacher, few)
