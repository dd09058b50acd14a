"""Which rows a teacher said nothing about, why, and when that is too many."""

import warnings
from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from limbeck.errors import TeacherStopped

SHOWN = 3
# When this many rows were asked and none was answered, it is not a matter of some rows.
_HOPELESS = 8


class Ledger:
    """Counts the rows a teacher is silent about, each once in each view however often it is asked.

    Args:
        name: The teacher, for messages.
        share: The share of rows it is forgiven, 0 to 1. Of the rows that `expect` announced, in each view, the share is
            of all of them, so that it does not matter which come first; of others, it is of those asked so far (1 is
            forgiven from the start, unless the share is 0).
    """

    def __init__(self, name: str, share: float) -> None:
        self.name, self.share = name, share
        self.reasons: dict[tuple[int, int], str] = {}
        self._silent: dict[int | None, set[tuple[int, int]]] = {}
        self._expected = torch.zeros(0, dtype=torch.int64)
        self._others, self._warned, self._spoke = 0, 0, False

    def __len__(self) -> int:
        return sum(map(len, self._silent.values()))

    def expect(self, ids: Int[Tensor, " rows"]) -> None:
        """Announces the rows that will be asked, by their ids."""
        self._expected = ids.detach().cpu().sort().values

    def recall(self, silent: Mapping[int, Int[Tensor, " silent"]]) -> None:
        """Counts rows of an earlier sitting, by view; this alone stops nothing."""
        self._spoke = True
        for view, ids in silent.items():
            for number in ids.tolist():
                self._note(int(number), int(view), "in an earlier sitting")

    def ask(self, ids: Int[Tensor, " rows"]) -> None:
        """Says that these rows are asked now."""
        self._others += int((~self._announced(ids)).sum())

    def spoke(self) -> None:
        """Says that a row was answered."""
        self._spoke = True

    def fail(self, number: int, view: int, reason: str) -> None:
        """Enters a row that was not answered.

        Raises:
            TeacherStopped: When more rows failed than are forgiven, or none of the first was ever answered.
        """
        if not self._note(number, view, reason):
            return
        if not self._spoke and len(self) >= _HOPELESS:
            raise self._stopped(len(self), "an answer to at least one of the first rows")
        group = self._group(number, view)
        whole = self._others if group is None else len(self._expected)
        allowed = self.share * whole
        if group is None and self.share > 0:
            allowed = max(allowed, 1.0)
        if len(self._silent[group]) > allowed:
            raise self._stopped(whole, f"at most {int(allowed)} (failures={self.share:g})")

    def tell(self) -> None:
        """Warns of rows that failed since it last warned, whenever their number has doubled."""
        if len(self).bit_length() > self._warned.bit_length():
            self._warned = len(self)
            warnings.warn(
                f"{self.name} said nothing about {len(self)} rows so far ({self._told()}): they carry labels only",
                stacklevel=4,
            )

    def _note(self, number: int, view: int, reason: str) -> bool:
        group = self._silent.setdefault(self._group(number, view), set())
        new = (number, view) not in group
        group.add((number, view))
        self.reasons.setdefault((number, view), reason)
        return new

    def _group(self, number: int, view: int) -> int | None:
        return view if bool(self._announced(torch.tensor([number]))) else None

    def _announced(self, ids: Tensor) -> Tensor:
        if not len(self._expected):
            return torch.zeros(len(ids), dtype=torch.bool)
        there = torch.searchsorted(self._expected, ids.cpu()).clamp(max=len(self._expected) - 1)
        return self._expected[there] == ids.cpu()

    def _told(self) -> str:
        # A reason of this sitting says more than that there was an earlier one.
        known = sorted(self.reasons.items(), key=lambda pair: pair[1] == "in an earlier sitting")[:SHOWN]
        return "; ".join(f"row {number}: {reason}" for (number, _), reason in known)

    def _stopped(self, whole: int, expected: str) -> TeacherStopped:
        return TeacherStopped(
            f"{self.name} failed on {len(self)} rows of {max(whole, len(self))} ({self._told()})",
            expected=expected,
            remedy="mend it, or forgive more rows with failures=0.05; what was recorded is kept, and recording goes on "
            "from there as long as the teacher is the same",
        )
