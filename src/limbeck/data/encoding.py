"""From text to tokens, with those marked that are learnt: plain documents, and prompts with their completions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from limbeck.errors import DataError
from limbeck.recipe import Tokens

Numbers = list[int]

Learn: TypeAlias = Literal["all", "completions"]
"""Which tokens are learnt."""

RATIONALE = 1 << 24
"""Added to the number of a learnt token of the rationale where it is kept; no vocabulary is as large."""

# What the tokenizer is handed at once: what it says of a token takes a hundred bytes.
_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Encoded:
    """A document: its tokens, and which of them are learnt, each as the next one of those before it.

    Args:
        tokens: Numbers of the vocabulary.
        learnt: Stretches of the tokens, from one place up to, not including, another.
        rationale: The stretch of them that holds the steps before an answer.
    """

    tokens: Numbers
    learnt: Sequence[tuple[int, int]] = ()
    rationale: tuple[int, int] = (0, 0)

    def all(self) -> "Encoded":
        """The same tokens, every one of them learnt."""
        return Encoded(self.tokens, [(0, len(self.tokens))])

    def kept(self, most: int | None = None) -> npt.NDArray[np.int32]:
        """The first tokens, at most so many, as `limbeck.data.documents` keeps them."""
        found = ~np.array(self.tokens[:most], dtype=np.int32)
        for first, after in self.learnt:
            found[first:after] = ~found[first:after]
        steps = found[slice(*self.rationale)]
        steps[steps >= 0] += RATIONALE
        return found


def encoded(tokenizer: Any, texts: Sequence[str], *, special: bool = False) -> Iterator[Numbers]:
    """The tokens of texts; with `special` those that the tokenizer itself puts around them as well."""
    waiting: list[str] = []
    characters = 0
    for text in texts:
        waiting.append(text)
        characters += len(text)
        if characters > _CHARACTERS:
            yield from _encoded(tokenizer, waiting, special)
            waiting, characters = [], 0
    if waiting:
        yield from _encoded(tokenizer, waiting, special)


def _encoded(tokenizer: Any, texts: list[str], special: bool) -> list[Numbers]:
    found: list[Numbers] = tokenizer(
        texts, add_special_tokens=special, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )["input_ids"]
    return found


@dataclass(frozen=True)
class Ends:
    """The tokens that documents begin and end with, None for none."""

    begin: int | None
    end: int | None

    @classmethod
    def of(cls, tokenizer: Any, said: Tokens) -> "Ends":
        """What a recipe says, or else the tokenizer.

        Raises:
            DataError: When a token is asked for that the tokenizer does not have.
        """
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        for name, asked, there in (("bos", said.bos, begin), ("eos", said.eos, end)):
            if asked and there is None:
                raise DataError(
                    f"tokens.{name} is said, and the tokenizer {said.tokenizer} has no such token",
                    expected=f"a tokenizer with {name}_token",
                    remedy=f"leave tokens.{name} out, or set tokenizer.{name}_token and save it",
                )
        own = begin is not None and next(encoded(tokenizer, ["a"], special=True))[:1] == [begin]
        return cls(
            begin if (own if said.bos is None else said.bos) else None,
            end if (True if said.eos is None else said.eos) else None,
        )

    def before(self, tokens: Numbers) -> Numbers:
        """Tokens that begin as documents do; those that do already stay as they are."""
        return tokens if self.begin is None or tokens[:1] == [self.begin] else [self.begin, *tokens]

    def after(self, tokens: Numbers) -> Numbers:
        """Tokens that end as documents do; those that do already stay as they are."""
        return tokens if self.end is None or tokens[-1:] == [self.end] else [*tokens, self.end]


def plain(tokenizer: Any, texts: Sequence[str], ends: Ends) -> Iterator[Encoded]:
    """Texts of which every token is learnt; no token where a text has none of its own."""
    for tokens in encoded(tokenizer, texts):
        whole = ends.after(ends.before(tokens)) if tokens else []
        yield Encoded(whole).all()


def reasoned(
    tokenizer: Any,
    prompts: Sequence[str],
    rationales: Sequence[str],
    answers: Sequence[str],
    ends: Ends,
    learn: Learn,
) -> Iterator[Encoded]:
    """Prompts with completions that are steps and then an answer, either of which may be empty.

    The tokens are those of `completed`. One that runs across the boundary belongs to the answer, and so does the end,
    unless there is no answer.
    """
    whole = [steps + answer for steps, answer in zip(rationales, answers, strict=True)]
    alone = [prompt + steps for prompt, steps in zip(prompts, rationales, strict=True)]
    documents = completed(tokenizer, prompts, whole, ends, learn)
    both = zip(encoded(tokenizer, prompts), encoded(tokenizer, alone), strict=True)
    for document, (prompt, found), steps, answer in zip(documents, both, rationales, answers, strict=True):
        first = len(ends.before(prompt))
        after = len(document.tokens)
        if answer:
            same = zip(document.tokens[first:], _rest(tokenizer, prompt, found, steps), strict=False)
            after = first + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], same))
        yield replace(document, rationale=(first, after))


def completed(
    tokenizer: Any, prompts: Sequence[str], completions: Sequence[str], ends: Ends, learn: Learn
) -> Iterator[Encoded]:
    """Prompts with their completions.

    A prompt has the tokens it has alone, because alone it is shown to a model that is asked. The completion has those
    that follow in the tokens of both together; where a token would run across the boundary, it is encoded by itself.
    """
    both = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    for prompt, whole, completion in zip(
        encoded(tokenizer, prompts), encoded(tokenizer, both), completions, strict=True
    ):
        head = ends.before(prompt)
        tokens = ends.after([*head, *_rest(tokenizer, prompt, whole, completion)])
        yield Encoded(tokens, [(0 if learn == "all" else len(head), len(tokens))])


def _rest(tokenizer: Any, prompt: Numbers, whole: Numbers, completion: str) -> Numbers:
    """The tokens of a completion as they follow those of its prompt, or by itself where one runs across."""
    follows = whole[: len(prompt)] == prompt and len(whole) > len(prompt)
    return whole[len(prompt) :] if follows else next(encoded(tokenizer, [completion]))
