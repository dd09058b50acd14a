"""Rows and pictures that cannot be read: counted, the first ones listed, and too many of them stop the run."""

from dataclasses import dataclass, field
from typing import Any

from limbeck.errors import DataError

LISTED = 20
"""So many of them are named, with the reason, in an error and in the report."""


@dataclass
class Unreadable:
    """What could not be read so far.

    Args:
        allowed: Share of all rows (0 up to, not including, 1) that may be unreadable.
        what: What a row is called, such as "rows" or "pictures".
    """

    allowed: float
    what: str = "rows"
    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, where: str, why: str) -> None:
        """Notes one row.

        Args:
            where: File and line, or the picture's file.
            why: A few words, such as "column 'age' holds 'n/k'".

        Raises:
            DataError: As soon as the list is full where none at all is allowed, so that nobody waits for the rest.
        """
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(f"{where}: {why}")
        if not self.allowed and self.count >= LISTED:
            raise self._error(f"at least {self.count} {self.what}")

    def check(self, read: int) -> None:
        """Holds the count against the share that is allowed.

        Args:
            read: Rows that were read well.

        Raises:
            DataError: When more are unreadable, with the count, the share and the first ones.
        """
        total = read + self.count
        if self.count > self.allowed * total:
            raise self._error(f"{self.count} of {total} {self.what} ({self.count / total:.2%})")

    def facts(self) -> dict[str, Any]:
        """JSON for the report; empty where everything could be read."""
        return {"unreadable": {"count": self.count, "first": list(self.first)}} if self.count else {}

    def _error(self, many: str) -> DataError:
        shown = "".join(f"\n    {line}" for line in self.first)
        return DataError(
            f"{many} cannot be read:{shown}",
            expected=f"at most {self.allowed:.2%} (data.unreadable)",
            remedy="repair or remove them, or say data: {unreadable: 0.01} to leave up to that share out",
        )
