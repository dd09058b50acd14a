"""Damages an artifact in many ways and opens each in this process, so that a crash is seen; it is no test by itself.

    python tests/fuzzed_artifacts.py FILE ROWS.npy COUNT SEED

Half of the mutants are changed bytes; half are changed in a part (manifest, graph, golden rows, files, archive) and
hashed and sealed anew, as somebody would who knows the format. Says as JSON how many were refused, how many were opened
and answer as the original does, and every other outcome with the mutant's number.
"""

import copy
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from small_artifacts import resealed, rewrite

from limbeck_runtime import RuntimeFault, load

SECONDS = 20
SHARE = 0.05
"""Of the greatest number in the original's answers: how far an accepted mutant's may be away, if it decides alike. A
bit in a weight that hardly any row uses is beyond what golden rows can see."""


def flipped(content: bytes, draw: Random, most: int = 8) -> bytes:
    """Some bits turned, a piece cut out, doubled, or filled with something else."""
    damaged = bytearray(content)
    start = draw.randrange(len(damaged))
    end = min(len(damaged), start + draw.randrange(1, 64))
    kind = draw.randrange(5)
    if kind == 0:
        for _ in range(draw.randrange(1, most)):
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del damaged[start:end]
    elif kind == 2:
        damaged[start:start] = damaged[start:end]
    elif kind == 3:
        damaged[start:end] = bytes([draw.choice([0, 255, draw.randrange(256)])]) * (end - start)
    else:
        damaged = damaged[: start + 1]
    return bytes(damaged)


ODD: list[Any] = [None, True, 0, -1, 2**63, 1e308, "", "x" * 500, [], {}, [[]], [-1], ["a"], {"a": 1}, "../x", 0.5]


def altered(said: Any, draw: Random) -> Any:
    """One value somewhere in some JSON, exchanged, taken out or doubled."""
    if isinstance(said, dict) and said and draw.random() < 0.9:
        key = draw.choice(list(said))
        changed = dict(said)
        match draw.randrange(8):
            case 0:
                del changed[key]
            case 1:
                changed[draw.choice(["x", "batch", "kind", key.upper()])] = changed[key]
            case _:
                changed[key] = altered(said[key], draw)
        return changed
    if isinstance(said, list) and said and draw.random() < 0.8:
        changed_list, at = list(said), draw.randrange(len(said))
        if draw.random() < 0.3:
            draw.shuffle(changed_list)
        else:
            changed_list[at] = altered(said[at], draw)
        return changed_list
    if isinstance(said, int | float) and not isinstance(said, bool) and draw.random() < 0.5:
        return said + draw.choice([-1, 1, 10, -said, said])
    return copy.deepcopy(draw.choice(ODD))


def informed(path: Path, draw: Random) -> None:
    """A change by somebody who knows the format, at `path`."""

    def change(said: dict[str, Any], files: dict[str, bytes]) -> None:
        match draw.randrange(4):
            case 0:
                fresh = altered(said, draw)
                said.clear()
                said.update(fresh if isinstance(fresh, dict) else {})
                said.setdefault("files", {})
            case 1 | 2:
                files["model.onnx"] = flipped(files["model.onnx"], draw, most=3)
            case _:
                name = draw.choice(list(files))
                match draw.randrange(3):
                    case 0:
                        files[name] = flipped(files[name], draw)
                    case 1:
                        files[name] = files[draw.choice(list(files))]
                    case _:
                        del files[name]

    try:
        rewrite(path, change)
    except (KeyError, TypeError, AttributeError):  # the change left nothing whose hashes could follow
        path.write_bytes(resealed(flipped(path.read_bytes(), draw)))
    if draw.random() < 0.1:
        path.write_bytes(resealed(flipped(path.read_bytes(), draw)))


def outcome(path: Path, rows: np.ndarray, known: np.ndarray, answers: list[Any]) -> str:
    """What came of opening a mutant."""
    signal.alarm(SECONDS)
    try:
        predictor = load(path)
        said = predictor.outputs(rows)
        decoded = predictor.decode(said)
    except RuntimeFault:
        return "refused"
    finally:
        signal.alarm(0)
    if said.shape != known.shape or float(np.abs(said - known).max()) > SHARE * float(np.abs(known).max()):
        return "wrong answer"
    if [mine["class"] for mine in decoded] != [each["class"] for each in answers]:
        return "wrong class"
    same = all(list(mine["likeliest"]) and set(mine["likeliest"]) <= set(NAMES) for mine in decoded)
    return "same answers" if same and len(decoded) == len(answers) else "wrong reading"


def main() -> None:
    file, rows, count, seed = Path(sys.argv[1]), np.load(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    original, mutant = file.read_bytes(), file.with_name("mutant.limbeck")
    predictor = load(file)
    NAMES.extend(predictor.manifest.output.reading["names"])
    known, answers = predictor.outputs(rows), predictor(rows)
    found: Counter[str] = Counter()
    notable: list[tuple[int, str]] = []
    for number in range(count):
        draw = Random(seed * 1_000_003 + number)
        mutant.write_bytes(original)
        if number % 2:
            informed(mutant, draw)
        else:
            mutant.write_bytes(flipped(original, draw))
        if mutant.read_bytes() == original:
            found["unchanged"] += 1
            continue
        said = outcome(mutant, rows, known, answers)
        found[("informed: " if number % 2 else "bytes: ") + said] += 1
        if said not in ("refused", "same answers"):
            notable.append((number, said))
    sys.stdout.write(json.dumps({"outcomes": dict(found), "notable": notable}))


NAMES: list[str] = []

if __name__ == "__main__":
    main()
