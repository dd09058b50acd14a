"""Objectives added and weighted, and what single methods do besides the laws that all methods keep."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from method_cases import CASES, MASK, same
from torch import Tensor

from limbeck.catalog.objectives import objective
from limbeck.errors import ObjectiveError
from limbeck.objective import Objective
from limbeck.signals import Batch, Signals


def said(
    rows: int = 6, classes: int = 4, seed: int = 0, features: Mapping[str, tuple[int, ...]] | None = None
) -> Signals:
    generator = torch.Generator().manual_seed(seed)
    layers = {name: torch.randn(rows, *shape, generator=generator) for name, shape in (features or {}).items()}
    return Signals.dense(torch.randn(rows, classes, generator=generator), layers)


def test_sum_is_the_weighted_mean_of_each_term_over_its_own_rows() -> None:
    _, case = CASES[[parameter.values[0] for parameter in CASES].index("labels")].values
    batch = replace(case.batch, mask=MASK)
    whole = objective("0.25 * kd(temperature=2) + 3 * labels + kd(temperature=2)")
    loss = whole.loss(case.student, case.teacher, batch)
    assert list(loss.terms) == ["kd(temperature=2)", "labels", "kd(temperature=2) #2"]
    assert whole.counts(batch) == {"kd(temperature=2)": 4, "labels": 3, "kd(temperature=2) #2": 4}
    kd = objective("kd(temperature=2)")(case.student, case.teacher, batch)[MASK].mean()
    labels = objective("labels")(case.student, case.teacher, batch)[MASK & batch.known].mean()
    same(loss.total, 1.25 * kd + 3 * labels)
    same(loss.terms["labels"], labels)


def test_a_sum_with_a_relation_is_a_relation() -> None:
    student, teacher = said(seed=1), said(seed=2)
    batch = Batch.of(torch.zeros(6, 1), None, CASES[0].values[1].batch.task)
    whole = objective("2 * (rkd + 0.5 * kd)")
    assert not whole.per_row
    assert whole.needs().rows == 3
    parts = [objective(part).loss(student, teacher, batch).total for part in ("rkd", "kd")]
    same(whole.loss(student, teacher, batch).total, 2 * parts[0] + parts[1], 1e-6)
    same(whole(student, teacher, batch), whole.loss(student, teacher, batch).total, 1e-6)


class Averaged(Objective):
    """Says one number although it promised one for each row."""

    family, formula = "test", "mean"

    def needs(self) -> Any:
        raise NotImplementedError

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        assert student.logits is not None
        return student.logits.mean()


def test_a_method_that_averages_in_secret_is_refused() -> None:
    case = CASES[0].values[1]
    with pytest.raises(ObjectiveError, match=r"must declare per_row = False"):
        Averaged().loss(case.student, case.teacher, case.batch)


def test_labels_of_a_batch_without_labels() -> None:
    student = said()
    task = CASES[0].values[1].batch.task
    nothing = objective("labels").loss(student, Signals(), Batch.of(torch.zeros(6, 1), None, task))
    assert nothing.total == 0
    lying = replace(Batch.of(torch.zeros(6, 1), None, task), known=torch.ones(6, dtype=torch.bool))
    with pytest.raises(ObjectiveError, match="has no labels"):
        objective("labels").loss(student, Signals(), lying)


def test_hint_without_setup_and_with_layers_that_do_not_fit() -> None:
    case = next(parameter.values[1] for parameter in CASES if parameter.values[0] == "hint")
    made = objective("hint('a', 'b')")
    flat, image = said(features={"a": (3,), "b": (3,)}), said(features={"a": (3, 2, 2), "b": (3, 2, 2)})
    batch = Batch.of(torch.zeros(6, 1), None, case.batch.task)
    with pytest.raises(ObjectiveError, match=r"no projector yet[\s\S]*call objective.setup"):
        made.loss(flat, flat, batch)
    with pytest.raises(ObjectiveError, match=r"cannot compare these layers: a \(6, 3\), b \(6, 3, 2, 2\)"):
        made.setup(flat, image, batch)
    made.setup(flat, flat, batch)
    assert [name for name, _ in made.named_parameters()] == ["projector.weight", "projector.bias"]
    assert set((0.5 * made + objective("kd")).state_dict()) == {
        "first.objective.projector.weight",
        "first.objective.projector.bias",
    }


def test_hint_pools_sizes_that_do_not_divide() -> None:
    made = objective("hint('a', 'b')")
    student, teacher = said(features={"a": (2, 5, 7)}), said(features={"b": (3, 3, 9)}, seed=1)
    batch = Batch.of(torch.zeros(6, 1), None, CASES[0].values[1].batch.task)
    made.setup(student, teacher, batch)
    assert made(student, teacher, batch).shape == (6,)
