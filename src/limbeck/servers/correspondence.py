"""What servers have answered: a file with a line of JSON for each request, so that nothing is asked twice.

A line is appended by one write and forced to the disk before its answer is used. A line that was torn all the same (a
full disk, a power cut) is passed over, and its request asked again. Several processes may append to one file; each sees
what was there when it opened it, and what it added itself. No key and no header stands in it.
"""

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.storage import guarded


@dataclass
class Spent:
    """What answers took, as the servers count: requests, tokens asked and said, and requests that said no count."""

    requests: int = 0
    asked: int = 0
    said: int = 0
    uncounted: int = 0

    def add(self, usage: Any) -> None:
        """Adds the `usage` of one answer; None where the server said none."""
        self.requests += 1
        counts = usage if isinstance(usage, dict) else {}
        asked, said = counts.get("prompt_tokens"), counts.get("completion_tokens")
        if isinstance(asked, int) and isinstance(said, int):
            self.asked += asked
            self.said += said
        else:
            self.uncounted += 1

    def cost(self, prices: Sequence[float]) -> float:
        """The price, where a million tokens asked and a million said have these."""
        return (self.asked * prices[0] + self.said * prices[1]) / 1e6


class Correspondence:
    """The file of answered requests.

    Args:
        path: It need not exist.

    Attributes:
        spent: What all answers in the file took.
        new: What those took that were added here.

    Raises:
        StorageError: When it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.spent, self.new = path, Spent(), Spent()
        self._places: dict[str, int] = {}
        self._lock = threading.Lock()
        if not path.is_file():
            return
        with guarded(path), open(path, "rb") as file:
            place = 0
            for line in file:
                entry = _entry(line)
                if entry is not None:
                    self.spent.add(entry.get("usage"))
                    if "answer" in entry:
                        self._places[entry["key"]] = place
                place += len(line)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def answer(self, key: str) -> Any:
        """What was answered to the request with this key, which must be there."""
        with self._lock, open(self.path, "rb") as file:
            file.seek(self._places[key])
            entry = _entry(file.readline())
        assert entry is not None, "the file was changed meanwhile"
        return entry["answer"]

    def enter(self, key: str, usage: Any, answer: Any) -> None:
        """Adds an answer; it is on the disk when this returns.

        Args:
            key: Of the request.
            usage: The tokens that the server counted.
            answer: What is kept of what it said, as JSON.

        Raises:
            StorageError: When the disk is full or cannot be written.
        """
        self._append(key, usage, {"answer": answer})

    def refuse(self, key: str, usage: Any, reason: str) -> None:
        """Notes an answer that was none: it cost its tokens, and its request may be asked again.

        Args:
            key: Of the request.
            usage: The tokens that the server counted.
            reason: What was wrong with it.

        Raises:
            StorageError: When the disk is full or cannot be written.
        """
        self._append(key, usage, {"refused": reason})

    def _append(self, key: str, usage: Any, said: dict[str, Any]) -> None:
        line = json.dumps({"key": key, "usage": usage, **said}, separators=(",", ":")).encode() + b"\n"
        with self._lock, guarded(self.path, len(line)):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
            try:
                content = line
                if os.fstat(descriptor).st_size:
                    os.lseek(descriptor, -1, os.SEEK_END)
                    # After a torn line a new one begins.
                    content = b"" if os.read(descriptor, 1) == b"\n" else b"\n"
                    content += line
                while content:
                    content = content[os.write(descriptor, content) :]
                os.fsync(descriptor)
                end = os.lseek(descriptor, 0, os.SEEK_CUR)
            finally:
                os.close(descriptor)
            if "answer" in said:
                self._places[key] = end - len(line)
            self.spent.add(usage)
            self.new.add(usage)


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line's content; None where it is torn."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(found, dict) and isinstance(found.get("key"), str) and ("answer" in found or "refused" in found)
    return found if whole else None
