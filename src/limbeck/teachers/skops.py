"""A skops file as a teacher: the form in which estimators are kept without pickle."""

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import TeacherError
from limbeck.teachers.answers import existing
from limbeck.teachers.contents import Contents
from limbeck.teachers.crossfit import CrossFitTeacher
from limbeck.teachers.estimator import EstimatorTeacher
from limbeck.teachers.trees import harmful, sound

# Skops trusts these no longer, because their compiled code follows the numbers in them without looking. Here they are
# let in, and every number that is followed is looked at first.
_CHECKED = {"sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"}
_LARGEST = 4 << 30


def open_skops(
    path: str | Path,
    *,
    folds: int | None = None,
    seed: int = 0,
    floor: float | None = None,
    trusted: Sequence[str] = (),
    name: str | None = None,
) -> EstimatorTeacher | CrossFitTeacher:
    """The estimator in a skops file, as a teacher whose fingerprint is of the file's bytes.

    Args:
        path: What `skops.io.dump(estimator, path)` wrote.
        folds: Training rows are answered by copies that have not seen them, each fitted without one of so many parts;
            see `CrossFitTeacher`. The estimator itself answers all rows when left out.
        seed: Decides the parts.
        floor: The least probability; see `EstimatorTeacher`.
        trusted: Names of types that skops does not trust by itself. Loading one can run its code: name only what you
            would run.
        name: What reports call it; `sklearn:PATH` when left out.

    Raises:
        TeacherError: When the file is missing, damaged, unpacks to more than 4 GiB, holds types nobody trusts, or trees
            whose nodes point out of them.
    """
    try:
        from skops import io
    except ModuleNotFoundError as error:
        raise TeacherError("skops is not installed", remedy="pip install 'limbeck[sklearn]'") from error
    place = existing(Path(path), "a file that skops.io.dump wrote")
    called = name or f"sklearn:{path}"
    content = place.read_bytes()
    try:
        with zipfile.ZipFile(place) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST:
            raise TeacherError(f"{place} unpacks to {size} bytes", expected=f"{_LARGEST} at most")
        unknown = set(io.get_untrusted_types(data=content))
        strange = sorted(unknown - _CHECKED - set(trusted))
        if strange:
            raise TeacherError(
                f"{place} holds types that are not trusted: {', '.join(strange)}",
                expected="types of scikit-learn and numpy that skops trusts",
                remedy=f"look at them, then sklearn:{path}(trusted={(*trusted, *strange)!r})",
            )
        estimator = io.loads(content, trusted=sorted(unknown))
    except TeacherError:
        raise
    except Exception as error:  # whatever skops raises over a damaged file
        raise TeacherError(
            f"{place} cannot be read: {type(error).__name__}: {error}", expected="what skops.io.dump wrote, no pickle"
        ) from error
    _refuse_wild_trees(Contents(estimator).parts, place)
    digest = hashlib.sha256(content).hexdigest()
    if folds is None:
        return EstimatorTeacher(estimator, floor=floor, name=called, fingerprint=digest)
    return CrossFitTeacher(estimator, folds=folds, seed=seed, floor=floor, name=called, fingerprint=digest)


def _refuse_wild_trees(parts: Iterable[Any], path: Path) -> None:
    """Refuses trees whose compiled code would read outside of them.

    Raises:
        TeacherError: Which.
    """
    held = list(parts)
    looked_at = set()
    for owner in held:
        for tree, nodes, width in _trees(owner):
            looked_at.add(id(tree))
            if not sound(**nodes, width=int(width)):
                raise harmful(f"a tree of the {type(owner).__name__} in {path} points out of itself", "scikit-learn")
    for part in held:
        if f"{type(part).__module__}.{type(part).__qualname__}" in _CHECKED and id(part) not in looked_at:
            raise harmful(f"a tree in {path} belongs to no estimator that is known to own trees", "scikit-learn")


def _trees(owner: Any) -> Iterator[tuple[Any, dict[str, np.ndarray], int]]:
    """The trees an estimator owns; of each the children and features of its nodes, which are leaves, and the width."""
    width = int(getattr(owner, "n_features_in_", -1))
    members = np.asarray(getattr(owner, "estimators_", []), dtype=object).ravel().tolist()
    for tree in (getattr(part, "tree_", None) for part in (owner, *members)):
        if tree is not None:
            leaf = tree.children_left == -1
            # Bagging gives its members some features only; their own check is against their own width.
            narrow = tree.n_features if hasattr(owner, "estimators_features_") else width
            sides = {"left": tree.children_left, "right": tree.children_right}
            yield tree, {**sides, "feature": tree.feature, "leaf": leaf}, narrow
    for tree in np.asarray(getattr(owner, "_predictors", []), dtype=object).ravel().tolist():
        nodes = tree.nodes
        leaf = nodes["is_leaf"].astype(bool)
        sets = len(tree.raw_left_cat_bitsets)
        wild = ~leaf & nodes["is_categorical"].astype(bool) & (nodes["bitset_idx"] >= sets)
        feature = np.where(wild, -1, nodes["feature_idx"].astype(np.int64))
        yield tree, {"left": nodes["left"], "right": nodes["right"], "feature": feature, "leaf": leaf}, width
