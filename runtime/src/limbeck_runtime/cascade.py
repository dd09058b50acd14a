"""A reflex that answers at once, a brain that may be slow, dead or absent, and a rule that may act alone.

The reflex never waits: it leaves its row for the brain and attaches the newest thing the brain said, with how old that
is in frames and in seconds of the signal. The rule is a plain function of the row and the reflex's answer; where it
speaks its word stands, also where the reflex could not answer at all.

Python cannot promise a time. A deadline is measured: an answer that took longer is stamped and counted, not prevented.
"""

import math
import time as clock
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck_runtime.courier import Brain
from limbeck_runtime.decoding import Answer, Floats
from limbeck_runtime.errors import InputError
from limbeck_runtime.manifest import Manifest
from limbeck_runtime.predictor import Predictor

Rule = Callable[[npt.NDArray[Any], Answer | None], tuple[str, Answer] | None]
"""From a raw row and the reflex's answer (None where it has none) to a reason and fields that override, or None."""


class Cascade:
    """Reflex, brain and rule as one; a predictor itself.

    Args:
        reflex: Answers every row, here.
        brain: Thinks about the newest row in its own process; None where there is none.
        rule: May act alone.
        deadline: Seconds that an answer may take; every later one is counted.

    Attributes:
        frames: Rows answered.
        missed: Answers that took longer than the deadline.
        acted: Answers that the rule overrode.
    """

    def __init__(
        self,
        reflex: Predictor,
        brain: Brain | None = None,
        *,
        rule: Rule | None = None,
        deadline: float = math.inf,
    ) -> None:
        if not deadline > 0:
            raise InputError(f"a deadline of {deadline} s", expected="a time above 0")
        self._reflex, self.brain, self._rule, self.deadline = reflex, brain, rule, deadline
        self.frames = self.missed = self.acted = 0
        manifest = getattr(reflex, "manifest", None)
        if isinstance(manifest, Manifest):
            self.manifest = manifest

    def ask(self, row: npt.ArrayLike, time: float) -> Answer:
        """One row's answer.

        Args:
            row: Raw, without the dimension of rows.
            time: Of the signal, in seconds; staleness is counted in it.

        Returns:
            The reflex's answer, overridden where the rule acted, and beside it `frame`, `time`, `seconds` it took,
            whether it is `late`, `rule` (the reason of the rule, or None), and `brain`: its newest `answer`, that
            answer's `frame` and `time`, its `age_frames` and `age_seconds`, the brain's `state`, and the `reason` where
            it is not ready.

        Raises:
            InputError: When the reflex refuses the row and no rule acts.
        """
        begin = clock.perf_counter()
        raw = np.asarray(row)
        self.frames += 1
        frame = self.frames
        answer, refused = self._reflected(raw)
        if self.brain is not None and refused is None:
            self.brain.tell(frame, float(time), raw[None])
        spoken = None if self._rule is None else self._rule(raw, answer)
        if spoken is None and refused is not None:
            raise refused
        found: dict[str, Any] = dict(answer or {})
        if spoken is not None:
            self.acted += 1
            found |= spoken[1]
        if refused is not None:
            found["refused"] = str(refused)
        found |= {"rule": spoken and spoken[0], "brain": self._thought(frame, float(time))}
        seconds = clock.perf_counter() - begin
        late = seconds > self.deadline
        self.missed += late
        return found | {"frame": frame, "time": float(time), "seconds": seconds, "late": late}

    def outputs(self, rows: npt.ArrayLike) -> Floats:
        """The reflex's outputs; a rule and a brain speak in answers alone."""
        return self._reflex.outputs(rows)

    def __call__(self, rows: npt.ArrayLike) -> list[Answer]:
        """The answer of each row, one after the other; their time is the number of the frame."""
        found = np.asarray(rows)
        manifest = getattr(self, "manifest", None)
        if manifest is not None and found.shape == manifest.input.shape:
            found = found[None]
        return [self.ask(row, float(self.frames + 1)) for row in found]

    def close(self) -> None:
        """Ends the brain's process."""
        if self.brain is not None:
            self.brain.close()

    def __enter__(self) -> "Cascade":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reflected(self, row: npt.NDArray[Any]) -> tuple[Answer | None, InputError | None]:
        try:
            return self._reflex(row[None])[0], None
        except InputError as error:
            return None, error

    def _thought(self, frame: int, time: float) -> Mapping[str, Any]:
        if self.brain is None:
            return {"state": "absent", "answer": None, "reason": "there is none"}
        thought, state = self.brain.thought, self.brain.state
        said: dict[str, Any] = {"state": state, "answer": None}
        if state != "ready" and self.brain.reason:
            said["reason"] = self.brain.reason
        if thought is None:
            return said
        ages = {"age_frames": frame - thought.frame, "age_seconds": time - thought.time}
        return said | {"answer": thought.answers[0], "frame": thought.frame, "time": thought.time, **ages}
