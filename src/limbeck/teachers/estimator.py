"""A fitted estimator as a teacher: a forest, boosted trees, or anything else that keeps scikit-learn's ways."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import TeacherError
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals
from limbeck.teachers.answers import (
    FLOOR,
    distributions,
    fitting,
    log_probabilities,
    placed,
    refuse_layers,
    refuse_outside,
    refuse_width,
)
from limbeck.teachers.contents import Contents

_PROBES = 64
# Above this float64 does not hold every whole number.
_WHOLE = 2**53


class EstimatorTeacher:
    """Any object with `predict_proba` and `classes_`, or with `predict` alone (a regressor).

    Scikit-learn, LightGBM, XGBoost and CatBoost are known by these names only; none is imported.

    Rows are flattened to (rows, numbers). Whole numbers and truth values become float64 (no byte wraps around in a
    transformer's arithmetic), half floats float32, other floats stay; an estimator does not say which type it was
    fitted on, and one fitted on float64 may see float32 rounding here. Where it knows its features by name it is given
    a pandas DataFrame with these names. It works on one thread of joblib: trees that are added up in the order threads
    finish give other last bits each time.

    A classifier's logits are the logarithms of its probabilities (see `log_probabilities`), each probability first
    lifted to a floor, for a forest in which no tree votes for a class says exactly zero, which no temperature can
    soften. A regressor's answers are values, one or more for each row.

    The fingerprint is a hash of everything the estimator holds, read part by part (`Contents`); skops' own bytes would
    not do, since they hold memory addresses. Where a part cannot be read, the answers to 64 made-up rows are hashed as
    well. It is taken again at every `prepare`. Between these the estimator must not change: replaced attributes are
    noticed at every call, and so is another answer to the first row that was asked, which rides along in every batch.

    Args:
        estimator: A fitted one. It is not copied, and must not be fitted again.
        floor: The least probability, above 0 and below 1. By default half a tree's vote shared among the classes,
            1 / (2 · trees · classes), for forests (averages of decision trees): no probability then moves by more than
            half a vote, which is less than such a forest can tell apart, and no order changes. For all others 2^-23
            (about 1.2e-7), the resolution of a float32 probability near 1: boosted trees and neural networks mean the
            small probabilities they say. A single tree, a nearest-neighbour vote or naive Bayes may need a larger one.
        name: What reports call it; its type's name when left out.
        fingerprint: Of a file it comes from; made of what it holds when left out.
        classes: What its `classes_` are called, in their order; they name themselves when left out.

    Raises:
        TeacherError: When it is not fitted, or says neither probabilities nor values.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        floor: float | None = None,
        name: str | None = None,
        fingerprint: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.estimator = estimator
        self.name = name or type(estimator).__name__
        self.views: int | None = None
        if isinstance(estimator, type):
            raise TeacherError(f"{estimator.__name__} is a class", expected="a fitted estimator of it")
        known = getattr(estimator, "classes_", None)
        self.classifies = hasattr(estimator, "predict_proba")
        self._refuse_mute(known)
        self.classes = tuple(_spelt(name) for name in known) if self.classifies and known is not None else ()
        self._named_classes = classes is not None
        self.classes = self.classes if classes is None else tuple(classes)
        if floor is not None:
            refuse_outside("floor", floor, self.name)
        self.floor = _floor(estimator, len(self.classes)) if floor is None else float(floor)
        self._file = fingerprint
        self.fingerprint = self._read()
        self._classes: tuple[str, ...] = ()
        self._order: list[int] | None = None
        self._seal: list[tuple[str, Any, int]] | None = None
        self._witness: tuple[Any, Any] | None = None

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Maps its classes to the data's by name, and takes the fingerprint anew.

        Numbers compare as text. An estimator fitted on the numbers 0, 1, ... of classes that the data calls by other
        names was fitted on the data's labels, which are these numbers.

        Raises:
            TeacherError: When features are asked for, or a class is in one of them only.
        """
        refuse_layers(needs, self.name)
        self._classes = tuple(classes)
        if self.classifies:
            numbers = tuple(str(number) for number in range(len(classes)))
            by_number = not self._named_classes and self.classes == numbers and not set(numbers) & set(classes)
            theirs = tuple(classes) if by_number else self.classes
            self._order = fitting(theirs, classes, f"the teacher {self.name}", more=False)
        self.fingerprint = self._read()
        self._seal = _surface(self.estimator)
        self._witness = None

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """An estimator answers any rows with as many numbers as it was fitted on, in any view."""

    def signals(self, batch: Batch) -> Signals:
        """The logarithms of its probabilities in the data's class order, or its values; in float32.

        Raises:
            TeacherError: When it was not prepared, was changed since, cannot read the rows, or says what is no number.
        """
        if self._seal is None:
            raise TeacherError(f"{self.name} was asked before it was prepared", remedy="call prepare first")
        self._refuse_changed(self._seal)
        table = self.table(batch.inputs)
        witness = table[:1] if self._witness is None else self._witness[0]
        said = self._asked(np.concatenate([table, witness]))
        answers, last = said[:-1], said[-1]
        if self._witness is None:
            self._witness = (witness, last)
        elif not np.allclose(last, self._witness[1], rtol=1e-5, atol=1e-8):
            self._refuse("answers a row it was asked before otherwise now")
        numbers = torch.from_numpy(answers)
        refuse_width(numbers, batch.task.output_size(self._classes), self.name)
        logits = log_probabilities(numbers, self.floor) if self.classifies else numbers.float()
        return Signals.dense(placed(logits, self._order).to(batch.inputs.device))

    def to(self, device: torch.device) -> "EstimatorTeacher":
        """Itself: an estimator answers on the CPU, and its answers go where the batch is."""
        return self

    def _refuse_mute(self, known: Any) -> None:
        if self.classifies and known is None:
            raise TeacherError(
                f"the estimator {self.name} is not fitted: it has no classes_",
                expected="a fitted estimator",
                remedy="call its fit(inputs, labels) first, on rows flattened to two dimensions",
            )
        if not self.classifies and (known is not None or not hasattr(self.estimator, "predict")):
            raise TeacherError(
                f"the estimator {self.name} says no probabilities: it has no predict_proba",
                expected="predict_proba for classes, or predict alone for values",
                remedy="wrap it in sklearn.calibration.CalibratedClassifierCV and fit that",
            )

    def _read(self) -> str:
        """The fingerprint of what the estimator is now."""
        if self._file is not None:
            parts = [self._file]
        else:
            contents = Contents(self.estimator)
            parts = [contents.digest, *contents.unread, self._probed() if contents.unread else ""]
        return hashlib.sha256("|".join([*parts, self.floor.hex()]).encode()).hexdigest()[:32]

    def _probed(self) -> str:
        """A hash of the answers to made-up rows, to nine digits; of nothing where it does not say how long a row is."""
        width = getattr(self.estimator, "n_features_in_", None)
        if width is None:
            return ""
        rows = np.random.default_rng(0).standard_normal((_PROBES, int(width))) * 8
        return hashlib.sha256(repr(self._asked(rows).round(9).tolist()).encode()).hexdigest()

    def table(self, inputs: Shaped[Tensor, "rows ..."]) -> Shaped[np.ndarray, "rows numbers"]:
        """Rows as the estimator reads them."""
        rows = inputs.detach().cpu().flatten(1) if inputs.ndim > 1 else inputs.detach().cpu()[:, None]
        if rows.dtype == torch.int64 and rows.numel() and int(rows.abs().max()) > _WHOLE:
            raise TeacherError(f"the rows hold whole numbers beyond {_WHOLE}", expected="numbers that float64 holds")
        if not rows.is_floating_point():
            rows = rows.double()
        elif rows.dtype != torch.float64:
            rows = rows.float()
        names = getattr(self.estimator, "feature_names_in_", None)
        wanted = getattr(self.estimator, "n_features_in_", None if names is None else len(names))
        if wanted is not None and rows.shape[1] != int(wanted):
            named = "" if names is None else f", named {', '.join(str(name) for name in names[:5])}, ..."
            raise TeacherError(
                f"a row of the data holds {rows.shape[1]} numbers when flattened",
                expected=f"{wanted}, as {self.name} was fitted on{named}",
                remedy="fit it on the rows of this data, flattened",
            )
        return rows.numpy()

    def _asked(self, table: Shaped[np.ndarray, "rows numbers"]) -> Float[np.ndarray, "rows answers"]:
        import joblib
        from sklearn.exceptions import NotFittedError

        ask = self.estimator.predict_proba if self.classifies else self.estimator.predict
        try:
            with joblib.parallel_config(backend="sequential"):
                said = ask(self.named(table))
        except NotFittedError as error:
            raise TeacherError(f"the estimator {self.name} is not fitted", expected="a fitted estimator") from error
        except Exception as error:  # whatever it raises, it cannot answer
            raise TeacherError(
                f"the estimator {self.name} cannot answer these rows: {type(error).__name__}: {error}",
                remedy="try it on the rows of the data yourself, flattened to two dimensions",
            ) from error
        if isinstance(said, list) or getattr(said, "ndim", 0) not in (1, 2):
            raise TeacherError(
                f"the estimator {self.name} answers with a {type(said).__name__}, not one table",
                expected="probabilities of the shape (rows, classes), of one label for each row",
            )
        numbers = np.asarray(said, dtype=np.float64).reshape(len(table), -1)
        if not np.isfinite(numbers).all():
            raise TeacherError(f"an answer of the estimator {self.name} is not finite", expected="finite numbers")
        if self.classifies and not bool(distributions(torch.from_numpy(numbers)).all()):
            raise TeacherError(f"an answer of the estimator {self.name} is no distribution", expected="a sum of 1")
        return numbers

    def named(self, table: Shaped[np.ndarray, "rows numbers"]) -> Any:
        """A table with the features' names where the estimator knows them."""
        names = getattr(self.estimator, "feature_names_in_", None)
        if names is None:
            return table
        try:
            import pandas as pd
        except ModuleNotFoundError:
            return table
        return pd.DataFrame(table, columns=list(names))

    def _refuse_changed(self, seal: "list[tuple[str, Any, int]]") -> None:
        now = vars(self.estimator) if hasattr(self.estimator, "__dict__") else {}
        for attribute, value, size in seal:
            if now.get(attribute) is not value or _size(value) != size:
                self._refuse(f"its {attribute} was replaced")

    def _refuse(self, how: str) -> None:
        raise TeacherError(
            f"the estimator {self.name} was changed: {how}",
            expected="an estimator that stays as it is from prepare() on",
            remedy="give the teacher a copy of its own: copy.deepcopy(estimator)",
        )


def _surface(estimator: Any) -> list[tuple[str, Any, int]]:
    """Fitted attributes, what stands in them and how much that is: cheap enough to compare at every call."""
    held = vars(estimator) if hasattr(estimator, "__dict__") else {}
    return [(name, value, _size(value)) for name, value in held.items() if name.startswith("_") or name.endswith("_")]


def _size(value: Any) -> int:
    return len(value) if isinstance(value, list | dict) else 0


def _spelt(name: Any) -> str:
    """A class as text; a whole number is spelt without a decimal point, whatever type it came in."""
    plain = name.item() if isinstance(name, np.generic) else name
    return str(int(plain)) if isinstance(plain, float) and plain.is_integer() else str(plain)


def _floor(estimator: Any, classes: int) -> float:
    """Half a vote shared among the classes for an average of trees; the resolution of float32 for all others."""
    last = estimator
    while hasattr(last, "steps") or hasattr(last, "best_estimator_"):
        last = last.steps[-1][1] if hasattr(last, "steps") else last.best_estimator_
    trees = getattr(last, "estimators_", None)
    votes = isinstance(trees, list) and not hasattr(last, "estimator_weights_")
    if votes and trees and classes and all(hasattr(tree, "tree_") for tree in trees):
        return 1 / (2 * len(trees) * classes)
    return FLOOR
