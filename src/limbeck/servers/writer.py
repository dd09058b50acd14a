"""A server as a writer: messages are answered by its chat, texts go on by its completions."""

import hashlib
from collections.abc import Sequence
from typing import Any

from limbeck.errors import TeacherError
from limbeck.languages.generation import Sampling
from limbeck.languages.writing import Prompt, Written
from limbeck.servers.client import Client, Request
from limbeck.servers.connection import Refused


class ServerWriter:
    """A model behind a server as a writer.

    Each text is one request with a seed of its own, made of `Sampling.seed` and the number of the sample, and is kept:
    the same call says the same again without asking. Whether a server that is asked anew, elsewhere or with another
    load says the same, is the server's matter; few promise it.

    Args:
        client: The server.
    """

    def __init__(self, client: Client) -> None:
        self.client, self.name = client, str(client.server)
        self.template: str | None = None
        self.fingerprint = hashlib.sha256(self.name.encode()).hexdigest()[:32]

    def write(self, prompts: Sequence[Prompt], sampling: Sampling, samples: int = 1) -> list[list[Written]]:
        """See `Writer`; the server's own chat template and ends hold.

        Raises:
            TeacherError: When `sampling.end` is said, a prompt is refused, or an answer is none.
            TeacherStopped: When the server could not be reached; what was written is kept.
        """
        if sampling.end or samples < 1:
            raise TeacherError(
                f"{self.name} was asked for {samples} texts that end with the tokens {sampling.end}",
                expected="1 text or more, and no end: tokens have numbers of their own there",
            )
        several = samples if sampling.temperature > 0 else 1
        asked = [self._request(prompt, sampling, number) for prompt in prompts for number in range(several)]
        found = self.client.ask(asked)
        for place, answer in enumerate(found):
            if isinstance(answer, Refused):
                raise TeacherError(
                    f"prompt {place // several}: {answer.happened}",
                    expected="a prompt that the server takes",
                    remedy="leave it out, or shorten it; what was answered is kept",
                ) from answer
        texts = [Written(**answer) for answer in found]
        return [
            [texts[place * several + number % several] for number in range(samples)] for place in range(len(prompts))
        ]

    def _request(self, prompt: Prompt, sampling: Sampling, number: int) -> Request:
        how: dict[str, Any] = {"max_tokens": sampling.length, "temperature": sampling.temperature}
        if sampling.temperature > 0:
            how |= {"top_p": sampling.nucleus, "seed": _seed(sampling.seed, number)}
        if isinstance(prompt, str):
            return Request("/completions", {"prompt": prompt, **how}, self._text)
        messages = [dict(message) for message in prompt]
        return Request("/chat/completions", {"messages": messages, **how}, self._answer)

    def _text(self, answer: dict[str, Any]) -> dict[str, Any]:
        return self._kept(answer, lambda choice: choice["text"])

    def _answer(self, answer: dict[str, Any]) -> dict[str, Any]:
        return self._kept(answer, lambda choice: choice["message"]["content"])

    def _kept(self, answer: dict[str, Any], said: Any) -> dict[str, Any]:
        try:
            choice, usage = answer["choices"][0], answer.get("usage") or {}
            text, why = said(choice), choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise TeacherError(
                f"{self.name} answered without a text: {str(answer)[:300]}",
                expected="choices with a text or a message, as OpenAI's protocol has it",
            ) from error
        if not isinstance(text, str):
            raise TeacherError(f"{self.name} answered with {text!r} in the place of a text", expected="a text")
        counts = [usage.get(name) for name in ("completion_tokens", "prompt_tokens")]
        tokens, asked = (count if isinstance(count, int) else 0 for count in counts)
        return {"text": text, "finished": why == "stop", "tokens": tokens, "asked": asked}


def _seed(seed: int, number: int) -> int:
    """Below 2^31, which every server takes."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{number}".encode()).digest()[:4], "little") >> 1
