"""Where a run lives on disk: a new folder, or the one that is resumed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from os.path import abspath
from pathlib import Path
from typing import Any

from limbeck.budget import Budget
from limbeck.catalog.tasks import task
from limbeck.data.loader import steps_per_epoch
from limbeck.errors import RunError
from limbeck.grammar import parse_call
from limbeck.recipe import Recipe
from limbeck.records import read_record
from limbeck.storage import leftover, sole_writer

RECIPE = "recipe.yaml"

# Not compared key by key: names and places, where a run is trained and watched, what is only shown, and what has an
# order of its own.
_FREE = {"name", "to", "task", "device", "trackers", "seed", "seeds", "budget", "chain", "generations"}


@contextmanager
def held(folder: Path, *, writes: bool) -> Iterator[None]:
    """Keeps a folder of one run, or of several, for this process while the block runs; looks come after it is held.

    Args:
        folder: It is made where it is missing, and gone again where nothing was written.
        writes: False in all processes of one launch but the main one, which holds the folder for them.

    Raises:
        FolderInUse: When another process is writing there.
        RunError: When it is a file.
        StorageError: When it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file", expected="a new folder", remedy=f"another place: --to {folder}-2")
    with sole_writer(folder) if writes else nullcontext():
        yield


def started(folder: Path) -> bool:
    """Whether training in this folder has begun: its resolved recipe is there."""
    return (folder / RECIPE).is_file()


def finished(folder: Path) -> bool:
    """Whether the run in this folder has come to its end, and its weights are still there."""
    if not (folder / "run.json").is_file():
        return False
    record = read_record(folder)
    made = ["student", *(["control"] if any(result.control is not None for result in record.results) else [])]
    return record.status == "finished" and all((folder / f"{who}.safetensors").is_file() for who in made)


def refuse_existing(folder: Path) -> None:
    """Raises `RunError` when a folder holds more than a killed beginning, and says how to go on.

    Of several processes the one that holds the folder looks: before the others do, it may have begun to write.
    """
    if not folder.exists() or all(map(leftover, folder.iterdir())):
        return
    elsewhere, again = f"another place: --to {folder}-2", "--resume goes on with it"
    if (folder / "run.json").is_file():
        status: str = read_record(folder).status
        remedy = elsewhere if finished(folder) else again
    elif started(folder):
        status, remedy = "just begun", again
    elif links := len(list(folder.glob(f"*/{RECIPE}"))):
        status, remedy = f"holds {links} run{'s' * (links > 1)}", f"{again} if it is this chain; else {elsewhere}"
    else:
        status, remedy = "not a run", elsewhere
    raise RunError(f"the folder {folder} exists already (status: {status})", expected="a new folder", remedy=remedy)


def stored(folder: Path, asked: Recipe) -> Recipe:
    """The resolved recipe of a run that is to be resumed, where it is trained and watched as asked now.

    Args:
        folder: A run that has begun.
        asked: What the person asks for now; what it leaves to `auto` was settled when the run began.

    Raises:
        RunError: When the run was begun with another recipe.
    """
    settled = Recipe.read(folder / RECIPE)
    differences = list(_differences(asked, settled, _rows(folder)))
    if differences:
        raise RunError(
            f"the run in {folder} was begun with another recipe: {'; '.join(differences)}",
            expected="the recipe it was begun with",
            remedy=f"take the change back, or start a run of its own: --to {folder}-2",
        )
    return settled.model_copy(update={"device": asked.device, "trackers": asked.trackers})


def _rows(folder: Path) -> int | None:
    """How many training rows the run has; None where a kill came before its first record."""
    if not (folder / "run.json").is_file():
        return None
    rows = read_record(folder).data.get("splits", {}).get("train", {}).get("rows")
    return rows if isinstance(rows, int) else None


def _differences(asked: Recipe, settled: Recipe, rows: int | None) -> Iterator[str]:
    """What two recipes say differently, so far as they can be compared."""
    new, old = (
        _flat(asked.model_dump(mode="json", exclude=_FREE)),
        _flat(settled.model_dump(mode="json", exclude=_FREE)),
    )
    for key in sorted(new.keys() | old.keys()):
        open_now = new.get(key) == "auto" or (key == "training.threads" and new.get(key) is None)
        if not open_now and not _alike(new.get(key), old.get(key)):
            yield f"{key} was {old.get(key)!r} and is {new.get(key)!r} now"
    if not _same_task(asked.task, settled.task):
        yield f"task was {settled.task!r} and is {asked.task!r} now"
    if asked.all_seeds() != settled.all_seeds():
        yield f"the seeds were {list(settled.all_seeds())} and are {list(asked.all_seeds())} now"
    budget = Budget.parse(asked.budget)
    epoch = None if rows is None else steps_per_epoch(rows, settled.training.batch)
    if budget.unit == "steps" or (budget.unit == "epochs" and epoch is not None):
        steps = budget.steps(epoch or 1)
        if f"{steps} steps" != settled.budget:
            yield f"the budget was {settled.budget} and is {asked.budget} ({steps} steps) now"


def _same_task(asked: str, settled: str) -> bool:
    """Whether two texts are one task, up to what it learnt of the training labels where it was not told."""
    new, old = parse_call(repr(task(asked)), "task"), parse_call(settled, "task")
    if new.name != old.name:
        return False
    told = {key for key, value in new.keywords.items() if not isinstance(value, str)}
    learnt = task(settled).learnt - told
    return all(
        new.keywords.get(key) == old.keywords.get(key)
        for key in new.keywords.keys() | old.keywords
        if key not in learnt
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _alike(new: Any, old: Any) -> bool:
    """Whether two values mean the same; the same place may be spelled in two ways."""
    if isinstance(new, list) and isinstance(old, list):
        return len(new) == len(old) and all(map(_alike, new, old))
    if isinstance(new, Mapping) and isinstance(old, Mapping):
        return new.keys() == old.keys() and all(_alike(value, old[key]) for key, value in new.items())
    if isinstance(new, str) and isinstance(old, str):
        return abspath(new) == abspath(old)
    return bool(new == old)
