"""A script of its own: it runs the tests, and in a second process, behind walls, the code that they test.

Started as `python -S -s -P warden.py FOLDER`; it reads one JSON object from its standard input and answers with one. It
knows the standard library and the two files beside it alone, which it loads from FOLDER.

The code never meets the tests: these run here and call proxies of the code's functions, each call a line of JSON to
the other process and an answer back. What comes back is plain values, compared here. So no marker is there to print, no
exit status to forge, and no object to claim equality.
"""

import ast
import builtins
import contextlib
import ctypes
import importlib
import importlib.util
import io
import json
import os
import resource
import select
import signal
import sys
import time
from typing import Any

# What confined code may import: loaded before the walls go up, for behind them no file is opened.
MODULES = (
    "abc array bisect calendar cmath collections collections.abc contextlib copy dataclasses datetime decimal enum "
    "fractions functools hashlib heapq itertools json math numbers operator random re statistics string textwrap time "
    "types typing unicodedata"
).split()
_LONGEST_LINE = 8_000_000
_FORBIDDEN = (
    "open",
    "os.",
    "shutil.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "mmap.",
    "signal.pthread",
    "sys.addaudithook",
)
_NEW_USER, _NEW_NET, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_SET_DUMPABLE, _DEATH_SIGNAL = 4, 1
_NOBODY = 65534


class Gone(Exception):
    """The other process has ended, or said what cannot be read."""


class Late(Exception):
    """The time is over."""


def main() -> None:
    """Reads what to do, does it and says what came of it."""
    folder = sys.argv[1]
    values, syscalls = (_beside(folder, name) for name in ("values", "syscalls"))
    said = json.loads(sys.stdin.read())
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(1, 2)
    for name in MODULES:
        importlib.import_module(name)
    walls = ["limits of time and memory", *_without_network()]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # nobody reads or writes the memory of this process
    found = _tested(said, values, syscalls, answers, walls)
    os.write(answers, json.dumps(found).encode())


def _beside(folder: str, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, f"{folder}/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _without_network() -> list[str]:
    """A network of its own, with nothing in it, where the kernel gives one."""
    if sys.platform != "linux":
        return []
    library = ctypes.CDLL(None)
    own = 0 if os.getuid() == 0 else _NEW_USER
    for spaces in (own | _NEW_NET | _NEW_IPC, own | _NEW_NET):
        if library.unshare(spaces) == 0:
            return ["a network namespace"]
    return []


def _tested(said: dict[str, Any], values: Any, syscalls: Any, answers: int, walls: list[str]) -> dict[str, Any]:
    here, there = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        for descriptor in (here[1], there[0], answers):
            os.close(descriptor)
        _confined(said, values, syscalls, here[0], there[1])
    os.close(here[0])
    os.close(there[1])
    link = Link(here[1], there[0], time.monotonic() + said["seconds"], values)
    passed = total = 0
    try:
        first = link.receive()
        walls += first["walls"]
        if "error" in first:
            return {"passed": 0, "total": 0, "why": first["error"], "walls": walls}
        passed, total, why = _judged(said["tests"], first["names"], link)
    except Late:
        why = f"not done after {said['seconds']:g} s"
    except Gone as error:
        why = str(error)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {"passed": passed, "total": total, "why": why, "walls": walls}


class Link:
    """The line to the other process."""

    def __init__(self, to: int, back: int, until: float, values: Any) -> None:
        self.to, self.back, self.until, self.values = to, back, until, values
        self._waiting = b""

    def receive(self) -> dict[str, Any]:
        """The next line."""
        while b"\n" not in self._waiting:
            left = self.until - time.monotonic()
            if left <= 0 or not select.select([self.back], [], [], left)[0]:
                raise Late
            some = os.read(self.back, 1 << 16)
            if not some:
                raise Gone("the code ended its process")
            self._waiting += some
            if len(self._waiting) > _LONGEST_LINE:
                raise Gone("the code said more than can be read")
        line, _, self._waiting = self._waiting.partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError as error:
            raise Gone("the code broke its line to the tests") from error
        if not isinstance(found, dict):
            raise Gone("the code broke its line to the tests")
        return found

    def call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Calls a function of the code; lists, mappings and sets that it changes are changed here too."""
        pack, unpack = self.values.packed, self.values.unpacked
        line = json.dumps({"call": name, "arguments": pack(list(arguments)), "keywords": pack(keywords)}).encode()
        with contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(self.to, line) :]
            os.write(self.to, b"\n")
        said = self.receive()
        try:
            for mine, theirs in zip(arguments, unpack(said.get("arguments", {"list": []})), strict=False):
                _changed(mine, theirs)
            if "error" in said:
                raise _raised(str(said["error"]), str(said["text"])[:500])
            return unpack(said["value"])
        except (KeyError, AttributeError) as error:
            if "error" in said:
                raise
            raise Gone("the code broke its line to the tests") from error


def _raised(name: str, text: str) -> Exception:
    """The error of that name that everybody knows, or another one."""
    kind: Any = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(TypeError):  # such as UnicodeDecodeError, which takes more
            return kind(text)
    return RuntimeError(f"{name}: {text}")


def _changed(mine: Any, theirs: Any) -> None:
    if type(mine) is not type(theirs) or mine == theirs:
        return
    if isinstance(mine, list):
        mine[:] = theirs
    elif isinstance(mine, dict | set):
        mine.clear()
        mine.update(theirs)


def _judged(tests: str, names: Any, link: Link) -> tuple[int, int, str]:
    """How many of the tests' statements that check something pass, of how many, and why the first one does not."""
    space: dict[str, Any] = {"__name__": "tests"}
    for name in names if isinstance(names, list) else []:
        # What everybody has stays what it is, or code could bring an `all` or `abs` of its own.
        if isinstance(name, str) and name.isidentifier() and name[0] != "_" and not hasattr(builtins, name):
            space[name] = _proxy(name, link)
    passed = total = 0
    why = ""
    for statement in ast.parse(tests).body:
        checks = isinstance(statement, ast.Assert) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        )
        total += checks
        try:
            exec(compile(ast.Module([statement], []), "tests", "exec"), space)
            passed += checks
        except (Late, Gone):
            raise
        except BaseException as error:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            why = why or f"{ast.unparse(statement)[:200]}: {said[:200]}"
            if not checks:
                break
    return passed, total, why


def _proxy(name: str, link: Link) -> Any:
    return lambda *arguments, **keywords: link.call(name, arguments, keywords)


def _confined(said: dict[str, Any], values: Any, syscalls: Any, orders: int, answers: int) -> None:
    """Runs the code and answers calls of its functions, until it is killed."""
    try:
        lines = io.BufferedReader(io.FileIO(orders))
        walls = _walls(said, syscalls)
        space: dict[str, Any] = {"__name__": "solution"}
        try:
            exec(compile(said["code"], "solution", "exec"), space)
        except BaseException as error:
            _say(answers, {"error": f"{type(error).__name__}: {error}"[:300], "walls": walls})
            return
        names = [name for name, held in space.items() if callable(held) and name[:1] != "_"]
        _say(answers, {"names": names, "walls": walls})
        while line := lines.readline():
            _say(answers, _answered(json.loads(line), space, values))
    finally:
        os._exit(0)


def _walls(said: dict[str, Any], syscalls: Any) -> list[str]:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    seconds = int(said["seconds"]) + 1
    limits = {
        "RLIMIT_AS": said["memory"],
        "RLIMIT_CPU": seconds,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 0,
        "RLIMIT_NOFILE": 16,
    }
    for name, most in limits.items():
        # macOS does not keep some of them.
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (most, most))
    found = ["system calls of memory and time alone"] if syscalls.restrict() else []
    for name in ("ctypes", "_ctypes", "resource", "select", "signal"):
        sys.modules.pop(name, None)
    sys.addaudithook(_refused)
    return [*found, "an audit hook"]


def _refused(event: str, arguments: Any) -> None:
    if event.startswith(_FORBIDDEN):
        raise PermissionError(f"{event} is not permitted here")


def _answered(asked: dict[str, Any], space: dict[str, Any], values: Any) -> dict[str, Any]:
    arguments = values.unpacked(asked["arguments"])
    try:
        value = space[asked["call"]](*arguments, **values.unpacked(asked["keywords"]))
        said = {"value": values.packed(value)}
    except BaseException as error:
        said = {"error": type(error).__name__, "text": str(error)[:500]}
    with contextlib.suppress(TypeError):
        said["arguments"] = values.packed(arguments)
    return said


def _say(answers: int, said: dict[str, Any]) -> None:
    line = f"{json.dumps(said)}\n".encode()
    while line:
        line = line[os.write(answers, line) :]


if __name__ == "__main__":
    main()
