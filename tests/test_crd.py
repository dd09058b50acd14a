"""CRD's bank: what goes in, what it does there, and that a training goes on with it."""

import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from method_cases import built, reference_of, same
from reference import Case, Said
from small_runs import SETTLED, same_bits, small, teacher_run, weights
from test_resume import Stopping

from limbeck import checkpoint, preflight
from limbeck.catalog.objectives import objective
from limbeck.errors import Interrupted, ObjectiveError
from limbeck.model import Model
from limbeck.objective import Objective
from limbeck.objectives.crd import CRD
from limbeck.signals import Signals
from limbeck.teachers.module import ModuleTeacher

CASE: Case = reference_of("crd").cases()[1]


def remembering(made: Objective, rows: slice) -> CRD:
    assert isinstance(made, CRD)
    made.remember(CASE.student.rows(rows), CASE.teacher.rows(rows), CASE.batch.rows(rows))
    return made


@pytest.mark.parametrize("rows", [2, 4, 6])
def test_what_is_in_the_bank_is_a_negative_of_all_rows_but_its_own(rows: int) -> None:
    """Against the reference, which takes the bank as it is: with room in it, full, and after its oldest have left."""
    made = remembering(built("crd", CASE), slice(0, rows))
    plain = {name: tensor.tolist() for name, tensor in made.state_dict().items()}
    batch = replace(CASE.batch, ids=torch.tensor([0, 9, 5, 3, 8, 7]))
    expected = reference_of("crd").value(Said.of(CASE.student), Said.of(CASE.teacher), batch, plain, **CASE.arguments)
    same(made(CASE.student, CASE.teacher, batch), torch.tensor(expected, dtype=torch.float64), 1e-10)
    empty = built("crd", CASE)
    assert made(CASE.student, CASE.teacher, batch) > empty(CASE.student, CASE.teacher, batch)


def test_first_in_first_out() -> None:
    made = remembering(built("crd", CASE), slice(0, 3))
    assert made.owners[:, 0].tolist() == [-1, 0, 1, 2]
    remembering(made, slice(3, 5))
    assert made.owners[:, 0].tolist() == [1, 2, 3, 4]
    remembering(made, slice(0, 6))
    assert made.owners[:, 0].tolist() == [2, 3, 4, 5]
    same(made.learnt.square().sum(dim=1), torch.ones(4, dtype=torch.float64))
    counted = replace(CASE.batch, mask=torch.arange(6) == 1)
    made.remember(CASE.student, CASE.teacher, counted)
    assert made.owners[:, 0].tolist() == [3, 4, 5, 1]


def test_looking_keeps_nothing_and_the_bank_moves_no_gradient() -> None:
    made = remembering(built("crd", CASE), slice(0, 4))
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    made.loss(CASE.student, CASE.teacher, CASE.batch).total.backward()
    assert same_bits(made.state_dict(), before)
    assert not any(tensor.requires_grad for tensor in (made.learnt, made.taught))


def test_positions_of_a_row_are_each_others_negatives_and_silent_rows_stay_out() -> None:
    made, both = built("crd", CASE), torch.ones(3, 2, dtype=torch.bool)
    pairs = replace(CASE.batch.rows(slice(0, 6, 2)), labels=None, mask=both, known=~both)
    said: list[Signals] = [
        Signals.dense(heard.logits.view(3, 2, -1), {n: f.view(3, 2, *f.shape[1:]) for n, f in heard.features.items()})
        for heard in (CASE.student, CASE.teacher)
        if heard.logits is not None
    ]
    made.remember(*said, pairs)
    assert made.owners.tolist() == [[2, 0], [2, 1], [4, 0], [4, 1]]
    silent = replace(CASE.teacher, said=torch.tensor([True, False, True, False, False, False]))
    whole = objective(f"0.5 * {made!r} + logit_mse")
    whole.setup(CASE.student, CASE.teacher, CASE.batch)
    whole.remember(CASE.student, silent, CASE.batch)
    (kept,) = [term for _, term in whole.terms() if isinstance(term, CRD)]
    assert whole.remembers
    assert kept.owners[:, 0].tolist() == [-1, -1, 0, 2]


def test_several_processes_are_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_processes", lambda: 2)
    student, teacher = Model(torch.nn.Linear(1, 4)), ModuleTeacher(Model(torch.nn.Linear(1, 4)), "teacher")
    with pytest.raises(ObjectiveError, match="each of 2 processes would keep its own"):
        preflight._can_train(student, CRD(), teacher, 6)
    preflight._can_train(student, objective("kd"), teacher, 6)


REMEMBERING = {
    "student": "mlp(size=16, dropout=0.2)",
    "objective": "0.1 * crd('layer1', 'layer1', width=8, bank=2000) + kd(temperature=4)",
    "budget": "40 steps",
    "training": {"ema": 0.9},
    "control": False,
}


@pytest.mark.slow
def test_resumed_with_its_bank_is_uninterrupted(tmp_path: Path) -> None:
    """Bit for bit; with an emptied bank it would not be, so that the bank is what the checkpoint brings back."""
    teacher, run, emptied = tmp_path / "teacher", tmp_path / "run", tmp_path / "emptied"
    teacher_run(teacher)
    whole = small(str(teacher), tmp_path / "whole", **REMEMBERING)
    assert whole.record.results[0].selected_step > 26
    with pytest.raises(Interrupted):
        small(str(teacher), run, progress=Stopping("student", 25, signal.SIGINT), **REMEMBERING)
    shutil.copytree(run, emptied)
    path = Path("checkpoint") / "student.safetensors"
    saved, facts = checkpoint.load(run / path)
    (owners,) = [name for name in saved if name.endswith("owners")]
    # Once a step, and neither by the dry batch nor by the diagnoses in between.
    assert int((saved[owners][:, 0] >= 0).sum()) == facts["step"] * SETTLED["batch"]
    checkpoint.save(emptied / path, {**saved, owners: torch.full_like(saved[owners], -1)}, facts)
    resumed = small(str(teacher), run, resume=True, **REMEMBERING)
    assert same_bits(weights(resumed), weights(whole))
    forgetful = small(str(teacher), emptied, resume=True, **REMEMBERING)
    assert not same_bits(weights(forgetful), weights(whole))
