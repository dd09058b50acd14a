"""Conversations as a tokenizer's chat template writes them, with the assistant's turns marked.

Where the template says what the assistant generates, in a block {% generation %}, its mask is taken. Otherwise a turn
reaches from the end of what the template writes before it, as a model is asked for it, to its last special token, with
which it ends; that holds only where what is written before is the beginning of what is written in the end.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from jinja2.exceptions import TemplateError

from limbeck.data.encoding import Encoded, Learn, Numbers, encoded
from limbeck.errors import DataError

ASSISTANT = "assistant"
Messages = list[dict[str, Any]]

# What a template raises at messages that it does not take.
_MISTAKES = (TemplateError, ValueError, TypeError, KeyError)
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE: Messages = [{"role": "user", "content": "What is it?"}, {"role": ASSISTANT, "content": "It is a dog."}]


class Template:
    """The chat template of a tokenizer.

    Args:
        tokenizer: One with a template.
        name: What to call it in messages.

    Attributes:
        end: The token that ends an answer.

    Raises:
        DataError: When it has none, its template cannot write a question and an answer, or does not end the answer.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise DataError(
                f"the tokenizer {name} has no chat template, and the data is messages",
                expected="a tokenizer that says how turns are written, such as that of an instruct model",
                remedy="set tokenizer.chat_template and save it, or write prompts and completions as text",
            )
        self.marks = bool(_GENERATION.search(tokenizer.get_chat_template()))
        added = tokenizer.added_tokens_decoder.items()
        self.special = {*tokenizer.all_special_ids, *(number for number, token in added if token.special)}
        found = next(self.encoded([_PROBE]))
        if isinstance(found, str):
            raise DataError(f"the chat template of {name} cannot write a question and its answer: {found}")
        said = [token for first, after in found.learnt for token in found.tokens[first:after]]
        ends = [token for token in said if token in self.special]
        if not ends:
            raise DataError(
                f"the chat template of {name} does not end its turns: what it lets the assistant say is "
                f"{tokenizer.decode(said)!r}",
                expected="a special token at the end of an answer, such as the tokenizer's eos_token",
                remedy="write it after the content of the assistant's turns"
                + (", inside {% generation %}" if self.marks else "")
                + ": a model that never learns to end never stops",
            )
        self.end = ends[-1]

    def encoded(self, conversations: Sequence[Messages], learn: Learn = "completions") -> Iterator[Encoded | str]:
        """Each conversation with the assistant's turns (or all of it) to learn; or a few words why it cannot be."""
        if self.marks:
            yield from (self._marked(messages, learn) for messages in conversations)
            return
        written = [self._written(messages) for messages in conversations]
        texts = chain.from_iterable(parts for parts in written if isinstance(parts, list))
        tokens = encoded(self.tokenizer, list(texts))
        for parts in written:
            if isinstance(parts, str):
                yield parts
                continue
            found = self._turns([next(tokens) for _ in parts])
            yield found.all() if learn == "all" and isinstance(found, Encoded) else found

    def question(self, messages: Messages) -> Numbers | str:
        """The tokens before the assistant's next turn, as a model is asked for it; or why they cannot be written."""
        try:
            return next(encoded(self.tokenizer, [self._render(messages, asked=True)]))
        except _MISTAKES as error:
            return _why(error)

    def _marked(self, messages: Messages, learn: Learn) -> Encoded | str:
        try:
            said = self.tokenizer.apply_chat_template(
                messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
        except _MISTAKES as error:
            return _why(error)
        mask, tokens = said["assistant_masks"], said["input_ids"]
        if learn == "all":
            return Encoded(tokens).all()
        edges = np.flatnonzero(np.diff([0, *mask, 0])).tolist()
        return Encoded(tokens, list(zip(edges[::2], edges[1::2], strict=True)))

    def _written(self, messages: Messages) -> list[str] | str:
        """What is written before each of the assistant's turns and up to its end, and at last all of it."""
        turns = [place for place, message in enumerate(messages) if message["role"] == ASSISTANT]
        if turns[:1] == [0]:
            return f"begins with a turn of the {ASSISTANT}, before which nothing can be asked"
        try:
            texts = []
            for place in turns:
                texts.append(self._render(messages[:place], asked=True))
                texts.append(self._render(messages[: place + 1]))
            return [*texts, self._render(messages)]
        except _MISTAKES as error:
            return _why(error)

    def _render(self, messages: Messages, *, asked: bool = False) -> str:
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asked)
        return text

    def _turns(self, written: list[Numbers]) -> Encoded | str:
        *parts, whole = written
        learnt: list[tuple[int, int]] = []
        for before, until in zip(parts[::2], parts[1::2], strict=True):
            if whole[: len(before)] != before or whole[: len(until)] != until:
                return (
                    f"what the template writes before turn {len(learnt) + 1} of the assistant is not how the whole "
                    "begins: it writes earlier turns anew, or a token runs across the boundary"
                )
            ends = [place for place in range(len(before), len(until)) if whole[place] in self.special]
            learnt.append((len(before), ends[-1] + 1 if ends else len(until)))
        return Encoded(whole, learnt)


def checked(value: object, *, asked: bool = False) -> Messages | str:
    """The messages of a conversation; or a few words why they are none.

    Args:
        value: What stands in the data.
        asked: Whether it is a question, whose next turn is the assistant's; else there is a turn of his to learn.
    """
    if isinstance(value, Mapping):  # how older data sets keep a list of structures
        value = [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=False)]
    if not isinstance(value, list | tuple) or not value:
        return "is no list of messages"
    found: Messages = []
    for message in value:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            return "holds a message without a role: {role: user, content: TEXT} is expected"
        if not isinstance(message.get("content"), str):
            return f"holds a message of {message['role']!r} whose content is no text"
        # a table has every key in every message, and empty where none was said
        found.append({str(key): part for key, part in message.items() if part is not None})
    if asked:
        said = found[-1]["role"] == ASSISTANT
        return f"ends with a turn of the {ASSISTANT}: nothing is asked" if said else found
    if not any(message["role"] == ASSISTANT for message in found):
        return f"has no turn of the {ASSISTANT} to learn"
    return found


def _why(error: Exception) -> str:
    return f"the chat template does not take it: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
