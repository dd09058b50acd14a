"""Whoever writes texts for prompts, behind one seam: a language model on this machine, or a server elsewhere.

A prompt is a text, which goes on, or messages, which are answered as the tokenizer's chat template has it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from limbeck.errors import ModelError
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.vocabulary import fingerprint, vocabulary
from limbeck.model import Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages: TypeAlias = Sequence[Mapping[str, Any]]
"""Turns of a conversation, each with a role and a content, the last not the assistant's."""

Prompt: TypeAlias = str | Messages
"""A text that goes on, or a conversation that is answered."""

# Texts at once, and tokens (with what fills up) at once: a cache of keys and values grows with the second.
_TEXTS, _TOKENS = 32, 1 << 15
_PROBE = ({"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "It is a dog."})


@dataclass(frozen=True)
class Written:
    """A text that somebody wrote for a prompt.

    Args:
        text: What follows the prompt, without the token that ends it.
        finished: Whether the writer ended it, rather than `Sampling.length`.
        tokens: How many tokens it has, in the writer's count, the one that ends it included.
        asked: How many the prompt has, in the writer's count.
    """

    text: str
    finished: bool
    tokens: int
    asked: int


@runtime_checkable
class Writer(Protocol):
    """Anything that writes texts.

    `fingerprint` changes whenever the texts could; `template` is a hash of the chat template, None where it is unknown.
    """

    name: str
    fingerprint: str
    template: str | None

    def write(self, prompts: Sequence[Prompt], sampling: Sampling, samples: int = 1) -> list[list[Written]]:
        """Writes some texts for each prompt.

        Args:
            prompts: Texts or messages, in any order and mixture.
            sampling: How; without an `end` the writer's own ends a text.
            samples: Texts for each prompt, 1 or more; at temperature 0 they are all the same one.

        Returns:
            For each prompt its texts. What sample number n of a prompt says follows from the seed, the prompt and n,
            whatever stands beside it, as far as the writer can promise that; its class says how far.

        Raises:
            ModelError, TeacherError: When a prompt cannot be written for; which, and why.
        """
        ...


class LocalWriter:
    """A language model on this machine as a writer.

    One machine, thread count and prompt give one text for each (seed, sample number), in whatever company, as long as
    no two tokens lie within the rounding of the logits: the draws are the same bits, while logits are rounded
    differently in a batch of another shape.

    Args:
        model: The model. It is taken over: tokens that its vocabulary was only padded with are cut off.
        tokenizer: Its own, of transformers.
        name: What to call it.

    Raises:
        ModelError: When it is no language model, or knows another vocabulary than the tokenizer.
    """

    def __init__(self, model: Model, tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
        if not isinstance(model.network, LanguageNetwork):
            raise ModelError(
                f"{name} is a {type(model.network).__name__} and writes no text",
                expected="a causal language model: hf:PATH, gguf:PATH, smollm2, or the run folder of one",
            )
        model.align(vocabulary(tokenizer))
        self.network, self.tokenizer, self.name = model.network, tokenizer, name
        chat = tokenizer.chat_template
        self.template = None if chat is None else hashlib.sha256(str(chat).encode()).hexdigest()[:32]
        said = f"{model.fingerprint()}|{fingerprint(tokenizer)}"
        self.fingerprint = hashlib.sha256(said.encode()).hexdigest()[:32]

    def write(self, prompts: Sequence[Prompt], sampling: Sampling, samples: int = 1) -> list[list[Written]]:
        """See `Writer`; a prompt that leaves too little of the context is refused."""
        if samples < 1:
            raise ModelError(f"{samples} texts for each prompt were asked for", expected="1 or more")
        encoded = [self.encoded(prompt) for prompt in prompts]
        several = samples if sampling.temperature > 0 else 1
        jobs = [(place, number) for number in range(several) for place in range(len(prompts))]
        jobs.sort(key=lambda job: (isinstance(prompts[job[0]], str), len(encoded[job[0]])))
        found: dict[tuple[int, int], Written] = {}
        for texts, same in groupby(jobs, key=lambda job: isinstance(prompts[job[0]], str)):
            how = replace(sampling, end=sampling.end or self.ends(messages=not texts))
            for some in self._batches(list(same), encoded, sampling.length):
                tokens = [encoded[place] for place, _ in some]
                numbers = [_number(encoded[place], number) for place, number in some]
                for job, said in zip(some, self.network.generate(tokens, how, numbers), strict=True):
                    found[job] = self._written(said, how, len(encoded[job[0]]))
        return [[found[place, number % several] for number in range(samples)] for place in range(len(prompts))]

    def encoded(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt: of a text as a document begins, of messages up to where the assistant speaks."""
        if not isinstance(prompt, str):
            return self._tokens(self._rendered(prompt, asked=True))
        plain, whole = self._tokens(prompt), self._tokens(prompt, special=True)
        begin = self.tokenizer.bos_token_id
        starts = begin is not None and whole[:1] == [begin] != plain[:1]
        return [int(begin), *plain] if starts else plain

    def ends(self, *, messages: bool) -> tuple[int, ...]:
        """The tokens that end a text: the tokenizer's and the model's, and what a template ends answers with."""
        own = self.network.config.eos_token_id
        found = [self.tokenizer.eos_token_id, *(own if isinstance(own, list | tuple) else [own])]
        if messages:
            before, whole = self._rendered(_PROBE[:1], asked=True), self._rendered(_PROBE)
            rest = whole[len(before) :].removeprefix(_PROBE[1]["content"]) if whole.startswith(before) else ""
            special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
            found += [token for token in self._tokens(rest) if token in special][:1]
        return tuple(sorted({int(token) for token in found if token is not None}))

    def _written(self, said: list[int], how: Sampling, asked: int) -> Written:
        finished = said[-1:] != [] and said[-1] in how.end
        text = str(self.tokenizer.decode(said[:-1] if finished else said, skip_special_tokens=True))
        return Written(text, finished, len(said), asked)

    def _batches(
        self, jobs: list[tuple[int, int]], encoded: Sequence[Sequence[int]], length: int
    ) -> Iterator[list[tuple[int, int]]]:
        """Jobs, sorted by length, some at a time."""
        some: list[tuple[int, int]] = []
        for job in jobs:
            longest = len(encoded[job[0]]) + length
            if some and (len(some) == _TEXTS or (len(some) + 1) * longest > _TOKENS):
                yield some
                some = []
            some.append(job)
        if some:
            yield some

    def _rendered(self, messages: Messages, *, asked: bool = False) -> str:
        from jinja2.exceptions import TemplateError

        if not self.tokenizer.chat_template:
            raise ModelError(
                f"the tokenizer of {self.name} has no chat template, and the prompts are messages",
                expected="prompts as texts, or a tokenizer that says how turns are written",
                remedy="set tokenizer.chat_template and save it",
            )
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [dict(message) for message in messages], tokenize=False, add_generation_prompt=asked
                )
            )
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"the chat template of {self.name} does not take a prompt: {error}",
                expected="messages with a role and a content, such as {role: user, content: TEXT}",
            ) from error

    def _tokens(self, text: str, *, special: bool = False) -> list[int]:
        said: list[int] = self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
        return said


def _number(tokens: Sequence[int], sample: int) -> int:
    """A number of 64 bits for a prompt and the number of a sample."""
    digest = hashlib.sha256(f"{sample}|{','.join(map(str, tokens))}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
