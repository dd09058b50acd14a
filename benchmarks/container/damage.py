"""What each container does with a damaged file, a killed writer and a writer that is still at work."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from container.candidates import OFFSETS, Container, Shard, flat, joined, take

ROWS, SHARDS = 100, 4


def apart(work: Callable[[], str], *, seconds: int = 60) -> str:
    """What a forked process answers, its error in one line, or the signal it died of."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        os.close(out)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
            answer = f"error: {type(error).__name__}: {' '.join(str(error).split())[:90]}"
        os.write(into, answer.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        answer = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGALRM:
        return f"HANGS for {seconds} s"
    return answer if code == 0 else f"CRASH: {signal.Signals(-code).name}"


def content() -> list[Shard]:
    """Small shards with a column of each kind; no two rows are alike, so that each can be found in a file."""
    draw = np.random.default_rng(1)
    shards = []
    for _ in range(SHARDS):
        features = draw.integers(0, 30_000, (ROWS, 64, 7), dtype=np.uint16).view(np.float16)
        blocks = [draw.integers(0, 256, length, dtype=np.uint8) for length in draw.integers(200, 600, ROWS)]
        shards.append({"ids": draw.integers(1 << 40, 1 << 62, ROWS), "features": features, "blocks": joined(blocks)})
    return shards


def compared(container: Container, folder: Path, shards: list[Shard], before: Callable[[], None] | None = None) -> str:
    """Reads every row that the reader says is there and holds it against what was written."""
    wrong = 0
    with container.open(folder) as reader:
        if before is not None:
            before()
        rows = len(reader)
        for number in range(-(-rows // ROWS)):
            wanted = range(number * ROWS, min((number + 1) * ROWS, rows))
            found = reader.rows(np.array(wanted))
            right = take(shards[number], np.arange(len(wanted)))
            wrong += any(found[name].tobytes() != column.tobytes() for name, column in right.items())
    return f"SILENT: wrong rows in {wrong} shards" if wrong else f"right, {rows} rows"


def damages(container: Container, place: Path, flips: int) -> dict[str, str]:
    """What became of each damage, in words."""
    shards, whole, folder = content(), place / "whole", place / "damaged"
    fresh(whole)
    container.write(whole, shards)

    def again() -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        return last(folder)

    def cut() -> None:
        os.truncate(last(folder), last(folder).stat().st_size * 7 // 10)

    found = {}
    again()
    cut()
    found["cut to 70 %"] = apart(lambda: compared(container, folder, shards))
    again()
    found["cut while a reader has it open"] = apart(lambda: compared(container, folder, shards, cut))
    bits = {word: places for word, places in anatomy(last(whole).read_bytes(), shards).items() if len(places)}
    for word, places in bits.items():
        path, outcomes = again(), Counter()
        draw = np.random.default_rng(2)
        for at in draw.choice(places, min(flips, len(places)), replace=False).tolist():
            flip(path, at, 1 << int(draw.integers(8)))
            outcomes[kind(apart(lambda: compared(container, folder, shards)))] += 1
            shutil.copy(last(whole), path)
        found[f"one bit of {word}"] = told(outcomes)
    for atomic in (False,) if container.one_file else (False, True):
        how = ", renamed into place" if atomic and not container.one_file else ", in place"
        found[f"writer killed{how}"] = killed(container, fresh(folder), shards, atomic)
        found[f"read while written{how}"] = while_written(container, fresh(folder), shards, atomic)
    return found


def killed(container: Container, folder: Path, shards: list[Shard], atomic: bool) -> str:
    """The kernel kills the writer half way through the third shard's bytes."""
    import resource

    size = sum(array.nbytes for array in flat(shards[2]).values())

    def until_killed() -> Iterator[Shard]:
        yield from shards[:2]
        limit = size // 2 + (last(folder).stat().st_size if container.one_file else 0)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        yield shards[2]

    def write() -> str:
        container.write(folder, until_killed(), atomic=atomic)
        return "written"

    # LMDB notices the short write and raises; the process ends all the same, with its pages half written.
    assert apart(write) != "written"
    found = apart(lambda: compared(container, folder, shards))
    if found.startswith("right") or container.one_file:
        return found
    last(folder).unlink()
    return f"{found}; without that file: {apart(lambda: compared(container, folder, shards))}"


def while_written(container: Container, folder: Path, shards: list[Shard], atomic: bool) -> str:
    """Another process opens and reads everything, again and again, while shards are written."""
    writer = os.fork()
    if writer == 0:

        def slowly() -> Iterator[Shard]:
            for shard in shards:
                yield shard
                time.sleep(0.1)

        container.write(folder, slowly(), atomic=atomic)
        os._exit(0)
    outcomes: Counter = Counter()
    while os.waitpid(writer, os.WNOHANG) == (0, 0):
        if any(folder.iterdir()):
            outcomes[kind(apart(lambda: compared(container, folder, shards)))] += 1
    return told(outcomes)


def anatomy(file: bytes, shards: list[Shard]) -> dict[str, np.ndarray]:
    """Which bytes of a file are data, which are offsets of blocks, and which are the container's own."""
    part = np.zeros(len(file), np.uint8)
    for shard in shards:
        for row in range(ROWS):
            for piece in (shard["features"][row].tobytes(), shard["blocks"].row(row).tobytes()):
                # A long row may lie in pieces.
                for start in range(0, len(piece), 64):
                    mark(part, file, piece[start : start + 64], 1)
            mark(part, file, shard["ids"][row].tobytes(), 1)
        mark(part, file, flat(shard)["blocks" + OFFSETS].tobytes(), 2)
    return {word: np.flatnonzero(part == number) for number, word in enumerate(("its own", "the data", "the offsets"))}


def mark(part: np.ndarray, file: bytes, piece: bytes, number: int) -> None:
    """Everywhere: LMDB's pages keep stale copies in their unused parts."""
    at = file.find(piece)
    while at >= 0:
        part[at : at + len(piece)] = number
        at = file.find(piece, at + 1)


def flip(path: Path, at: int, bit: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ bit]))


def kind(outcome: str) -> str:
    return "CRASH " + outcome.split(": ")[1] if outcome.startswith("CRASH") else outcome.split(",")[0].split(":")[0]


def told(outcomes: Counter) -> str:
    return ", ".join(f"{count} {word}" for word, count in outcomes.most_common()) or "nothing was seen"


def last(folder: Path) -> Path:
    """The file that was written last; of LMDB's two the data."""
    return sorted(path for path in folder.iterdir() if path.name != "lock.mdb")[-1]


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
