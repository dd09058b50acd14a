"""A process that starts Ray and says, as JSON, what it saw of it; `test_cluster.py` runs it in a folder of a test's."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deeds  # a module in that folder

from limbeck import cluster
from limbeck.errors import LimbeckError

STATISTICS = "RAY_USAGE_STATS_ENABLED"


def children(of: int) -> list[int]:
    """All processes below one, and theirs."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found, new = [], [of]
    while new:
        new = [process for process, parent in parents.items() if parent in new]
        found += new
    return found


def words(process: int, file: str) -> list[str]:
    return Path(f"/proc/{process}/{file}").read_text(errors="replace").split("\0")


def error_of(work: Callable[[], Any]) -> dict[str, str]:
    try:
        work()
    except LimbeckError as error:
        return {"kind": type(error).__name__, "happened": error.happened, "remedy": error.remedy}
    return {}


def called(deed: Callable[..., Any], *calls: tuple[str | int, ...]) -> list[Any]:
    return cluster.called(deed, calls, cluster.Demand(), lambda: looks.append(1))


os.environ[STATISTICS] = "1"
before, looks = signal.getsignal(signal.SIGTERM), list[int]()
with cluster.connected("local", cpus=2):
    import ray

    programs = {words(process, "cmdline")[0].rpartition("/")[2]: process for process in children(os.getpid())}
    facts: dict[str, Any] = {
        "statistics": {
            name: f"{STATISTICS}=0" in words(programs[name], "environ") for name in ("gcs_server", "raylet")
        },
        "room": cluster.room(cluster.Demand()),
        "too large": error_of(lambda: cluster.room(cluster.Demand(cpus=3))),
        "no GPU": error_of(lambda: cluster.room(cluster.Demand(gpus=1))),
        "seen": error_of(lambda: cluster.refuse_unseen(Path("r.yaml"))),
        "unseen": error_of(lambda: cluster.refuse_unseen(Path("/proc/self/stat"))),
        "answers": sorted(called(deeds.double, (1,), (2,), (3,))),
        "looked": len(looks) > 0,
        "once": called(deeds.die_once, ("died",)),
        "always": error_of(lambda: called(deeds.die, ("deaths",))),
        "raised": error_of(lambda: called(deeds.lament, (1,))),
        "stopped": error_of(lambda: called(deeds.lament, (0,), (1,))),
    }
    command = [sys.executable, "-m", "limbeck", "record", "r.yaml", "--to", "joined", "--quiet", "--ray", "auto"]
    there = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    joined = subprocess.run(command, env=there, capture_output=True, text=True, check=False)
    facts["joined"] = joined.stderr if joined.returncode else ""
    with cluster.connected("local"):
        pass
    facts["stays connected"] = ray.is_initialized()
facts["put back"] = os.environ[STATISTICS] == "1" and signal.getsignal(signal.SIGTERM) == before
facts["ended"] = not ray.is_initialized()
facts["nobody there"] = error_of(lambda: cluster.connected("127.0.0.1:9").__enter__())
sys.stdout.write(json.dumps(facts))
