"""What a row of tokens says of the documents in it: where each begins, and what is shown before what is learnt."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn


def starts(documents: Int[Tensor, "rows length"]) -> tuple[Int[Tensor, "rows length"], Int[Tensor, "rows length"]]:
    """Each token's position in its document, from 0, and a number for the document.

    Padding goes on with the document before it: it sees that one, nobody sees it, and a row of one document is then a
    plain causal one, for which attention has its fastest kernels.

    Args:
        documents: The second line of each row: the number of each token's document, 0 for padding.
    """
    before = nn.functional.pad(documents, (1, 0), value=0)[:, :-1]
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = (documents != before) & (documents != 0)
    start = torch.where(begins, places, torch.zeros_like(places)).cummax(dim=1).values
    return places - start, begins.cumsum(dim=1)


def documents(numbers: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """The documents of a row: the number of each, its first position and the one after its last; padding is none.

    Args:
        numbers: The second line of the row.
    """
    for number, places in itertools.groupby(range(len(numbers)), key=numbers.__getitem__):
        first, *rest = places
        if number:
            yield number, first, first + len(rest) + 1


@dataclass(frozen=True)
class Passage:
    """A document to be gone on with: the tokens that are shown, and those that follow in the data and are learnt."""

    prompt: tuple[int, ...]
    rest: tuple[int, ...]


def passages(
    inputs: Int[Tensor, "rows 2 length"], known: Bool[Tensor, "rows length"], *, opening: int = 1
) -> list[list[Passage]]:
    """The documents of each row in which something is learnt, each up to the end of the first stretch that is learnt.

    Args:
        inputs: Rows of tokens and of the numbers of their documents.
        known: Where the next token is learnt.
        opening: Of a document that is learnt from its first token on, as plain text is, so many tokens are the prompt,
            but no more than half of it; 1 or more.
    """
    found = []
    for (tokens, numbers), learnt in zip(inputs.tolist(), known.tolist(), strict=True):
        stretches = (range(first, after) for _, first, after in documents(numbers))
        each = (_passage(document, tokens, learnt, opening) for document in stretches)
        found.append([passage for passage in each if passage is not None])
    return found


def _passage(document: Sequence[int], tokens: Sequence[int], learnt: Sequence[bool], opening: int) -> Passage | None:
    asked = next((place for place in document if learnt[place]), None)
    if asked is None:
        return None
    after = next((place for place in document if place > asked and not learnt[place]), document[-1])
    if asked == document[0]:
        asked += max(1, min(opening, (after + 1 - asked) // 2)) - 1
    return Passage(tuple(tokens[document[0] : asked + 1]), tuple(tokens[asked + 1 : after + 1]))
