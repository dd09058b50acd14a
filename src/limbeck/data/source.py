"""`load`: from a name, arrays or a data set to train, validation and test rows that one seed decides."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from limbeck.data import sets
from limbeck.data.arrays import input_tensor
from limbeck.data.documents import Documents
from limbeck.data.inputs import Inputs
from limbeck.data.labels.parts import Read
from limbeck.data.partition import Partition
from limbeck.data.raw import Pair, Raw
from limbeck.data.rows import TensorRows
from limbeck.data.splits import chosen
from limbeck.data.torch_dataset import is_dataset, materialised
from limbeck.errors import DataError, did_you_mean
from limbeck.task import OF_NAMES, UNLABELLED_COUNT, LabelKind

Part: TypeAlias = float | int | Pair | Any
"""How a split is asked for: a share between 0 and 1, a number of rows, groups by name, or rows of its own."""

_How: TypeAlias = Literal["random", "groups", "time"]
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Data:
    """Train, validation and test rows, disjoint, with the names of the classes (or of the quantities).

    `facts` are what is known without reading the rows again; `description` adds the counts and the fingerprint.
    `groups` are the names of the groups the rows' numbers stand for. `reader` is a hash of the tokenizer, for text.
    `times` are when each row begins and ends, in seconds, by its id; None where the source does not say it.
    """

    name: str
    classes: tuple[str, ...]
    train: TensorRows
    valid: TensorRows
    test: TensorRows
    facts: Mapping[str, Any] = field(default_factory=dict)
    labels: LabelKind = "single"
    groups: tuple[str, ...] = ()
    reader: str = ""
    times: tuple[Tensor, Tensor] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """One hash over the three splits, the class names, and the tokenizer where there is one."""
        import hashlib

        parts = [self.train.fingerprint, self.valid.fingerprint, self.test.fingerprint, *self.classes]
        parts += [self.reader] if self.reader else []
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]

    @cached_property
    def description(self) -> dict[str, Any]:
        """JSON: rows, labels and groups of each split, how it was split, the seed, the fingerprint."""
        splits = {name: self._summary(rows) for name, rows in self.splits().items()}
        return {"name": self.name, "splits": splits, **self.facts, "fingerprint": self.fingerprint}

    def splits(self) -> dict[str, TensorRows]:
        """The three splits by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def _summary(self, rows: TensorRows) -> dict[str, Any]:
        assert rows.labels is not None
        found = {"rows": len(rows), **_kind(self.labels).summary(rows.labels, rows.known, self.classes)}
        if rows.groups is not None:
            found["groups"] = [self.groups[number] for number in torch.unique(rows.groups).tolist()]
        return found


def known_names() -> list[str]:
    """The sets that can be asked for by name."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(sets.__path__))


def load(
    source: Any,
    *,
    labels: LabelKind = "single",
    path: str | Path | None = None,
    valid: Part | None = None,
    test: Part | None = None,
    split: _How | None = None,
    labelled: int | None = None,
    omit: Sequence[str] = (),
    seed: int = 0,
) -> Data:
    """Loads data and splits it, the same way for the same seed.

    Args:
        source: A known name ("digits", "fashion-mnist", "mnist"); a pair (inputs, labels) of arrays or tensors, where
            labels are class numbers, names, or -1 / None for a row without label; a mapping with "train" and perhaps
            "valid", "test" (pairs or data sets) and "classes" (names); a map-style torch data set, read once; or what
            a form of data has read (`Raw`).
        labels: How labels are read; the task says it.
        path: Where a known set lies.
        valid: Validation rows: None for the set's own, or a tenth of the train rows where it has none; a share (0 to
            1) or a number of rows of the set's own validation rows, or of the train rows where it has none; or rows
            of their own, as a pair or data set. Split by group, a share or number of the groups, or their names.
        test: Test rows, in the same way; both shares are of the train rows before either is taken.
        split: How rows are divided where the source has no splits of its own: at random in proportion to the labels,
            whole groups, or by time. None is "groups" where the source says groups, else "random".
        labelled: Keep this many labels in train, in proportion to the classes and at least one of each, and hide the
            others; their rows stay, for the teacher to label.
        omit: Classes whose rows leave the train split (only).
        seed: Decides which rows are taken, and which labels are kept.

    Raises:
        DataError: When the source is missing or unknown, inputs are not finite, labels do not fit, or a split is empty.
    """
    raw, asked = _asked(_raw(source, path), {"test": test, "valid": valid})
    divided = _divided(raw, asked, split, seed, labels)
    rows, names = divided.rows, divided.names
    rows["train"] = _omit(rows["train"], omit, names, labels)
    if labelled is not None:
        rows["train"] = _hidden(rows["train"], labelled, seed, labels)
    facts: dict[str, Any] = {
        "origin": raw.origin,
        "classes": f"a vocabulary of {len(names):,} tokens" if OF_NAMES[labels] else list(names),
        "inputs": f"{str(rows['train'].inputs.dtype).removeprefix('torch.')} {tuple(rows['train'].inputs.shape[1:])}",
        "how": divided.how,
        "seed": seed,
        "labelled": labelled,
        "omit": list(omit),
        **raw.facts,
        **divided.facts,
    }
    splits = (rows["train"], rows["valid"], rows["test"])
    return Data(raw.name, names, *splits, facts, labels, divided.groups, raw.reader, _times(raw))


@dataclass(frozen=True)
class _Divided:
    """Rows of the three splits, what their labels are called, their groups' names, how it was done, and more facts."""

    rows: dict[str, TensorRows]
    names: tuple[str, ...]
    groups: tuple[str, ...]
    how: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)


def _divided(raw: Raw, asked: Mapping[str, Part | None], split: _How | None, seed: int, kind: LabelKind) -> _Divided:
    """Divides a source; where it is documents, these are divided, and what is made of each split's own are its rows."""
    if isinstance(raw.train[0], Documents):
        return _divided_documents(raw, asked, split, seed, kind)
    read, own, groups = _checked(raw, kind)
    _check_apart(own, groups, split)
    how = split or ("groups" if raw.groups else "random")
    partition = Partition(how, seed, lambda rows: _strata(rows, kind), groups, _moments(raw))
    return _Divided(partition.divide(own, asked), read.names, groups, partition.said)


def _divided_documents(
    raw: Raw, asked: Mapping[str, Part | None], split: _How | None, seed: int, kind: LabelKind
) -> _Divided:
    held = {name: pair[0] for name in _SPLITS if (pair := getattr(raw, name)) is not None}
    if strangers := [name for name, documents in held.items() if not isinstance(documents, Documents)]:
        raise DataError(
            f"the {strangers[0]} data is {type(held[strangers[0]]).__name__}, and the train data is text",
            expected="text in every split",
        )
    own, groups = _numbered(raw, {name: torch.arange(len(documents)) for name, documents in held.items()}, {})
    _check_apart(own, groups, split)
    how = split or ("groups" if raw.groups else "random")
    partition = Partition(how, seed, _alike, groups, _moments(raw), what="documents")
    places = partition.divide(own, asked)
    parts = {name: held.get(name, held["train"]).select(rows.inputs) for name, rows in places.items()}
    pairs: dict[str, Any] = {name: (part.rows, part.rows.labels()) for name, part in parts.items()}
    whole = _divided(replace(raw, **pairs, groups={}, times={}), dict.fromkeys(asked), None, seed, kind)
    if "rationale" in raw.facts.get("columns", {}):
        steps = {name: replace(rows, rationale=parts[name].rows.rationale()) for name, rows in whole.rows.items()}
        whole = replace(whole, rows=steps)
    return replace(whole, how=partition.said, facts={"documents": {name: part.facts() for name, part in parts.items()}})


def _asked(raw: Raw, parts: Mapping[str, Part | None]) -> tuple[Raw, dict[str, Part | None]]:
    """Puts splits that were given as rows among the source's own; the rest are amounts, or names of groups."""
    amounts = {name: part if part is None or is_amount(part) else None for name, part in parts.items()}
    rows: dict[str, Any] = {
        name: _pair(part, name) for name, part in parts.items() if part is not None and not is_amount(part)
    }
    return replace(raw, valid=rows.get("valid", raw.valid), test=rows.get("test", raw.test)), amounts


def _raw(source: Any, path: str | Path | None) -> Raw:
    if isinstance(source, Raw):
        return source
    if isinstance(source, str):
        module = source.replace("-", "_")
        if source not in known_names():
            raise DataError(
                f"no data set is called {source!r}",
                expected="a known name, a pair (inputs, labels), a mapping of splits, or a torch data set",
                remedy=did_you_mean(source, known_names()),
            )
        where = None if path is None else Path(path).expanduser()
        if where is not None and not where.exists():
            raise DataError(f"the path {where} of {source} does not exist", remedy="check the spelling of path=")
        loaded = importlib.import_module(f"{sets.__name__}.{module}").load(where)
        assert isinstance(loaded, Raw)
        return loaded
    if path is not None:
        raise DataError(f"path={path} was given with data that has no name", expected="path only with a known name")
    if isinstance(source, Mapping):
        unknown = [key for key in source if key not in (*_SPLITS, "classes")]
        if unknown or "train" not in source:
            raise DataError(
                f"the mapping of splits has {f'the key {unknown[0]!r}' if unknown else 'no train'}",
                expected="the keys train, and perhaps valid, test, classes",
                remedy=did_you_mean(str(unknown[0]), (*_SPLITS, "classes")) if unknown else "",
            )
        pairs = {name: _pair(source[name], name) for name in _SPLITS if source.get(name) is not None}
        names = source.get("classes") or getattr(source["train"], "classes", None)
        classes = None if names is None else tuple(map(str, names))
        return Raw("arrays", pairs["train"], pairs.get("valid"), pairs.get("test"), classes)
    names = getattr(source, "classes", None) if is_dataset(source) else None
    return Raw("arrays", _pair(source, "train"), classes=None if names is None else tuple(map(str, names)))


def _pair(part: Any, split: str) -> Pair:
    if isinstance(part, tuple | list) and len(part) == 2:
        return part[0], part[1]
    if is_dataset(part):
        return materialised(part, split)
    raise DataError(
        f"the {split} data is {type(part).__name__}",
        expected="a pair (inputs, labels) or a torch data set with __len__ and __getitem__",
        remedy="(inputs, None) for rows without labels",
    )


def is_amount(part: Any) -> bool:
    """Whether a split is asked for by amount or by the names of groups, and not given as rows."""
    if isinstance(part, int | float):
        return True
    return isinstance(part, list | tuple) and bool(part) and all(isinstance(name, str) for name in part)


def _kind(labels: LabelKind) -> Any:
    """The file of `data/labels/` that reads this kind."""
    return importlib.import_module(f"limbeck.data.labels.{labels}")


def _checked(raw: Raw, kind: LabelKind) -> tuple[Read, dict[str, TensorRows], tuple[str, ...]]:
    """Rows of the source's own splits; ids count on from train over valid to test."""
    pairs = {name: pair for name in _SPLITS if (pair := getattr(raw, name)) is not None}
    inputs = {name: _inputs(pair[0], name) for name, pair in pairs.items()}
    counts = {name: int(held.shape[0]) for name, held in inputs.items()}
    read: Read = _kind(kind).read({name: pair[1] for name, pair in pairs.items()}, counts, raw.classes)
    shapes = {name: tuple(held.shape[1:]) for name, held in inputs.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"the rows differ in shape: {shapes}", expected="one shape in every split")
    if OF_NAMES[kind]:
        for name, held in inputs.items():
            _check_tokens(held, int(read.splits[name][0].shape[1]), len(read.names), name)
    own, groups = _numbered(raw, inputs, read.splits)
    return read, own, groups


def _check_tokens(held: Tensor | Inputs, positions: int, vocabulary: int, split: str) -> None:
    """Refuses rows of a person's own that are no tokens beside the numbers of their documents."""
    if tuple(held.shape[1:]) != (2, positions) or held.dtype.is_floating_point:
        raise DataError(
            f"the {split} inputs are {held.dtype} of shape {tuple(held.shape)}, their labels of {positions} positions",
            expected=f"whole numbers of shape (rows, 2, {positions}): tokens, and beside each the number of its "
            "document in the row, from 1, or 0 for padding",
        )
    if isinstance(held, Tensor) and not 0 <= int(held[:, 0].min()) <= int(held[:, 0].max()) < vocabulary:
        raise DataError(
            f"the {split} inputs hold tokens from {int(held[:, 0].min())} to {int(held[:, 0].max())}",
            expected=f"numbers of the vocabulary, from 0 to {vocabulary - 1}",
        )


def _numbered(
    raw: Raw, inputs: Mapping[str, Tensor | Inputs], labels: Mapping[str, tuple[Tensor, Tensor]]
) -> tuple[dict[str, TensorRows], tuple[str, ...]]:
    """The source's own splits as rows whose ids count on, and the names of their groups; labels may be missing."""
    counts = {name: int(held.shape[0]) for name, held in inputs.items()}
    groups, numbers = _group_numbers(raw, counts)
    own, first = {}, 0
    for name, held in inputs.items():
        given, known = labels.get(name, (None, torch.zeros(counts[name], dtype=torch.bool)))
        own[name] = TensorRows(held, given, known, torch.arange(first, first + counts[name]), numbers.get(name))
        first += counts[name]
    return own, groups


def _inputs(given: Any, split: str) -> Tensor | Inputs:
    if isinstance(given, Tensor) or not isinstance(given, Inputs):
        return input_tensor(given, split)
    if not given.shape[0]:
        raise DataError(f"the {split} split is empty", expected="at least one row")
    return given


def _group_numbers(raw: Raw, counts: Mapping[str, int]) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Names of the groups, sorted, and each row's group by number."""
    named = {split: np.asarray(raw.groups[split]).astype(str) for split in counts if split in raw.groups}
    for split, found in named.items():
        if len(found) != counts[split]:
            raise DataError(
                f"the {split} split has {counts[split]} rows and {len(found)} groups", expected="a group for each row"
            )
    names = tuple(sorted({str(name) for found in named.values() for name in np.unique(found)}))
    return names, {split: torch.from_numpy(np.searchsorted(names, found)) for split, found in named.items()}


def _check_apart(own: Mapping[str, TensorRows], names: Sequence[str], split: str | None) -> None:
    """Refuses a source whose own splits share a group: what a model knows of a person would pass for skill.

    A person who asks for another way of splitting than by group accepts it.
    """
    if split not in (None, "groups"):
        return
    seen: dict[int, str] = {}
    for own_split, rows in own.items():
        for number in [] if rows.groups is None else torch.unique(rows.groups).tolist():
            if number in seen:
                raise DataError(
                    f"the group {names[number]!r} is in the source's own {seen[number]} and in its {own_split} split",
                    expected="splits that share no group",
                    remedy="put all its rows into one split; or say split: random (or time) to accept it",
                )
            seen[number] = own_split


def _times(raw: Raw) -> tuple[Tensor, Tensor] | None:
    """When each row begins and ends, in the order of the rows' ids."""
    own = [name for name in _SPLITS if getattr(raw, name) is not None]
    if isinstance(raw.train[0], Documents) or any(name not in raw.times for name in own):
        return None
    begin, end = (
        torch.cat([torch.as_tensor(raw.times[name][side], dtype=torch.float64) for name in own]) for side in (0, 1)
    )
    return begin, end


def _moments(raw: Raw) -> tuple[Tensor, Tensor] | None:
    if "train" not in raw.times:
        return None
    begin, end = raw.times["train"]
    return torch.as_tensor(begin, dtype=torch.float64), torch.as_tensor(end, dtype=torch.float64)


def _alike(rows: TensorRows) -> Tensor:
    """Documents are of no class."""
    return torch.zeros(len(rows), dtype=torch.int64)


def _strata(rows: TensorRows, kind: LabelKind) -> Tensor:
    found: Tensor = _kind(kind).strata(rows.labels, rows.known)
    return found


def _omit(train: TensorRows, omit: Sequence[str], classes: tuple[str, ...], kind: LabelKind) -> TensorRows:
    if omit and kind != "single":
        raise DataError(
            f"omit={list(omit)} was asked for rows that have no single class", expected="task: classification"
        )
    for name in omit:
        if name not in classes:
            raise DataError(f"omit names {name!r}, which is no class", remedy=did_you_mean(str(name), classes))
    kept = train.without(*(classes.index(name) for name in omit)) if omit else train
    if not len(kept):
        raise DataError(f"omit={list(omit)} leaves no row to train on", expected="at least one class in train")
    return kept


def _hidden(train: TensorRows, labelled: int, seed: int, kind: LabelKind) -> TensorRows:
    if not UNLABELLED_COUNT[kind]:
        raise DataError(
            f"labelled={labelled} was asked for rows in which a position without a label does not count",
            expected="no data.labelled: hidden tokens would be learnt from nobody",
            remedy="fewer documents, or another share for valid and test",
        )
    known = train.known if train.known.ndim == 1 else train.known.any(dim=1)
    places = known.nonzero().squeeze(1)
    strata = _strata(train, kind)[places]
    least = len(torch.unique(strata)) if kind == "single" else 1
    if not least <= labelled <= len(places):
        words = f" in {least} classes" if kind == "single" else ""
        raise DataError(
            f"labelled={labelled} of {len(places)} labelled train rows{words}",
            expected=f"a number from {least}{', one for each class,' if kind == 'single' else ''} to {len(places)}",
        )
    kept = chosen(train.ids[places], strata, labelled, seed=seed, name="labelled", least=int(kind == "single"))
    return train.hide_labels(places[kept])
