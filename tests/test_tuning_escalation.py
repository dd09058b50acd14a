"""Answers left to a larger artifact: the bound against a slow sum, how often it fails, and the whole way by files."""

import numpy as np
import onnx_files
import pytest
import small_artifacts

from limbeck.data.source import load
from limbeck.errors import ModelError, RecipeError
from limbeck.tuning.escalation import SEQUENCE, bound, escalate, lowest
from limbeck_runtime.predictor import load as load_artifact


def test_a_threshold_is_the_lowest_whose_bound_holds():
    """Against Clopper and Pearson's bound computed by bisection on the binomial's sum."""
    draw = np.random.default_rng(0)
    sure = draw.uniform(0.3, 1, 3000)
    differ = draw.random(3000) < (1 - sure) / 2
    threshold, tested = lowest(sure, differ, 0.02, 0.95)
    place = SEQUENCE.index(threshold)
    assert tested == place + 2 and 0.5 < threshold < 1
    for each in SEQUENCE[: place + 1]:
        assert bound(int((differ & (sure >= each)).sum()), 3000, 0.95) <= 0.02
    assert bound(int((differ & (sure >= SEQUENCE[place + 1])).sum()), 3000, 0.95) > 0.02


def test_the_bound_is_clopper_and_pearsons():
    from math import comb

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        tail = sum(comb(200, k) * middle**k * (1 - middle) ** (200 - k) for k in range(4))
        low, high = (middle, high) if tail > 0.05 else (low, middle)
    assert bound(3, 200, 0.95) == pytest.approx(low, abs=1e-9)
    assert bound(0, 100, 0.95) == pytest.approx(1 - 0.05 ** (1 / 100)) and bound(5, 5, 0.9) == 1.0


def test_too_high_a_risk_is_chosen_no_more_often_than_said():
    """At every threshold below the first the true risk is just above the one allowed: choosing any is the mistake."""
    draw = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        sure = np.where(draw.random(800) < 0.5, 0.9999999, draw.uniform(0.3, 0.9, 800))
        differ = (sure > 0.95) & (draw.random(800) < 0.101)  # of half the rows: a risk of 0.0505
        wrong += lowest(sure, differ, 0.05, 0.9)[0] < 1
    assert 0.04 < wrong / 400 <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 400)


def _of_one_task(folder, count=600):
    """Two artifacts of three classes, of which the second is right, and rows to compare them on."""
    draw = np.random.default_rng(7)
    rows = draw.standard_normal((count, 8)).astype(np.float32)
    graph = small_artifacts.linear(folder, seed=1)
    large = small_artifacts.made(folder, name="large", graph=graph)
    weight = np.random.default_rng(1).standard_normal((8, 3)).astype(np.float32) / np.float32(np.sqrt(8))
    nodes = [("MatMul", ["x", "w"], ["y"], {})]
    near = 4 * (weight + 0.05 * draw.standard_normal((8, 3))).astype(np.float32)
    file = onnx_files.made(folder / "n.onnx", nodes, row=(8,), outputs={"y": ["rows", 3]}, weights={"w": near})
    small = small_artifacts.made(folder, name="small", graph=file.read_bytes())
    labels = load_artifact(large).outputs(rows).argmax(axis=1)
    data = load((rows, labels), valid=0.6, test=0.2)
    return small, large, data


def test_a_small_artifact_learns_when_to_leave_an_answer_to_a_large_one(tmp_path):
    from limbeck_runtime.escalation import Escalation

    small, large, data = _of_one_task(tmp_path, 3000)
    found = escalate(small, large, data, risk=0.02, confidence=0.95, test=True)
    said = found.escalation["measured"]["valid"]
    assert said["disagreement"] <= said["bound"] <= 0.02 < said["alone"] and 0.3 < said["coverage"] < 1
    assert said["large"]["accuracy"] == 1.0 and said["cascade"]["accuracy"] == pytest.approx(1 - said["disagreement"])
    assert found.escalation["measured"]["test"]["coverage"] == pytest.approx(said["coverage"], abs=0.1)
    spent = found.escalation["measured"]["milliseconds"]
    assert spent["worst"] == spent["small"] + spent["large"]
    both = Escalation(load_artifact(small), load_artifact(large))
    rows = data.valid.take(data.valid.ids.argsort().argsort()).inputs.numpy()
    _, unsure = both.asked(rows)
    assert 1 - unsure.mean() == pytest.approx(said["coverage"])
    with pytest.raises(RecipeError, match="risk=0"):
        escalate(small, large, data, risk=0.0)
    other = small_artifacts.made(tmp_path, name="other", row=(4,))
    with pytest.raises(ModelError, match="other has rows"):
        escalate(small, other, data)


def test_too_few_rows_leave_everything_to_the_large_one(tmp_path):
    small, large, data = _of_one_task(tmp_path, 100)
    assert escalate(small, large, data, risk=0.02).escalation["threshold"] == 1.0
