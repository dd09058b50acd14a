"""One text cut into tokens by two tokenizers: the shortest spans at whose ends both cuts meet."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from limbeck.languages.spelling import spelt


@dataclass(frozen=True)
class Span:
    """A stretch of a text that has these tokens in both readings: from one place up to, not including, another."""

    ours: tuple[int, int]
    theirs: tuple[int, int]


def spans(ours: Sequence[int], theirs: Sequence[int]) -> list[Span]:
    """The shortest spans whose ends are ends of tokens in both readings of a text.

    A token of no bytes belongs to the span before it; before the first byte, to the first span.

    Args:
        ours: Bytes of each token, 0 or more.
        theirs: The same of the other reading; both sums are the length of the text.
    """
    assert sum(ours) == sum(theirs)
    ends, others = np.cumsum(ours), np.cumsum(theirs)
    met = np.intersect1d(ends, others)
    met = met[met > 0]
    after, after_theirs = (np.searchsorted(each, met, side="right").tolist() for each in (ends, others))
    return [
        Span((first, last), (begin, end))
        for first, last, begin, end in zip([0, *after[:-1]], after, [0, *after_theirs[:-1]], after_theirs, strict=True)
    ]


@dataclass(frozen=True)
class Reading:
    """A document as another tokenizer reads it.

    Args:
        tokens: Its tokens, at least one.
        spans: Places in the tokens that were given and in these; those of tokens which nothing precedes, and those
            whose bytes are no text, are in none.
    """

    tokens: list[int]
    spans: list[Span]


class Interpreter:
    """What a tokenizer's tokens are to another one: whole documents, and each token by itself.

    Args:
        ours: The tokenizer in whose tokens documents come.
        theirs: The one into whose they are put; both of transformers.

    Raises:
        ModelError: When it is not known what the tokens of one of them spell.
    """

    def __init__(self, ours: Any, theirs: Any) -> None:
        self.ours, self.theirs = ours, theirs
        self.our_bytes, self.their_bytes = spelt(ours), spelt(theirs)
        begun = theirs("a", add_special_tokens=True)["input_ids"][:1]
        self.begins = begun if begun == [theirs.bos_token_id] else []

    @cached_property
    def meant(self) -> list[int]:
        """For each of their tokens the first of ours for the same text; -1 for a special one that we do not have.

        That is the token of ours with the same bytes where there is one. The tokens that end a text mean each other.
        """
        numbers = {bytes_: number for number, bytes_ in reversed(list(enumerate(self.our_bytes))) if bytes_}
        special = set(self.theirs.all_special_ids)
        found = [numbers.get(bytes_, -1) for bytes_ in self.their_bytes]
        rest = [place for place, number in enumerate(found) if number < 0 and place not in special]
        texts = [self.their_bytes[place].decode("utf-8", errors="replace") for place in rest]
        read = self.ours(texts, add_special_tokens=False)["input_ids"] if texts else []
        for place, tokens in zip(rest, read, strict=True):
            found[place] = self._first(self.their_bytes[place], tokens[:1], numbers)
        if self.theirs.eos_token_id is not None:
            found[self.theirs.eos_token_id] = -1 if self.ours.eos_token_id is None else self.ours.eos_token_id
        return found

    def read(self, tokens: Sequence[int]) -> Reading:
        """A document of our tokens in theirs, begun and ended as they begin and end one.

        The tokens for a text's begin and end are not part of the text: one of theirs stands where their tokenizer puts
        it, whether we have one or not. What was cut out of the middle of a character is in no span.
        """
        begun = self.ours.bos_token_id is not None and list(tokens[:1]) == [self.ours.bos_token_id]
        ended = len(tokens) > begun and tokens[-1] == self.ours.eos_token_id
        first, last = int(begun), len(tokens) - int(ended)
        said, found = self._cut(tokens[first:last])
        before = len(self.begins)
        theirs = [*self.begins, *said]
        moved = [
            Span((span.ours[0] + first, span.ours[1] + first), (span.theirs[0] + before, span.theirs[1] + before))
            for span in found
        ]
        if ended and self.theirs.eos_token_id is not None:
            moved.append(Span((last, last + 1), (len(theirs), len(theirs) + 1)))
            theirs.append(self.theirs.eos_token_id)
        # What nothing precedes is predicted by nobody.
        return Reading(theirs or [0], [span for span in moved if span.ours[0] > 0 and span.theirs[0] > 0])

    def _cut(self, tokens: Sequence[int]) -> tuple[list[int], list[Span]]:
        """Their tokens of what ours spell, as far as it is text, and the spans of both."""
        pieces = [self.our_bytes[token] for token in tokens]
        whole = b"".join(pieces)
        before = next((place for place in range(min(4, len(whole))) if whole[place] & 0xC0 != 0x80), len(whole))
        text = whole[before:].decode("utf-8", errors="ignore")
        inside = text.encode()
        after = len(whole) - before - len(inside)
        if not text or whole[before : before + len(inside)] != inside:
            return [], []
        said: list[int] = self.theirs(text, add_special_tokens=False)["input_ids"]
        sizes = [len(self.their_bytes[token]) for token in said]
        written = b"".join(self.their_bytes[token] for token in said)
        if written == b" " + inside:
            sizes[0] -= 1  # sentence pieces begin a text with a space that is not there
        elif written != inside:
            return [], []
        # Bytes that are no text stand beside it as a token of nobody's.
        shift = int(before > 0)
        found = spans(list(map(len, pieces)), [*[before] * shift, *sizes, *[after] * (after > 0)])
        return said, [
            Span(span.ours, (span.theirs[0] - shift, span.theirs[1] - shift))
            for span in found
            if span.theirs[0] >= shift and span.theirs[1] <= shift + len(sizes)
        ]

    def _first(self, bytes_: bytes, read: Sequence[int], numbers: dict[bytes, int]) -> int:
        """The first of our tokens for some bytes: as our tokenizer reads them, or the longest they begin with."""
        if read and self.our_bytes[read[0]] and bytes_.startswith(self.our_bytes[read[0]]):
            return int(read[0])
        return next((numbers[bytes_[:end]] for end in range(len(bytes_), 0, -1) if bytes_[:end] in numbers), -1)
