"""The next token at each position of a text: numbers in a vocabulary, -1 where there is none to learn.

The classes are the vocabulary: the texts of the tokens in the order of their numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from limbeck.data.labels.parts import UNLABELLED, Read, array
from limbeck.errors import DataError


def read(given: Mapping[str, Any], rows: Mapping[str, int], names: Sequence[str] | None) -> Read:
    """The next tokens of each split's rows, in int32; unknown ones stay -1.

    Args:
        given: Labels by split, of shape (rows, positions); None, or no entry, where a split has none.
        rows: Rows by split.
        names: The vocabulary.

    Raises:
        DataError: When there is no vocabulary, or labels are no numbers of it, not one for each position, or all -1.
    """
    if names is None:
        raise DataError(
            "the vocabulary of the tokens is not known",
            expected="text, and the tokenizer that makes tokens of it",
            remedy="data: {tokens: {tokenizer: hf:PATH, length: 512}}; with tokens of your own, a mapping of splits "
            'whose "classes" are the texts of the tokens in the order of their numbers',
        )
    splits = {}
    for split, count in rows.items():
        if given.get(split) is None:
            raise DataError(f"the {split} rows have no labels", expected="the next token at each position, or -1")
        splits[split] = _split(array(given[split], split, count), len(names), split)
    lengths = {split: labels.shape[1] for split, (labels, _) in splits.items()}
    if len(set(lengths.values())) != 1:
        raise DataError(f"the labels' positions are {lengths}", expected="one number for all splits")
    return Read(tuple(names), splits)


def _split(labels: Any, vocabulary: int, split: str) -> tuple[Int[Tensor, "rows positions"], Bool[Tensor, "..."]]:
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise DataError(
            f"the {split} labels are {labels.dtype} of shape {labels.shape}",
            expected="whole numbers of shape (rows, positions): the next token at each position, or -1",
        )
    if labels.size and (labels.min() < UNLABELLED or labels.max() >= vocabulary):
        raise DataError(
            f"the {split} labels hold numbers from {labels.min()} to {labels.max()}",
            expected=f"numbers of the vocabulary, from 0 to {vocabulary - 1}, or -1 where nothing is to be learnt",
        )
    found = torch.tensor(labels, dtype=torch.int32)
    known = found != UNLABELLED
    if not bool(known.any()):
        raise DataError(f"no position of the {split} rows has a token to learn", expected="at least one")
    return found, known


def strata(labels: Int[Tensor, "rows positions"], known: Bool[Tensor, "rows positions"]) -> Int[Tensor, " rows"]:
    """Zero for every row: texts are of no class."""
    return torch.zeros(len(known), dtype=torch.int64)


def summary(
    labels: Int[Tensor, "rows positions"], known: Bool[Tensor, "rows positions"], names: Sequence[str]
) -> dict[str, Any]:
    """How many positions there are, and at how many of them there is a token to learn."""
    return {"labelled": int(known.any(dim=1).sum()), "positions": known.numel(), "learnt": int(known.sum())}
