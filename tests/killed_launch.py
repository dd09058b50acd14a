"""`limbeck` as a process of a launch that notes what it records and may kill itself; `test_processes.py` starts it.

    killed_launch.py LOG RANKS COUNT record ...

Shards hold two batches and are saved after each. The ranks named in RANKS (such as "0,1", or "none") send themselves
SIGKILL when they have saved their COUNT-th batch. Each process writes a line for each batch it has asked about to
LOG/PID: its shard and the first of its ids.
"""

import os
import signal
import sys
from pathlib import Path

from limbeck import recorder
from limbeck.cli import main
from limbeck.recordings.manifest import Place
from limbeck.recordings.writer import Writer
from limbeck.signals import Batch, Signals

log, ranks, count = Path(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3])
recorder.record.__kwdefaults__.update(shard_bytes=25_000, save_seconds=0.0)
log.mkdir(exist_ok=True)
add, asked = Writer.add, []


def noting(self: Writer, batch: Batch, answer: Signals, place: Place) -> None:
    add(self, batch, answer, place)
    assert batch.ids is not None
    asked.append(f"{place.file} {int(batch.ids[0])}\n")
    (log / str(os.getpid())).write_text("".join(asked))
    if len(asked) == count and os.environ.get("RANK") in ranks:
        os.kill(os.getpid(), signal.SIGKILL)


Writer.add = noting  # type: ignore[method-assign]
main(sys.argv[4:])
