"""An artifact opened by limbeck itself: with the device's runtime, whose refusals become errors of the command line."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.errors import ModelError
from limbeck_runtime.container import unsealed
from limbeck_runtime.errors import RuntimeFault
from limbeck_runtime.manifest import Manifest, read

if TYPE_CHECKING:
    from limbeck_runtime.predictor import OnnxPredictor


@dataclass(frozen=True)
class Opened:
    """An artifact that answers here.

    Args:
        path: Where it lies.
        manifest: What it says of itself.
        files: What it holds, by name.
        predictor: What answers.
    """

    path: Path
    manifest: Manifest
    files: Mapping[str, bytes]
    predictor: "OnnxPredictor"


@contextmanager
def told() -> Iterator[None]:
    """Turns what the runtime refuses into `ModelError`."""
    try:
        yield
    except RuntimeFault as fault:
        raise ModelError(fault.problem, expected=fault.expected, remedy=fault.remedy) from fault


def opened(path: str | Path, *, threads: int = 1) -> Opened:
    """Opens an artifact and asks its golden rows.

    Raises:
        ModelError: When it is missing, damaged, newer than this runtime, or answers otherwise here.
    """
    from limbeck_runtime.predictor import load

    with told():
        files = unsealed(path)
        return Opened(Path(path), read(files), files, load(path, threads=threads))
