"""Artifacts asked where there is no network: what is shown, and that a runtime which asks for a socket is caught."""

import ctypes
import json
import platform
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import small_artifacts

import limbeck_runtime
from limbeck.cli import main
from limbeck.errors import ModelError, RecipeError
from limbeck.locality import observation
from limbeck.locality.filters import FORBIDDEN, program
from limbeck.locality.proof import Locality, prove_local

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
KILL, ALLOW = 0x80000000, 0x7FFF0000


def decided(steps: bytes, architecture: int, number: int) -> int:
    """What the kernel's machine would return, by the four instructions that there are."""
    data = {0: number, 4: architecture}
    at, held = 0, 0
    while True:
        code, true, false, value = struct.unpack_from("=HBBI", steps, 8 * at)
        at += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            held = data[value]
        elif code == 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
            at += true if held == value else false
        elif code == 0x35:  # BPF_JMP | BPF_JGE | BPF_K
            at += true if held >= value else false
        else:
            assert code == 0x06  # BPF_RET | BPF_K
            return value


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_kills_at_each_forbidden_call_and_at_no_other(machine: str) -> None:
    steps, forbidden = program(machine), set(FORBIDDEN[machine].values())
    assert {number for number in range(600) if decided(steps, ARCHITECTURES[machine], number) == KILL} == forbidden
    assert {decided(steps, ARCHITECTURES[machine], number) for number in range(600)} == {KILL, ALLOW}
    assert decided(steps, ARCHITECTURES[machine], 0x40000000 + 1) == KILL  # x32 counts from there
    other = ARCHITECTURES["aarch64" if machine == "x86_64" else "x86_64"]
    assert {decided(steps, other, number) for number in range(600)} == {KILL}
    assert len(FORBIDDEN["x86_64"]) == len(FORBIDDEN["aarch64"]) == len(forbidden)


def test_no_filter_is_made_up_for_an_unknown_machine() -> None:
    assert program("riscv64") == b""


def test_numbers_are_those_of_this_machines_headers() -> None:
    table = next((p for p in Path("/usr/include").glob("*/asm/unistd_64.h")), None)
    if table is None or platform.machine() != "x86_64":
        pytest.skip("the kernel's headers for x86_64 are not installed")
    said = dict(
        (words[1].removeprefix("__NR_"), int(words[2]))
        for line in table.read_text().splitlines()
        if len(words := line.split()) == 3 and words[2].isdigit()
    )
    known = {name: number for name, number in FORBIDDEN["x86_64"].items() if name in said}
    assert len(known) > 20 and known == {name: said[name] for name in known}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_artifacts.made(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def proof(artifact: Path) -> Locality:
    return prove_local(artifact)


def planted(folder: Path, code: str, file: str = "predictor.py") -> Path:
    """A copy of the runtime that runs code when it is imported."""
    runtime = folder / "limbeck_runtime"
    shutil.copytree(Path(limbeck_runtime.__file__).parent, runtime, ignore=shutil.ignore_patterns("__pycache__"))
    kept = (runtime / file).read_text()
    (runtime / file).write_text(f"{code}\n{kept}" if file == "predictor.py" else code)
    return runtime


def verdicts(found: Locality) -> dict[str, str]:
    return {check.name: check.verdict for check in found.checks}


def evidence(found: Locality, name: str) -> str:
    return next(check.evidence for check in found.checks if check.name == name)


def barriers(found: Locality) -> None:
    """Skips where this machine's kernel refuses barriers; one that is raised and does not hold is a bug."""
    for name in ("there is no network interface", "nobody asks for a socket"):
        said = evidence(found, name)
        if re.match("the kernel refuses|no filter is known|this system has no", said):
            pytest.skip(f"not shown on this machine: {said}")


def test_everything_is_shown_of_an_artifact(proof: Locality, artifact: Path) -> None:
    barriers(proof)
    assert {check.name: check.evidence for check in proof.checks if check.needed and check.verdict != "proved"} == {}
    assert proof.verdict == "proved" and proof.written == ()
    assert str(artifact) in proof.opened
    assert any("onnxruntime_pybind11_state" in name for name in proof.opened)
    assert not any("torch" in name or "_socket" in name for name in proof.opened)
    assert "another, which asked on purpose, was killed" in evidence(proof, "nobody asks for a socket")


def test_strace_sees_no_network_call(proof: Locality) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: nobody looks from outside")
    assert verdicts(proof)["strace sees no network call"] == "proved"


def test_a_runtime_that_asks_for_a_socket_is_caught(artifact: Path, tmp_path: Path, proof: Locality) -> None:
    barriers(proof)
    found = prove_local(artifact, runtime=planted(tmp_path, "import socket; socket.socket()"))
    assert found.verdict == "refuted"
    assert verdicts(found)["nobody asks for a socket"] == "refuted"
    said = evidence(found, "nobody asks for a socket")
    assert "socket.__new__" in said and "the kernel killed the process (SIGSYS)" in said


def test_a_socket_below_python_is_caught(artifact: Path, tmp_path: Path, proof: Locality) -> None:
    barriers(proof)
    found = prove_local(artifact, runtime=planted(tmp_path, "import ctypes; ctypes.CDLL(None).socket(1, 1, 0)"))
    assert verdicts(found)["nobody asks for a socket"] == "refuted"
    assert "a forbidden call below Python" in evidence(found, "nobody asks for a socket")
    if shutil.which("strace"):
        assert "socket(AF_UNIX" in evidence(found, "strace sees no network call")


def test_the_module_alone_is_caught_and_so_is_a_written_file(artifact: Path, tmp_path: Path) -> None:
    left = tmp_path / "left.txt"
    found = prove_local(artifact, runtime=planted(tmp_path, f"import socket; open({str(left)!r}, 'w').close()"))
    assert found.verdict == "refuted"
    assert verdicts(found)["no module of the network is loaded"] == "refuted"
    assert evidence(found, "no module of the network is loaded") == "_socket, socket"
    assert verdicts(found)["nothing is written"] == "not proved" and found.written == (str(left),)


def test_the_reports_of_onnx_runtime_would_be_caught(artifact: Path, tmp_path: Path, proof: Locality) -> None:
    """Left alone it looks up whose folder to keep its reports in; that is a call to another process."""
    barriers(proof)
    import onnxruntime

    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 29):
        pytest.skip("this ONNX Runtime reports nothing yet")
    found = prove_local(artifact, runtime=planted(tmp_path, "import onnxruntime", "onnx_runtime.py"))
    assert found.verdict == "refuted"


def test_a_filter_that_does_not_bite_proves_nothing(
    artifact: Path, proof: Locality, monkeypatch: pytest.MonkeyPatch
) -> None:
    barriers(proof)
    allows = struct.pack("=HBBI", 0x06, 0, 0, ALLOW)
    monkeypatch.setattr("limbeck.locality.proof.program", lambda: allows)
    found = prove_local(artifact)
    assert found.verdict == "not proved" and "does not bite" in evidence(found, "nobody asks for a socket")


def test_nothing_but_the_runtime_can_be_imported(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No module named 'torch'"):
        prove_local(artifact, runtime=planted(tmp_path, "import torch"))
    with pytest.raises(RecipeError, match="no package"):
        prove_local(artifact, runtime=tmp_path)


DENIED = """
import ctypes, json, struct, sys
# unshare (272) fails with EPERM, and so does prctl (157) when asked for a filter (22), as in some containers.
steps = [(0x20, 0, 0, 0), (0x15, 4, 0, 272), (0x15, 0, 2, 157), (0x20, 0, 0, 16), (0x15, 1, 0, 22),
         (6, 0, 0, 0x7FFF0000), (6, 0, 0, 0x00050001)]
program = b"".join(struct.pack("=HBBI", *step) for step in steps)
held = ctypes.create_string_buffer(program, len(program))
class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(steps), ctypes.cast(held, ctypes.c_void_p))), 0, 0) == 0
from limbeck.cli import main
main(["prove-local", sys.argv[1], "--json"])
"""


def test_where_the_kernel_refuses_nothing_is_called_proved(artifact: Path, proof: Locality) -> None:
    barriers(proof)
    if platform.machine() != "x86_64":
        pytest.skip("the refusing kernel is played with numbers of x86_64")
    done = subprocess.run(
        [sys.executable, "-c", DENIED, str(artifact)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 10, done.stderr
    said = json.loads(done.stdout)
    found = {check["name"]: check for check in said["checks"]}
    assert said["verdict"] == "not proved"
    for name, words in (
        ("there is no network interface", "refuses a network namespace"),
        ("nobody asks for a socket", "refuses a seccomp filter"),
    ):
        assert found[name]["verdict"] == "not proved" and words in found[name]["evidence"]
    assert found["it answers"]["verdict"] == "proved"


def test_strace_is_read_also_where_threads_interrupt_each_other(tmp_path: Path) -> None:
    (tmp_path / "said.txt").write_text(
        '10 openat(AT_FDCWD, "/a", O_RDONLY|O_CLOEXEC) = 3\n'
        '10 openat(AT_FDCWD, "/missing", O_RDONLY) = -1 ENOENT (No such file or directory)\n'
        '10 openat(AT_FDCWD, "/b", O_WRONLY|O_CREAT <unfinished ...>\n'
        "11 socket(AF_INET, SOCK_STREAM, 0 <unfinished ...>\n"
        "10 <... openat resumed>, 0644) = 4\n"
        "11 <... socket resumed>) = 5\n"
        "11 connect(5, {sa_family=AF_INET}, 16) = -1 ENETUNREACH (Network is unreachable)\n"
    )
    seen = observation.read(tmp_path / "said.txt")
    assert seen.opened == ("/a", "/b") and seen.written == ("/b",)
    assert [call.split("(")[0] for call in seen.network] == ["socket", "connect"]


def test_the_runtime_brings_no_socket_and_leaves_the_environment_alone() -> None:
    code = (
        "import os, sys; before = dict(os.environ); import limbeck_runtime;"
        "print([name for name in ('socket', '_socket', 'ssl', 'torch', 'limbeck') if name in sys.modules],"
        "dict(os.environ) == before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] True"


class TestCommandLine:
    def said(self, capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert (left.value.code or 0) == code
        captured = capsys.readouterr()
        return captured.out if code in (0, 10) else captured.err

    def test_a_proof_is_shown_with_what_it_does_not_show(
        self, artifact: Path, proof: Locality, capsys: pytest.CaptureFixture[str]
    ) -> None:
        barriers(proof)
        text = " ".join(self.said(capsys, "prove-local", str(artifact), "--files", code=0).split())
        assert ": proved" in text and "not shown: the kernel is believed" in text and "model.onnx" not in text

    def test_bad_files_are_refused(self, artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "no file" in self.said(capsys, "prove-local", str(tmp_path / "missing.limbeck"), code=4)
        damaged = tmp_path / "damaged.limbeck"
        content = bytearray(artifact.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        assert "damaged" in self.said(capsys, "prove-local", str(damaged), code=4)


def test_this_process_may_open_sockets_after_a_proof(proof: Locality) -> None:
    """The barriers are the other process's."""
    libc = ctypes.CDLL(None)
    handle = libc.socket(1, 1, 0)
    assert handle >= 0 and proof is not None
    libc.close(handle)
