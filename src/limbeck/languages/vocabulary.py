"""What a tokenizer knows: the texts of its tokens (the classes of a language task), its rules, and a hash of them."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any


def vocabulary(tokenizer: Any, size: int = 0) -> tuple[str, ...]:
    """The texts of the tokens in the order of their numbers, added and special ones included.

    A number that no text is made of gets a name of its own, which nobody else has.

    Args:
        tokenizer: Of transformers.
        size: How many numbers a model tells apart, where that is more: its output layer was padded.
    """
    numbers: dict[str, int] = tokenizer.get_vocab()
    texts = [f"[no token {number}]" for number in range(max(size, max(numbers.values(), default=-1) + 1))]
    for text, number in numbers.items():
        texts[number] = text
    return tuple(texts)


def rules(tokenizer: Any) -> Any:
    """What makes tokens of a text, as JSON; settings of a single call, such as padding and truncation, are no part."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        return type(tokenizer).__name__
    said = json.loads(tokenizer.backend_tokenizer.to_str())
    return {key: value for key, value in said.items() if key not in ("padding", "truncation")}


def fingerprint(tokenizer: Any) -> str:
    """A hash of what decides the tokens of a text: vocabulary, rules, special tokens, and the chat template."""
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id]
    said = [rules(tokenizer), sorted(tokenizer.get_vocab().items()), special, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Overlap:
    """What two vocabularies share.

    Args:
        theirs: How many tokens the one has.
        ours: How many the other has.
        alike: How many numbers have one text in both.
        shared: How many texts are in both, under any number.
        equal: Whether both make the same tokens of every text: one vocabulary and one set of rules.
    """

    theirs: int
    ours: int
    alike: int
    shared: int
    equal: bool


def overlap(theirs: Any, ours: Any) -> Overlap:
    """What two tokenizers share."""
    one, other = theirs.get_vocab(), ours.get_vocab()
    shared = one.keys() & other.keys()
    alike = sum(one[text] == other[text] for text in shared)
    return Overlap(len(one), len(other), alike, len(shared), one == other and rules(theirs) == rules(ours))
