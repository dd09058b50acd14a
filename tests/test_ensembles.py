"""Ensembles of every task: numbers and probabilities have a mean, and logits have none that means anything."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.signals import Batch
from limbeck.task import Task
from limbeck.tasks.classification import Classification
from limbeck.tasks.forecasting import Forecasting
from limbeck.tasks.multilabel import Multilabel
from limbeck.tasks.regression import Regression
from limbeck.tasks.sequence import SequenceLabels
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.module import ModuleTeacher

PLAIN = Forecasting(horizon=3)
ALARM = Forecasting(horizon=2, below=70, quantiles=(0.1, 0.5, 0.9))


class Says(nn.Module):
    """The same answer to every row."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.answer.expand(len(inputs), *self.answer.shape)


def together(task: Task, *answers: Tensor, weights: tuple[float, ...] = (1, 3)) -> Any:
    members = [
        (weight, ModuleTeacher(Model(Says(answer)), f"{place}"))
        for place, (weight, answer) in enumerate(zip(weights, answers, strict=True))
    ]
    teacher = EnsembleTeacher(members)
    teacher.prepare(Needs(), ())
    said = teacher.signals(Batch.of(torch.zeros(2, 1, 4), None, task)).logits
    assert said is not None and torch.equal(said[0], said[1])
    return said[0].tolist()


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_numbers_have_the_weighted_mean() -> None:
    first, second = torch.tensor([100.0, 8, -4]), torch.tensor([200.0, 0, -4])
    for task in (Regression(centre=(0, 0, 0), scale=(1, 2, 3)), PLAIN):
        assert together(task, first, second) == [175, 2, -4]


def test_an_event_has_the_mean_probability_and_its_steps_their_mean() -> None:
    first, second = torch.tensor([1.0, 2, 3, 4, 5, 6, logit(0.9)]), torch.tensor([5.0, 6, 7, 8, 9, 10, logit(0.1)])
    found = together(ALARM, first, second)
    assert found[:6] == [4, 5, 6, 7, 8, 9]
    assert found[6] == pytest.approx(logit(0.25 * 0.9 + 0.75 * 0.1), rel=1e-5)


def test_several_classes_have_their_mean_probabilities_each() -> None:
    first, second = torch.tensor([logit(0.9), logit(0.2)]), torch.tensor([logit(0.5), logit(0.6)])
    assert together(Multilabel(), first, second) == pytest.approx([logit(0.6), 0], abs=1e-6)


def test_one_class_has_the_mean_distribution_at_each_step_too() -> None:
    first, second = torch.tensor([0.9, 0.1]).log(), torch.tensor([0.5, 0.5]).log()
    expected = [math.log(0.6), math.log(0.4)]
    assert together(Classification(), first, second) == pytest.approx(expected)
    steps = together(SequenceLabels(), torch.stack([first, second]), torch.stack([second, second]))
    assert steps[0] == pytest.approx(expected)
    assert steps[1] == pytest.approx([math.log(0.5)] * 2)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 300), size=st.floats(0.1, 300))
def test_equal_models_are_themselves_together(seed: int, size: float) -> None:
    answers = size * torch.randn(4, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for task in (Regression(), ALARM, Multilabel(), Forecasting(horizon=7)):
        found = task.mean([answers, answers], [0.3, 0.7])
        torch.testing.assert_close(found, answers, rtol=1e-9, atol=1e-9)
    softened = Classification().mean([answers, answers], [0.3, 0.7])
    torch.testing.assert_close(softened, answers.log_softmax(dim=-1), rtol=1e-9, atol=1e-9)


def test_certain_events_keep_their_certainty() -> None:
    found = Multilabel().mean([torch.tensor([[200.0, -300]]), torch.tensor([[100.0, -300]])], [0.5, 0.5])
    # half of exp(-100) is what stays away; two equal certainties are themselves
    assert found.tolist() == [[pytest.approx(100 + math.log(2)), pytest.approx(-300)]]
