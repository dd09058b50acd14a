"""`metrics.jsonl`: one line for every few steps and for every validation, kept right across resumes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from limbeck.checkpoint import storage, write_text


class Journal:
    """Appends lines about one training of a run, and tells the trackers that were asked for.

    Args:
        path: The run's `metrics.jsonl`, shared by student and control.
        who: `student` or `control`.
        seed: The seed of this training.
        accelerator: Holds the trackers.
        writes: False in all processes but the main one.
    """

    def __init__(self, path: Path, who: str, seed: int, accelerator: Accelerator, *, writes: bool) -> None:
        self.path, self.who, self.seed = path, who, seed
        self._accelerator, self._writes = accelerator, writes
        if writes:
            with storage(path):
                path.parent.mkdir(parents=True, exist_ok=True)

    def rewind(self, step: int) -> None:
        """Drops what this training wrote after a step, because those steps will be taken again."""
        if not self._writes or not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line a kill tore
            if entry["who"] != self.who or entry["step"] <= step:
                kept.append(line)
        write_text(self.path, "".join(f"{line}\n" for line in kept))

    def write(self, event: str, step: int, epoch: float, **facts: Any) -> None:
        """Appends one line and flushes it."""
        if not self._writes:
            return
        entry = {"event": event, "who": self.who, "seed": self.seed, "step": step, "epoch": round(epoch, 4), **facts}
        with storage(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self._accelerator.trackers:
            self._accelerator.log(_flat(f"{self.who}/{self.seed}/{event}", facts), step=step)


def _flat(prefix: str, facts: Mapping[str, Any]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            numbers |= _flat(f"{prefix}/{name}", value)
        elif isinstance(value, int | float):
            numbers[f"{prefix}/{name}"] = float(value)
    return numbers
