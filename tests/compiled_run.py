"""A small compiled training as a program: compiling reads code as it is, and tests execute the annotations around it.

    python compiled_run.py FOLDER COMPILE [STOP]

COMPILE is true or false; the training is interrupted after step STOP; in a folder that was begun it goes on.
"""

import os
import signal
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

from small_runs import small

from limbeck.errors import Interrupted
from limbeck.progress import Silent

STEPS = 60


class Stopping(Silent):
    """Interrupts its own process once so many steps are done."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, step: int, loss: float, shares: Mapping[str, float], rows_per_second: float, left: float) -> None:
        if step >= self.at:
            self.at = sys.maxsize  # a second signal ends a process at once
            os.kill(os.getpid(), signal.SIGTERM)


def main(folder: str, compile: str, stop: str = str(sys.maxsize)) -> None:
    warnings.simplefilter("error")
    small(
        None,
        Path(folder),
        student="cnn(size=8, depth=1)",
        budget=f"{STEPS} steps",
        training={"compile": compile == "true", "optimizer": "sgd", "lr": 0.02, "threads": 1},
        resume=Path(folder).exists(),
        progress=Stopping(int(stop)),
    )


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Interrupted:
        sys.exit(75)
