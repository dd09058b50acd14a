"""Which container should hold a recording's shards: time, size, memory, and what happens to damaged files.

    python benchmarks/containers.py [--quick] [--shards 4] [--flips 100] [--json FILE]

Each candidate holds the same three contents: logits (60,000 rows in 4 views), features (20,000 rows of 64x7x7 halves)
and blocks of 20 to 60 kB (3,000 rows of random lengths). Candidates take turns within a round, so that a change of the
machine's clock or its other tenants hits them all; medians over the rounds. Everything runs on one thread. Seconds are
CPU time (user and system) unless they are called wall. "Cold" means after the file's pages were dropped from the page
cache; the bytes that then came from the disk show that they were. Every read is compared with what was written, once.
Damage is tried in forked processes, so that a crash is seen as one. Candidates that are not installed are skipped and
named: pip install lmdb h5py.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from container.candidates import CANDIDATES, Blocks, Container, Shard, take
from container.damage import apart, damages
from rich.console import Console
from rich.table import Table

BATCH = 128


def contents(quick: bool, shards: int) -> dict[str, list[Shard]]:
    """What is kept, cut into shards of equal numbers of rows."""
    draw, part = np.random.default_rng(0), 10 if quick else 1
    logits, features, blocks = 240_000 // part, 20_000 // part, 3_000 // part
    lengths = draw.integers(20_000, 60_001, blocks)
    payload = draw.integers(0, 256, int(lengths.sum()), dtype=np.uint8)
    whole: dict[str, tuple[int, Any]] = {
        "logits": (logits, draw.standard_normal((logits, 10), dtype=np.float32)),
        "features": (features, draw.integers(0, 30_000, (features, 64, 7, 7), dtype=np.uint16).view(np.float16)),
        "blocks": (blocks, Blocks(payload, np.cumsum([0, *lengths]))),
    }
    return {
        name: [take({"ids": np.arange(rows), name: column}, part) for part in np.array_split(np.arange(rows), shards)]
        for name, (rows, column) in whole.items()
    }


def rows_of(shard: Shard) -> int:
    """How many rows a shard has."""
    return len(shard["ids"])


def payload(shards: list[Shard]) -> int:
    """Bytes of what is kept, without any container."""
    return sum(column.nbytes for shard in shards for column in shard.values())


def order(rows: int, batches: int, seed: int) -> list[np.ndarray]:
    """Random batches, drawn without replacement."""
    drawn = np.random.default_rng(seed).permutation(rows)
    return [drawn[at : at + BATCH] for at in range(0, min(rows, batches * BATCH), BATCH)]


def on_disk(folder: Path) -> int:
    """Bytes that the files take: blocks in use, since a file may have holes."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def drop(folder: Path) -> None:
    """Asks the system to forget the pages of all files."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def status(file: str, word: str) -> int:
    """A number that the kernel keeps of this process: bytes in `io`, kibibytes in `status`."""
    for line in Path(f"/proc/self/{file}").read_text().splitlines():
        if line.startswith(f"{word}:"):
            return int(line.split()[1])
    raise KeyError(word)


def timed(work) -> tuple[float, float]:
    """CPU and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def one_round(container: Container, shards: list[Shard], folder: Path, batches: int, seed: int) -> dict[str, float]:
    """Writes, opens, reads; what each of them cost."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    rows = sum(map(rows_of, shards))
    picked = order(rows, batches, seed)
    count = sum(map(len, picked))
    found: dict[str, float] = {}
    found["write s"], found["write wall s"] = timed(lambda: container.write(folder, shards))
    found["bytes"] = on_disk(folder)
    found["open ms"] = 1e3 * timed(lambda: container.open(folder).close())[0]
    # The first reading after it was written finds every page in the cache; it also maps them.
    with container.open(folder) as reader:
        for batch in picked:
            reader.rows(batch)
        cpu, wall = timed(lambda: [reader.rows(batch) for _ in range(3) for batch in picked])
        found["random rows/s"], found["random wall rows/s"] = 3 * count / cpu, 3 * count / wall
        ahead = min(rows, 20_000) // BATCH
        cpu, _ = timed(lambda: [reader.rows(np.arange(at * BATCH, (at + 1) * BATCH)) for at in range(ahead)])
        found["sequential rows/s"] = ahead * BATCH / cpu
    drop(folder)
    before = status("io", "read_bytes")
    with container.open(folder) as reader:
        cpu, wall = timed(lambda: [reader.rows(batch) for batch in picked])
    found["cold rows/s"], found["cold wall rows/s"] = count / cpu, count / wall
    found["cold disk MB"] = (status("io", "read_bytes") - before) / 1e6
    return found


def right(container: Container, shards: list[Shard], folder: Path) -> None:
    """Compares some rows with what was written; leaves with an error where one differs."""
    start = 0
    with container.open(folder) as reader:
        for shard in shards:
            picked = np.random.default_rng(start).permutation(rows_of(shard))[:BATCH]
            wanted, found = take(shard, picked), reader.rows(start + picked)
            for name, column in wanted.items():
                if column.tobytes() != found[name].tobytes():
                    sys.exit(f"{container.name} gives other {name} than were written")
            start += rows_of(shard)


def anonymous_growth(container: Container, folder: Path, rows: int) -> float:
    """MB by which the memory that belongs to no file grows, at most, while everything is read once, in batches."""

    def read() -> str:
        before = most = status("status", "RssAnon")
        with container.open(folder) as reader:
            for at in range(0, rows, BATCH):
                held = reader.rows(np.arange(at, min(at + BATCH, rows)))
                most = max(most, status("status", "RssAnon"))
        del held
        return str((most - before) / 1024)

    return float(apart(read, seconds=600))


def measure(found: list[Container], kept: dict[str, list[Shard]], rounds: int, quick: bool, place: Path) -> dict:
    """Medians, and the smallest and largest of the rounds, by content and candidate."""
    batches = {"logits": 100, "features": 60, "blocks": 20}
    table: dict = {}
    for container in found:
        # No candidate is timed while its package is imported.
        one_round(container, kept["logits"][:1], place / container.name, 1, 0)
    for content, shards in kept.items():
        tries: dict = defaultdict(lambda: defaultdict(list))
        for number in range(rounds):
            turn = number % len(found)
            for container in found[turn:] + found[:turn]:
                folder = place / container.name
                figures = one_round(container, shards, folder, batches[content] // (5 if quick else 1), number)
                if number == 0:
                    right(container, shards, folder)
                    figures["RssAnon MB"] = anonymous_growth(container, folder, sum(map(rows_of, shards)))
                for name, value in figures.items():
                    tries[container.name][name].append(value)
        table[content] = {"payload": payload(shards)} | {
            name: {word: [statistics.median(seen), min(seen), max(seen)] for word, seen in words.items()}
            for name, words in tries.items()
        }
    return table


def show(table: dict, console: Console) -> None:
    """One table a content: medians, with the range of the random reads."""
    for content, entry in table.items():
        size = entry["payload"]
        shown = Table(title=f"{content}: {size / 1e6:.1f} MB", title_justify="left")
        names = [name for name in entry if name != "payload"]
        for heading in ("", *names):
            shown.add_column(heading, justify="right")
        for word in entry[names[0]]:
            medians = [entry[name][word] for name in names]
            if word == "bytes":
                shown.add_row("bytes over payload", *(f"{middle / size - 1:+.2%}" for middle, *_ in medians))
            else:
                shown.add_row(word, *(f"{middle:,.4g} ({low:,.3g}-{high:,.3g})" for middle, low, high in medians))
        console.print(shown)


def show_damages(outcomes: dict, console: Console) -> None:
    """What became of each damage, candidate by candidate."""
    shown = Table(title="damage", title_justify="left", show_lines=True)
    for heading in ("", *outcomes):
        shown.add_column(heading)
    for case in dict.fromkeys(case for found in outcomes.values() for case in found):
        shown.add_row(case, *(found.get(case, "has none") for found in outcomes.values()))
    console.print(shown)


def machine() -> dict[str, str]:
    """What it ran on, and with what."""
    model = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    words = dict(line.split(":", 1) for line in model.splitlines() if ":" in line)
    facts = {"cpu": f"{words.get('Model name', '?').strip()}, {words.get('CPU(s)', '?').strip()} cores"}
    for package in ("numpy", "torch", *(container.package for container in CANDIDATES)):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, 3 rounds")
    parser.add_argument("--shards", type=int, default=4, help="files that each content is cut into")
    parser.add_argument("--rounds", type=int, default=0, help="by default 5, quick 3")
    parser.add_argument("--flips", type=int, help="bits flipped in each part of a file, by default 100; 0: no damage")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    chosen = parser.parse_args()
    console = Console(width=160)
    if sys.platform != "linux":
        console.print("skipped: the page cache and a process's memory are asked of Linux")
        return
    found = [container for container in CANDIDATES if find_spec(container.package) is not None]
    for missing in [container for container in CANDIDATES if container not in found]:
        console.print(f"skipped, not installed: {missing.name}")
    facts, rounds = machine(), chosen.rounds or (3 if chosen.quick else 5)
    console.print(f"{facts}; one thread; seed 0; {rounds} rounds; {chosen.shards} shards: median (least-most)")
    place = Path(tempfile.mkdtemp(prefix="containers-"))
    try:
        kept = contents(chosen.quick, chosen.shards)
        flips = (15 if chosen.quick else 100) if chosen.flips is None else chosen.flips
        outcomes = {container.name: damages(container, place, flips) for container in found if flips}
        if outcomes:
            show_damages(outcomes, console)
        table = measure(found, kept, rounds, chosen.quick, place)
        show(table, console)
    finally:
        shutil.rmtree(place)
    if chosen.json is not None:
        report = {"machine": facts, "rounds": rounds, "shards": chosen.shards, "figures": table, "damage": outcomes}
        chosen.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
