"""Word problems: the number after the last #### must be the answer, and every equation in the steps must hold.

The form of GSM8K (Cobbe et al., 2021, https://arxiv.org/abs/2110.14168; read: memory). Without a marker the last
number counts. Units of measure are compared where both sides say one; see `limbeck.arithmetic` for what an equation is.
Two solutions with the same equations in the same order are one way (Yuan et al., 2023,
https://arxiv.org/abs/2308.01825, section 3.2, rejection sampling; read: memory).
"""

import re
from dataclasses import dataclass
from typing import ClassVar

from limbeck.arithmetic import Quantity, equations, quantities
from limbeck.notation import spelled
from limbeck.verification import Problem, Verdict

MARKER = "####"
_MARKED = re.compile(r"####|\banswer(?: is|:)", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class Numbers:
    """Checks an answer that is a number, and the arithmetic that leads to it."""

    name: ClassVar[str] = "numbers"
    reads: ClassVar[str] = "answer"

    @property
    def at_once(self) -> int:
        """See `Verifier`."""
        return 1

    def __repr__(self) -> str:
        return spelled(self)

    def check(self, problem: Problem) -> str:
        """See `Verifier`."""
        said = problem.known.get(self.reads, "")
        return "" if _answer(said) is not None else f"its answer {said[:60]!r} holds no number"

    def verify(self, solution: str, problem: Problem) -> Verdict:
        """See `Verifier`; a step is an equation."""
        expected, said = _answer(problem.known[self.reads]), _answer(solution)
        assert expected is not None
        found = equations(_steps(solution))
        wrong = next((each for each in found if not each.right), None)
        count = sum(each.right for each in found)
        if said is None:
            return Verdict(False, len(found), count, "", "no number is answered")
        right = said.same(expected)
        why = "" if right else f"the answer is {expected}, not {said}"
        if wrong is not None:
            why = f"{why}{'; ' if why else ''}{wrong.text}: {wrong.why}"
        return Verdict(right, len(found), count, str(said), why)

    def known(self, problem: Problem) -> str:
        """See `Verifier`."""
        return f"{MARKER} {_answer(problem.known[self.reads])}"

    def parted(self, solution: str) -> tuple[str, str]:
        """See `Verifier`; the answer is written `#### 72`."""
        said = _answer(solution)
        steps = _steps(solution).strip()
        return (f"{steps}\n" if steps else ""), f"{MARKER} {said if said is not None else ''}"

    def digest(self, solution: str) -> str:
        """See `Verifier`."""
        found = [each.text.replace(" ", "") for each in equations(_steps(solution))]
        return "|".join(found) if found else " ".join(_steps(solution).lower().split())


def _steps(solution: str) -> str:
    """What stands before the marker of the answer."""
    places = [match.start() for match in re.finditer(MARKER, solution)]
    return solution[: places[-1]] if places else solution


def _answer(text: str) -> Quantity | None:
    """The first number after the last marker, or the last one where there is no marker, or nothing behind it."""
    marks = list(_MARKED.finditer(text))
    if marks:
        behind = quantities(text[marks[-1].end() :])
        if behind or marks[-1].group() == MARKER:
            return behind[0] if behind else None
    found = quantities(text)
    return found[-1] if found else None
