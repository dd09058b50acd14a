"""Verdicts about samples, in a file of JSON lines: each sample is verified once, whatever is killed meanwhile."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from limbeck.storage import append_lines, whole_lines
from limbeck.verification import Problem, Verdict, Verifier

_AT_ONCE = 64


@dataclass(frozen=True)
class Sample:
    """A solution that somebody wrote, and what was found of it.

    Args:
        problem: The number of its problem.
        sample: Its own, among those of a problem and round.
        round: In which round it was sampled, from 1.
        text: The solution.
        finished: Whether its writer ended it; one that was cut is wrong.
        tokens: How many it has, in the writer's count.
        asked: How many the prompt has.
        verdict: What was found.
    """

    problem: int
    sample: int
    round: int
    text: str
    finished: bool
    tokens: int
    asked: int
    verdict: Verdict | None = None


def written(problems: Sequence[Problem]) -> list[Sample]:
    """The solutions that the data brings, as samples."""
    return [Sample(each.number, 0, 1, each.known["solution"], True, 0, 0) for each in problems]


def sampled(path: Path, cut: Path, problems: Sequence[Problem], round_: int) -> list[Sample]:
    """The samples in the files that `limbeck.corpus.write` wrote for the prompts of some problems, in their order."""
    found = []
    for file, finished in ((path, True), (cut, False)):
        for line in map(json.loads, whole_lines(file)):
            text = line["completion"] if "completion" in line else line["messages"][-1]["content"]
            number = problems[line["number"]].number
            found.append(Sample(number, line["sample"], round_, text, finished, line["tokens"], line["asked"]))
    return sorted(found, key=lambda each: (each.problem, each.sample))


def judged(
    samples: Sequence[Sample],
    problems: Mapping[int, Problem],
    verifier: Verifier,
    to: Path,
    progress: Callable[[int, int], None] | None = None,
) -> list[Sample]:
    """The same samples with their verdicts, which are written to a file, a line each, and never made twice.

    Args:
        samples: Of one round.
        problems: By number.
        verifier: Says what is right.
        to: The file, .jsonl.
        progress: Called with the samples that are done and all of them.

    Raises:
        StorageError: When the disk is full; what was verified is kept.
    """
    told = progress or (lambda done, total: None)
    verdicts = {(line["problem"], line["sample"]): _verdict(line) for line in map(json.loads, whole_lines(to))}
    missing = [each for each in samples if (each.problem, each.sample) not in verdicts]
    told(len(samples) - len(missing), len(samples))
    to.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(verifier.at_once) as pool:
        for some in _some(missing):
            found = list(pool.map(lambda each: _found(each, problems[each.problem], verifier), some))
            append_lines(to, [_line(each, verdict) for each, verdict in zip(some, found, strict=True)])
            verdicts |= {(each.problem, each.sample): verdict for each, verdict in zip(some, found, strict=True)}
            told(len(verdicts), len(samples))
    return [Sample(**{**vars(each), "verdict": verdicts[each.problem, each.sample]}) for each in samples]


def _found(each: Sample, problem: Problem, verifier: Verifier) -> Verdict:
    if not each.finished:
        return Verdict(False, why=f"cut at {each.tokens} tokens")
    return verifier.verify(each.text, problem)


def _line(each: Sample, verdict: Verdict) -> str:
    said: dict[str, Any] = {"problem": each.problem, "sample": each.sample, "round": each.round, **asdict(verdict)}
    return json.dumps({**said, "sound": verdict.sound}, ensure_ascii=False)


def _verdict(line: Mapping[str, Any]) -> Verdict:
    return Verdict(**{name: line[name] for name in Verdict.__dataclass_fields__})


def _some(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    for start in range(0, len(samples), _AT_ONCE):
        yield samples[start : start + _AT_ONCE]
