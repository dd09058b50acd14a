"""Boosted trees in their library's own file: they say what the estimator says, and no file gets past its own trees."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small

from limbeck.catalog.models import Shape
from limbeck.catalog.teachers import teacher as find
from limbeck.cli import main
from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.errors import ModelError, TeacherError
from limbeck.objective import Needs
from limbeck.signals import Batch
from limbeck.task import Task
from limbeck.tasks.classification import Classification
from limbeck.tasks.regression import Regression
from limbeck.teachers.boosters import open_lightgbm, open_xgboost
from limbeck.teachers.crossfit import CrossFitTeacher
from limbeck.teachers.estimator import EstimatorTeacher

TASK = Classification()
CLASSES = tuple("0123456789")
LOGITS = Needs(logits=True)
SHAPE = Shape((1, 8, 8), 10, CLASSES, torch.zeros(1), torch.ones(1))
KINDS = ("lightgbm", "xgboost")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows() -> TensorRows:
    return load("digits", valid=0.1, test=0.2).train


def library(kind: str) -> Any:
    return pytest.importorskip(kind, reason="needs the extra boosting")


def estimator(kind: str, *, values: bool = False, **changes: Any) -> Any:
    kinds = library(kind)
    common = {"n_estimators": 8, "n_jobs": 1, "random_state": 0, **changes}
    if kind == "lightgbm":
        return (kinds.LGBMRegressor if values else kinds.LGBMClassifier)(**common, verbose=-1)
    return (kinds.XGBRegressor if values else kinds.XGBClassifier)(**common)


def saved(fitted: Any, folder: Path) -> str:
    """The text by which its file is named."""
    if hasattr(fitted, "booster_"):
        fitted.booster_.save_model(folder / "trees.txt")
        return f"lightgbm:{folder / 'trees.txt'}"
    fitted.save_model(folder / "trees.json")
    return f"xgboost:{folder / 'trees.json'}"


def table(rows: TensorRows) -> np.ndarray:
    assert isinstance(rows.inputs, torch.Tensor)
    return rows.inputs.flatten(1).double().numpy()


def asked(teacher: Any, inputs: torch.Tensor, classes: tuple[str, ...] = CLASSES, task: Task = TASK) -> np.ndarray:
    teacher.prepare(LOGITS, classes)
    labels = torch.zeros(len(inputs), 1) if task is not TASK else torch.zeros(len(inputs), dtype=torch.int64)
    said = teacher.signals(Batch.of(inputs, labels, task)).logits.double()
    return (said.softmax(-1) if task is TASK else said).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_what_its_estimator_says(kind: str, rows: TensorRows, tmp_path: Path) -> None:
    fitted = estimator(kind).fit(table(rows), rows.labels.numpy())
    expected = fitted.predict_proba(table(rows))
    for what in (saved(fitted, tmp_path), fitted):
        teacher = find(what, SHAPE)
        assert isinstance(teacher, EstimatorTeacher) and teacher.classes == CLASSES
        # A float32 probability, and the floor of 2^-23 below which none is lifted here.
        np.testing.assert_allclose(asked(teacher, rows.inputs), expected, atol=2e-6)
    first, second = (find(saved(fitted, tmp_path), SHAPE).fingerprint for _ in range(2))
    assert first == second


@pytest.mark.parametrize("kind", KINDS)
def test_two_classes_and_names(kind: str, rows: TensorRows, tmp_path: Path) -> None:
    odd = rows.labels.numpy() % 2
    fitted = estimator(kind).fit(table(rows), odd)
    expected = fitted.predict_proba(table(rows))
    text = saved(fitted, tmp_path)
    # The data calls them otherwise: the numbers are its labels.
    unnamed = find(text, SHAPE)
    np.testing.assert_allclose(asked(unnamed, rows.inputs, ("even", "odd")), expected, atol=2e-6)
    named = find(f"{text}(classes=('odd', 'even'))", SHAPE)
    np.testing.assert_allclose(asked(named, rows.inputs, ("even", "odd")), expected[:, ::-1], atol=2e-6)
    assert named.fingerprint != unnamed.fingerprint
    with pytest.raises(TeacherError, match="was given 3 classes"):
        find(f"{text}(classes=('a', 'b', 'c'))", SHAPE)
    with pytest.raises(TeacherError, match="has no argument 'clases'") as caught:
        find(f"{text}(clases=('a', 'b'))", SHAPE)
    assert "did you mean 'classes'" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_values(kind: str, rows: TensorRows, tmp_path: Path) -> None:
    target = rows.inputs.flatten(1).double().numpy()[:, 10:20].sum(axis=1)
    fitted = estimator(kind, values=True).fit(table(rows), target)
    said = asked(find(saved(fitted, tmp_path), SHAPE), rows.inputs, ("value",), Regression())
    np.testing.assert_allclose(said[:, 0], fitted.predict(table(rows)), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")  # its successor is not in every version
@pytest.mark.parametrize("kind", KINDS)
def test_rounds_after_the_best_one_are_left_out(kind: str, rows: TensorRows, tmp_path: Path) -> None:
    inputs, labels = table(rows), rows.labels.numpy() % 2
    wrong = 1 - labels[200:300]  # judged by labels that are wrong, every round is worse than the first
    fitted = estimator(kind, n_estimators=12, **({"early_stopping_rounds": 3} if kind == "xgboost" else {}))
    stop = {"callbacks": [library(kind).early_stopping(3, verbose=False)]} if kind == "lightgbm" else {"verbose": False}
    fitted.fit(inputs[:200], labels[:200], eval_set=[(inputs[200:300], wrong)], **stop)
    expected = fitted.predict_proba(inputs)
    first = fitted.predict_proba(
        inputs, **({"num_iteration": 1} if kind == "lightgbm" else {"iteration_range": (0, 1)})
    )
    np.testing.assert_array_equal(expected, first)
    np.testing.assert_allclose(
        asked(find(saved(fitted, tmp_path), SHAPE), rows.inputs, ("a", "b")), expected, atol=2e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_teaches_a_run_of_two_seeds(kind: str, rows: TensorRows, tmp_path: Path) -> None:
    text = saved(estimator(kind).fit(table(rows), rows.labels.numpy()), tmp_path)
    run = small(text, tmp_path / "run", record=1, seeds=2, budget="1 epochs")
    assert run.record.teacher.metrics["accuracy"] > 0.85 and len(run.record.results) == 2
    assert len(list((run.folder / "recording").iterdir())) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimator_teaches_out_of_fold(kind: str, rows: TensorRows) -> None:
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    some = rows.select(torch.arange(400))
    labels = some.labels.numpy()
    teacher = CrossFitTeacher(estimator(kind).fit(table(some), labels), folds=3, seed=1)
    teacher.prepare(LOGITS, CLASSES)
    teacher.fits(some, None)
    said = teacher.signals(Batch.of(some.inputs, some.labels, TASK, ids=some.ids)).logits.double().softmax(-1).numpy()
    cut = StratifiedKFold(3, shuffle=True, random_state=1)
    expected = cross_val_predict(
        estimator(kind), some.inputs.flatten(1).float().numpy(), labels, cv=cut, method="predict_proba"
    )
    np.testing.assert_allclose(said, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_skops_keeps_one_too(kind: str, rows: TensorRows, tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    fitted = estimator(kind).fit(table(rows), rows.labels.numpy())
    skops.dump(fitted, tmp_path / "trees.skops")
    text = f"sklearn:{tmp_path / 'trees.skops'}"
    with pytest.raises(TeacherError, match="types that are not trusted") as caught:
        find(text, SHAPE)
    trusting = caught.value.remedy.removeprefix("look at them, then ")
    assert trusting.startswith(text)
    np.testing.assert_allclose(asked(find(trusting, SHAPE), rows.inputs), fitted.predict_proba(table(rows)), atol=2e-6)


# What follows needs neither library: a file is refused before one is asked to read it.

TEXT = """tree
version=v4
num_class=1
num_tree_per_iteration=1
max_feature_idx=63
objective=binary sigmoid:1
tree_sizes=300

Tree=0
num_leaves=3
num_cat=0
split_feature=36 25
threshold=1.5 2.5
decision_type=2 2
left_child=1 -1
right_child=-2 -3
leaf_value=-0.2 0.1 0.3
is_linear=0
shrinkage=1


end of trees
"""


def as_json(**changes: Any) -> str:
    tree = {
        "tree_param": {"num_nodes": "5", "size_leaf_vector": "1"},
        "left_children": [1, 3, -1, -1, -1],
        "right_children": [2, 4, -1, -1, -1],
        "split_indices": [36, 25, 0, 0, 0],
        "split_conditions": [1.5, 2.5, 0.1, 0.2, 0.3],
        "split_type": [0, 0, 0, 0, 0],
        "default_left": [0, 0, 0, 0, 0],
        "base_weights": [0.0, 0.0, 0.0, 0.0, 0.0],
    }
    objective = changes.pop("objective", "binary:logistic")
    owners = changes.pop("tree_info", [0])
    learner = {
        "objective": {"name": objective},
        "learner_model_param": {"num_feature": "64", "num_class": "0"},
        "gradient_booster": {"name": "gbtree", "model": {"trees": [{**tree, **changes}], "tree_info": owners}},
    }
    return json.dumps({"learner": learner})


def written(place: Path, text: str) -> Path:
    place.write_text(text, encoding="utf-8")
    return place


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("split_feature=36", "split_feature=64", "points out of itself"),
        ("split_feature=36", "split_feature=-1", "points out of itself"),
        ("left_child=1", "left_child=2", "points out of itself"),
        ("left_child=1", "left_child=0", "points out of itself"),
        ("right_child=-2", "right_child=-4", "points out of itself"),
        ("right_child=-2", "right_child=-3", "points out of itself"),
        ("right_child=-2 -3", "right_child=-2", "points out of itself"),
        ("leaf_value=-0.2 0.1", "leaf_value=0.1", "points out of itself"),
        ("num_leaves=3", "num_leaves=2", "points out of itself"),
        ("num_leaves=3", "num_leaves=many", "points out of itself"),
        ("num_cat=0", "num_cat=1", "holds trees with categories"),
        ("is_linear=0", "is_linear=1", "more than a number in a leaf"),
        ("binary sigmoid:1", "lambdarank", "objective 'lambdarank'"),
        ("objective=binary sigmoid:1\n", "", "objective 'none'"),
        ("end of trees", "", "ends after 1 trees"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=2", "ends after 1 trees"),
        ("max_feature_idx=63\n", "", "it is no model of LightGBM"),
        ("tree\n", "wood\n", "it is no model of LightGBM"),
    ],
)
def test_a_damaged_text_is_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises(TeacherError, match=said):
        open_lightgbm(written(tmp_path / "x.txt", TEXT.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split_indices": [64, 25, 0, 0, 0]}, "points out of itself"),
        ({"left_children": [5, 3, -1, -1, -1]}, "points out of itself"),
        ({"left_children": [0, 3, -1, -1, -1]}, "points out of itself"),
        ({"right_children": [1, 4, -1, -1, -1]}, "points out of itself"),
        ({"split_conditions": [1.5]}, "points out of itself"),
        ({"tree_param": {"num_nodes": "9", "size_leaf_vector": "1"}}, "points out of itself"),
        ({"tree_info": [3]}, "points out of itself"),
        ({"split_type": [1, 0, 0, 0, 0]}, "holds trees with categories"),
        ({"tree_param": {"num_nodes": "5", "size_leaf_vector": "3"}}, "more than a number in a leaf"),
        ({"objective": "rank:ndcg"}, "objective 'rank:ndcg'"),
        ({"left_children": None}, "cannot be read"),
    ],
)
def test_a_damaged_json_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=said):
        open_xgboost(written(tmp_path / "x.json", as_json(**changes)))


def test_what_is_no_json_of_xgboost(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{")
    with pytest.raises(TeacherError, match="no model of XGBoost in JSON") as caught:
        open_xgboost(tmp_path / "x.json")
    assert "ends in .json" in caught.value.remedy
    for text in ("[]", "{}", '{"learner": 3}', "{"):
        with pytest.raises(TeacherError, match="no model of XGBoost in JSON"):
            open_xgboost(written(tmp_path / "y.json", text))
    with pytest.raises(TeacherError, match="cannot be read: UnicodeDecodeError"):
        open_lightgbm(_bytes(tmp_path / "x.txt", b"tree\n\xff"))
    with pytest.raises(TeacherError, match="there is no file"):
        open_lightgbm(tmp_path / "none.txt")


def _bytes(place: Path, content: bytes) -> Path:
    place.write_bytes(content)
    return place


@pytest.mark.parametrize(
    ("kind", "opened", "text"), [("lightgbm", open_lightgbm, TEXT), ("xgboost", open_xgboost, as_json())]
)
def test_without_the_library(
    kind: str, opened: Callable[..., Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)
    with pytest.raises(TeacherError, match=f"{kind} is not installed") as caught:
        opened(written(tmp_path / "trees", text))
    assert caught.value.remedy == "pip install 'limbeck[boosting]'"


def test_trees_cannot_learn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from limbeck.catalog.models import model

    for text in ("lightgbm:x.txt", "xgboost:x.json"):
        with pytest.raises(ModelError, match="can teach, and cannot learn"):
            model(text, SHAPE)
    recipe = written(tmp_path / "x.yaml", "data: digits\nteacher: lightgbm:none.txt\nstudent: mlp(size=8)\n")
    with pytest.raises(SystemExit) as left:
        main(["distill", str(recipe)])
    said = capsys.readouterr().err
    assert left.value.code == TeacherError.exit_code
    assert "there is no file none.txt" in said and "lies no file *.txt" in said
