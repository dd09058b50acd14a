"""Regression: losses and metrics by hand and against scikit-learn, the settled scale, and what a report shows."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from limbeck.catalog.tasks import task
from limbeck.errors import DataError, ModelError, RecipeError
from limbeck.task import SaysValues, Task
from limbeck.tasks.regression import Regression

NAN = math.nan
NAMES = ("age", "weight")
PAIR = Regression(centre=(40.0, 70.0), scale=(10.0, 2.0))


def all_of(labels: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(labels), dtype=torch.bool)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_keeps_the_protocols() -> None:
    assert isinstance(PAIR, Task) and isinstance(PAIR, SaysValues)
    assert PAIR.output_size(NAMES) == 2
    assert PAIR.selection in PAIR.headline and not PAIR.higher_is_better
    assert repr(Regression()) == "regression"


def test_label_loss_by_hand() -> None:
    outputs = torch.tensor([[50.0, 70], [40, 76], [0, 0]])
    labels = torch.tensor([[40, 74], [NAN, 70], [NAN, NAN]])
    assert PAIR.label_loss(outputs, labels).tolist() == [(1 + 4) / 2, 9, 0]
    assert Regression().label_loss(outputs, labels).tolist() == [(100 + 16) / 2, 36, 0]
    assert PAIR.label_loss(outputs.bfloat16(), labels).dtype == torch.float32
    assert PAIR.label_loss(outputs.double(), labels).dtype == torch.float64


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 500), missing=st.floats(0, 0.9))
def test_an_unknown_number_has_no_say(seed: int, missing: float) -> None:
    outputs, labels = numbers(8, 2, seed=seed), numbers(8, 2, seed=seed + 1)
    gone = torch.rand(8, 2, generator=torch.Generator().manual_seed(seed)) < missing
    outputs.requires_grad_()
    loss = PAIR.label_loss(outputs, torch.where(gone, NAN, labels))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert outputs.grad is not None and (outputs.grad[gone] == 0).all() and (outputs.grad[~gone] != 0).all()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 500), quantities=st.integers(1, 4))
def test_metrics_are_scikit_learns(seed: int, quantities: int) -> None:
    outputs, labels = 3 * numbers(30, quantities, seed=seed), 5 + 2 * numbers(30, quantities, seed=seed + 1)
    names = tuple("abcd"[:quantities])
    found = Regression().metrics(outputs, labels, all_of(labels), names)
    said, truth = outputs.double().numpy(), labels.double().numpy()
    each = np.sqrt(mean_squared_error(truth, said, multioutput="raw_values"))
    assert found["rmse"] == pytest.approx(each.mean())
    assert found["mae"] == pytest.approx(mean_absolute_error(truth, said))
    assert found["r2"] == pytest.approx(r2_score(truth, said))
    by_name = {f"rmse_{name}": pytest.approx(error) for name, error in zip(names, each, strict=True)}
    named = {name: value for name, value in found.items() if name.startswith("rmse_")}
    assert named == (by_name if quantities > 1 else {})


def test_unknown_numbers_and_rows_change_no_metric() -> None:
    outputs, labels = torch.tensor([[1.0, 5], [2, 9], [7, 7]]), torch.tensor([[2.0, 5], [4, NAN], [0, 0]])
    found = Regression().metrics(outputs, labels, torch.tensor([True, True, False]), NAMES)
    assert found == pytest.approx(
        {"rmse": math.sqrt(2.5) / 2, "mae": 0.75, "r2": 1 - 5 / 2, "rmse_age": math.sqrt(2.5), "rmse_weight": 0}
    )
    with pytest.raises(DataError, match="none of the 3 rows has a known label"):
        Regression().metrics(outputs, labels, torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ModelError, match="infinite in 1 of 3 rows\n  expected: finite numbers"):
        Regression().metrics(torch.tensor([[1.0, math.inf], [2, 9], [7, 7]]), labels, all_of(labels))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 500), size=st.floats(1e-6, 1e6))
def test_the_settled_scale_is_read_back_to_the_last_bit(seed: int, size: float) -> None:
    labels = size * numbers(20, 3, seed=seed)
    labels[3] = NAN
    fitted = Regression().fitted(labels, ~labels.isnan().any(dim=1))
    kept = np.delete(labels.double().numpy(), 3, axis=0)
    assert fitted.centre == pytest.approx(tuple(kept.mean(axis=0)), rel=1e-6, abs=1e-9 * size)
    assert fitted.scale == pytest.approx(tuple(kept.std(axis=0)))
    again = task(repr(fitted))
    assert isinstance(again, Regression)
    assert (again.centre, again.scale) == (fitted.centre, fitted.scale)
    assert again.fitted(labels, all_of(labels)) is again
    outputs = numbers(4, 3)
    first, second = fitted.restore(), again.restore()
    assert first is not None and second is not None
    assert torch.equal(first(outputs, outputs), second(outputs, outputs))


def test_a_quantity_that_never_changes_has_scale_one() -> None:
    fitted = Regression().fitted(torch.tensor([[5.0, 1], [5, 3]]), torch.ones(2, dtype=torch.bool))
    assert (fitted.centre, fitted.scale) == ((5, 2), (1, 1))
    assert Regression(scale=(3.0, 3.0)).fitted(torch.tensor([[5.0, 1]]), torch.ones(1, dtype=torch.bool)).scale == (
        3,
        3,
    )


def test_restored_numbers_by_hand() -> None:
    restore = PAIR.restore()
    assert restore is not None
    assert restore(torch.tensor([[0.0, 0], [1, -1]]), torch.zeros(2, 9)).tolist() == [[40, 70], [50, 68]]
    assert restore(torch.zeros(1, 2).bfloat16(), torch.zeros(1)).dtype == torch.float32
    assert Regression().restore() is None
    assert PAIR.baseline(torch.zeros(2, 9)).tolist() == [[40, 70], [40, 70]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3), "torch.float32 of shape \\(3,\\)"),
        (torch.zeros(3, 2, dtype=torch.int64), "torch.int64"),
        (torch.zeros(3, 3), "decimal numbers of shape \\(rows, 2\\)"),
        (torch.tensor([[1.0, NAN], [2, NAN]]), "no training row knows the quantity 'weight'"),
    ],
)
def test_labels_that_cannot_be_are_named(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Regression().check_labels(labels, all_of(labels), NAMES)


def test_scales_that_cannot_be_are_refused() -> None:
    with pytest.raises(RecipeError, match="1 numbers in centre and 2 in scale"):
        task("regression(centre=(1,), scale=(1, 2))")
    with pytest.raises(RecipeError, match="greater than 0"):
        task("regression(centre=(1,), scale=(0,))")
    with pytest.raises(DataError, match="has 2 quantities and the labels have 1"):
        PAIR.check_labels(torch.zeros(3, 1), torch.ones(3, dtype=torch.bool), ("age",))


def test_answers_likeness_and_panels_by_hand() -> None:
    outputs = torch.tensor([[1.0, 5], [2, 9], [6, 7]])
    labels = torch.tensor([[2.0, 5], [4, NAN], [6, 8]])
    assert PAIR.decode(outputs[:1], NAMES) == [{"age": 1, "weight": 5}]
    assert PAIR.likeness(outputs, outputs + torch.tensor([3.0, 1])) == {"rmse_to_teacher": 2}
    table, age, weight = PAIR.panels(outputs, labels, all_of(labels), NAMES)
    assert table.data["rows"] == [
        ["age", pytest.approx(math.sqrt(5 / 3)), 1, pytest.approx(1 - 5 / 8), 3],
        ["weight", pytest.approx(math.sqrt(0.5)), 0.5, pytest.approx(1 - 1 / 4.5), 2],
    ]
    assert (age.data["x"], age.data["y"], age.data["range"]) == ([2, 4, 6], [1, 2, 6], [1, 6])
    assert (weight.data["x"], weight.data["y"]) == ([5, 8], [5, 7])
    assert json.loads(json.dumps([asdict(panel) for panel in (table, age, weight)]))


def test_answers_by_label_are_means_of_groups() -> None:
    labels = torch.arange(1000.0)[:, None]
    curve = Regression().panels(2 * labels, labels, all_of(labels), ("n",))[1].data
    assert curve["counts"] == [50] * 20
    assert curve["x"] == pytest.approx([24.5 + 50 * group for group in range(20)])
    assert curve["y"] == pytest.approx([2 * x for x in curve["x"]])


def test_the_teacher_said_a_table_of_rows() -> None:
    labels = torch.tensor([[2.0, 5], [4, NAN], [6, 8]])
    panel = PAIR.teacher_saw(torch.zeros(3, 4), labels + 1, labels, torch.tensor([True, True, False]), NAMES, 1.0)
    assert panel.data["columns"] == ["row", "age, label", "age, teacher", "weight, label", "weight, teacher"]
    assert panel.data["rows"][0] == ["0", 2, 3, 5, 6]
    assert panel.data["rows"][2] == ["2", None, 7, None, 9]
    assert panel.data["rows"][1][3] is None
