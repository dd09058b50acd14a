"""A plain Python function as a teacher: a planner, a rule system, a simulator, or a model of some other library."""

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import TeacherError
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals
from limbeck.teachers.answers import (
    FLOOR,
    distributions,
    log_probabilities,
    refuse_layers,
    refuse_likely_probabilities,
    refuse_outside,
    refuse_unknown,
    refuse_width,
)
from limbeck.teachers.contents import Contents
from limbeck.teachers.ledger import Ledger


class FunctionTeacher:
    """Whatever a function answers about rows.

    The function is given a copy of the rows as the data holds them (a numpy array or a torch tensor on the CPU) and
    answers with one answer a row, in the same order: an array or a tensor of any number type, or a list of them, in
    which None is a row it has no answer for. Answers become float32.

    Where it raises on a batch it is asked again row by row. Rows on which it raises, answers None, or answers with a
    number that is not finite (or, for probabilities, with a row that is no distribution) count as failures: they are
    warned of, left out of every term of the loss that needs the teacher, and kept as silent in a recording. More of
    them than forgiven stop it; a recording keeps what was said before and can be taken up again. An answer of the wrong
    shape is no failure of a row: it stops at once.

    The fingerprint is made of the function's source text, the file of its module, its defaults and what it closed over
    (of a bound method or a callable object: what the object holds), the arguments below except `failures` and `name`,
    and `version`. It is taken once, when the teacher is made. It does NOT see what the function reads elsewhere: other
    modules, files, global variables that change, the environment, a server, a clock or random numbers. Say what those
    were in `version`, and change it when they change.

    Args:
        function: Rows -> answers; torch's global random state is put back after each call.
        outputs: `logits` (the default) or `probabilities` of the data's classes in their order, or `values` as they are
            (one number a row may come without a second dimension).
        failures: The share of rows it may fail on, from 0 up to, not including, 1, of each view; see `Ledger`.
        each: Whether the function answers one row (without the rows' dimension) instead of many.
        takes: What the function is given: `numpy` or `torch`.
        floor: For probabilities: smaller ones become this (above 0, below 1); see `log_probabilities`.
        version: What the fingerprint cannot see, in the caller's words. When given, it stands for what a callable
            object holds too, which is then not read.
        name: What reports call it; the function's name when left out.

    Raises:
        TeacherError: When an argument is out of its range.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        outputs: str | None = None,
        failures: float = 0.01,
        each: bool = False,
        takes: str = "numpy",
        floor: float = FLOOR,
        version: str = "",
        name: str | None = None,
    ) -> None:
        self.name = name or str(getattr(function, "__qualname__", type(function).__qualname__))
        refuse_unknown(outputs, self.name)
        refuse_outside("failures", failures, self.name, least=0.0)
        refuse_outside("floor", floor, self.name)
        if takes not in ("numpy", "torch"):
            raise TeacherError(f"takes={takes!r} of {self.name} is unknown", expected="numpy or torch")
        self.function, self.outputs, self.each, self.takes, self.floor = function, outputs, each, takes, floor
        self.views: int | None = None
        self.ledger = Ledger(self.name, float(failures))
        self._classes: tuple[str, ...] | None = None
        self.fingerprint = _fingerprint(function, [outputs, each, takes, floor, version], known=bool(version))

    @property
    def failed(self) -> Mapping[tuple[int, int], str]:
        """The rows it was silent about so far, as (id, view), and why."""
        return self.ledger.reasons

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Remembers how many numbers are expected.

        Raises:
            TeacherError: When features are asked for.
        """
        refuse_layers(needs, self.name)
        self._classes = tuple(classes)

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """A function answers any rows; from now on the share of failures is of these."""
        self.ledger.expect(rows.ids)

    def recall(self, silent: Mapping[int, Int[Tensor, " silent"]]) -> None:
        """Counts failures of an earlier sitting, by view."""
        self.ledger.recall(silent)

    def signals(self, batch: Batch) -> Signals:
        """The answers as logits (or values) in float32, and which rows were answered.

        Raises:
            TeacherError: When it was not prepared, or an answer has the wrong shape.
            TeacherStopped: When it failed on more rows than are forgiven.
        """
        if self._classes is None:
            raise TeacherError(f"{self.name} was asked before it was prepared", remedy="call prepare first")
        width = batch.task.output_size(self._classes)
        self.ledger.ask(batch.ids)
        # A copy: a function that works in place would change what the student sees.
        rows = batch.inputs.detach().cpu().clone()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            whole, said = self._asked(rows, batch, width)
        if self.outputs is None:
            refuse_likely_probabilities(whole[said], self.name, 'outputs="probabilities"')
        if self.outputs == "probabilities" and bool(said.any()):
            whole[said] = log_probabilities(whole[said], self.floor)
        self.ledger.tell()
        where = batch.inputs.device
        return Signals.dense(whole.to(where), said=said.to(where))

    def to(self, device: torch.device) -> "FunctionTeacher":
        """Itself: a function answers on the CPU, and its answers go where the batch is."""
        return self

    def _asked(self, rows: Shaped[Tensor, "rows ..."], batch: Batch, width: int) -> tuple[Tensor, Tensor]:
        """The answers, zeros where there is none, and which rows have one."""
        whole = torch.zeros((len(rows), width), dtype=torch.float32)
        said = torch.zeros(len(rows), dtype=torch.bool)
        pieces = [slice(row, row + 1) for row in range(len(rows))] if self.each else [slice(0, len(rows))]
        while pieces:
            piece = pieces.pop(0)
            try:
                found, reasons = self._answered(rows[piece], width)
            except TeacherError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a function raises is a failure of its rows
                if piece.stop - piece.start > 1:
                    pieces = [slice(row, row + 1) for row in range(len(rows))]
                    continue
                found, reasons = torch.zeros((1, width)), {0: f"{type(error).__name__}: {error}"}
            if len(reasons) < len(found):
                self.ledger.spoke()
            whole[piece], said[piece] = found, True
            for position, reason in reasons.items():
                row = piece.start + position
                whole[row], said[row] = 0.0, False
                self.ledger.fail(int(batch.ids[row]), int(batch.views[row]), reason)
        return whole, said

    def _answered(self, rows: Shaped[Tensor, "rows ..."], width: int) -> tuple[Tensor, dict[int, str]]:
        """What the function says about some rows, and by position why some of it cannot be used."""
        given = rows.clone()[0] if self.each else rows.clone()
        answer = self.function(given if self.takes == "torch" else given.numpy())
        if self.each or answer is None:
            answer = [answer] * (1 if self.each else len(rows))
        count = self._count(answer)
        if count != len(rows):
            raise TeacherError(
                f"{self.name} answered {count} for {len(rows)} rows",
                expected="one answer for each row, in their order",
                remedy="each=True for a function of one row",
            )
        if isinstance(answer, Tensor | np.ndarray) and answer.dtype != np.dtype(object):
            table, reasons = _numbers(answer), {}
            table = table[:, None] if table.ndim == 1 else table
        else:
            reasons = {row: "it answered None" for row, said in enumerate(answer) if said is None}
            kept = {row: torch.atleast_1d(_numbers(said)) for row, said in enumerate(answer) if said is not None}
            table = torch.zeros((count, *(next(iter(kept.values())).shape if kept else (width,))))
            for row, said in kept.items():
                refuse_width(said[None], width, self.name)
                table[row] = said
        refuse_width(table, width, self.name)
        right = table.isfinite().all(dim=-1)
        if self.outputs == "probabilities":
            right &= distributions(table)
        for row in (~right).nonzero().flatten().tolist():
            reasons.setdefault(row, _amiss(table[row]))
        return table, reasons

    def _count(self, answer: Any) -> int | str:
        if isinstance(answer, list | tuple) or (isinstance(answer, Tensor | np.ndarray) and answer.ndim > 0):
            return len(answer)
        if isinstance(answer, Tensor | np.ndarray | int | float):
            return "one number"
        raise TeacherError(
            f"{self.name} answered with a {type(answer).__name__}", expected="an array, a tensor or a list of rows"
        )


def _amiss(answer: Float[Tensor, " numbers"]) -> str:
    if not bool(torch.isfinite(answer).all()):
        return "a number in its answer is not finite"
    low, high, total = (float(value) for value in (answer.min(), answer.max(), answer.sum()))
    return f"its answer is no distribution: from {low:.3g} to {high:.3g}, with the sum {total:.3g}"


def _numbers(said: Any) -> Shaped[Tensor, "..."]:
    """An answer in float32, whatever it came in."""
    if not isinstance(said, Tensor):
        said = torch.as_tensor(np.asarray(said, dtype=np.float64))
    if said.is_complex():
        raise TypeError("the answer holds complex numbers")
    return said.detach().cpu().float()


def _fingerprint(function: Callable[..., Any], arguments: list[Any], *, known: bool) -> str:
    """A hash of the code, of what the code holds unless that is known by a version, and of the arguments."""
    parts = [repr(arguments)]
    while isinstance(function, functools.partial):
        parts.append(Contents([function.args, function.keywords]).digest)
        function = function.func
    code: Any = function if inspect.isroutine(function) else type(function).__call__
    code = getattr(code, "__func__", code)
    parts += [Contents(code).digest, "" if known else Contents(function).digest, _file_of(code)]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]


def _file_of(code: Any) -> str:
    try:
        return hashlib.sha256(Path(inspect.getsourcefile(code) or "").read_bytes()).hexdigest()
    except (TypeError, OSError):
        return "no file"
