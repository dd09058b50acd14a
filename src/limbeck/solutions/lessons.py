"""What a student learns of problems: documents of prompts, steps and answers, as `data.columns.rationale` reads them.

In the form "tasks" steps and answer are two documents of a problem, told apart by a word before the prompt: distilling
step-by-step, Hsieh et al., 2023, https://arxiv.org/abs/2305.02301, section 3.2 (read: memory).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from limbeck.recipe import Reasoning
from limbeck.recipe.reasoning import PLACE
from limbeck.solutions.judging import Sample
from limbeck.solutions.problems import Problems
from limbeck.storage import write_text
from limbeck.verification import Problem, Verifier

Pupil: TypeAlias = Literal["steps", "answers"]
"""Who learns: from steps and answers, or, for comparison, from the answers of the same problems alone."""

COLUMNS = {"inputs": ["prompt"], "rationale": "rationale", "label": ["completion"]}
_STEPS, _ANSWER = "[steps] ", "[answer] "

Row: TypeAlias = dict[str, str]


def prompt(problem: Problem, said: Reasoning, pupil: Pupil) -> str:
    """What a student is asked about a problem in the end."""
    asked = said.prompt.replace(PLACE, problem.question)
    return f"{_ANSWER}{asked}" if said.form == "tasks" and pupil == "steps" else asked


def write(
    to: Path,
    problems: Problems,
    kept: Mapping[int, Sequence[Sample]],
    said: Reasoning,
    verifier: Verifier,
    pupil: Pupil,
) -> dict[str, int]:
    """Writes a file for each split and says how many documents it has.

    Only problems of which a solution was kept are learnt from. Held-out ones are read by their written solutions where
    there are any, else by their answers alone, and where these are not known either, validation stands for the test.

    Raises:
        StorageError: When the disk is full.
    """
    splits = {name: list(_rows(getattr(problems, name), kept, said, verifier, pupil)) for name in ("train", "valid")}
    held = {each.number: _held_out(each) for each in problems.test}
    splits["test"] = list(_rows(problems.test, held, said, verifier, pupil, known=True)) or splits["valid"]
    for name, rows in splits.items():
        write_text(to / f"{name}.jsonl", "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    return {name: len(rows) for name, rows in splits.items()}


def _held_out(problem: Problem) -> tuple[Sample, ...]:
    text = problem.known.get("solution")
    return () if text is None else (Sample(problem.number, 0, 0, text, True, 0, 0),)


def _rows(
    problems: Sequence[Problem],
    kept: Mapping[int, Sequence[Sample]],
    said: Reasoning,
    verifier: Verifier,
    pupil: Pupil,
    *,
    known: bool = False,
) -> Iterator[Row]:
    for problem in problems:
        parts = [verifier.parted(each.text) for each in kept.get(problem.number, ())]
        if not parts and known and verifier.known(problem):
            parts = [("", verifier.known(problem))]
        asked = said.prompt.replace(PLACE, problem.question)
        for steps, answer in parts[:1] if pupil == "answers" else parts:
            if pupil == "answers" or said.form == "steps":
                yield {"prompt": asked, "rationale": "" if pupil == "answers" else steps, "completion": answer}
                continue
            yield {"prompt": f"{_ANSWER}{asked}", "rationale": "", "completion": answer}
            if steps.strip():
                yield {"prompt": f"{_STEPS}{asked}", "rationale": steps.rstrip("\n"), "completion": ""}
