"""Copies that have not seen a row answer it: the same numbers as scikit-learn's, no leak, and the same each time."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier
from small_runs import small

from limbeck.catalog.models import Shape
from limbeck.catalog.teachers import teacher as find
from limbeck.data.augment import parse
from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.data.windows import WindowInputs
from limbeck.errors import TeacherError
from limbeck.objective import Needs
from limbeck.recorder import record
from limbeck.signals import Batch
from limbeck.tasks.classification import Classification
from limbeck.tasks.regression import Regression
from limbeck.teachers.answers import FLOOR, log_probabilities
from limbeck.teachers.crossfit import CrossFitTeacher
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.recording import RecordedTeacher

TASK = Classification()
# In no order that sorting would give, and numbers that are not the classes' own.
CLASSES = ("2", "0", "1")
LOGITS = Needs(logits=True)

pytestmark = pytest.mark.usefixtures("one_thread")


class Memory(ClassifierMixin, BaseEstimator):
    """Says 0.8 for one class about rows it was fitted on, and 0.1 about all others; rows differ in number 0."""

    def fit(self, table: Any, labels: Any) -> "Memory":
        self.classes_, self.seen_ = np.unique(labels), set(table[:, 0].tolist())
        return self

    def predict_proba(self, table: Any) -> Any:
        known = np.isin(table[:, 0], list(self.seen_))
        return np.where(known[:, None], [0.8, 0.1, 0.1], [0.1, 0.45, 0.45])


def table(rows: int = 90, *, groups: bool = False, values: bool = False) -> TensorRows:
    """Rows in no order of their ids; every row has a number of its own, and every ninth no label."""
    draw = torch.Generator().manual_seed(rows)
    ids = torch.randperm(3 * rows, generator=draw)[:rows]
    inputs = torch.randn(rows, 4, generator=draw)
    inputs[:, 0] = ids
    labels = (inputs[:, 1] + inputs[:, 2] * 0.5 > 0).long() + (inputs[:, 3] > 0.8).long()
    known = torch.arange(rows) % 9 != 4
    if values:
        return TensorRows(inputs, inputs[:, 1:2] * 3 + 1, known[:, None], ids)
    return TensorRows(inputs, labels, known, ids, torch.arange(rows) % 12 if groups else None)


def fitted(kind: Any, rows: TensorRows) -> Any:
    assert isinstance(rows.inputs, torch.Tensor) and rows.labels is not None
    labels = rows.labels.squeeze(1).numpy() if rows.labels.ndim > 1 else np.array(CLASSES)[rows.labels]
    return kind.fit(rows.inputs.numpy(), labels)


def prepared(kind: Any, rows: TensorRows, classes: tuple[str, ...] = CLASSES, **arguments: Any) -> CrossFitTeacher:
    teacher = CrossFitTeacher(fitted(kind, rows), **arguments)
    teacher.prepare(LOGITS, classes)
    teacher.fits(rows, None)
    return teacher


def asked(teacher: Any, rows: TensorRows, task: Any = TASK) -> np.ndarray:
    """Probabilities (or values) about the rows, in an order of their own."""
    order = torch.arange(len(rows)).flip(0)
    piece = rows.take(order)
    said = teacher.signals(Batch.of(piece.inputs, piece.labels, task, ids=piece.ids)).logits.double()
    return (said.softmax(-1) if task is TASK else said).flip(0).numpy()


def softened(probabilities: np.ndarray) -> np.ndarray:
    """What a softmax makes of the logits that stand for them."""
    return log_probabilities(torch.from_numpy(probabilities), FLOOR).double().softmax(-1).numpy()


@pytest.mark.parametrize("groups", [False, True])
def test_answers_are_those_of_scikit_learn(groups: bool) -> None:
    rows = table(groups=groups)
    known = rows.known.numpy()
    estimator = DecisionTreeClassifier(min_samples_leaf=6, random_state=0)
    found = asked(prepared(estimator, rows, folds=4, seed=7), rows)
    inputs, labels = rows.inputs[rows.known].numpy(), rows.labels[rows.known].numpy()
    kind = StratifiedGroupKFold if groups else StratifiedKFold
    expected = cross_val_predict(
        DecisionTreeClassifier(min_samples_leaf=6, random_state=0),
        inputs,
        labels,
        groups=rows.groups[rows.known].numpy() if groups else None,
        cv=kind(4, shuffle=True, random_state=7),
        method="predict_proba",
    )
    assert np.array_equal(found[known], softened(expected)) and (expected > 0).mean() > 0.4
    # Nobody has fitted on rows without a label: the estimator itself answers.
    whole = estimator.predict_proba(rows.inputs[~rows.known].numpy())
    by_class = [list(estimator.classes_).index(name) for name in CLASSES]
    assert np.array_equal(found[~known], softened(whole[:, by_class]))


def test_values_are_those_of_scikit_learn() -> None:
    rows = table(values=True)
    known = rows.known[:, 0]
    teacher = prepared(LinearRegression(), rows, ("value",), folds=3, seed=1)
    found = asked(teacher, rows, Regression())[known, 0]
    cut = KFold(3, shuffle=True, random_state=1)
    expected = cross_val_predict(LinearRegression(), rows.inputs[known].numpy(), rows.labels[known, 0].numpy(), cv=cut)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def leaks(teacher: CrossFitTeacher, rows: TensorRows) -> int:
    """How many labelled rows are answered by somebody who has seen them."""
    return int((asked(teacher, rows).max(axis=1) > 0.5)[rows.known.numpy()].sum())


@pytest.mark.parametrize("groups", [False, True])
def test_nobody_answers_a_row_it_has_seen(groups: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(groups=groups)
    teacher = prepared(Memory(), rows)
    assert leaks(teacher, rows) == 0
    if groups:
        part = teacher._copies.part_of(rows.ids)
        for group in rows.groups.unique():
            assert len(part[(rows.groups == group) & rows.known].unique()) == 1
    # What was fitted on all rows has seen them all; and so has the wrong copy, which this test must notice.
    whole = CrossFitTeacher(teacher.whole.estimator)
    whole.prepare(LOGITS, CLASSES)
    assert leaks(whole, rows) == int(rows.known.sum())
    part_of = type(teacher._copies).part_of
    monkeypatch.setattr(type(teacher._copies), "part_of", lambda self, ids: torch.where(part_of(self, ids) >= 0, 0, -1))
    assert leaks(teacher, rows) > len(rows) / 2


def test_views_are_answered_by_the_copy_that_has_not_seen_the_row() -> None:
    rows = table()
    teacher = prepared(DecisionTreeClassifier(random_state=0), rows)
    asked(teacher, rows)
    moved = rows.inputs + 0.01
    said = teacher.signals(Batch.of(moved, rows.labels, TASK, ids=rows.ids)).logits
    for number, member in enumerate(teacher._copies.members):
        at = teacher._copies.part_of(rows.ids) == number
        alone = member.signals(Batch.of(moved[at], rows.labels[at], TASK, ids=rows.ids[at])).logits
        assert torch.equal(said[at], alone)


def test_copies_are_the_same_each_time_and_kept_by_the_teacher() -> None:
    rows = table()
    undecided = DecisionTreeClassifier(max_features=1)
    first = prepared(undecided, rows)
    said, copies = asked(first, rows), first._copies
    assert copies.seconds > 0
    first.prepare(LOGITS, CLASSES)
    first.fits(rows, None)
    assert np.array_equal(asked(first, rows), said) and first._copies is copies
    # Another teacher shares nothing with it, be it of the same estimator and the same rows.
    for again in (rows, table()):
        teacher = CrossFitTeacher(undecided)
        teacher.prepare(LOGITS, CLASSES)
        teacher.fits(again, None)
        assert np.array_equal(asked(teacher, again), said)
        assert teacher._copies is not copies
    first.fits(table(80), None)
    assert first._copies is None


class Counted(Memory):
    """Enters each fit in a file."""

    def __init__(self, path: str = "") -> None:
        self.path = path

    def fit(self, table: Any, labels: Any) -> "Counted":
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("fit\n")
        self.width_ = len(np.unique(labels))
        return super().fit(table, labels)

    def predict_proba(self, table: Any) -> Any:
        return np.full((len(table), self.width_), 1 / self.width_)


def counted(path: str) -> CrossFitTeacher:
    """A teacher as `package.module:function` finds it: made anew at each call."""
    rows = load("digits", valid=0.1, test=0.2).train
    return CrossFitTeacher(Counted(path).fit(rows.inputs.flatten(1).numpy(), rows.labels.numpy()), folds=3)


@pytest.mark.slow
def test_a_run_of_two_seeds_fits_its_copies_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "counted_trees", sys.modules[__name__])
    fits = tmp_path / "fits"
    text = f"counted_trees:counted(path={str(fits)!r})"
    small(text, tmp_path / "run", seeds=2, budget="1 epochs")
    assert fits.read_text().count("fit") == 1 + 3
    # Another run has a teacher of its own.
    small(text, tmp_path / "again", budget="1 epochs")
    assert fits.read_text().count("fit") == 2 * (1 + 3)


def test_the_fingerprint_says_folds_seed_rows_and_estimator() -> None:
    rows, other = table(), table(80)
    tree = fitted(DecisionTreeClassifier(random_state=0), rows)
    found = []
    for estimator, arguments, which in (
        (tree, {}, rows),
        (tree, {"folds": 4}, rows),
        (tree, {"seed": 1}, rows),
        (tree, {}, other),
        (fitted(DecisionTreeClassifier(max_depth=2, random_state=0), rows), {}, rows),
    ):
        teacher = CrossFitTeacher(estimator, **arguments)
        teacher.prepare(LOGITS, CLASSES)
        teacher.fits(which, None)
        before = teacher.fingerprint
        asked(teacher, which)
        teacher.prepare(LOGITS, CLASSES)
        assert teacher.fingerprint == before
        found.append(before)
    assert len(set(found)) == 5


def test_a_recording_keeps_what_the_copies_say(tmp_path: Path) -> None:
    rows = table()
    for name, teacher in (
        ("alone", CrossFitTeacher(fitted(Memory(), rows))),
        ("ensemble", EnsembleTeacher([(1.0, CrossFitTeacher(fitted(Memory(), rows)))])),
    ):
        folder = record(teacher, rows, TASK, to=tmp_path / name, needs=LOGITS, classes=CLASSES, batch_size=16)
        recorded = RecordedTeacher(folder)
        recorded.prepare(LOGITS, CLASSES)
        assert np.array_equal(asked(recorded, rows), asked(teacher, rows))
        assert (asked(recorded, rows)[rows.known.numpy()] < 0.5).all()


@pytest.mark.slow
def test_a_file_teaches_a_run_of_two_seeds(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")

    digits = load("digits", valid=0.1, test=0.2).train
    tree = DecisionTreeClassifier(max_depth=8, random_state=0).fit(digits.inputs.flatten(1).numpy(), digits.labels)
    skops.dump(tree, tmp_path / "tree.skops")
    text = f"sklearn:{tmp_path / 'tree.skops'}(folds=3, seed=2)"
    found = find(text, Shape((1, 8, 8), 10, tuple("0123456789"), torch.zeros(1), torch.ones(1)))
    assert isinstance(found, CrossFitTeacher) and (found.folds, found.seed) == (3, 2)
    run = small(text, tmp_path / "run", record=1, seeds=2, budget="1 epochs")
    assert len(run.record.results) == 2 and len(list((run.folder / "recording").iterdir())) == 1


class NoClone(Memory):
    def __init__(self, *settings: Any) -> None:
        self.settings = settings


def test_what_cannot_be_taken_apart_is_refused() -> None:
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import make_pipeline

    rows = table()
    tree = fitted(DecisionTreeClassifier(random_state=0), rows)
    with pytest.raises(TeacherError, match="cannot be cloned"):
        CrossFitTeacher(fitted(NoClone(), rows))
    for frozen in (FrozenEstimator(tree), make_pipeline(FrozenEstimator(tree))):
        with pytest.raises(TeacherError, match="still knows what its DecisionTreeClassifier learnt"):
            CrossFitTeacher(frozen)
    for wrong in ({"folds": 1}, {"seed": -1}, {"folds": True}):
        with pytest.raises(TeacherError, match="out of range"):
            CrossFitTeacher(tree, **wrong)
    with pytest.raises(TeacherError, match="mixup was asked for"):
        CrossFitTeacher(tree).fits(rows, parse("mixup(alpha=0.2)"))
    with pytest.raises(TeacherError, match="labelled groups to take apart"):
        asked(prepared(tree, table(groups=True), folds=13), table(groups=True))
    lone = TensorRows(rows.inputs, rows.labels.clone().clamp(max=1), torch.ones(90, dtype=torch.bool), rows.ids)
    lone.labels[3] = 2
    with pytest.raises(TeacherError, match="would see no row of the class '1'"):
        asked(prepared(tree, lone), lone)
    with pytest.raises(TeacherError, match="cannot be fitted on these labels"):
        on_values(tree)
    windows = WindowInputs(torch.zeros(1, 100), torch.arange(90), 4)
    with pytest.raises(TeacherError, match="neighbours share readings"):
        CrossFitTeacher(tree).fits(TensorRows(windows, rows.labels, rows.known, rows.ids), None)


def on_values(tree: Any) -> None:
    rows = table(values=True)
    teacher = CrossFitTeacher(tree)
    teacher.prepare(LOGITS, CLASSES)
    teacher.fits(rows, None)
    asked(teacher, rows)
