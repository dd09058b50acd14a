"""`load`: from a name, arrays or a data set to train, validation and test rows that one seed decides."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from jaxtyping import Int
from torch import Tensor

from limbeck.data import sets
from limbeck.data.arrays import UNLABELLED, class_names, input_tensor, label_array, label_numbers
from limbeck.data.raw import Pair, Raw
from limbeck.data.rows import TensorRows
from limbeck.data.splits import chosen
from limbeck.data.torch_dataset import is_dataset, materialised
from limbeck.errors import DataError, did_you_mean

Part: TypeAlias = float | int | Pair | Any
"""How a split is asked for: a share between 0 and 1, a number of rows, or rows of its own."""

_OWN_SHARE = 0.1
_SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Data:
    """Train, validation and test rows, disjoint, with the names of the classes.

    `facts` are what is known without reading the rows again; `description` adds the counts and the fingerprint.
    """

    name: str
    classes: tuple[str, ...]
    train: TensorRows
    valid: TensorRows
    test: TensorRows
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """One hash over the three splits and the class names."""
        import hashlib

        parts = [self.train.fingerprint, self.valid.fingerprint, self.test.fingerprint, *self.classes]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:32]

    @cached_property
    def description(self) -> dict[str, Any]:
        """JSON: rows, labelled rows and class counts of each split, how it was split, the seed, the fingerprint."""
        splits = {name: _counted(rows, self.classes) for name, rows in self.splits().items()}
        return {"name": self.name, "splits": splits, **self.facts, "fingerprint": self.fingerprint}

    def splits(self) -> dict[str, TensorRows]:
        """The three splits by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def known_names() -> list[str]:
    """The sets that can be asked for by name."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(sets.__path__))


def load(
    source: Any,
    *,
    path: str | Path | None = None,
    valid: Part | None = None,
    test: Part | None = None,
    labelled: int | None = None,
    omit: Sequence[str] = (),
    seed: int = 0,
) -> Data:
    """Loads data and splits it, the same way for the same seed.

    Args:
        source: A known name ("digits", "fashion-mnist", "mnist"); a pair (inputs, labels) of arrays or tensors, where
            labels are class numbers, names, or -1 / None for a row without label; a mapping with "train" and perhaps
            "valid", "test" (pairs or data sets) and "classes" (names); or a map-style torch data set, read once.
        path: Where a known set lies.
        valid: Validation rows: None for the set's own, or a tenth of the train rows where it has none; a share (0 to
            1) or a number of rows of the set's own validation rows, or of the train rows where it has none; or rows
            of their own, as a pair or data set.
        test: Test rows, in the same way; both shares are of the train rows before either is taken.
        labelled: Keep this many labels in train, in proportion to the classes and at least one of each, and hide the
            others; their rows stay, for the teacher to label.
        omit: Classes whose rows leave the train split (only).
        seed: Decides which rows are taken, and which labels are kept.

    Raises:
        DataError: When the source is missing or unknown, inputs are not finite, labels do not fit, or a split is empty.
    """
    raw = _raw(source, path)
    for name, part in (("valid", valid), ("test", test)):
        if part is not None and not isinstance(part, int | float):
            raw = replace(raw, valid=_pair(part, name)) if name == "valid" else replace(raw, test=_pair(part, name))
    classes, own = _checked(raw)
    rows, how = _split(own, {"test": test, "valid": valid}, seed)
    rows["train"] = _omit(rows["train"], omit, classes)
    if labelled is not None:
        rows["train"] = _hidden(rows["train"], labelled, seed)
    facts: dict[str, Any] = {
        "origin": raw.origin,
        "classes": list(classes),
        "inputs": f"{str(rows['train'].inputs.dtype).removeprefix('torch.')} {tuple(rows['train'].inputs.shape[1:])}",
        "how": how,
        "seed": seed,
        "labelled": labelled,
        "omit": list(omit),
    }
    return Data(raw.name, classes, rows["train"], rows["valid"], rows["test"], facts)


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


def _checked(raw: Raw) -> tuple[tuple[str, ...], dict[str, TensorRows]]:
    """Tensors of the source's own splits; ids count on from train over valid to test."""
    pairs = {name: pair for name in _SPLITS if (pair := getattr(raw, name)) is not None}
    inputs = {name: input_tensor(pair[0], name) for name, pair in pairs.items()}
    labels = {
        name: label_array(pair[1], name, len(inputs[name])) for name, pair in pairs.items() if pair[1] is not None
    }
    classes = raw.classes if raw.classes is not None else class_names(labels.values())
    if len(classes) < 2:
        raise DataError(
            f"the labels name {len(classes)} classes ({', '.join(classes) or 'none'})", expected="at least two classes"
        )
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in inputs.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"the rows differ in shape: {shapes}", expected="one shape in every split")
    own, first = {}, 0
    for name, tensor in inputs.items():
        count = len(tensor)
        numbers, known = torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
        if name in labels:
            numbers, known = label_numbers(labels[name], classes, name, named=raw.classes is not None)
        own[name] = TensorRows(tensor, numbers, known, torch.arange(first, first + count))
        first += count
    return classes, own


def _split(
    own: dict[str, TensorRows], asked: dict[str, Part | None], seed: int
) -> tuple[dict[str, TensorRows], dict[str, str]]:
    train = own["train"]
    whole = len(train)
    rows, how = {}, {}
    for name, part in asked.items():
        amount = part if isinstance(part, int | float) else None
        if name in own:
            rows[name], how[name] = own[name], "own rows"
            if amount is not None:
                count = _count(amount, len(own[name]), name)
                rows[name] = own[name].select(_positions(own[name], count, seed, name)[0])
                how[name] = f"{count} of its own {len(own[name])} rows, stratified"
            continue
        count = _count(_OWN_SHARE if amount is None else amount, whole, name)
        if count >= len(train):
            raise DataError(
                f"{name}={count} leaves no row to train on: there are {len(train)}",
                expected=f"fewer than {len(train)} rows for {name}",
            )
        taken, left = _positions(train, count, seed, name)
        rows[name], train = train.select(taken), train.select(left)
        how[name] = f"{count} of the {whole} train rows, stratified"
    return {**rows, "train": train}, how


def _count(amount: float | int, rows: int, name: str) -> int:
    share = type(amount) is float
    count = round(amount * rows) if share else int(amount)
    if type(amount) is bool or not 0 < count <= rows or (share and amount >= 1):
        raise DataError(
            f"{name}={amount} of {rows} rows is an empty split or more than there is",
            expected=f"a share above 0 and below 1 that gives at least one row, or a number of rows from 1 to {rows}",
        )
    return count


def _positions(rows: TensorRows, count: int, seed: int, name: str) -> tuple[Tensor, Tensor]:
    picked = chosen(rows.ids, _strata(rows), count, seed=seed, name=name)
    return picked.nonzero().squeeze(1), (~picked).nonzero().squeeze(1)


def _strata(rows: TensorRows) -> Int[Tensor, " rows"]:
    assert rows.labels is not None
    return torch.where(rows.known, rows.labels, torch.full_like(rows.labels, UNLABELLED))


def _omit(train: TensorRows, omit: Sequence[str], classes: tuple[str, ...]) -> TensorRows:
    for name in omit:
        if name not in classes:
            raise DataError(f"omit names {name!r}, which is no class", remedy=did_you_mean(str(name), classes))
    kept = train.without(*(classes.index(name) for name in omit)) if omit else train
    if not len(kept):
        raise DataError(f"omit={list(omit)} leaves no row to train on", expected="at least one class in train")
    return kept


def _hidden(train: TensorRows, labelled: int, seed: int) -> TensorRows:
    places = train.known.nonzero().squeeze(1)
    strata = _strata(train)[places]
    least = len(torch.unique(strata))
    if not least <= labelled <= len(places):
        raise DataError(
            f"labelled={labelled} of {len(places)} labelled train rows in {least} classes",
            expected=f"a number from {least}, one for each class, to {len(places)}",
        )
    kept = chosen(train.ids[places], strata, labelled, seed=seed, name="labelled", least=1)
    return train.hide_labels(places[kept])


def _counted(rows: TensorRows, classes: tuple[str, ...]) -> dict[str, Any]:
    assert rows.labels is not None
    counts = torch.bincount(rows.labels[rows.known], minlength=len(classes)).tolist()
    return {
        "rows": len(rows),
        "labelled": int(rows.known.sum()),
        "class_counts": dict(zip(classes, counts, strict=True)),
    }
