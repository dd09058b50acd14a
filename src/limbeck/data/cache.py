"""Where Limbeck keeps what can be made again: fetched sets, and data too large for memory."""

import os
import sys
from pathlib import Path


def folder() -> Path:
    """`$LIMBECK_CACHE` where it is set, else the platform's folder for a user's caches; it need not exist yet."""
    said = os.environ.get("LIMBECK_CACHE")
    if said:
        return Path(said).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "limbeck"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "limbeck" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limbeck"
