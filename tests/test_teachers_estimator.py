"""Estimators as teachers: their probabilities within a stated bound, their classes by name, frozen and recordable."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small

from limbeck.catalog.models import Shape
from limbeck.catalog.teachers import teacher as find
from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.errors import TeacherError
from limbeck.objective import Needs
from limbeck.objectives.regression import Regression
from limbeck.recorder import record
from limbeck.signals import Batch, Signals
from limbeck.tasks.classification import Classification
from limbeck.tasks.forecasting import Forecasting
from limbeck.teachers.contents import Contents
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.estimator import EstimatorTeacher
from limbeck.teachers.protocol import Teacher
from limbeck.teachers.recording import RecordedTeacher

TASK = Classification()
CLASSES = tuple("0123456789")
LOGITS = Needs(logits=True)
SHAPE = Shape((1, 8, 8), 10, CLASSES, torch.zeros(1), torch.ones(1))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows() -> TensorRows:
    return load("digits", valid=0.1, test=0.2).train


def table(rows: TensorRows) -> np.ndarray:
    return rows.inputs.flatten(1).double().numpy()


def forest_of(rows: TensorRows, **changes: Any) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(**{"n_estimators": 20, "random_state": 0, **changes}).fit(table(rows), rows.labels)


@pytest.fixture(scope="module")
def forest(rows: TensorRows) -> Any:
    return forest_of(rows)


@pytest.fixture(scope="module")
def boosted(rows: TensorRows) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # on a busy machine its threads wait for each other for minutes
        return HistGradientBoostingClassifier(max_iter=8, random_state=0).fit(table(rows), rows.labels)


@pytest.fixture
def batch(rows: TensorRows) -> Batch:
    return Batch.of(rows.inputs[:32], rows.labels[:32], TASK, ids=rows.ids[:32])


def prepared(estimator: Any, classes: tuple[str, ...] = CLASSES, **arguments: Any) -> EstimatorTeacher:
    teacher = EstimatorTeacher(estimator, **arguments)
    teacher.prepare(LOGITS, classes)
    return teacher


def test_it_keeps_the_protocol_and_an_ensemble_takes_it(forest: Any, boosted: Any, batch: Batch) -> None:
    teacher = EstimatorTeacher(forest)
    assert isinstance(teacher, Teacher)
    assert teacher.to(torch.device("cpu")) is teacher and teacher.views is None
    ensemble = EnsembleTeacher([(1, teacher), (1, EstimatorTeacher(boosted))])
    ensemble.prepare(LOGITS, CLASSES)
    expected = (forest.predict_proba(batch.inputs.flatten(1)) + boosted.predict_proba(batch.inputs.flatten(1))) / 2
    assert np.abs(ensemble.signals(batch).logits.softmax(-1).numpy() - expected).max() <= 1 / (2 * 20)


def test_softmax_gives_a_forests_probabilities_back_within_half_a_vote(forest: Any, batch: Batch) -> None:
    teacher = prepared(forest)
    assert teacher.floor == 1 / (2 * 20 * 10)
    said = teacher.signals(batch).logits
    truth = forest.predict_proba(batch.inputs.flatten(1))
    assert (truth == 0).mean() > 0.3 and said.isfinite().all() and said.dtype == torch.float32
    found = said.double().softmax(-1).numpy()
    assert np.abs(found - truth).max() <= 1 / (2 * 20)
    # What no tree voted for is the floor, so that a temperature can soften it.
    least = teacher.floor / (1 + 10 * teacher.floor)
    assert float(said.exp().min()) >= least * (1 - 1e-6)
    assert float((said / 4).softmax(-1).min()) > least
    # In the worst case no order changes either: what was likelier stays at least as likely.
    assert ((truth[:, :, None] <= truth[:, None, :]) <= (found[:, :, None] <= found[:, None, :] + 1e-7)).all()


@pytest.mark.parametrize("floor", [1e-2, 1e-5])
def test_a_floor_of_ones_own_moves_nothing_by_more_than_floor_times_classes(
    forest: Any, batch: Batch, floor: float
) -> None:
    found = prepared(forest, floor=floor).signals(batch).logits.double().softmax(-1).numpy()
    assert np.abs(found - forest.predict_proba(batch.inputs.flatten(1))).max() <= floor * 10


def test_boosted_trees_are_given_back_to_the_resolution_of_float32(boosted: Any, batch: Batch) -> None:
    found = prepared(boosted).signals(batch).logits.double().softmax(-1).numpy()
    assert np.abs(found - boosted.predict_proba(batch.inputs.flatten(1))).max() < 1.3e-6


def test_only_averages_of_trees_are_taken_for_votes(rows: TensorRows) -> None:
    from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    few, labels = table(rows)[:200], rows.labels[:200]
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=50))
    votes = {
        1 / (2 * 5 * 10): [
            make_pipeline(StandardScaler(), forest_of(rows, n_estimators=5)),
            BaggingClassifier(n_estimators=5, random_state=0).fit(few, labels),
        ],
        2.0**-23: [
            AdaBoostClassifier(n_estimators=5, random_state=0).fit(few, labels),
            BaggingClassifier(LogisticRegression(C=1e-3), n_estimators=3).fit(few / 16, labels),
            linear.fit(few, labels),
        ],
    }
    for floor, estimators in votes.items():
        assert [EstimatorTeacher(estimator).floor for estimator in estimators] == [floor] * len(estimators)


def test_a_forest_teaches_a_network(forest: Any, tmp_path: Path) -> None:
    live = small(forest, tmp_path / "live", budget="8 epochs")
    assert live.record.teacher.metrics["accuracy"] > 0.9
    assert live.record.results[0].control is not None
    assert live.record.results[0].student.metrics["agreement"] > 0.7


@pytest.mark.slow
def test_boosted_trees_teach_from_a_recording_with_views(boosted: Any, tmp_path: Path) -> None:
    run = small(boosted, tmp_path / "run", record=2, augment="crop(padding=1)")
    assert run.record.teacher.metrics["accuracy"] > 0.85
    assert list((run.folder / "recording").glob("*/manifest.json"))


def test_wine_is_taught_by_numbers_although_its_classes_have_names(tmp_path: Path) -> None:
    from sklearn.datasets import load_wine
    from sklearn.ensemble import RandomForestClassifier

    wine = load_wine()
    data = {"train": (wine.data.astype(np.float32), wine.target), "classes": ["barolo", "grignolino", "barbera"]}
    forest = RandomForestClassifier(20, random_state=0).fit(wine.data, wine.target)
    run = small(forest, tmp_path / "run", data=data, student="mlp(size=8)", training={"batch": 16})
    assert run.record.teacher.metrics["accuracy"] > 0.9


@pytest.mark.parametrize("jobs", [1, 2])
def test_recorded_is_live_bit_for_bit(forest: Any, rows: TensorRows, tmp_path: Path, jobs: int) -> None:
    several = copy.deepcopy(forest).set_params(n_jobs=jobs)
    few = rows.select(torch.arange(96))
    record(EstimatorTeacher(several), few, TASK, to=tmp_path / "r", needs=LOGITS, classes=CLASSES, batch_size=32)
    recorded, live = RecordedTeacher(tmp_path / "r"), prepared(several)
    recorded.prepare(LOGITS, CLASSES)
    order = few.ids.argsort()
    for start in range(0, 96, 32):
        at = order[start : start + 32]
        asked = Batch.of(few.inputs[at], few.labels[at], TASK, ids=few.ids[at])
        assert torch.equal(recorded.signals(asked).logits, live.signals(asked).logits)


def test_classes_are_matched_by_name_in_any_order_and_type(rows: TensorRows, batch: Batch) -> None:
    plain = prepared(forest_of(rows)).signals(batch).logits
    words = np.array(list("jihgfedcba"))[rows.labels.numpy()]
    from sklearn.ensemble import RandomForestClassifier

    turned = RandomForestClassifier(20, random_state=0).fit(table(rows), words)
    said = prepared(turned, tuple("jihgfedcba")).signals(batch).logits
    assert (said.argmax(-1) == plain.argmax(-1)).float().mean() > 0.9
    floats = RandomForestClassifier(20, random_state=0).fit(table(rows), rows.labels.double().numpy())
    assert torch.equal(prepared(floats).signals(batch).logits, plain)


def test_a_class_in_one_of_them_only_is_refused(forest: Any) -> None:
    with pytest.raises(TeacherError, match=r"knows no class 'ten' \(1 of 11 are missing\)"):
        prepared(forest, (*CLASSES, "ten"))
    with pytest.raises(TeacherError, match=r"knows a class '9' that the data does not have \(1 of 10\)"):
        prepared(forest, CLASSES[:9])


def test_what_cannot_teach_says_why(rows: TensorRows, forest: Any, batch: Batch) -> None:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.svm import LinearSVC

    with pytest.raises(TeacherError, match="the estimator RandomForestClassifier is not fitted"):
        EstimatorTeacher(RandomForestClassifier())
    with pytest.raises(TeacherError, match="LinearSVC says no probabilities") as caught:
        EstimatorTeacher(LinearSVC(max_iter=10_000).fit(table(rows)[:50] / 16, rows.labels[:50] % 2))
    assert "CalibratedClassifierCV" in caught.value.remedy
    with pytest.raises(TeacherError, match="the estimator RandomForestRegressor is not fitted"):
        prepared(RandomForestRegressor()).signals(batch)
    with pytest.raises(TeacherError, match=r"floor=0 of RandomForestClassifier is out of range"):
        EstimatorTeacher(forest, floor=0)
    with pytest.raises(TeacherError, match="was asked before it was prepared"):
        EstimatorTeacher(forest).signals(batch)
    with pytest.raises(TeacherError, match="asked for the features of stem, and has no layers"):
        EstimatorTeacher(forest).prepare(Needs(teacher_layers=frozenset({"stem"})), CLASSES)
    with pytest.raises(TeacherError, match="a row of the data holds 49 numbers when flattened") as caught:
        prepared(forest).signals(Batch.of(torch.zeros(2, 1, 7, 7), None, TASK))
    assert caught.value.expected == "64, as RandomForestClassifier was fitted on"
    with pytest.raises(TeacherError, match="the class RandomForestClassifier is no teacher"):
        find(RandomForestClassifier, SHAPE)
    values = RandomForestRegressor(5).fit(table(rows)[:50], rows.labels[:50])
    with pytest.raises(TeacherError, match=r"RandomForestRegressor answers with the shape \(rows, 1\)"):
        prepared(values).signals(batch)


def test_a_regressor_says_values(batch: Batch) -> None:
    from sklearn.ensemble import RandomForestRegressor

    table = batch.inputs.flatten(1).numpy()
    forest = RandomForestRegressor(5, random_state=0).fit(table, table[:, 2:5] * 3)
    teacher = EstimatorTeacher(forest)
    teacher.prepare(LOGITS, ("sugar",))
    task = Forecasting(horizon=3, scale=2.0, centre=0.0)
    asked = Batch.of(batch.inputs, None, task)
    said = teacher.signals(asked)
    assert torch.equal(said.logits, torch.from_numpy(forest.predict(table)).float())
    loss = Regression().loss(Signals.dense(said.logits + 1), said, asked)
    assert float(loss.total) == pytest.approx(0.25)


def test_features_with_names_are_given_with_their_names(rows: TensorRows, batch: Batch) -> None:
    pandas = pytest.importorskip("pandas")
    named = pandas.DataFrame(table(rows), columns=[f"pixel {place}" for place in range(64)])
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(5, random_state=0).fit(named, rows.labels)
    assert prepared(forest).signals(batch).logits.shape == (32, 10)
    with pytest.raises(TeacherError) as caught:
        prepared(forest).signals(Batch.of(torch.zeros(2, 3), None, TASK))
    assert "64, as RandomForestClassifier was fitted on, named pixel 0, pixel 1" in caught.value.expected


def test_rows_of_mixed_types_are_the_same_rows(forest: Any, batch: Batch) -> None:
    plain = prepared(forest).signals(batch).logits
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int16, torch.uint8):
        said = prepared(forest).signals(Batch.of(batch.inputs.to(dtype), None, TASK)).logits
        assert torch.equal(said, plain)
    with pytest.raises(TeacherError, match="whole numbers beyond"):
        prepared(forest).signals(Batch.of(torch.full((2, 64), 2**60), None, TASK))


def refitted(forest: Any, rows: TensorRows) -> None:
    forest.fit(table(rows)[:300], rows.labels[:300])


def scaled(forest: Any, rows: TensorRows) -> None:
    for tree in forest.estimators_:
        tree.tree_.value[:] = tree.tree_.value[:, :, ::-1].copy()


def shortened(forest: Any, rows: TensorRows) -> None:
    del forest.estimators_[0]


@pytest.mark.parametrize("change", [refitted, scaled, shortened])
def test_an_estimator_that_changes_is_noticed(forest: Any, rows: TensorRows, batch: Batch, change: Any) -> None:
    own = copy.deepcopy(forest)
    teacher = prepared(own)
    before = teacher.fingerprint
    teacher.signals(batch)
    change(own, rows)
    with pytest.raises(TeacherError, match="the estimator RandomForestClassifier was changed: "):
        teacher.signals(batch)
    teacher.prepare(LOGITS, CLASSES)
    assert teacher.fingerprint != before


FITTED = """
import sys
import torch
from limbeck.data.source import load
from limbeck.teachers.estimator import EstimatorTeacher
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
torch.set_num_threads(1)
rows = load("digits", valid=0.1, test=0.2).train
table = rows.inputs.flatten(1).double().numpy()
for kind, words in ((RandomForestClassifier, {"n_estimators": 20}), (HistGradientBoostingClassifier, {"max_iter": 8})):
    print(EstimatorTeacher(kind(random_state=0, **words).fit(table, rows.labels)).fingerprint)
"""


@pytest.mark.slow
def test_the_fingerprint_is_the_same_in_another_process(forest: Any, boosted: Any) -> None:
    said = subprocess.run([sys.executable, "-c", FITTED], capture_output=True, text=True, check=True)
    own = [EstimatorTeacher(forest).fingerprint, EstimatorTeacher(boosted).fingerprint]
    assert said.stdout.split() == own
    assert EstimatorTeacher(copy.deepcopy(forest)).fingerprint == own[0]
    assert EstimatorTeacher(forest, floor=1e-3).fingerprint != own[0]


def test_contents_read_what_decides_and_name_what_they_cannot() -> None:
    def taking(limit: int) -> Any:
        return lambda rows: rows > limit

    shared: list[int] = [1]
    assert Contents([shared, shared]).digest == Contents([[1], [1]]).digest
    circle: list[Any] = [1]
    circle.append(circle)
    other: list[Any] = [1]
    other.append(other)
    assert Contents(circle).digest == Contents(other).digest
    different: list[Any] = [
        1,
        True,
        1.0,
        "1",
        (1,),
        [1],
        {"a": 1},
        {1},
        np.ones(1),
        np.ones(1, np.float32),
        np.int64(1),
    ]
    different += [torch.ones(1), taking(1), taking(2), len, str.upper, json]
    assert len({Contents(thing).digest for thing in different}) == len(different)
    assert Contents(taking(3)).digest == Contents(taking(3)).digest
    assert Contents({"a": 1, "b": 2}).digest == Contents({"b": 2, "a": 1}).digest
    assert Contents([1, 2]).unread == () and Contents([1, (n for n in "a")]).unread == ("builtins.generator",)
