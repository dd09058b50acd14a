"""What strace, where it is installed and allowed, saw of a process from outside."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_TRACED = "%network,?open,?openat,?openat2,?creat,?io_uring_setup,?pidfd_getfd"
_CALL = re.compile(r"^(?P<process>\d+)\s+(?P<name>\w+)\((?P<rest>.*)$")
_RESUMED = re.compile(r"^(?P<process>\d+)\s+<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$")
_OPENS = {"open", "openat", "openat2", "creat"}
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_RESULT = re.compile(r"= (-?\d+)")
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")


@dataclass(frozen=True)
class Seen:
    """What a process and all it started asked the kernel for.

    Args:
        network: Calls that belong to networks, as strace wrote them.
        opened: Files that were opened, sorted.
        written: Those of them that were opened for writing.
    """

    network: tuple[str, ...]
    opened: tuple[str, ...]
    written: tuple[str, ...]


def command(to: Path) -> list[str] | str:
    """What stands before a command so that strace watches it and writes to a file; or in words why that cannot be."""
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    found = [strace, "-f", "-qq", "-s", "4096", "-e", "signal=none", "-e", f"trace={_TRACED}", "-o", str(to)]
    tried = subprocess.run([*found, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"strace may not watch here: {(tried.stderr.strip() or 'it fails').splitlines()[-1]}"
    return found


def read(path: Path) -> Seen:
    """What strace wrote down."""
    network: list[str] = []
    opened: dict[str, bool] = {}
    waiting: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if (found := _RESUMED.match(line)) is not None:
            began = waiting.pop(found["process"], "")
            name, rest = found["name"], began + found["rest"]
        elif (found := _CALL.match(line)) is not None:
            name, rest = found["name"], found["rest"]
            # Of a call that another thread interrupts, the result stands in a later line.
            if name in _OPENS and rest.endswith("<unfinished ...>"):
                waiting[found["process"]] = rest
                continue
        else:
            continue
        if name not in _OPENS:
            if _CALL.match(line):
                network.append(f"{name}({rest}")
            continue
        _note(rest, opened)
    return Seen(tuple(network), tuple(sorted(opened)), tuple(sorted(path for path, writes in opened.items() if writes)))


def _note(call: str, opened: dict[str, bool]) -> None:
    """Notes the file of one call that opened it; a call that failed opened nothing."""
    path, result = _PATH.search(call), _RESULT.findall(call)
    if path is not None and result and int(result[-1]) >= 0:
        opened[path[1]] = opened.get(path[1], False) or bool(_WRITES.search(call[path.end() :]))
