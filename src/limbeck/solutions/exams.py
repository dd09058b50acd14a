"""What a student answers to problems, greedily, and how much of it is right; a file of JSON lines, asked once."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from limbeck.model import Model
from limbeck.run import Run, generate_run
from limbeck.storage import append_lines, whole_lines
from limbeck.verification import Problem, Verifier

_AT_ONCE = 64


def examined(
    run: Run,
    student: Model,
    prompts: Sequence[str],
    problems: Sequence[Problem],
    verifier: Verifier,
    length: int,
    to: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Asks a student; killed and called again it goes on.

    Args:
        run: The student's run, whose tokenizer is used.
        student: One of its models.
        prompts: What it is asked, for each problem.
        problems: What the answers are held against.
        verifier: Says what is right.
        length: Tokens of an answer at most.
        to: The file, .jsonl.
        progress: Called with the problems that are done and all of them.

    Returns:
        For each problem its number, the text, how many tokens it has, whether it ended by itself, and the verdict.
    """
    told = progress or (lambda done, total: None)
    found: list[dict[str, Any]] = [json.loads(line) for line in whole_lines(to)]
    told(len(found), len(problems))
    to.parent.mkdir(parents=True, exist_ok=True)
    while len(found) < len(problems):
        some = problems[len(found) : len(found) + _AT_ONCE]
        said = generate_run(run, prompts[len(found) : len(found) + _AT_ONCE], length=length, student=student)
        lines = [_line(problem, text, verifier) for problem, text in zip(some, said, strict=True)]
        append_lines(to, [json.dumps(line, ensure_ascii=False) for line in lines])
        found += lines
        told(len(found), len(problems))
    return found


def figures(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of an exam: the shares that are exactly right, whose steps are right as well, that ended by themselves; tokens.

    `arithmetic` is the share of all steps that are right, of those that could be checked; left out without any.
    """
    count = len(lines)
    steps = sum(line["steps"] for line in lines)
    found = {
        "exact": sum(line["right"] for line in lines) / count,
        "sound": sum(line["sound"] for line in lines) / count,
        "ended": sum(line["ended"] for line in lines) / count,
        "tokens": sum(line["tokens"] for line in lines) / count,
        "steps": steps / count,
    }
    return found | ({"arithmetic": sum(line["steps_right"] for line in lines) / steps} if steps else {})


def _line(problem: Problem, said: Mapping[str, Any], verifier: Verifier) -> dict[str, Any]:
    verdict = verifier.verify(said["text"], problem)
    return {"problem": problem.number, **said, **asdict(verdict), "sound": verdict.sound}
