"""A chain of small calculations told in words, with its steps written out: made for models of a million weights.

Start with 7, add 5, times 3, take 8.

7+5=12
12*3=36
36-8=28
#### 28
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from limbeck.errors import RecipeError

_WORDS = {"+": "add", "-": "take", "*": "times"}


@dataclass(frozen=True)
class Arithmetic:
    """No two problems are the same; the same arguments give the same ones.

    Args:
        problems: How many.
        fewest: Calculations in a problem, at least.
        most: And at most.
        largest: No number on the way is larger, and none is below zero.
        seed: Other problems, of which some may be the same.
    """

    name: ClassVar[str] = "arithmetic"

    problems: int = 2000
    fewest: int = 3
    most: int = 6
    largest: int = 99
    seed: int = 0

    def __post_init__(self) -> None:
        for name, right, expected in (
            ("problems", self.problems >= 1, "1 or more"),
            ("fewest", self.fewest >= 1, "1 or more"),
            ("most", self.most >= self.fewest, f"{self.fewest} or more"),
            ("largest", self.largest >= 9, "9 or more"),
            ("seed", self.seed >= 0, "0 or more"),
        ):
            if not right:
                raise RecipeError(f"arithmetic has {name}={getattr(self, name)}", expected=expected)

    def rows(self) -> Iterator[dict[str, str]]:
        """Each problem as question, answer and solution.

        Raises:
            RecipeError: When there are not as many different ones.
        """
        drawn = random.Random(f"arithmetic|{self.seed}|{self.fewest}|{self.most}|{self.largest}")
        met: set[str] = set()
        misses = 0
        while len(met) < self.problems:
            row = self._row(drawn)
            if row["question"] in met:
                misses += 1
                if misses > 100 * self.problems:
                    raise RecipeError(
                        f"there are hardly {self.problems:,} different problems: {len(met):,} were found",
                        expected="fewer problems, or more calculations in each",
                    )
                continue
            met.add(row["question"])
            yield row

    def _row(self, drawn: random.Random) -> dict[str, str]:
        now = drawn.randint(1, 9)
        said, steps = [f"Start with {now}"], []
        for _ in range(drawn.randint(self.fewest, self.most)):
            sign, by = drawn.choice([step for step in self._steps(now) if step[1] <= 9])
            after = {"+": now + by, "-": now - by, "*": now * by}[sign]
            said.append(f"{_WORDS[sign]} {by}")
            steps.append(f"{now}{sign}{by}={after}")
            now = after
        return {
            "question": f"{', '.join(said)}.",
            "answer": str(now),
            "solution": "\n".join([*steps, f"#### {now}"]),
        }

    def _steps(self, now: int) -> list[tuple[str, int]]:
        """What may be done with a number, each kind of calculation as likely as it has room."""
        found = [("+", by) for by in range(1, min(9, self.largest - now) + 1)]
        found += [("-", by) for by in range(1, min(9, now) + 1)]
        found += [("*", by) for by in range(2, 10) if now and now * by <= self.largest] * 2
        return found
