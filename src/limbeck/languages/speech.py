"""What models say after held-out prompts, side by side, greedily and by draws, and figures of how they say it.

Distinct n-grams: Li, Galley, Brockett, Gao, Dolan, 2016, "A diversity-promoting objective function for neural
conversation models", https://arxiv.org/abs/1510.03055, section 5 (distinct-1 and distinct-2). Repetition: Welleck,
Kulikov, Roller, Dinan, Cho, Weston, 2020, "Neural text generation with unlikelihood training",
https://arxiv.org/abs/1908.04319, section 6 (seq-rep-n, with n = 4). Read: memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Bool, Int
from torch import Tensor

from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.packed import Passage, passages

OPENING = 16
"""Of a document that is learnt as a whole, so many tokens are shown."""

FIRST = 16
"""Agreement is that of so many first tokens."""

_REPEATED = 4
_NAMES = {"control": "student alone"}


@dataclass(frozen=True)
class Text:
    """Tokens that somebody went on with, those that end a text left out; and whether one of these ended it."""

    tokens: tuple[int, ...]
    ended: bool

    @classmethod
    def of(cls, tokens: Sequence[int], end: Sequence[int]) -> "Text":
        """What was said, up to and with the token that ends it."""
        ended = bool(tokens) and tokens[-1] in end
        return cls(tuple(tokens[:-1] if ended else tokens), ended)


def held_out(inputs: Int[Tensor, "rows 2 length"], known: Bool[Tensor, "rows length"], prompts: int) -> list[Passage]:
    """The first passage of each row, then the second of each, and so on, until there are as many as are wanted."""
    rows = passages(inputs, known, opening=OPENING)
    deepest = max(map(len, rows), default=0)
    return [row[place] for place in range(deepest) for row in rows if place < len(row)][:prompts]


def fitting(found: Sequence[Passage], networks: Sequence[LanguageNetwork], length: int) -> tuple[list[Passage], int]:
    """The passages, and the length of an answer, for which the shortest context has room.

    Where no prompt leaves room for a whole answer, the shortest one is kept, and its answer is shorter.
    """
    room = min((network.context for network in networks if network.context is not None), default=None)
    if room is None or not found:
        return list(found), length
    kept = [each for each in found if len(each.prompt) + length <= room]
    if kept:
        return kept, length
    shortest = min(found, key=lambda each: len(each.prompt))
    left = room - len(shortest.prompt)
    return ([shortest], left) if left >= 1 else ([], length)


def figures(texts: Sequence[Text], teacher: Sequence[Text] | None) -> dict[str, float | None]:
    """How texts are: see the module; None where there is nothing to count.

    Args:
        texts: At least one.
        teacher: What the teacher went on with after the same prompts.

    Returns:
        `tokens` (mean length), `ended` (share that ended by itself), `distinct-1` to `distinct-3` (n-grams that are
        not the same, of all in all texts), `repeated` (of the 4-grams of a text those that stood in it before, mean
        over the texts that have any), and `as the teacher` (of the first 16 tokens of each text, or of the teacher's
        where that is longer, those that are the teacher's; mean over the texts).
    """
    found: dict[str, float | None] = {
        "tokens": sum(len(text.tokens) for text in texts) / len(texts),
        "ended": sum(text.ended for text in texts) / len(texts),
    }
    for size in (1, 2, 3):
        grams = [gram for text in texts for gram in _grams(text.tokens, size)]
        found[f"distinct-{size}"] = len(set(grams)) / len(grams) if grams else None
    repeats = [1 - len(set(grams)) / len(grams) for text in texts if (grams := list(_grams(text.tokens, _REPEATED)))]
    found["repeated"] = sum(repeats) / len(repeats) if repeats else None
    if teacher is not None:
        shares = [_agreed(ours, theirs) for ours, theirs in zip(texts, teacher, strict=True)]
        found["as the teacher"] = sum(shares) / len(shares)
    return found


def spoken(
    networks: Mapping[str, LanguageNetwork], found: Sequence[Passage], ways: Mapping[str, Sampling]
) -> dict[str, dict[str, list[Text]]]:
    """What each network goes on with, by way and then by who.

    Args:
        networks: By who they are.
        found: What to go on with.
        ways: How, by name.
    """
    prompts = [passage.prompt for passage in found]
    return {
        way: {
            who: [Text.of(said, sampling.end) for said in network.generate(prompts, sampling)]
            for who, network in networks.items()
        }
        for way, sampling in ways.items()
    }


def table(
    said: Mapping[str, Mapping[str, Sequence[Text]]],
    data: Sequence[Text],
    order: Sequence[str],
    ways: Mapping[str, Sampling],
) -> dict[str, Any]:
    """The figures of all, a column for the data and one for each who spoke: what a panel of kind `table` holds.

    Args:
        said: By way and who.
        data: How the documents go on.
        order: Who spoke.
        ways: How it was said. Draws say nothing of how like the teacher anybody is, since it would draw otherwise too.
    """
    lines = []
    for way, by_who in said.items():
        of_teacher = None if ways[way].temperature else by_who.get("teacher")
        columns = {"data": figures(data, None)}
        columns |= {who: figures(texts, None if who == "teacher" else of_teacher) for who, texts in by_who.items()}
        names = dict.fromkeys(name for column in columns.values() for name in column)
        lines += [[f"{way}: {name}", *(columns[who].get(name) for who in ("data", *order))] for name in names]
    return {"columns": ["", "the documents", *(_NAMES.get(who, who) for who in order)], "rows": lines}


def lines(
    said: Mapping[str, Mapping[str, Sequence[Text]]],
    found: Sequence[Passage],
    data: Sequence[Text],
    ways: Mapping[str, Sampling],
    reads: Any,
) -> Iterator[dict[str, Any]]:
    """What was said, one mapping for each prompt and way, as text.

    Args:
        said: By way and who.
        found: What was gone on with.
        data: How the documents go on.
        ways: How it was said.
        reads: The tokenizer.
    """
    for place, passage in enumerate(found):
        for way, by_who in said.items():
            sampling = replace(ways[way], end=())
            yield {
                "prompt": reads.decode(passage.prompt),
                "way": way,
                "temperature": sampling.temperature,
                "seed": sampling.seed,
                "data": _written(data[place], reads),
                **{who: _written(texts[place], reads) for who, texts in by_who.items()},
            }


def _written(text: Text, reads: Any) -> dict[str, Any]:
    return {"text": reads.decode(text.tokens), "tokens": len(text.tokens), "ended": text.ended}


def _grams(tokens: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    return (tuple(tokens[place : place + size]) for place in range(len(tokens) - size + 1))


def _agreed(ours: Text, theirs: Text) -> float:
    """The share of the first tokens, ends included, that are the same in both; 1 where neither says any."""
    one, other = (
        [*text.tokens, *(["end"] if text.ended else [])][:FIRST]  # a token that no text has
        for text in (ours, theirs)
    )
    longest = max(len(one), len(other))
    return sum(a == b for a, b in zip(one, other, strict=False)) / longest if longest else 1.0
