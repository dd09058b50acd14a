"""Boosted trees in their library's own file as a teacher: the text of LightGBM, the JSON of XGBoost, and no pickle.

Both libraries follow the numbers of a file without looking: one child too far, and the process dies. So the trees are
looked at before the library sees them.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import TeacherError
from limbeck.teachers.answers import existing
from limbeck.teachers.estimator import EstimatorTeacher
from limbeck.teachers.trees import harmful, sound

# Objectives whose answers are probabilities, and those whose answers are values; others rank, or answer with margins.
_LIGHTGBM = {
    **dict.fromkeys(("binary", "multiclass"), "classes"),
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape"), "values"),
    **dict.fromkeys(("gamma", "tweedie"), "values"),
}
_XGBOOST = {
    **dict.fromkeys(("binary:logistic", "multi:softprob"), "classes"),
    **dict.fromkeys(("reg:squarederror", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror"), "values"),
    **dict.fromkeys(("reg:quantileerror", "reg:gamma", "reg:tweedie", "reg:logistic", "count:poisson"), "values"),
}


def open_lightgbm(
    path: str | Path, *, classes: Sequence[str] | None = None, floor: float | None = None, name: str | None = None
) -> EstimatorTeacher:
    """What `booster_.save_model(path)` of a LightGBM estimator wrote (or a Booster's `save_model`), as a teacher.

    The file holds the rounds up to the best one, and knows classes by number alone: number i is the i-th of the
    estimator's `classes_`.

    Args:
        path: The file, in LightGBM's text.
        classes: What the numbers are called, in the order of `classes_`. When left out, they are class numbers.
        floor: The least probability; see `EstimatorTeacher`.
        name: What reports call it; `lightgbm:PATH` when left out.

    Raises:
        TeacherError: When the file is missing, damaged, holds trees that point out of themselves, or trees with
            categories or linear leaves, or answers with neither probabilities nor values.
    """
    called = name or f"lightgbm:{path}"
    place = existing(Path(path), "what booster_.save_model wrote")
    content = place.read_bytes()
    head, trees = _text(content, place)
    objective = head.get("objective", "none").split()[0]
    kind = _kind(objective, _LIGHTGBM, called)
    count = max(2, int(head["num_class"])) if kind == "classes" else 0
    width = int(head["max_feature_idx"]) + 1
    for number, tree in enumerate(trees):
        if not _sound_text(tree, width):
            raise harmful(f"tree {number} in {place} points out of itself", "LightGBM")
    try:
        import lightgbm
    except ModuleNotFoundError as error:
        raise TeacherError("lightgbm is not installed", remedy="pip install 'limbeck[boosting]'") from error
    # Without the sizes the library reads one tree after the other, and need not believe them.
    text = re.sub(r"^tree_sizes=.*\n", "", content.decode("utf-8"), count=1, flags=re.MULTILINE)
    booster = _read(lambda: lightgbm.Booster(model_str=text), place, "LightGBM")
    estimator = ClassBooster(booster, width, count) if count else Booster(booster, width)
    return _teacher(estimator, content, called, classes, floor)


def open_xgboost(
    path: str | Path, *, classes: Sequence[str] | None = None, floor: float | None = None, name: str | None = None
) -> EstimatorTeacher:
    """What `save_model("NAME.json")` of an XGBoost estimator or Booster wrote, as a teacher.

    The rounds up to the best one answer, where training stopped early. Classes are numbers, as for XGBoost itself.

    Args:
        path: The file, in JSON.
        classes: What the class numbers are called, in order. When left out, they are class numbers.
        floor: The least probability; see `EstimatorTeacher`.
        name: What reports call it; `xgboost:PATH` when left out.

    Raises:
        TeacherError: When the file is missing, damaged, in XGBoost's binary form, holds trees that point out of
            themselves, or trees with categories or several answers a leaf, or answers with neither probabilities nor
            values.
    """
    called = name or f"xgboost:{path}"
    place = existing(Path(path), 'what save_model("NAME.json") wrote')
    content = place.read_bytes()
    learner = _json(content, place)
    try:
        kind = _kind(learner["objective"]["name"], _XGBOOST, called)
        width = int(learner["learner_model_param"]["num_feature"])
        answers = max(1, int(learner["learner_model_param"]["num_class"]))
        booster = learner["gradient_booster"]
        forest = booster.get("gbtree", booster)["model"]
        owners = np.asarray(forest["tree_info"], dtype=np.int64)
        apart = len(owners) == len(forest["trees"]) and bool(((owners >= 0) & (owners < answers)).all())
        wild = [number for number, tree in enumerate(forest["trees"]) if not _sound_json(tree, width, place)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(place, error, 'what save_model("NAME.json") of a gbtree or dart booster wrote') from error
    if wild or not apart:
        raise harmful(f"tree {wild[0] if wild else len(owners)} in {place} points out of itself", "XGBoost")
    try:
        import xgboost
    except ModuleNotFoundError as error:
        raise TeacherError("xgboost is not installed", remedy="pip install 'limbeck[boosting]'") from error
    estimator = xgboost.XGBClassifier() if kind == "classes" else xgboost.XGBRegressor()
    _read(lambda: estimator.load_model(bytearray(content)), place, "XGBoost")
    return _teacher(estimator, content, called, classes, floor)


class Booster:
    """LightGBM's trees under the names by which an estimator is known.

    Args:
        booster: A `lightgbm.Booster`.
        width: How many numbers a row has.
    """

    def __init__(self, booster: Any, width: int) -> None:
        self.booster_, self.n_features_in_ = booster, width

    def predict(self, table: Any) -> Any:
        """What the trees say: values, or probabilities."""
        return self.booster_.predict(table)


class ClassBooster(Booster):
    """The same with probabilities of classes; of two classes the trees say the second one's alone."""

    def __init__(self, booster: Any, width: int, count: int) -> None:
        super().__init__(booster, width)
        self.classes_ = np.arange(count)

    def predict_proba(self, table: Any) -> Any:
        """Probabilities of shape (rows, classes)."""
        said = self.predict(table)
        return said if said.ndim > 1 else np.stack([1 - said, said], axis=1)


def _teacher(
    estimator: Any, content: bytes, called: str, classes: Sequence[str] | None, floor: float | None
) -> EstimatorTeacher:
    known = getattr(estimator, "classes_", None)
    if classes is not None and (known is None or len(known) != len(classes) or isinstance(classes, str)):
        raise TeacherError(
            f"{called} was given {len(classes)} classes: {classes!r}",
            expected="none, for it answers with values" if known is None else f"{len(known)} names, as it has classes",
        )
    digest = hashlib.sha256(content).hexdigest()
    return EstimatorTeacher(
        estimator,
        floor=floor,
        name=called,
        fingerprint=hashlib.sha256(f"{digest}|{classes}".encode()).hexdigest(),
        classes=None if classes is None else [str(label) for label in classes],
    )


def _kind(objective: str, known: Mapping[str, str], called: str) -> str:
    if objective not in known:
        raise TeacherError(
            f"{called} was trained for the objective {objective!r}, whose answers are no probabilities and no values",
            expected=f"one of {', '.join(known)}",
            remedy="give the estimator itself in Python, or a function of rows that answers with logits",
        )
    return known[objective]


def _read(load: Any, place: Path, library: str) -> Any:
    try:
        return load()
    except Exception as error:  # whatever the library raises over a file it cannot read
        raise _damaged(place, error, f"a file of {library}") from error


def _damaged(place: Path, error: Exception | str, expected: str) -> TeacherError:
    kind = "" if isinstance(error, str) else f"{type(error).__name__}: "
    return TeacherError(f"{place} cannot be read: {kind}{error}", expected=expected)


def _text(content: bytes, place: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The head of LightGBM's text, and each of its trees, as names and what stands behind them."""
    expected = "the text that booster_.save_model wrote, whole"
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(place, error, expected) from error
    whole, ended, _ = text.partition("\nend of trees")
    head, *trees = re.split(r"^Tree=\d+\n", whole, flags=re.MULTILINE)
    named = dict(_pairs(head))
    if not text.startswith("tree\n") or not {"num_class", "max_feature_idx", "num_tree_per_iteration"} <= named.keys():
        raise _damaged(place, "it is no model of LightGBM", expected)
    # A file that was cut off would be read without a word, with fewer trees.
    if not ended or not trees or len(trees) % int(named["num_tree_per_iteration"]):
        raise _damaged(place, f"it ends after {len(trees)} trees", expected)
    return named, [dict(_pairs(tree)) for tree in trees]


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if sign:
            yield key, value


def _sound_text(tree: Mapping[str, str], width: int) -> bool:
    """Whether a tree of LightGBM's text stays within itself; its leaf i stands as -i - 1 among the children."""
    try:
        leaves = int(tree["num_leaves"])
        _refuse_rare(int(tree.get("num_cat", "0")) > 0, int(tree.get("is_linear", "0")) != 0)
        columns = {
            name: np.array(tree.get(name, "").split(), dtype=np.int64)
            for name in ("left_child", "right_child", "split_feature")
        }
        numbers = [len(tree.get(name, "").split()) for name in ("threshold", "decision_type")]
        values = len(tree["leaf_value"].split())
    except (KeyError, ValueError):
        return False
    if leaves < 1 or values != leaves or {*numbers, *map(len, columns.values())} != {leaves - 1}:
        return False
    filler = np.zeros(leaves, dtype=np.int64)
    left, right = (
        np.concatenate([np.where(side < 0, leaves - 2 - side, side), filler])
        for side in (columns["left_child"], columns["right_child"])
    )
    leaf = np.arange(2 * leaves - 1) >= leaves - 1
    return sound(left, right, np.concatenate([columns["split_feature"], filler]), leaf, width)


def _json(content: bytes, place: Path) -> dict[str, Any]:
    expected = 'JSON, as save_model("NAME.json") writes it'
    try:
        learner = json.loads(content)["learner"]
        if not isinstance(learner, dict):
            raise TypeError("it holds no learner")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        binary = content[:1] == b"{" and content[1:2] not in (b'"', b" ", b"\n", b"\r", b"\t")
        raise TeacherError(
            f"{place} is no model of XGBoost in JSON: {type(error).__name__}: {str(error)[:200]}",
            expected=expected,
            remedy="save_model with a name that ends in .json; without it XGBoost writes its binary form"
            if binary
            else "",
        ) from error
    return learner


def _sound_json(tree: Mapping[str, Any], width: int, place: Path) -> bool:
    """Whether a tree of XGBoost's JSON stays within itself."""
    _refuse_rare(any(tree.get("split_type", ())), int(tree["tree_param"].get("size_leaf_vector", "1")) > 1)
    left, right, feature = (
        np.asarray(tree[name], dtype=np.int64) for name in ("left_children", "right_children", "split_indices")
    )
    nodes = int(tree["tree_param"]["num_nodes"])
    lengths = {len(tree[name]) for name in ("split_conditions", "default_left", "base_weights")}
    if {nodes, len(left), len(right), len(feature), *lengths} != {len(left)} or not nodes:
        return False
    return sound(left, right, feature, left == -1, width)


def _refuse_rare(categories: bool, leaves: bool) -> None:
    if categories or leaves:
        raise TeacherError(
            f"the file holds trees with {'categories' if categories else 'more than a number in a leaf'}",
            expected="trees that compare one number at each node, with one number in each leaf",
            remedy="give the estimator itself in Python, limbeck.distill(estimator, ...), or keep it with skops",
        )
