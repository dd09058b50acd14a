"""An estimator that answers each training row from a copy that never saw it, as in stacking (Wolpert, 1992).

What was fitted on the rows it then teaches says little about them but their labels. Copies that were fitted without a
row say how likely its classes look to somebody who does not know.
"""

import hashlib
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.data.windows import WindowInputs
from limbeck.errors import TeacherError
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals
from limbeck.teachers.contents import Contents
from limbeck.teachers.estimator import EstimatorTeacher

_SLOW_SECONDS = 60.0


class Copies:
    """Estimators fitted on all rows but one part each, and the part that each row belongs to.

    Args:
        members: One for each part, each prepared like the estimator itself.
        ids: Of the rows that were taken apart, ascending.
        part: For each of them the number of its part, which is that of the only copy that has not seen it.
        seconds: How long fitting took.
    """

    def __init__(
        self, members: Sequence[EstimatorTeacher], ids: Int[Tensor, " rows"], part: Int[Tensor, " rows"], seconds: float
    ) -> None:
        self.members, self.ids, self.part, self.seconds = tuple(members), ids, part, seconds

    def part_of(self, ids: Int[Tensor, " asked"]) -> Int[Tensor, " asked"]:
        """The part of each row; -1 for one that no copy has seen."""
        asked = ids.cpu()
        at = torch.searchsorted(self.ids, asked).clamp(max=len(self.ids) - 1)
        return torch.where(self.ids[at] == asked, self.part[at], torch.full_like(asked, -1))


class CrossFitTeacher:
    """A fitted estimator whose answers to training rows come from copies of it, each fitted without some of them.

    The labelled training rows of a run are taken apart in `folds` parts, in proportion to the classes (by
    scikit-learn's StratifiedKFold; KFold for values), each group of the data in one part. For each part a `clone` of
    the estimator is fitted on all others, when a training row is asked about for the first time, and kept by this
    teacher until it is given other rows or classes. A row is known by its id. Rows without a label and rows of other
    splits, which no copy has seen, are answered by the estimator as it is.

    An augmented view of a row is answered by the copy that has not seen the row. Mixtures of two rows are refused: a
    copy that has not seen the one has mostly seen the other.

    Copies are fitted on class numbers (or values), on one thread of joblib, and each `random_state` of theirs that is
    None becomes `seed`, so that they are the same each time. The fingerprint is a hash of the estimator's own, of its
    parameters, of `folds`, `seed` and the training rows; it takes no fitting.

    Args:
        estimator: As for `EstimatorTeacher`: fitted; it answers all other rows.
        folds: How many parts, 2 or more.
        seed: Decides who is in which part, 0 or more.
        floor: The least probability; see `EstimatorTeacher`.
        name: What reports call it.
        fingerprint: Of a file it comes from; made of what it holds when left out.

    Raises:
        TeacherError: When an argument is out of its range, or the estimator cannot be cloned without what it learnt.
    """

    def __init__(
        self,
        estimator: Any,
        *,
        folds: int = 5,
        seed: int = 0,
        floor: float | None = None,
        name: str | None = None,
        fingerprint: str | None = None,
    ) -> None:
        for word, number, least in (("folds", folds, 2), ("seed", seed, 0)):
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise TeacherError(
                    f"{word}={number!r} of {name or type(estimator).__name__} is out of range",
                    expected=f"a whole number from {least}",
                )
        self.whole = EstimatorTeacher(estimator, floor=floor, name=name, fingerprint=fingerprint)
        self.folds, self.seed, self.floor = folds, seed, floor
        self.name = f"{self.whole.name} ({folds} folds)"
        self.views: int | None = None
        self._blank = Contents(self._copy()).digest
        self._rows: Rows | None = None
        self._prepared: tuple[Needs, tuple[str, ...]] | None = None
        self._copies: Copies | None = None
        self.fingerprint = self._combined()

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Maps classes by name and takes the fingerprint anew.

        Raises:
            TeacherError: As `EstimatorTeacher` does.
        """
        self.whole.prepare(needs, classes)
        if self._prepared is not None and self._prepared[1] != tuple(classes):
            self._copies = None
        self._prepared = (needs, tuple(classes))
        for member in () if self._copies is None else self._copies.members:
            member.prepare(needs, classes)
        self.fingerprint = self._combined()

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """Remembers the training rows; nothing is fitted yet.

        Raises:
            TeacherError: When they are mixed by the augmentation, or cannot be taken apart.
        """
        if augment is not None and augment.mixup is not None:
            raise TeacherError(
                f"mixup was asked for with {self.name}: nearly every copy has seen one of the two rows in a mixture",
                expected="an augmentation that shows one row at a time",
                remedy="leave mixup out, or leave folds out",
            )
        if isinstance(getattr(rows, "inputs", None), WindowInputs) and getattr(rows, "groups", None) is None:
            raise TeacherError(
                f"{self.name} cannot take windows of one series apart: neighbours share readings",
                expected="windows of several groups, each of which stays in one part",
                remedy="columns: {group: NAME}",
            )
        if rows is not self._rows:
            self._rows, self._copies = rows, None
        self.fingerprint = self._combined()

    def signals(self, batch: Batch) -> Signals:
        """What the copies that have not seen the rows say about them, and the estimator about all others.

        Raises:
            TeacherError: When it was not prepared, cannot be fitted, or as `EstimatorTeacher` does.
        """
        if self._prepared is None or self._rows is None:
            return self.whole.signals(batch)
        if self._copies is None:
            if not bool(torch.isin(batch.ids.cpu(), self._rows.ids.cpu()).any()):
                return self.whole.signals(batch)
            self._copies = self._fit(self._rows, *self._prepared)
        part = self._copies.part_of(batch.ids)
        logits: Tensor | None = None
        for number in torch.unique(part).tolist():
            at = (part == number).nonzero().squeeze(1)
            asked = batch.rows(at.to(batch.inputs.device))
            said = (self.whole if number < 0 else self._copies.members[number]).signals(asked).logits
            assert said is not None
            logits = said.new_empty((len(part), said.shape[1])) if logits is None else logits
            logits[at.to(logits.device)] = said
        assert logits is not None
        return Signals.dense(logits)

    def to(self, device: torch.device) -> "CrossFitTeacher":
        """Itself: an estimator answers on the CPU."""
        return self

    def _fit(self, rows: Rows, needs: Needs, classes: tuple[str, ...]) -> Copies:
        from joblib import parallel_config

        began = time.perf_counter()
        table, labels, groups, ids = self._labelled(rows, classes)
        part = np.full(len(ids), -1, dtype=np.int64)
        members = []
        for number, (seen, unseen) in enumerate(self._split(table, labels, groups)):
            self._refuse_missing(labels, seen, classes)
            copy = self._copy()
            try:
                with parallel_config(backend="sequential"):
                    copy.fit(self.whole.named(table[seen]), labels[seen])
            except Exception as error:  # whatever it raises, it cannot be fitted
                raise TeacherError(
                    f"a copy of {self.name} cannot be fitted on {len(seen)} rows: {type(error).__name__}: {error}",
                    remedy="fit it on the training rows of the data yourself, flattened to two dimensions",
                ) from error
            part[unseen] = number
            names = [classes[int(known)] for known in copy.classes_] if self.whole.classifies else None
            called = f"{self.name}, copy {number + 1}"
            members.append(
                EstimatorTeacher(copy, floor=self.floor, name=called, fingerprint=self.fingerprint, classes=names)
            )
            took = time.perf_counter() - began
            if not number and took * self.folds > _SLOW_SECONDS:
                warnings.warn(
                    f"{self.name}: the first copy took {took:.0f} s to fit, all will take about "
                    f"{took * self.folds:.0f} s (an estimate)",
                    stacklevel=2,
                )
        for member in members:
            member.prepare(needs, classes)
        order = torch.argsort(ids)
        return Copies(members, ids[order], torch.from_numpy(part)[order], time.perf_counter() - began)

    def _labelled(
        self, rows: Rows, classes: tuple[str, ...]
    ) -> tuple[Shaped[np.ndarray, "rows numbers"], Shaped[np.ndarray, "rows ..."], Any, Int[Tensor, " rows"]]:
        """Inputs as a table, labels, groups and ids of the rows whose label is known."""
        piece = rows.take(torch.arange(len(rows)))
        known = (piece.known if piece.known.ndim == 1 else piece.known.all(dim=1)).cpu()
        labels = None if piece.labels is None else piece.labels.cpu()[known].numpy()
        numbers = labels is not None and labels.dtype.kind == "f"
        if labels is None or labels.ndim > 1 + numbers or numbers == self.whole.classifies:
            raise TeacherError(
                f"{self.name} cannot be fitted on these labels",
                expected="one class a row for a classifier, numbers for a regressor",
                remedy="leave folds out, and give a teacher that was fitted on other rows",
            )
        found = getattr(rows, "groups", None)
        groups = None if found is None else found.cpu()[known].numpy()
        parts = len(labels) if groups is None else len(np.unique(groups))
        if parts < self.folds:
            raise TeacherError(
                f"{self.name} has {parts} labelled {'rows' if groups is None else 'groups'} to take apart",
                expected=f"at least {self.folds}, one for each of the folds",
            )
        table = self.whole.table(piece.inputs[known.to(piece.inputs.device)])
        return table, labels.squeeze(1) if labels.shape[1:] == (1,) else labels, groups, piece.ids.cpu()[known]

    def _split(self, table: Any, labels: Any, groups: Any) -> Iterator[tuple[Any, Any]]:
        """Which positions each copy sees, and which it does not."""
        from sklearn import model_selection as kinds

        grouped, stratified = groups is not None, self.whole.classifies
        kind = {
            (False, True): kinds.StratifiedKFold,
            (True, True): kinds.StratifiedGroupKFold,
            (False, False): kinds.KFold,
            (True, False): kinds.GroupKFold,
        }[grouped, stratified]
        splitter = kind(self.folds, shuffle=True, random_state=self.seed)
        with warnings.catch_warnings():
            # A class that a copy would not see is refused by name, which says more.
            warnings.filterwarnings("ignore", message="The least populated class")
            try:
                yield from splitter.split(table, labels, groups)
            except ValueError as error:
                raise TeacherError(
                    f"the rows cannot be taken apart in {self.folds} parts: {error}", remedy="fewer folds"
                ) from error

    def _refuse_missing(self, labels: Any, seen: Any, classes: tuple[str, ...]) -> None:
        if not self.whole.classifies:
            return
        if missing := sorted(set(range(len(classes))) - set(labels[seen].tolist())):
            raise TeacherError(
                f"a copy of {self.name} would see no row of the class {classes[missing[0]]!r}",
                expected="rows of each class in two parts or more",
                remedy="fewer folds, or leave the class out",
            )

    def _copy(self) -> Any:
        """A clone that knows nothing yet and draws the same numbers each time."""
        from sklearn.base import clone

        try:
            made = clone(self.whole.estimator)
            unsettled = [name for name, value in made.get_params().items() if _random(name) and value is None]
            made.set_params(**dict.fromkeys(unsettled, self.seed))
        except Exception as error:
            raise TeacherError(
                f"{self.whole.name} cannot be cloned: {type(error).__name__}: {error}",
                expected="an estimator that keeps scikit-learn's get_params and set_params",
                remedy="leave folds out, and give a teacher that was fitted on other rows",
            ) from error
        for part in Contents(made).parts:
            learnt = [name for name in getattr(part, "__dict__", {}) if name.endswith("_") and name[0] != "_"]
            if hasattr(part, "get_params") and learnt:
                raise TeacherError(
                    f"a clone of {self.whole.name} still knows what its {type(part).__name__} learnt ({learnt[0]})",
                    expected="an estimator whose clone is not fitted",
                    remedy="take a FrozenEstimator or a fitted part out of it",
                )
        return made

    def _combined(self) -> str:
        rows = "no rows" if self._rows is None else self._rows.fingerprint
        parts = ["crossfit", self.whole.fingerprint, self._blank, str(self.folds), str(self.seed), rows]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def _random(name: str) -> bool:
    return name == "random_state" or name.endswith("__random_state")
