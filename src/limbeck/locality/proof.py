"""Asks an artifact in a process that has no network and may not ask for one, and says what that shows and what not."""

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from limbeck.errors import ModelError, RecipeError
from limbeck.locality import observation
from limbeck.locality.filters import program

SECONDS = 300.0
PACKAGES = ("numpy", "numpy.libs", "onnxruntime")
Verdict = Literal["proved", "not proved", "refuted"]

LIMITS = (
    "the kernel is believed: its barriers are what the proof rests on",
    "shown for this artifact, this runtime and this run; code around the runtime is not looked at",
    "a file that is written can be carried away by another program: what was written is listed",
)


@dataclass(frozen=True)
class Check:
    """One thing that was to be shown.

    Args:
        name: What.
        verdict: `proved`, `refuted`, or `not proved` where this machine does not let it be shown.
        evidence: What was seen, or why it could not be.
        needed: Whether the whole is proved only with it.
    """

    name: str
    verdict: Verdict
    evidence: str
    needed: bool = True


@dataclass(frozen=True)
class Locality:
    """What was shown of one artifact.

    Args:
        file: The artifact.
        checks: Each thing that was to be shown.
        opened: Every file that was opened or mapped, by any view there was.
        written: Those that were opened for writing.
        limits: What no such run can show.
    """

    file: Path
    checks: tuple[Check, ...]
    opened: tuple[str, ...]
    written: tuple[str, ...]
    limits: tuple[str, ...] = LIMITS

    @property
    def verdict(self) -> Verdict:
        """`refuted` where anything was, `proved` where all that is needed was, else `not proved`."""
        if any(check.verdict == "refuted" for check in self.checks):
            return "refuted"
        return "proved" if all(check.verdict == "proved" for check in self.checks if check.needed) else "not proved"


@dataclass(frozen=True)
class _Ran:
    """One confined process: how it ended, its lines by name, what it said of errors, and what strace saw."""

    code: int
    lines: Mapping[str, Any]
    attempts: Sequence[str]
    errors: str
    seen: observation.Seen | str

    @property
    def killed(self) -> bool:
        # strace ends as what it watched does, or with 128 and the signal's number.
        return self.code in (-signal.SIGSYS, 128 + signal.SIGSYS)


def prove_local(file: str | Path, *, runtime: str | Path | None = None) -> Locality:
    """Asks an artifact's golden rows where there is no network, and sees whether anybody asked for one.

    A process of its own has the standard library, numpy, ONNX Runtime and the runtime, and nothing else to import. It
    stands in a network namespace without interfaces and under a seccomp filter that kills it at the first call of the
    socket family. A second process shows that the filter bites.

    Args:
        file: An artifact.
        runtime: The folder of the package `limbeck_runtime` to run; None: the one installed here.

    Raises:
        ModelError: When the runtime refuses the artifact, or breaks for another reason than the network.
        RecipeError: When `runtime` is no package, or this is Windows.
    """
    if not hasattr(signal, "SIGSYS"):
        raise RecipeError(f"{sys.platform} has no barriers to ask an artifact behind", expected="Linux")
    path, home = Path(file), _runtime(runtime)
    if not path.is_file():
        raise ModelError(f"{path} is no file", expected="an artifact, NAME.limbeck", remedy="limbeck export RUN")
    with tempfile.TemporaryDirectory(prefix="limbeck-local-") as scratch:
        folder = Path(scratch) / "packages"
        folder.mkdir()
        _link(folder, home)
        ran = _run(path, folder, Path(scratch), control=False)
        control = _run(path, folder, Path(scratch), control=True)
    report = ran.lines.get("report")
    if report is None and not ran.killed and not ran.attempts:
        raise ModelError(
            f"the runtime broke while it was asked about {path}: {ran.errors.strip()[-400:] or f'exit {ran.code}'}",
            expected="answers to the golden rows",
        )
    if report is not None and "fault" in report:
        problem, expected, remedy = report["fault"]
        raise ModelError(problem, expected=expected, remedy=remedy)
    opened, written = _files(report or {}, ran.seen)
    checks = (_answers(ran, report), *_kernel(ran, control, report), *_inside(report), _outside(ran), _written(written))
    return Locality(path, checks, opened, written)


def _runtime(said: str | Path | None) -> Path:
    if said is None:
        spec = importlib.util.find_spec("limbeck_runtime")
        assert spec is not None and spec.origin is not None
        return Path(spec.origin).parent
    if not (Path(said) / "__init__.py").is_file():
        raise RecipeError(f"{said} is no package", expected="the folder limbeck_runtime")
    return Path(said)


def _link(folder: Path, runtime: Path) -> None:
    """Puts links to all that may be imported into a folder."""
    (folder / "limbeck_runtime").symlink_to(runtime.resolve())
    spec = importlib.util.find_spec("numpy")
    assert spec is not None and spec.origin is not None
    site = Path(spec.origin).parents[1]
    for name in PACKAGES:
        if (site / name).exists():
            (folder / name).symlink_to(site / name)


def _run(file: Path, folder: Path, scratch: Path, *, control: bool) -> _Ran:
    traced = scratch / f"strace-{control}.txt"
    watched: list[str] | str = "the control is not watched" if control else observation.command(traced)
    asked = {"folder": str(folder), "file": str(file.resolve()), "program": program().hex(), "control": control}
    script = Path(__file__).with_name("confinement.py")
    inside = [sys.executable, "-I", "-S", "-B", str(script), json.dumps(asked)]
    whole = inside if isinstance(watched, str) else [*watched, *inside]
    try:
        done = subprocess.run(
            whole,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={"OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"{file} did not answer within {SECONDS:g} s") from error
    lines: dict[str, Any] = {}
    attempts: list[str] = []
    for line in done.stdout.splitlines():
        said = json.loads(line)
        attempts += [said["attempt"]] if "attempt" in said else []
        lines |= said
    seen = watched if isinstance(watched, str) else observation.read(traced)
    return _Ran(done.returncode, lines, attempts, done.stderr, seen)


def _answers(ran: _Ran, report: Mapping[str, Any] | None) -> Check:
    if report is None:
        return Check("it answers", "not proved", f"the process ended before it answered ({_end(ran)})")
    said = f"{report['answers']} golden rows, at most {report['difference']:.2g} from the answers at export"
    return Check("it answers", "proved", f"{said} (allowed: {report['tolerance']:.2g})")


def _kernel(ran: _Ran, control: _Ran, report: Mapping[str, Any] | None) -> tuple[Check, Check]:
    early = "the process ended before it stood behind it"
    barriers: Mapping[str, str] = ran.lines.get("barriers", {"network": early, "sockets": early})
    name = "there is no network interface"
    seen = [] if report is None else report["interfaces"]
    if barriers["network"]:
        space = Check(name, "not proved", barriers["network"])
    elif report is not None and (seen != ["lo"] or report["addresses"] != 0):
        space = Check(name, "not proved", f"a namespace of its own, but with {', '.join(seen)}")
    else:
        space = Check(name, "proved", "a network namespace of its own, with nothing but a loopback that is down")
    return space, _filter(ran, control, report, barriers["sockets"])


def _filter(ran: _Ran, control: _Ran, report: Mapping[str, Any] | None, refused: str) -> Check:
    name = "nobody asks for a socket"
    if ran.killed or ran.attempts:
        asked = "; ".join(ran.attempts) or "a forbidden call below Python"
        return Check(name, "refuted", f"{asked}; {_end(ran)}")
    if refused:
        return Check(name, "not proved", refused)
    if not control.killed:
        return Check(name, "not proved", f"the filter does not bite: a socket asked for on purpose ({_end(control)})")
    if report is not None and set(report["filtered"]) != {2}:
        return Check(name, "not proved", f"threads without the filter: seccomp modes {report['filtered']}")
    threads = 0 if report is None else len(report["filtered"])
    return Check(
        name,
        "proved",
        f"a filter that kills at the first such call is on each of its threads ({threads}), and the process lived; "
        "another, which asked on purpose, was killed",
    )


def _inside(report: Mapping[str, Any] | None) -> tuple[Check, ...]:
    names = ("no module of the network is loaded", "no open socket was inherited", "nothing else is imported")
    if report is None:
        return tuple(Check(name, "not proved", "the process ended before it could be seen") for name in names)
    modules, open_sockets = report["network_modules"], report["sockets"]
    strangers = [name for name in report["strangers"] if name not in ("numpy", "onnxruntime", "limbeck_runtime")]
    return (
        Check(
            names[0], "refuted" if modules else "proved", ", ".join(modules) or "socket and ssl are not in sys.modules"
        ),
        Check(
            names[1],
            "refuted" if open_sockets else "proved",
            ", ".join(open_sockets) or "none of its open files is one",
        ),
        Check(
            names[2],
            "refuted" if strangers else "proved",
            ", ".join(strangers) or "limbeck_runtime, numpy, onnxruntime and the standard library",
        ),
    )


def _outside(ran: _Ran) -> Check:
    name = "strace sees no network call"
    if isinstance(ran.seen, str):
        return Check(name, "not proved", ran.seen, needed=False)
    if ran.seen.network:
        return Check(name, "refuted", "; ".join(ran.seen.network[:5]), needed=False)
    return Check(name, "proved", f"none, among {len(ran.seen.opened)} files opened", needed=False)


def _written(written: Sequence[str]) -> Check:
    if written:
        return Check("nothing is written", "not proved", f"opened for writing: {', '.join(written)}")
    return Check("nothing is written", "proved", "no file was opened for writing, but the null device")


def _files(report: Mapping[str, Any], seen: observation.Seen | str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    opened = {*report.get("opened", ()), *report.get("mapped", ())}
    written = set(report.get("written", ()))
    if not isinstance(seen, str):
        opened |= set(seen.opened)
        written |= set(seen.written)
    return tuple(sorted(opened)), tuple(sorted(written - {"/dev/null"}))


def _end(ran: _Ran) -> str:
    return "the kernel killed the process (SIGSYS)" if ran.killed else f"the process ended with {ran.code}"
