"""Forecasting: losses and metrics by hand, what is unknown, restored readings, and what a report shows."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from limbeck.catalog.tasks import task
from limbeck.errors import DataError, ModelError, RecipeError
from limbeck.model import Model
from limbeck.task import SaysEvent, SaysValues, Task
from limbeck.tasks.forecasting import Forecasting

NAN = math.nan
STEPS = ("+1", "+2", "+3")
PLAIN = Forecasting(horizon=3)
LOW = Forecasting(horizon=3, below=70, scale=10.0)
BANDS = Forecasting(horizon=2, quantiles=(0.1, 0.5, 0.9), scale=2.0)


def all_of(labels: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(labels), dtype=torch.bool)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_keeps_the_protocols() -> None:
    assert isinstance(LOW, Task) and isinstance(LOW, SaysValues) and isinstance(LOW, SaysEvent)
    assert PLAIN.says == {"values"}
    assert LOW.says == {"values", "event"}
    assert [which.output_size(STEPS) for which in (PLAIN, LOW, BANDS)] == [3, 4, 6]
    assert Forecasting(horizon=2, above=1, quantiles=(0.1, 0.5, 0.9)).output_size(STEPS) == 7
    assert (PLAIN.selection, PLAIN.higher_is_better) == ("rmse", False)
    chosen = Forecasting(horizon=3, below=70, select="auprc")
    assert (chosen.selection, chosen.higher_is_better, chosen.headline[0]) == ("auprc", True, "auprc")


@pytest.mark.parametrize(
    "text",
    [
        "forecasting(horizon=6)",
        "forecasting(horizon=6, below=70)",
        "forecasting(horizon=3, above=180.5, quantiles=(0.1, 0.5, 0.9), channel=2, relative=False, "
        "event_weight=0.5, positive=4, select='auroc', centre=141.26, scale=61.25)",
    ],
)
def test_it_is_written_as_it_is_read(text: str) -> None:
    assert repr(task(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forecasting", "horizon"),
        ("forecasting(horizon=0)", "horizon: Input should be greater than or equal to 1"),
        ("forecasting(horizon=3, below=70, above=180)", "below and above\n  expected: one event"),
        ("forecasting(horizon=3, quantiles=(0.1, 0.9))", "with 0.5 among them"),
        ("forecasting(horizon=3, quantiles=(0.5, 0.1))", "ascending"),
        ("forecasting(horizon=3, select='auprc')", "needs an event\n  expected: below or above"),
        ("forecasting(horizon=3, belw=70)", "no argument 'belw'"),
        ("forecasting(horizon=3, scale=0)", "scale"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        task(text)


def test_the_event_is_unknown_only_where_a_missing_reading_could_decide() -> None:
    labels = torch.tensor([[80, 69.9, 90], [80, 70, 90], [NAN, 60, NAN], [80, NAN, 90], [NAN, NAN, NAN]])
    happens, certain = LOW.event_labels(labels)
    assert happens.tolist() == [1, 0, 1, 0, 0]
    assert certain.tolist() == [True, True, True, False, False]
    happens, certain = Forecasting(horizon=3, above=85).event_labels(labels)
    assert happens.tolist() == [1, 1, 0, 1, 0]
    assert certain.tolist() == [True, True, False, True, False]


def test_label_loss_by_hand() -> None:
    # errors of 10 and 20 are 1 and 2 in units of the scale; the event of logit 0 costs log 2
    outputs = torch.tensor([[80.0, 90, 100, 0], [80, 90, 100, 0], [80, 90, 100, 0]])
    labels = torch.tensor([[90, 70, 100], [NAN, 110, NAN], [60, NAN, NAN]])
    expected = [(1 + 4) / 3 + math.log(2), 4, 4 + math.log(2)]
    assert LOW.label_loss(outputs, labels).tolist() == pytest.approx(expected)
    heavy = Forecasting(horizon=3, below=70, scale=10.0, event_weight=0.5, positive=3)
    assert heavy.label_loss(outputs, labels).tolist() == pytest.approx(
        [5 / 3 + 0.5 * math.log(2), 4, 4 + 1.5 * math.log(2)]
    )


def test_pinball_loss_by_hand() -> None:
    # one step: quantiles 8, 10, 14 and truth 12 in units of 2: 0.1 · 4, 0.5 · 2, 0.1 · 2; twice the mean of the halves
    one = Forecasting(horizon=1, quantiles=(0.1, 0.5, 0.9), scale=2.0)
    found = one.label_loss(torch.tensor([[8.0, 10, 14]]), torch.tensor([[12.0]]))
    assert found.item() == pytest.approx(2 * (0.1 * 4 + 0.5 * 2 + 0.1 * 2) / 2 / 3)
    median = Forecasting(horizon=1, quantiles=(0.5,))
    assert median.label_loss(torch.tensor([[8.0]]), torch.tensor([[12.0]])).item() == pytest.approx(4)


def test_pinball_is_least_at_the_quantiles() -> None:
    readings = torch.arange(0, 101.0)[:, None]
    one = Forecasting(horizon=1, quantiles=(0.1, 0.5, 0.9))

    def loss(*levels: float) -> float:
        return float(one.label_loss(torch.tensor([levels]).float().expand(101, -1), readings).mean())

    best = loss(10, 50, 90)
    assert all(best < loss(*other) for other in [(14, 50, 90), (6, 50, 90), (10, 55, 90), (10, 50, 86), (10, 50, 94)])


def test_leading_positions_and_half_precision() -> None:
    outputs, labels = 70 + numbers(6, 4), 70 + numbers(6, 3, seed=1)
    flat = LOW.label_loss(outputs, labels)
    assert torch.equal(LOW.label_loss(outputs.view(2, 3, 4), labels.view(2, 3, 3)), flat.view(2, 3))
    assert LOW.label_loss(outputs.bfloat16(), labels).dtype == torch.float32
    assert LOW.label_loss(outputs.double(), labels).dtype == torch.float64


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 500), missing=st.floats(0, 0.7))
def test_an_unknown_reading_has_no_say(seed: int, missing: float) -> None:
    outputs, labels = 70 + 5 * numbers(8, 7, seed=seed), 70 + 5 * numbers(8, 2, seed=seed + 1)
    gone = torch.rand(8, 2, generator=torch.Generator().manual_seed(seed)) < missing
    judge = Forecasting(horizon=2, below=68, quantiles=(0.2, 0.5, 0.7), scale=5.0)
    outputs.requires_grad_()
    loss = judge.label_loss(outputs, torch.where(gone, NAN, labels))
    assert loss.isfinite().all()
    loss.sum().backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all()
    assert (judge.quantile_values(outputs.grad)[gone] == 0).all()


def test_metrics_by_hand() -> None:
    outputs = torch.tensor([[80.0, 90, 100, 2], [80, 90, 104, -1], [80, 90, 100, 0]])
    labels = torch.tensor([[81, 60, 97], [80, 90, 100], [NAN, NAN, NAN]])
    found = LOW.metrics(outputs, labels, torch.tensor([True, True, False]))
    chances = [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))]
    assert found == pytest.approx(
        {
            "rmse": math.sqrt((9 + 16) / 2),
            "mae": 3.5,
            "rmse_mean": math.sqrt((1 + 900 + 9 + 16) / 6),
            "auprc": 1,
            "auroc": 1,
            "brier": ((1 - chances[0]) ** 2 + chances[1] ** 2) / 2,
            "ece": ((1 - chances[0]) + chances[1]) / 2,
            "event_share": 0.5,
        }
    )
    assert set(LOW.headline) <= set(found)


def test_event_metrics_are_scikit_learns() -> None:
    outputs, labels = 70 + 20 * numbers(300, 4), 85 + 10 * numbers(300, 3, seed=1)
    outputs[:, 3] = 3 * numbers(300, seed=2) + (labels.amin(dim=1) < 70)
    found = LOW.metrics(outputs, labels, all_of(labels))
    happened, logit = (labels.numpy() < 70).any(1), outputs[:, 3].double().numpy()
    assert found["auprc"] == pytest.approx(average_precision_score(happened, logit))
    assert found["auroc"] == pytest.approx(roc_auc_score(happened, logit))
    chance = 1 / (1 + np.exp(-logit))
    assert found["brier"] == pytest.approx(np.mean((chance - happened) ** 2))
    error = 0.0
    for number in range(15):
        inside = (chance > number / 15) & (chance <= (number + 1) / 15)
        error += abs(happened[inside].sum() - chance[inside].sum()) / 300
    assert found["ece"] == pytest.approx(error)


def test_interval_metrics_by_hand() -> None:
    outputs = torch.tensor([[1.0, 2, 3, 1, 2, 3], [1, 2, 3, 1, 2, 3]])
    labels = torch.tensor([[2.5, 4.0], [1.0, NAN]])
    found = BANDS.metrics(outputs, labels, all_of(labels))
    assert found["coverage"] == pytest.approx(2 / 3)
    losses = [(0.1 * 1.5 + 0.5 * 0.5 + 0.1 * 0.5) / 3, (0.1 * 3 + 0.5 * 2 + 0.9) / 3, (0 + 0.5 + 0.1 * 2) / 3]
    assert found["pinball"] == pytest.approx(sum(losses) / 3)
    assert found["rmse"] == pytest.approx(2)


def test_what_rows_cannot_give_is_left_out() -> None:
    outputs = torch.full((2, 4), 90.0)
    never = torch.tensor([[80.0, 80, 80], [90, 90, 90]])
    assert set(LOW.metrics(outputs, never, all_of(never))) == {
        "rmse", "mae", "rmse_mean", "brier", "ece", "event_share",
    }  # fmt: skip
    unsure = torch.tensor([[80.0, 80, NAN], [90, NAN, NAN]])
    assert set(LOW.metrics(outputs, unsure, all_of(unsure))) == {"rmse_mean"}
    assert [panel.name for panel in LOW.panels(outputs, unsure, all_of(unsure), STEPS)] == ["error_by_step"]
    with pytest.raises(DataError, match="none of the 2 rows has a known label"):
        LOW.metrics(outputs, never, ~all_of(never))
    with pytest.raises(ModelError, match="NaN or infinite in 1 of 2 rows"):
        LOW.metrics(torch.tensor([[NAN] * 4, [0.0] * 4]), never, all_of(never))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[80.0, 80, 80], [90, 71, 90]], "a reading below 70 never happens in the 2 training rows.*extreme is 71"),
        ([[60.0, 80, 80], [90, 61, 90]], "always happens in the 2"),
        ([[90.0, NAN, 90], [90, NAN, 90]], "is known of no row"),
        ([[90.0, 60], [90, 80]], "shape \\(2, 2\\)[\\s\\S]*the same horizon"),
    ],
)
def test_labels_that_teach_nothing_of_the_event_are_refused(labels: list[list[float]], message: str) -> None:
    given_labels = torch.tensor(labels)
    with pytest.raises(DataError, match=message):
        LOW.check_labels(given_labels, all_of(given_labels), STEPS)


def test_the_scale_is_that_of_changes_or_of_readings() -> None:
    labels = torch.tensor([[100.0, 103, 104], [200, 199, 197], [NAN, 50, NAN], [0, 0, 0]])
    known = torch.tensor([True, True, True, False])
    changes = PLAIN.fitted(labels, known)
    assert changes.scale == pytest.approx(math.sqrt((16 + 9) / 2))
    assert changes.centre is None
    levels = Forecasting(horizon=3, relative=False).fitted(labels, known)
    seen = np.array([100, 103, 104, 200, 199, 197, 50])
    assert (levels.centre, levels.scale) == (pytest.approx(seen.mean()), pytest.approx(seen.std()))
    assert task(repr(levels)).fitted(labels, known) is not levels
    again = task(repr(levels))
    assert isinstance(again, Forecasting)
    assert vars(again) == vars(levels), "to the last bit"
    assert again.fitted(labels, known) is again
    flat = torch.full((4, 3), 5.0)
    assert PLAIN.fitted(flat, known).scale == 1


def test_restored_readings_start_from_the_last_one_or_the_mean() -> None:
    inputs = torch.tensor([[[1.0, 2, 3], [10, 20, 30]], [[4, 5, 6], [40, 50, 60]]])
    outputs = torch.tensor([[0.0, 1, -1, 9], [1, 1, 1, -9]])
    ahead = Forecasting(horizon=3, below=70, channel=1, scale=5.0).restore()
    assert ahead(outputs, inputs).tolist() == [[30, 35, 25, 9], [65, 65, 65, -9]]
    level = Forecasting(horizon=3, relative=False, centre=100.0, scale=5.0).restore()
    assert level(outputs[:, :3], inputs).tolist() == [[100, 105, 95], [105, 105, 105]]
    half = ahead(outputs.bfloat16(), inputs + 181.3)
    assert half.dtype == torch.float32 and half[0, 0] == inputs[0, 1, 2] + 181.3
    with pytest.raises(ModelError, match="rows of \\(channels, steps\\)"):
        ahead(outputs, inputs[:, 0])
    with pytest.raises(ModelError, match="channel 1 is forecast"):
        ahead(outputs, inputs[:, :1])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 500), size=st.floats(0.1, 50), levels=st.sampled_from([(0.1, 0.5, 0.9), (0.5, 0.8), (0.5,)]))
def test_quantiles_never_cross_and_the_median_is_free(seed: int, size: float, levels: tuple[float, ...]) -> None:
    judge = Forecasting(horizon=4, quantiles=levels, scale=3.0)
    said = size * numbers(5, 4 * len(levels), seed=seed)
    restored = judge.restore()(said, torch.zeros(5, 1, 2))
    assert (judge.quantile_values(restored).diff(dim=-1) >= 0).all()
    assert torch.equal(judge.values(restored), 3 * judge.values(said))


def test_restoring_is_exported_to_onnx_with_the_network(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    judge = Forecasting(horizon=2, below=0, quantiles=(0.1, 0.5, 0.9), scale=3.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # or the weights would follow from the tests that ran before
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(5, 7))
    model, inputs = Model(network, restore=judge.restore()).eval(), 100 + numbers(4, 1, 5)
    path, rows = tmp_path / "ahead.onnx", torch.export.Dim("rows", min=1, max=4096)
    torch.onnx.export(
        model, (inputs,), path, dynamo=True, dynamic_shapes=({0: rows},),
        input_names=["inputs"], external_data=False, verbose=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (4, 2):
        with torch.no_grad():
            expected = model(inputs[:count])
        np.testing.assert_allclose(session.run(None, {"inputs": inputs[:count].numpy()})[0], expected, rtol=1e-5)


def test_persistence_says_the_last_reading_again() -> None:
    inputs = torch.tensor([[[90.0, 80]], [[90, 60]]])
    said = Forecasting(horizon=2, below=70, quantiles=(0.1, 0.5, 0.9), scale=10.0).baseline(inputs)
    assert said.tolist() == [[80.0] * 6 + [-10], [60.0] * 6 + [10]]
    labels = torch.tensor([[85.0, 83, 70], [65, 60, 62]])
    found = LOW.metrics(LOW.baseline(inputs), labels, all_of(labels))
    assert found["rmse"] == pytest.approx(math.sqrt((100 + 4) / 2))
    assert PLAIN.baseline(inputs).tolist() == [[80.0] * 3, [60.0] * 3]


def test_likeness_is_the_distance_at_the_last_step_and_the_events_divergence() -> None:
    teacher, student = torch.tensor([[80.0, 80, 80, 0]]), torch.tensor([[80.0, 70, 77, math.log(3)]])
    # KL of a coin from (3/4, 1/4)
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert LOW.likeness(student, teacher) == pytest.approx({"rmse_to_teacher": 3, "event_kl": expected})
    assert LOW.likeness(teacher, teacher) == {"rmse_to_teacher": 0, "event_kl": 0}


def test_answers_are_readable() -> None:
    judge = Forecasting(horizon=2, above=5, quantiles=(0.1, 0.5, 0.9))
    (answer,) = judge.decode(torch.tensor([[1.0, 2, 3, 4, 5, 6, 0]]), STEPS[:2])
    assert answer == {
        "forecast": {"+1": 2, "+2": 5},
        "quantile 0.1": {"+1": 1, "+2": 4},
        "quantile 0.9": {"+1": 3, "+2": 6},
        "event": "a reading above 5",
        "probability": 0.5,
    }
    assert PLAIN.decode(torch.zeros(1, 3), STEPS) == [{"forecast": {"+1": 0, "+2": 0, "+3": 0}}]


def test_panels_by_hand() -> None:
    outputs = torch.tensor([[80.0, 90, 100, 2], [80, 90, 104, -1]])
    labels = torch.tensor([[81.0, 60, 97], [NAN, 90, 100]])
    error, found, sure = LOW.panels(outputs, torch.cat([labels[:1], torch.full((1, 3), 90.0)]), all_of(labels), STEPS)
    assert (error.name, found.name, sure.name) == ("error_by_step", "precision_recall", "reliability")
    assert error.data["x"] == [1, 2, 3]
    assert error.data["y"] == pytest.approx([math.sqrt((1 + 100) / 2), math.sqrt(900 / 2), math.sqrt((9 + 196) / 2)])
    # from everything announced (half of it right, all found) to nothing announced
    assert (found.data["x"][0], found.data["y"][0]) == (0, 1)
    assert (found.data["x"][-1], found.data["y"][-1]) == (1, 0.5)
    assert sure.data["counts"] == [1, 1]
    assert json.loads(json.dumps([asdict(panel) for panel in (error, found, sure)]))


def test_a_curve_of_many_rows_is_short_and_keeps_its_ends() -> None:
    outputs, labels = 70 + 20 * numbers(3000, 4), 85 + 10 * numbers(3000, 3, seed=1)
    curve = LOW.panels(outputs, labels, all_of(labels), STEPS)[1].data
    assert len(curve["x"]) <= 200
    assert (curve["x"][0], curve["x"][-1]) == (0, 1)


def test_the_teacher_saw_doubtful_and_sure_rows() -> None:
    inputs, teacher = numbers(40, 1, 200), torch.zeros(40, 4)
    teacher[:, 3] = torch.linspace(0, 8, 40)
    labels = torch.full((40, 3), 80.0)
    labels[39, 1] = NAN
    known = torch.arange(40) != 38
    panel = LOW.teacher_saw(inputs, teacher, labels, known, STEPS, 1.0)
    assert panel.kind == "lines"
    rows = panel.data["rows"]
    chances = [row["probability"] for row in rows]
    assert chances == pytest.approx([1 / (1 + math.exp(-8 * n / 39)) for n in (0, 1, 2, 3, 39, 38, 37, 36)])
    assert [len(row["window"]) for row in rows] == [96] * 8
    assert rows[4]["truth"] == [80, None, 80]
    assert rows[5]["truth"] == [None] * 3
    assert (panel.data["threshold"], panel.data["event"], panel.data["interval"]) == (70, "a reading below 70", None)
    assert json.loads(json.dumps(asdict(panel)))


def test_without_an_event_doubt_is_the_width_of_the_interval_or_unknown() -> None:
    inputs, labels = numbers(20, 1, 6), torch.zeros(20, 2)
    teacher = torch.arange(20.0)[:, None] * torch.tensor([[-1.0, 0, 1, -1, 0, 1]])
    rows = BANDS.teacher_saw(inputs, teacher, labels, all_of(labels), STEPS, 1.0).data["rows"]
    assert [row["high"][0] for row in rows] == [19, 18, 17, 16, 0, 1, 2, 3]
    plain = Forecasting(horizon=2).teacher_saw(inputs, teacher[:, :2], labels, all_of(labels), STEPS, 1.0)
    assert [row["window"][0] for row in plain.data["rows"]] == pytest.approx(
        [inputs[n, 0, 0].item() for n in (0, 3, 5, 8, 11, 14, 16, 19)], abs=1e-4
    )
