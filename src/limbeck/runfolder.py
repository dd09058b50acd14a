"""Where a run lives on disk: a new folder, or the one that is resumed."""

from pathlib import Path

from limbeck.errors import RunError
from limbeck.recipe import Recipe
from limbeck.records import read_record

RECIPE = "recipe.yaml"


def started(folder: Path) -> bool:
    """Whether training in this folder has begun: its resolved recipe is there."""
    return (folder / RECIPE).is_file()


def refuse_existing(folder: Path) -> None:
    """Raises `RunError` when a folder holds something already, and says how to go on."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    status = read_record(folder).status if (folder / "run.json").is_file() else "not a run"
    remedy = f"another place: --to {folder}-2" if status in ("finished", "not a run") else "--resume goes on with it"
    raise RunError(f"the folder {folder} exists already (status: {status})", expected="a new folder", remedy=remedy)


def stored(folder: Path) -> Recipe:
    """The resolved recipe of a run that is to be resumed."""
    return Recipe.read(folder / RECIPE)
