"""The other process of a cascade: `python -m limbeck_runtime.brain FILE` answers rows that come over its input.

It says that it is ready, then for each message of rows sends outputs, or words where the artifact refuses them. It ends
when its input does, so that it never outlives the reflex.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import IO

from limbeck_runtime.errors import RuntimeFault
from limbeck_runtime.pipes import OUTPUTS, READY, REFUSED, packed, receive, send
from limbeck_runtime.predictor import OnnxPredictor, load

_POLITENESS = 5
"""How much of the processor's time it leaves to others (nice): the reflex comes first."""


def main(arguments: Sequence[str]) -> int:
    """Answers until its input ends; the exit code is 0, or 1 where the artifact does not open."""
    # Whatever else writes to the output must not come between messages.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(_POLITENESS)
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m limbeck_runtime.brain FILE\n")
        return 2
    try:
        predictor = load(arguments[0])
    except RuntimeFault as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    # A person's Ctrl-C ends the reflex, which ends this one; and nobody reads any more once it is gone.
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _serve(predictor, sys.stdin.buffer, answers)
    return 0


def _serve(predictor: OnnxPredictor, rows: IO[bytes], answers: IO[bytes]) -> None:
    send(answers, 0, READY)
    while (message := receive(rows)) is not None:
        try:
            content, kind = packed(predictor.outputs(message.array)), OUTPUTS
        except RuntimeFault as fault:
            content, kind = str(fault).encode(), REFUSED
        send(answers, message.frame, kind, content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
