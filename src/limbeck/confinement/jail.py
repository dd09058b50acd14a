"""Code and its tests into a process of their own, and back what came of it: whatever happens there, in bounded time."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from limbeck.errors import DataError

_HERE = Path(__file__).parent
# Beyond the time for the code: Python itself has to begin.
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Outcome:
    """What came of some tests.

    Args:
        passed: How many passed.
        total: Of how many; 0 where the code did not get as far.
        why: Why the first that failed did; empty where all passed.
        walls: What kept the code in.
    """

    passed: int
    total: int
    why: str
    walls: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether there were tests, and all passed."""
        return 0 < self.total == self.passed and not self.why


def confined(code: str, tests: str, *, seconds: float, megabytes: int) -> Outcome:
    """Runs code that nobody has read, and tests that call its functions.

    The code gets no file, no network, no other process and no more than its memory and time. The tests are trusted as
    much as the data they came with: they run without network as well, and may import the standard library.

    Args:
        code: Python that defines functions; what it may import, `limbeck.confinement.warden.MODULES` says.
        tests: Python that calls them: `assert add(1, 2) == 3`, each statement a test.
        seconds: For code and tests together, on the clock.
        megabytes: Of address space for the code.

    Raises:
        DataError: Where processes cannot be confined (Windows).
    """
    if os.name != "posix":
        raise DataError("code cannot be confined on this system", expected="Linux or macOS")
    # Neither site-packages nor what stands in the environment; sets have the same order every time.
    command = [sys.executable, "-S", "-s", "-P", "-B", str(_HERE / "warden.py"), str(_HERE)]
    said = json.dumps({"code": code, "tests": tests, "seconds": seconds, "memory": megabytes << 20})
    with tempfile.TemporaryDirectory() as nowhere:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=nowhere,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
            start_new_session=True,
        )
        try:
            answer, _ = process.communicate(said.encode(errors="replace"), timeout=seconds + _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return Outcome(0, 0, f"not done after {seconds + _GRACE_SECONDS:g} s", ())
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.communicate()
    try:
        found = json.loads(answer)
        return Outcome(found["passed"], found["total"], found["why"], tuple(found["walls"]))
    except (ValueError, KeyError, TypeError):
        return Outcome(0, 0, "the process of the tests was ended", ())
