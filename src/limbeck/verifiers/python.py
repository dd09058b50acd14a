"""Python functions: the tests of the data must pass, run behind walls (`limbeck.confinement`).

A solution is code, or text with code between ``` marks, of which the last piece counts; what stands before it are the
steps. Two solutions with the same syntax tree are one.
"""

import ast
import os
import re
from dataclasses import dataclass
from typing import ClassVar

from limbeck.confinement.jail import confined
from limbeck.errors import RecipeError
from limbeck.notation import spelled
from limbeck.verification import Problem, Verdict

_FENCED = re.compile(r"```[a-zA-Z0-9]*\n(.*?)(?:```|\Z)", re.DOTALL)


@dataclass(frozen=True, repr=False)
class Python:
    """Runs a solution's code against the tests of its problem.

    Args:
        seconds: For a solution and its tests, on the clock.
        megabytes: Of memory.
    """

    name: ClassVar[str] = "python"
    reads: ClassVar[str] = "tests"

    seconds: float = 5.0
    megabytes: int = 512

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 3600 or not 64 <= self.megabytes <= 1 << 20:
            raise RecipeError(
                f"the verifier python has seconds={self.seconds}, megabytes={self.megabytes}",
                expected="seconds above 0, and 64 megabytes or more",
            )

    def __repr__(self) -> str:
        return spelled(self)

    @property
    def at_once(self) -> int:
        """See `Verifier`: a process each."""
        return os.cpu_count() or 1

    def check(self, problem: Problem) -> str:
        """See `Verifier`."""
        try:
            tree = ast.parse(problem.known.get(self.reads, ""))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return f"its tests are no Python: {str(error)[:80]}"
        return "" if any(isinstance(node, ast.Assert) for node in ast.walk(tree)) else "its tests hold no assert"

    def verify(self, solution: str, problem: Problem) -> Verdict:
        """See `Verifier`; a step is a test."""
        code = self.parted(solution)[1]
        found = confined(code, problem.known[self.reads], seconds=self.seconds, megabytes=self.megabytes)
        return Verdict(found.right, found.total, found.passed, f"{found.passed} of {found.total} tests", found.why)

    def known(self, problem: Problem) -> str:
        """See `Verifier`: tests say no code."""
        return ""

    def parted(self, solution: str) -> tuple[str, str]:
        """See `Verifier`; the answer is the code."""
        pieces = list(_FENCED.finditer(solution))
        if not pieces:
            return "", solution.strip("\n")
        steps = solution[: pieces[-1].start()].strip()
        return (f"{steps}\n" if steps else ""), pieces[-1].group(1).strip("\n")

    def digest(self, solution: str) -> str:
        """See `Verifier`."""
        code = self.parted(solution)[1]
        try:
            return ast.dump(ast.parse(code))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return code
