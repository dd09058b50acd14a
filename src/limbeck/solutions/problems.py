"""Problems out of a table or a generator, and their division into train, validation and test: equal ones together."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from limbeck.data import generated
from limbeck.data.forms import tables
from limbeck.data.forms.columns import Block, plain
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError
from limbeck.recipe import DataSpec, Reasoning
from limbeck.verification import Problem, Verifier

_OWN_SHARE = 0.1


@dataclass(frozen=True)
class Problems:
    """Problems in three splits; no question is in two of them.

    Args:
        train: To learn from.
        valid: To choose weights by.
        test: Held out.
        doubles: Questions that came again, which are left out.
        lost: Problems of which no solution can be verified, which are left out.
    """

    train: tuple[Problem, ...]
    valid: tuple[Problem, ...]
    test: tuple[Problem, ...]
    doubles: int
    lost: int

    def facts(self) -> dict[str, int]:
        """JSON: how many of each."""
        splits = {name: len(getattr(self, name)) for name in ("train", "valid", "test")}
        return {**splits, "doubles": self.doubles, "lost": self.lost}


def read(spec: DataSpec, said: Reasoning, verifier: Verifier) -> Problems:
    """Reads and divides problems.

    Args:
        spec: Its source is a table (.jsonl, .csv, .parquet, and so on) or `arithmetic(...)`; valid and test are shares
            or numbers of problems, a tenth each when left out.
        said: Which columns hold what.
        verifier: What no solution can be verified of is left out, within `spec.unreadable`.

    Raises:
        DataError: When a column is missing or empty, a split would be empty, or too much cannot be verified.
    """
    columns = {"question": said.question, verifier.reads: said.answer or verifier.reads}
    columns |= {"solution": said.solution} if said.solution else {}
    lost = Unreadable(spec.unreadable, "problems")
    found: dict[str, Problem] = {}
    doubles = count = 0
    for block in _blocks(spec.source, lost):
        texts = {role: _texts(block, name) for role, name in columns.items()}
        for place in range(len(block)):
            row = {role: values[place] for role, values in texts.items()}
            problem = Problem(count, row["question"], {role: text for role, text in row.items() if role != "question"})
            count += 1
            why = _unusable(row, columns) or verifier.check(problem)
            if why:
                lost.add(block.where(place), why)
                continue
            key = " ".join(problem.question.lower().split())
            doubles += key in found
            found.setdefault(key, problem)
    lost.check(len(found) + doubles)
    return _divided(found, spec, doubles, lost.count)


def _divided(found: Mapping[str, Problem], spec: DataSpec, doubles: int, lost: int) -> Problems:
    """Which split a question falls into follows from its text and the seed, not from where it stands."""
    order = sorted(found, key=lambda key: hashlib.sha256(f"{spec.seed}|{key}".encode()).digest())
    held = {name: _amount(getattr(spec, name), len(order), name) for name in ("test", "valid")}
    if sum(held.values()) >= len(order):
        raise DataError(
            f"test and validation take {sum(held.values())} of {len(order)} problems",
            expected="some problems left to learn from",
            remedy="a smaller data.test or data.valid",
        )
    test, valid = order[: held["test"]], order[held["test"] : sum(held.values())]
    train = order[sum(held.values()) :]
    learnt, choosing, held_out = (
        tuple(sorted((found[key] for key in keys), key=lambda each: each.number)) for keys in (train, valid, test)
    )
    return Problems(learnt, choosing, held_out, doubles, lost)


def _amount(said: object, whole: int, name: str) -> int:
    if not isinstance(said, int | float | None):
        raise DataError(f"data.{name} is {said!r}", expected="a share or a number of problems")
    share = _OWN_SHARE if said is None else said
    count = round(share * whole) if isinstance(share, float) else share
    if count < 1:
        raise DataError(f"data.{name} of {share} leaves no problem of {whole} for it", expected="one at least")
    return count


def _blocks(source: str, lost: Unreadable) -> Sequence[Block]:
    if generated.is_generated(source):
        return [generated.block(source)]
    path = Path(source).expanduser()
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    listed = [file for file in files if tables.is_table(file) and file.is_file()]
    if not listed:
        raise DataError(
            f"there are no problems at {path}",
            expected=f"a table: {', '.join(tables.SUFFIXES)}, or {', '.join(generated.names())}(...)",
        )
    return list(tables.reader(listed)(lost))


def _texts(block: Block, name: str) -> list[str]:
    return ["" if value is None else str(value) for value in plain(block.column(name))]


def _unusable(row: Mapping[str, str], columns: Mapping[str, str]) -> str:
    empty = [columns[role] for role, text in row.items() if not text.strip()]
    return f"column {empty[0]!r} is empty" if empty else ""
