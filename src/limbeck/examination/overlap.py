"""The same thing in two splits: the same row, the same person, the same stretch of time, or the teacher's own rows.

A row that was trained on is answered better than one that was not, so a score over such rows promises what new data
will not keep. The share from which this is an error, 1 % of the split, is the size of the differences people report
between methods.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch

from limbeck.data.source import Data
from limbeck.data.windows import WindowInputs
from limbeck.examination.content import Content
from limbeck.records import Finding

ERROR = 0.01
# Rows that repeat within the training split as often as this share of them are of a kind that repeats (small tables).
_REPEATING = 0.5
_SHOWN = 3
# The split that is judged stands second.
_PAIRS = (("train", "test"), ("train", "valid"), ("valid", "test"))
_WORDS = {"train": "training", "valid": "validation", "test": "test"}


def same_rows(contents: Mapping[str, Content]) -> list[Finding]:
    """Rows with equal inputs in two splits.

    An error from 1 % of the rows of the later split on, a warning below; a warning too where rows repeat within the
    training split about as often, for then the data is of a kind that repeats itself and nobody copied anything.
    """
    train = contents["train"]
    there = [digest for digest in train.digests if digest is not None]
    repeating = 1 - len(set(there)) / max(1, len(there))
    found = []
    for first, second in _PAIRS:
        places, judged = contents[first].places(), contents[second]
        twins = [(at, places[digest]) for at, digest in enumerate(judged.digests) if digest in places]
        if not twins:
            continue
        share = len(twins) / len(judged.digests)
        natural = repeating >= _REPEATING * share and repeating > ERROR
        examples = ", ".join(f"{judged.ids[at]} = {contents[first].ids[other]}" for at, other in twins[:_SHOWN])
        kind = f"; {train.what} repeat within training as well ({repeating:.1%})" if natural else ""
        found.append(
            Finding(
                "warning" if natural or share < ERROR else "error",
                f"the same {judged.what} in {_WORDS[first]} and {_WORDS[second]}",
                f"{len(twins):,} of {len(judged.digests):,} {_WORDS[second]} {judged.what} ({share:.1%}) have the "
                f"inputs of a {_WORDS[first]} one (ids {examples}){kind}",
                f"leave these {judged.what} out of {first}, or out of {second}; where they come in families (crops of "
                "one picture, beats of one person), split by them: columns: {group: NAME}",
            )
        )
    return found


def same_people(data: Data) -> list[Finding]:
    """Groups (persons, machines) with rows in two splits; a note where the data was split by time on purpose."""
    found = []
    splits, said = data.splits(), data.facts.get("how", {})
    for first, second in _PAIRS:
        ours, theirs = splits[first].groups, splits[second].groups
        if ours is None or theirs is None:
            continue
        both = np.intersect1d(torch.unique(ours).numpy(), torch.unique(theirs).numpy())
        if not len(both):
            continue
        # Written by data.partition: with a split by time, each person's past is learnt from and their future judged.
        by_time = all("by time" in str(said.get(name, "")) for name in {first, second} - {"train"})
        rows = int(torch.isin(theirs, torch.from_numpy(both)).sum())
        names = ", ".join(data.groups[int(number)] for number in both[:_SHOWN] if int(number) < len(data.groups))
        found.append(
            Finding(
                "note" if by_time else "error",
                f"the same groups in {_WORDS[first]} and {_WORDS[second]}",
                f"{len(both)} of the {len(torch.unique(theirs))} groups with {_WORDS[second]} rows also have "
                f"{_WORDS[first]} rows ({names}{', ...' if len(both) > _SHOWN else ''}); they hold {rows:,} of "
                f"{len(theirs):,} {_WORDS[second]} rows",
                "right for a model that each of them trains on their own past; for one that meets new people: "
                "split: groups"
                if by_time
                else "split: groups keeps each group in one split; split: time is for models of known people",
            )
        )
    return found


def same_time(data: Data) -> list[Finding]:
    """Windows of one series that share readings, or what is to be forecast, with windows of another split."""
    horizon = int((data.facts.get("windows") or {}).get("horizon", 0))
    found, splits = [], data.splits()
    for first, second in combinations(splits, 2):
        ours, theirs = splits[first].inputs, splits[second].inputs
        if not isinstance(ours, WindowInputs) or not isinstance(theirs, WindowInputs):
            continue
        if ours.series.data_ptr() != theirs.series.data_ptr() or not len(ours.starts) or not len(theirs.starts):
            continue
        length = ours.series.shape[1] + horizon + 1
        change = torch.zeros(length + 1, dtype=torch.int64)
        change.index_add_(0, ours.starts, torch.ones_like(ours.starts))
        change.index_add_(0, ours.starts + ours.steps + horizon, -torch.ones_like(ours.starts))
        covered = torch.cat([torch.zeros(1, dtype=torch.int64), (change.cumsum(0) > 0).long().cumsum(0)])
        shared = covered[theirs.starts + theirs.steps + horizon] > covered[theirs.starts]
        count = int(shared.sum())
        if count:
            share = count / len(shared)
            examples = ", ".join(str(number) for number in splits[second].ids[shared][:_SHOWN].tolist())
            found.append(
                Finding(
                    "error" if share >= ERROR else "warning",
                    f"the same time in {_WORDS[first]} and {_WORDS[second]}",
                    f"{count:,} of {len(shared):,} {_WORDS[second]} windows ({share:.1%}) share readings with "
                    f"{_WORDS[first]} windows (ids {examples})",
                    "split: time leaves out what reaches across the boundary; split: groups keeps whole series apart; "
                    f"or windows.stride of at least {ours.steps + horizon}",
                )
            )
    return found


def teachers_rows(theirs: Content, ours: Mapping[str, Content], name: str) -> list[Finding]:
    """Rows that the teacher was trained on among those it and its student are judged by.

    Args:
        theirs: The rows the teacher was trained on.
        ours: This recipe's splits.
        name: The teacher.
    """
    found, seen = [], theirs.places()
    for split in ("test", "valid"):
        twins = [at for at, digest in enumerate(ours[split].digests) if digest in seen]
        share = len(twins) / max(1, len(ours[split].digests))
        if twins:
            ids = ", ".join(str(ours[split].ids[at]) for at in twins[:_SHOWN])
            found.append(
                Finding(
                    "error" if split == "test" and share >= ERROR else "warning",
                    f"the teacher was trained on {_WORDS[split]} {theirs.what}",
                    f"{name} was trained on {len(twins):,} of the {len(ours[split].digests):,} {_WORDS[split]} "
                    f"{theirs.what} ({share:.1%}; ids {ids})",
                    "the teacher's own data.seed, valid, test and split in this recipe, or a teacher trained on these "
                    "training rows",
                )
            )
    return found
