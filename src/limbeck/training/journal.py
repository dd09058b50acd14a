"""`metrics.jsonl`: one line for every few steps and for every validation, kept right across resumes."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from limbeck.storage import guarded, write_text
from limbeck.training.trackers import begin, tell


class Journal:
    """Appends lines about one training of a run, and tells the trackers that were asked for.

    Args:
        path: The run's `metrics.jsonl`, shared by student and control.
        who: `student` or `control`.
        seed: The seed of this training.
        accelerator: Holds the trackers.
        writes: False in all processes but the main one.

    `entries` are this training's lines so far, oldest first; they are empty where `writes` is False.
    """

    def __init__(self, path: Path, who: str, seed: int, accelerator: Accelerator, *, writes: bool) -> None:
        self.path, self.who, self.seed = path, who, seed
        self._accelerator, self._writes = accelerator, writes
        self.entries: list[dict[str, Any]] = []
        if writes:
            with guarded(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            begin(accelerator, f"{who}/{seed}")

    def rewind(self, step: int) -> None:
        """Drops what this training wrote after a step, because those steps will be taken again."""
        if not self._writes or not self.path.is_file():
            return
        kept = []
        self.entries = []
        for line, entry in self._lines():
            mine = entry["who"] == self.who
            if mine and entry["step"] > step:
                continue
            kept.append(line)
            if mine:
                self.entries.append(entry)
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def read(self) -> None:
        """Reads again what this training wrote, without taking anything back."""
        if self._writes and self.path.is_file():
            self.entries = [entry for _, entry in self._lines() if entry["who"] == self.who]

    def _lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                yield line, json.loads(line)
            except json.JSONDecodeError:
                continue  # the line a kill tore

    def write(self, event: str, step: int, epoch: float, **facts: Any) -> None:
        """Appends one line and flushes it."""
        if not self._writes:
            return
        entry = {"event": event, "who": self.who, "seed": self.seed, "step": step, "epoch": round(epoch, 4), **facts}
        self.entries.append(entry)
        with guarded(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        tell(self._accelerator, f"{self.who}/{self.seed}", event, step, facts)


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same values with None for what is not a finite number, which JSON cannot say."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
