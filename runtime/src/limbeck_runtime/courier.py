"""Keeps another process asked about the newest rows, without anybody waiting for it.

One thread writes and reads; whoever has rows leaves them in a slot that holds the newest alone. A process that dies,
hangs or talks nonsense is ended and started again, a bounded number of times.
"""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from limbeck_runtime.container import unsealed
from limbeck_runtime.decoding import Answer, decoder
from limbeck_runtime.errors import BrainError
from limbeck_runtime.manifest import Manifest, read
from limbeck_runtime.pipes import OUTPUTS, READY, REFUSED, ROWS, Message, packed, receive, send

STARTING, READY_STATE, GONE, CLOSED = "starting", "ready", "gone", "closed"


@dataclass(frozen=True)
class Thought:
    """What the brain said last.

    Args:
        frame: About which frame.
        time: Of that frame, in seconds of the signal.
        answers: For each row of it.
    """

    frame: int
    time: float
    answers: tuple[Answer, ...]


class Brain:
    """An artifact in a process of its own.

    Args:
        path: The artifact; it is opened here too, for what its outputs mean, but never asked here.
        restarts: So many times it is started again.
        patience: So many seconds may an answer take before it counts as hung.
        start: So many its start.
        command: What starts it; by default this Python with `-m limbeck_runtime.brain PATH`.

    Attributes:
        state: `starting`, `ready`, `gone` (it will not come back) or `closed`.
        reason: Why it is gone, or was started again last.
        starts: How often it was started.
        skipped: Frames that newer ones replaced before it was free.

    Raises:
        ArtifactError: When the file is damaged.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        restarts: int = 3,
        patience: float = 30.0,
        start: float = 60.0,
        command: Sequence[str] | None = None,
    ) -> None:
        self.manifest: Manifest = read(unsealed(Path(path)))
        self._decode = decoder(self.manifest.output.reading, self.manifest.output.shape)
        self._command = list(command or (sys.executable, "-m", "limbeck_runtime.brain", str(path)))
        self._restarts, self._patience, self._start = restarts, patience, start
        self.state, self.reason, self.starts, self.skipped = STARTING, "", 0, 0
        self.thought: Thought | None = None
        self._change = threading.Condition()
        self._slot: tuple[int, float, npt.NDArray[Any]] | None = None
        self._closing = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="brain", daemon=True)
        self._thread.start()

    def tell(self, frame: int, time: float, rows: npt.NDArray[Any]) -> None:
        """Leaves rows for it; returns at once. Rows that it has not taken yet are replaced."""
        with self._change:
            if self.state in (GONE, CLOSED):
                return
            self.skipped += self._slot is not None
            self._slot = (frame, time, rows.copy())
            self._change.notify_all()

    def wait(self, frame: int, seconds: float) -> bool:
        """Waits until it has thought about a frame, or a later one; for tests and batch work, never for a reflex."""
        with self._change:
            return self._change.wait_for(
                lambda: self.state == GONE or (self.thought is not None and self.thought.frame >= frame), seconds
            ) and (self.thought is not None and self.thought.frame >= frame)

    def close(self) -> None:
        """Ends the process; what it said last stays."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        if self._process is not None:
            self._process.kill()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing and self.starts <= self._restarts:
            self.starts += 1
            try:
                self._live()
            except (BrainError, OSError) as error:
                self.reason = str(error)
            finally:
                self._end()
        with self._change:
            self.state = CLOSED if self._closing else GONE
            self._change.notify_all()

    def _live(self) -> None:
        """One process from its start to its end."""
        self._process = process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._closing:
            return
        with self._watched(process, self._start):
            if self._heard(process).kind != READY:
                raise BrainError("the brain did not say that it is ready")
        self._become(READY_STATE)
        while (told := self._next()) is not None:
            frame, time, rows = told
            assert process.stdin is not None
            with self._watched(process, self._patience):
                send(process.stdin, frame, ROWS, packed(rows))
                message = self._heard(process)
            if message.frame != frame or message.kind not in (OUTPUTS, REFUSED):
                raise BrainError("the brain answered something that it was not asked")
            self._think(frame, time, message)

    def _think(self, frame: int, time: float, message: Message) -> None:
        if message.kind == REFUSED:
            self.reason = message.content.decode(errors="replace")
            return
        outputs = message.array
        if outputs.dtype != np.float32 or outputs.shape[1:] != self.manifest.output.shape:
            raise BrainError(f"the brain gave {outputs.dtype} of shape {outputs.shape}")
        thought = Thought(frame, time, tuple(self._decode(outputs)))
        with self._change:
            self.thought = thought
            self._change.notify_all()

    def _next(self) -> tuple[int, float, npt.NDArray[Any]] | None:
        with self._change:
            self._change.wait_for(lambda: self._slot is not None or self._closing)
            told, self._slot = self._slot, None
            return None if self._closing else told

    def _heard(self, process: subprocess.Popen[bytes]) -> Message:
        assert process.stdout is not None
        message = receive(process.stdout)
        if message is None:
            raise BrainError(f"the brain ended with exit code {process.wait()}")
        return message

    @contextlib.contextmanager
    def _watched(self, process: subprocess.Popen[bytes], seconds: float) -> Any:
        """Ends a process that hangs, so that reading from it ends too."""
        hung = threading.Event()

        def end() -> None:
            hung.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (BrainError, OSError) as error:
            if hung.is_set():
                raise BrainError(f"the brain said nothing for {seconds:g} s and was ended") from error
            raise
        finally:
            timer.cancel()

    def _become(self, state: str) -> None:
        with self._change:
            self.state = state
            self._change.notify_all()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if not self._closing:
            self._become(STARTING)
