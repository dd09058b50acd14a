"""Code that nobody has read: it is held to its limits, reaches nothing, and passes its tests by passing them alone."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.catalog.verifiers import verifier
from limbeck.confinement import syscalls, values
from limbeck.confinement.jail import Outcome, confined
from limbeck.errors import RecipeError
from limbeck.verification import Problem

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are confined where there is fork")
TESTS = "assert f(2) == 4"


def run(code: str, tests: str = TESTS, seconds: float = 5.0, megabytes: int = 512) -> Outcome:
    return confined(code, tests, seconds=seconds, megabytes=megabytes)


def test_right_code_passes_and_wrong_code_does_not() -> None:
    right = run("def f(x): return x * 2", f"{TESTS}\nassert f(0) == 0")
    assert right.right and (right.passed, right.total, right.why) == (2, 2, "")
    wrong = run("def f(x): return x * 3", f"{TESTS}\nassert f(0) == 0")
    assert not wrong.right and (wrong.passed, wrong.total) == (1, 2) and wrong.why.startswith("assert f(2) == 4")
    if sys.platform == "linux" and syscalls.program("x86_64"):
        assert "an audit hook" in right.walls and "system calls of memory and time alone" in right.walls


WORKS = {
    "what it may import": (
        "import math, re, heapq\nfrom collections import Counter\ndef f(x): return math.isqrt(16)",
        TESTS,
    ),
    "an import inside": ("def f(x):\n    import string, bisect\n    return len(string.digits) - 6", TESTS),
    "a list that is changed": ("def f(x): x.sort()", "x = [3, 1, 2]\nf(x)\nassert x == [1, 2, 3]"),
    "an error that is expected": (
        "def f(x): raise ValueError('no')",
        "try:\n    f(1)\nexcept ValueError:\n    met = True\nassert met",
    ),
    "tests in a function": ("def add(a, b): return a + b", "def check(of):\n    assert of(1, b=2) == 3\ncheck(add)"),
    "what is read once": ("def f(x):\n    yield from range(x)", "assert list(f(3)) == [0, 1, 2]"),
    "half of a pair": ("def f(x): return '\\ud800'", "assert f(1) == '\\ud800'"),
    "state": ("seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)", "assert f(9) == 1\nassert f(9) == 2"),
}


@pytest.mark.parametrize("name", WORKS)
def test_honest_code_works(name: str) -> None:
    found = run(*WORKS[name])
    assert found.right, found.why


REACHES = {
    "fork": "import os\ndef f(x):\n    while True: os.fork()",
    "thread": "import _thread\ndef f(x): return _thread.start_new_thread(print, ()) and 4",
    "program": "import os\ndef f(x): return os.system('true') or 4",
    "spawn": "import os\ndef f(x): return os.posix_spawn('/bin/true', ['true'], {}) and 4",
    "write": "def f(x):\n    open({place!r}, 'w').write('x')\n    return 4",
    "write below": "import os\ndef f(x): return os.open({place!r}, os.O_CREAT | os.O_WRONLY) and 4",
    "make a folder": "import os\ndef f(x): return os.mkdir({place!r}) or 4",
    "read": "def f(x): return open('/etc/passwd').read() and 4",
    "read below": "import _io\ndef f(x): return _io.FileIO('/etc/passwd').read() and 4",
    "look": "import os\ndef f(x): return os.listdir('/') and 4",
    "socket": "import socket\ndef f(x): return 4",
    "kill": "import os\ndef f(x): return os.kill(os.getppid(), 9) or 4",
    "library": "import ctypes\ndef f(x): return 4",
    "package": "import numpy\ndef f(x): return 4",
}


@pytest.mark.parametrize("name", REACHES)
def test_it_reaches_nothing(name: str, tmp_path: Path) -> None:
    place = tmp_path / "written"
    found = run(REACHES[name].replace("{place!r}", repr(str(place))))
    assert not found.right and not place.exists()
    assert any(word in found.why for word in ("not permitted", "No module", "PermissionError", "RuntimeError"))


FORGES = {
    "prints a verdict": 'import sys\nprint(\'{"passed": 1, "total": 1, "why": "", "walls": []}\')\nsys.exit(0)',
    "writes a verdict everywhere": (
        "import os\ndef f(x):\n    for place in range(20):\n"
        '        try: os.write(place, b\'{"passed": 1, "total": 1, "why": "", "walls": []}\\n\')\n'
        "        except BaseException: pass\n    return 5"
    ),
    "leaves with success": "import os\ndef f(x): os._exit(0)",
    "leaves while it is read": "import os\nos._exit(0)",
    "equals everything": "class A(int):\n    def __eq__(self, other): return True\ndef f(x): return A(3)",
    "brings an all": "def all(x): return True\ndef abs(x): return 0\ndef f(x): return 7",
    "looks for the tests": (
        "import sys, gc\ndef f(x):\n    for each in gc.get_objects():\n"
        "        if isinstance(each, dict) and 'passed' in each: each['passed'] = each['total'] = 1\n"
        "    frame = sys._getframe()\n    while frame:\n        frame.f_globals.update(passed=9, total=9)\n"
        "        frame = frame.f_back\n    return 5"
    ),
}


@pytest.mark.parametrize("name", FORGES)
def test_it_cannot_forge_a_verdict(name: str) -> None:
    tests = "assert abs(f(2) - 4) < 1e-6\nassert all([f(2) == 4])" if "brings" in name else TESTS
    assert not run(FORGES[name], tests).right


def test_names_that_everybody_has_are_not_taken_from_code() -> None:
    tests = "assert __name__ == 'tests' and isinstance(f(2), int) and f(2) == 4"
    assert run("def isinstance(*x): return True\n__name__ = 'mine'\ndef f(x): return x * 2", tests).right
    lies = 'import os\nos.write({to}, b\'{"names": ["__builtins__", "f"], "walls": []}\\n\')\ndef f(x): return 4'
    for descriptor in (4, 5, 6, 7):  # whichever leads to the tests
        assert not run(lies.replace("{to}", str(descriptor)), "assert False", seconds=1).right


ENDLESS = {
    "loop": "def f(x):\n    while True: pass",
    "sleep": "import time\ndef f(x): time.sleep(1000)",
    "loop while it is read": "while True: pass",
    "catches everything": (
        "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass"
    ),
    "says no end": "def f(x): return 'x' * 10**9",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_it_ends(name: str) -> None:
    began = time.monotonic()
    found = run(ENDLESS[name], seconds=0.7, megabytes=4096)
    # The tests' own process was not waited for in vain: it says what kept the code in.
    assert not found.right and found.walls and time.monotonic() - began < 20
    assert "not done" in found.why or "MemoryError" in found.why or "more than can be read" in found.why


def test_a_process_that_will_not_end_leaves_nobody_behind() -> None:
    mark = f"left_behind_{os.getpid()}"
    run(f"{mark} = 1\ndef f(x):\n    while True: pass", seconds=0.3)
    here = [each for each in Path("/proc").glob("[0-9]*/cmdline") if each.parent.name.isdigit()]
    left = []
    for place in here:
        try:
            status = (place.parent / "status").read_text()
        except OSError:
            continue
        if f"PPid:\t{os.getpid()}\n" in status and "warden" in place.read_bytes().decode(errors="replace"):
            left.append(place)
    assert not left


def test_memory_is_bounded() -> None:
    hungry = "def f(x):\n    kept = []\n    while True: kept.append(bytearray(10**7))"
    found = run(hungry, megabytes=128)
    assert not found.right and "MemoryError" in found.why
    assert run("def f(x): return len(bytearray(10**7)) and 4", megabytes=128).right


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's filter is Linux's")
@pytest.mark.parametrize(
    "attempt",
    [
        "os.fork()",
        "open('/etc/passwd')",
        "open('/tmp/x', 'w')",
        "socket.socket()",
        "os.kill(os.getpid(), 0)",
        "os.setsid()",
        "os.listdir('/')",
        "os.execv('/bin/true', ['true'])",
        "threading.Thread(target=print).start()",
    ],
)
def test_the_kernel_refuses_without_any_help_of_python(attempt: str) -> None:
    script = (
        "import os, socket, sys, threading, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('s', {syscalls.__file__!r})\n"
        "s = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(s)\n"
        "if not s.restrict(): print('no filter'); os._exit(0)\n"
        f"try:\n    {attempt}\nexcept (PermissionError, RuntimeError): print('refused')\n"
        "sys.stdout.flush()\nos._exit(0)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True)
    if "no filter" in done.stdout:
        pytest.skip("this kernel or machine has no filter of system calls")
    assert done.stdout == "refused\n", done.stderr


def test_the_filter_allows_what_its_table_says_and_nothing_else() -> None:
    """The program is run here, line by line, as the kernel would."""
    import struct

    for machine, architecture, allowed, refused in (
        ("x86_64", 0xC000003E, (0, 1, 9, 12, 231), (2, 41, 56, 57, 59, 62, 101, 257, 435, 0x40000000)),
        ("aarch64", 0xC00000B7, (63, 64, 222, 214, 94), (56, 198, 220, 221, 129, 117, 435)),
    ):
        lines = list(struct.iter_unpack("HBBI", syscalls.program(machine)))

        def verdict(number: int, seen: int, lines: list = lines) -> int:
            place = held = 0
            while True:
                code, yes, no, operand = lines[place]
                place += 1
                if code == 0x20:
                    held = {0: number, 4: seen}[operand]
                elif code == 0x15:
                    place += yes if held == operand else no
                else:
                    return operand

        assert {verdict(each, architecture) for each in allowed} == {0x7FFF0000}
        assert {verdict(each, architecture) for each in refused} == {0x00050001}
        assert verdict(allowed[0], 0x40000003) == 0x80000000


def kinds(value: object) -> list[type]:
    """The types in a value, one for each part of it."""
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    parts = inner if isinstance(inner, list | tuple | set | frozenset) else []
    return [type(value), *(kind for part in parts for kind in kinds(part))]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.integers() | st.text(), inner)
        | st.sets(st.integers() | st.text())
    ),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(PLAIN)
def test_plain_values_cross_exactly(value: object) -> None:
    import json

    back = values.unpacked(json.loads(json.dumps(values.packed(value))))
    assert back == value and sorted(map(str, kinds(back))) == sorted(map(str, kinds(value)))


def test_what_is_not_plain_does_not_cross() -> None:
    class Mine(int):
        pass

    endless: list = []
    endless.append(endless)
    for value in (Mine(3), object(), lambda: 1, [Mine(3)], {1: object()}, endless):
        with pytest.raises(values.NotPlain):
            values.packed(value)


def test_the_verifier_of_functions() -> None:
    judge = verifier("python(seconds=3, megabytes=256)")
    assert repr(judge) == "python(seconds=3, megabytes=256)"
    problem = Problem(0, "Double a number.", {"tests": f"{TESTS}\nassert f(3) == 6"})
    said = "First think.\n```python\ndef f(x):\n    return x + x\n```\nDone."
    found = judge.verify(said, problem)
    assert found.right and found.sound and (found.steps, found.steps_right) == (2, 2)
    assert judge.parted(said) == ("First think.\n", "def f(x):\n    return x + x")
    assert (
        judge.digest(said) == judge.digest("def f(x):\n    return  x+x  # twice") != judge.digest("def f(x): return x")
    )
    half = judge.verify("def f(x): return 4", problem)
    assert not half.right and (half.steps, half.steps_right) == (2, 1)
    assert not judge.verify("I do not know.", problem).right
    assert judge.check(Problem(0, "", {"tests": "f(2)"})) == "its tests hold no assert"
    assert "no Python" in judge.check(Problem(0, "", {"tests": "assert ("}))
    with pytest.raises(RecipeError, match="megabytes"):
        verifier("python(megabytes=1)")
    with pytest.raises(RecipeError, match="did you mean 'python'"):
        verifier("pyhton")


def test_the_script_behind_the_walls_imports_the_standard_library_alone() -> None:
    for name in ("warden", "values", "syscalls"):
        tree = ast.parse((Path(syscalls.__file__).parent / f"{name}.py").read_text())
        found = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
        found |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {each.partition(".")[0] for each in found} <= set(sys.stdlib_module_names)
