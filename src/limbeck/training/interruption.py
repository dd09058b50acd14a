"""Ctrl-C and SIGTERM ask the loop to stop after the step it is in; the loop saves and says how to resume."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interruption:
    """Whether somebody asked to stop."""

    asked = False


@contextlib.contextmanager
def heard() -> Iterator[Interruption]:
    """Listens for SIGINT and SIGTERM inside the block; a second one acts at once, as it did before the block.

    Outside the main thread, where Python cannot listen, the block runs without.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, frame: FrameType | None) -> None:
        interruption.asked = True
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in before:
            signal.signal(number, note)
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
