"""What a verifier is: it says of a solution whether it is right, by calculating or running it, and what it is made of.

The file `verifiers/NAME.py` holds one class; its name in a recipe is the file's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable


@dataclass(frozen=True)
class Problem:
    """A question with what is known of its answer.

    Args:
        number: Its place among the problems that were read.
        question: As it is asked.
        known: What the data says of it, by column: the answer, tests, a written solution.
    """

    number: int
    question: str
    known: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What was found of a solution.

    Args:
        right: Whether its answer is.
        steps: How many of its steps could be checked: equations, or tests.
        steps_right: How many of them are right.
        answer: What it answers, as the verifier read it.
        why: What is wrong, where anything is.
    """

    right: bool
    steps: int = 0
    steps_right: int = 0
    answer: str = ""
    why: str = ""

    @property
    def sound(self) -> bool:
        """Whether the answer and every step that could be checked are right."""
        return self.right and self.steps_right == self.steps


@runtime_checkable
class Verifier(Protocol):
    """Says whether solutions are right. Without state, so that one may be asked by several threads.

    `reads` names the column of a problem that it needs, such as "answer"; `at_once` is how many it may be asked at a
    time.
    """

    name: ClassVar[str]
    reads: ClassVar[str]

    @property
    def at_once(self) -> int: ...

    def check(self, problem: Problem) -> str:
        """Why no solution of a problem can be verified; an empty text where one can."""
        ...

    def verify(self, solution: str, problem: Problem) -> Verdict:
        """Whether a solution is right; what cannot be read, or does not end, is wrong and never an error."""
        ...

    def known(self, problem: Problem) -> str:
        """The answer of a problem in the usual form, as far as the data says it; else an empty text."""
        ...

    def parted(self, solution: str) -> tuple[str, str]:
        """A solution as its steps and its answer, which one after the other are the solution in the usual form."""
        ...

    def digest(self, solution: str) -> str:
        """The same text for solutions that go the same way, whatever their words."""
        ...
