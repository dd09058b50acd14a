"""How much memory an artifact needs, seen in a process of its own. Run by its path it is that process."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SECONDS = 300.0
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Memory:
    """The memory of a process that answers.

    Args:
        artifact: Bytes at the peak over those of the same process before it opened the artifact; None: not measured.
        process: Bytes at the peak, with Python, numpy and ONNX Runtime; None: not measured.
        method: How it was measured, or why not.
    """

    artifact: int | None
    process: int | None
    method: str


def peak(file: str | Path, *, batch: int) -> Memory:
    """Opens an artifact in a new process, asks it for one row and for a batch, and reads how much memory that took.

    Args:
        file: An artifact that opens.
        batch: Rows at a time.
    """
    if not _STATUS.is_file():
        return Memory(None, None, f"not measured: {sys.platform} does not say in /proc how much a process held")
    spec = importlib.util.find_spec("limbeck_runtime")
    assert spec is not None and spec.origin is not None
    asked = {"home": str(Path(spec.origin).parents[1]), "file": str(Path(file).resolve()), "batch": batch}
    done = subprocess.run(
        [sys.executable, "-B", str(Path(__file__)), json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={"OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        return Memory(
            None, None, f"not measured: the process ended with {done.returncode}: {done.stderr.strip()[-200:]}"
        )
    said = json.loads(done.stdout)
    before = "VmRSS before" if said["reset"] else "VmHWM before, which the kernel did not reset"
    method = f"measured: VmHWM of a process of its own after 1 and {batch} rows, less {before} it opened the artifact"
    return Memory(said["peak"] - said["before"], said["peak"], method)


def _held(name: str) -> int:
    line = next(each for each in _STATUS.read_text(encoding="ascii").splitlines() if each.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _reset() -> bool:
    """Forgets the peak so far, which imports may have raised above what they keep (man 5 proc, clear_refs)."""
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _measured(home: str, file: str, batch: int) -> dict[str, int | bool]:
    # First what was told: what is installed may be another version.
    sys.path.insert(0, home)
    from limbeck_runtime.predictor import load

    reset = _reset()
    before = _held("VmRSS" if reset else "VmHWM")
    predictor = load(file)
    predictor.warm_up(1)
    predictor.warm_up(batch)
    return {"before": before, "peak": _held("VmHWM"), "reset": reset}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measured(**json.loads(sys.argv[1]))))
