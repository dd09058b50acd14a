"""Hugging Face data sets: from the hub, from a folder of `save_to_disk`, from any folder `datasets` can load, or held.

    hf:ylecun/mnist        hf:nyu-mll/glue#sst2        hf:NAME@REVISION        hf:path/to/folder

The hub is asked only about the name after `hf:`, and not at all where HF_HUB_OFFLINE is set or the name is a folder.
The library's own counting of downloads is off while we call it, and so is its telemetry.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from limbeck.data.forms import tables
from limbeck.data.forms.columns import Block
from limbeck.data.forms.splits import split_of
from limbeck.data.raw import Raw
from limbeck.data.unreadable import Unreadable
from limbeck.errors import DataError, did_you_mean
from limbeck.recipe import Columns, DataSpec
from limbeck.task import LabelKind

_ROWS_AT_ONCE = 1024
_SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` has written a folder."""
    return (folder / _SAVED[0]).is_file() or all((folder / name).is_file() for name in _SAVED[1:])


def is_held(source: object) -> bool:
    """Whether an object is a data set of `datasets`, or a mapping of splits that are."""
    if isinstance(source, Mapping) and source and type(source).__module__.partition(".")[0] != "datasets":
        return all(is_held(part) for name, part in source.items() if name != "classes")
    return type(source).__module__.partition(".")[0] == "datasets"


def read(name: str, spec: DataSpec, labels: LabelKind) -> Raw:
    """Loads a data set by name or path and reads it.

    Args:
        name: What stands after `hf:`.
        spec: Its columns, windows, size, share of unreadable rows, and memory.
        labels: How the task reads labels.

    Raises:
        DataError: When it cannot be loaded, or its columns cannot be read.
    """
    return of(_loaded(name), spec, labels, name=name.rstrip("/").rpartition("/")[2], origin=f"hf:{name}")


def of(held: Any, spec: DataSpec, labels: LabelKind, *, name: str = "data set", origin: str = "datasets") -> Raw:
    """Reads a `Dataset`, or a `DatasetDict` or mapping of them; train, validation and test are used where there.

    Without `columns`, a single feature of pictures is the input and a single `ClassLabel` the label, which also names
    the classes.

    Raises:
        DataError: When there is no train split, or columns cannot be read.
    """
    splits = _splits(held, origin)
    features = splits["train"].features
    if features is None:
        raise DataError(f"{origin} does not say its columns", expected="a data set with features")
    columns, classes = _columns(features, spec.columns, labels)
    changed = spec.model_copy(update={"columns": columns})
    readers = {split: _reader(dataset, split) for split, dataset in splits.items()}
    return tables.of(tables.Table(name, origin, readers, classes=classes), changed, labels)


def _splits(held: Any, origin: str) -> dict[str, Any]:
    if not isinstance(held, Mapping):
        return {"train": held}
    named = {str(name): split_of(str(name)) for name in held}
    found = {split: held[name] for name, split in named.items() if split is not None}
    if "train" not in found and len(held) == 1:
        found = {"train": next(iter(held.values()))}
    if "train" not in found:
        raise DataError(
            f"{origin} has the splits {', '.join(named)}, and none to train on", remedy=did_you_mean("train", named)
        )
    return {split: found[split] for split in ("train", "valid", "test") if split in found}


def _columns(features: Any, said: Columns, labels: LabelKind) -> tuple[Columns, tuple[str, ...] | None]:
    """The columns with what the features say of themselves, and the names of the classes."""
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    inputs, label = said.inputs, said.label
    pictures = [name for name, kind in kinds.items() if kind == "Image"]
    named = [name for name, kind in kinds.items() if kind == "ClassLabel"]
    if not inputs and len(pictures) == 1:
        inputs = (pictures[0],)
    if not label and len(named) == 1 and labels == "single":
        label = (named[0],)
    found = Columns(inputs=inputs, label=label, group=said.group, time=said.time)
    alone = label[0] if len(label) == 1 else ""
    return found, tuple(features[alone].names) if kinds.get(alone) == "ClassLabel" and labels == "single" else None


def _reader(dataset: Any, split: str) -> Callable[[Unreadable], Iterator[Block]]:
    def blocks(lost: Unreadable) -> Iterator[Block]:
        first = 0
        # as arrow: pictures then come as bytes or paths, and are decoded where all others are
        for batch in dataset.with_format("arrow").iter(_ROWS_AT_ONCE):
            yield tables.of_arrow(batch.combine_chunks(), f"{split}, row", first)
            first += len(batch)

    return blocks


def _loaded(name: str) -> Any:
    path, _, configuration = name.partition("#")
    path, _, revision = (path, "", "") if Path(path).expanduser().exists() else path.partition("@")
    folder = Path(path).expanduser()
    with quiet_library() as datasets:
        try:
            if folder.is_dir() and is_saved(folder):
                return datasets.load_from_disk(str(folder))
            where = str(folder) if folder.exists() else path
            return datasets.load_dataset(where, configuration or None, revision=revision or None)
        except (OSError, ValueError, RuntimeError) as error:
            # the library's own errors are all of these kinds: not found, no network, no such configuration
            raise DataError(
                f"hf:{name} cannot be loaded: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
                expected="hf:NAME of the hub, hf:NAME#CONFIGURATION, or hf:FOLDER",
                remedy="check the name and the network; a data set that was loaded before is read without one",
            ) from error


@contextlib.contextmanager
def quiet_library() -> Iterator[Any]:
    """The package `datasets`, for a block in which it counts no downloads and sends no telemetry.

    Raises:
        DataError: When it is not installed.
    """
    try:
        import datasets
        from huggingface_hub import constants
    except ModuleNotFoundError as error:
        raise DataError("hf: needs the package datasets", remedy="pip install 'limbeck[data]'") from error
    counts, telemetry = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, constants.HF_HUB_DISABLE_TELEMETRY
    bars = datasets.utils.logging.is_progress_bar_enabled()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, constants.HF_HUB_DISABLE_TELEMETRY = False, True
    datasets.disable_progress_bars()
    try:
        yield datasets
    finally:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS, constants.HF_HUB_DISABLE_TELEMETRY = counts, telemetry
        if bars:
            datasets.enable_progress_bars()
