"""Methods whose task grows harder while they train: what `taid` and `ctkd` do with their schedules."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import built, reference_of, same
from reference import Case
from small_runs import small

from limbeck.catalog.objectives import objective
from limbeck.model import Model
from limbeck.objectives.ctkd import CTKD
from limbeck.schedules import Moment
from limbeck.training.plan import Plan
from limbeck.training.step import Step

CASE: Case = reference_of("ctkd").cases()[0]


def plan(**changes: Any) -> Plan:
    settled = {
        "steps": 10,
        "steps_per_epoch": 10,
        "batch_size": 6,
        "seed": 0,
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.0,
        "weight_decay": 0.5,
        "schedule": "constant",
        "warmup": 0.0,
        "clip": None,
        "ema": None,
        "precision": "float32",
        "channels_last": False,
        "validate_every": 10,
    }
    return Plan(**{**settled, **changes})


def climbed(text: str, steps: int = 20) -> tuple[list[float], list[float]]:
    """The temperature's parameter and the loss while the student stands still and only the temperature trains."""
    made = objective(text)
    made.setup(CASE.student, CASE.teacher, CASE.batch)
    optimizer = plan().build_optimizer(made)
    (theta,), thetas, losses = list(made.parameters()), [], []
    for step in range(steps):
        made.advance(Moment(step, steps, 5))
        loss = made.loss(CASE.student, CASE.teacher, CASE.batch).total
        thetas, losses = [*thetas, theta.item()], [*losses, loss.item()]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return thetas, losses


def test_taid_with_all_of_the_teacher_is_kd() -> None:
    found = objective("taid(share=1, temperature=4)").loss(CASE.student, CASE.teacher, CASE.batch)
    same(found.total, objective("kd(temperature=4)").loss(CASE.student, CASE.teacher, CASE.batch).total, 1e-12)


def test_taid_asks_for_more_and_more() -> None:
    """For a student that stands still the loss rises with the share, up to that of kd at the end."""
    made, losses = objective("taid(share=linear(0, 1))"), []
    for step in range(5):
        made.advance(Moment(step, 5, 5))
        losses.append(float(made.loss(CASE.student, CASE.teacher, CASE.batch).total))
    assert losses[0] == pytest.approx(0, abs=1e-12)
    assert losses == sorted(losses)
    assert losses[-1] == pytest.approx(
        float(objective("kd(temperature=1)").loss(CASE.student, CASE.teacher, CASE.batch).total), rel=1e-12
    )


def test_the_temperature_climbs_the_loss_that_the_student_descends() -> None:
    _, losses = climbed("ctkd")
    assert all(after > before for before, after in pairwise(losses))


def test_the_strength_says_how_fast_and_no_weight_decay_pulls() -> None:
    still, _ = climbed("ctkd(strength=0)")
    assert still == [1.0] * 20, "weight decay of 0.5 would have moved it"
    half, whole = (climbed(f"ctkd(strength={strength})", 2)[0] for strength in (0.5, 1))
    assert half[1] - 1 == pytest.approx((whole[1] - 1) / 2, rel=1e-9)
    thetas, _ = climbed("ctkd(strength=linear(0, 1, over='5 steps'))")
    assert thetas[0] == thetas[1] != thetas[2]


def test_the_temperature_stays_in_its_range_and_comes_back_from_its_state() -> None:
    made = built("ctkd", CASE)
    assert isinstance(made, CTKD)
    assert made.temperature.item() == pytest.approx(1 + 20 / (1 + 2.718281828459045**-1))
    for theta, expected in ((-1e3, 1.0), (1e3, 21.0)):
        made.load_state_dict({"theta": torch.tensor(theta)})
        assert made.temperature.item() == expected
    step = Step(Model(torch.nn.Linear(1, 4)), made, (), "float32")
    decays = {parameter.ndim: group["weight_decay"] for group in plan().build_optimizer(step).param_groups
              for parameter in group["params"]}  # fmt: skip
    assert decays == {2: 0.5, 1: 0.0, 0: 0.0}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return str(small(None, folder, student="mlp(size=32)", budget="4 epochs").folder)


@pytest.mark.parametrize("method", ["taid(share=linear(0.4, 1))", "ctkd(strength=cosine(0, 1, over='1 epochs'))"])
def test_a_run_learns(method: str, teacher: str, tmp_path: Path) -> None:
    text = f"0.9 * {method} + 0.1 * labels"
    run = small(teacher, tmp_path / "run", objective=text, budget="4 epochs", control=False)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert run.record.recipe["objective"].startswith(f"0.9 * {method[:6]}")
    assert all(line["loss"] > 0 for line in lines if line["event"] == "train")
    assert run.record.results[0].student.metrics["accuracy"] > 0.7
