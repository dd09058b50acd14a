"""What a server says of each token of a text: the log-probabilities of the likeliest in its place.

Two ways are known by which a server says that of a text it is given, at temperature 1:

    prompt_logprobs     vLLM's field of that name: numbers of tokens with their log-probabilities
    echo                OpenAI's older `/completions`: the prompt is said again, with `logprobs` (also llama.cpp's
                        Python server, SGLang, and vLLM)

Tokens are sent as numbers where the server takes them, as text otherwise. In every answer the server's tokens are
compared with those that were meant, and so is their number: one that is put before them need not be said again. What it
says of a place is compared with what it goes on with there, because there is a server that says each token's
log-probabilities one place late (llama-cpp-python 0.3.36, of a text that does not begin with BOS).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limbeck.errors import TeacherError
from limbeck.languages.naming import NOBODY, Spelling
from limbeck.servers.client import Client, Request
from limbeck.servers.connection import Refused

Named = list[list[Any]]
"""For each token after the first: the tokens that were named in its place, and their log-probabilities."""

# Places of a text where it is looked how the server goes on, and how far from the likeliest that may be, in nats.
_CUTS, _NEAR = 4, 0.5
# What rounding may add to a sum of probabilities; more is no distribution at temperature 1.
_SLACK = 1e-3


@dataclass(frozen=True)
class Way:
    """How a server is asked.

    Args:
        field: `prompt_logprobs` or `echo`.
        sends: `numbers` or `text`.
        first: The first token is left out of the text, because the server puts it there itself.
    """

    field: str
    sends: str
    first: bool = False

    def __str__(self) -> str:
        left_out = ", without the first token, which the server puts before it" if self.first else ""
        return f"{self.field} of tokens sent as {self.sends}{left_out}"


_WAYS = (Way("prompt_logprobs", "numbers"), Way("echo", "numbers"), Way("echo", "text"), Way("echo", "text", True))


class Scoring:
    """A server that says log-probabilities of given tokens.

    Args:
        client: The server.
        texts: The tokens of the vocabulary in the order of their numbers.
        way: How it is asked.
    """

    def __init__(self, client: Client, texts: Sequence[str], way: Way) -> None:
        self.client, self.way, self.spelling = client, way, Spelling(texts)

    @classmethod
    def found(
        cls, client: Client, texts: Sequence[str], examples: Sequence[Sequence[int]]
    ) -> "tuple[Scoring, list[Named]]":
        """The first way by which a server says log-probabilities of one of some texts, and what it says of them.

        Args:
            client: The server.
            texts: The tokens of the vocabulary.
            examples: Texts of two or more tokens, to try it with.

        Raises:
            TeacherError: When there is none, with what the server said to each.
            TeacherStopped: When the server could not be reached.
        """
        wanted = client.server.sends
        reasons = []
        for way in _WAYS:
            if wanted not in ("auto", way.sends):
                continue
            scoring = cls(client, texts, way)
            answers = scoring.said(examples, trying=True)
            told = [pair for pair in zip(examples, answers, strict=True) if not isinstance(pair[1], Refused)]
            if not told:
                reasons.append(f"{way}: {answers[0].happened}")
            elif scoring.displaced(*told[-1]):
                reasons.append(
                    f"{way}: it says log-probabilities of other places than it goes on at (llama.cpp's Python server "
                    "does where texts do not begin with BOS; data.tokens.bos: true)"
                )
            else:
                return scoring, [answer for _, answer in told]
        raise TeacherError(
            f"{client.server} says no log-probabilities of a text: {'; '.join(reasons)}",
            expected="a server with prompt_logprobs (vLLM), or with echo and logprobs (llama.cpp's Python server with "
            "logits_all), and with the tokenizer of the data",
            remedy="limbeck write makes a teacher's texts, of which a student learns without log-probabilities",
        )

    def said(self, texts: Sequence[Sequence[int]], *, trying: bool = False) -> list[Any]:
        """For each text of two or more tokens what is named in the place of each after the first, or a `Refused`.

        Raises:
            TeacherError, TeacherStopped, StorageError: As `Client.ask`.
        """
        requests = [self._request(tokens) for tokens in texts]
        answers = iter(self.client.ask([each for each in requests if isinstance(each, Request)], trying=trying))
        return [next(answers) if isinstance(each, Request) else each for each in requests]

    def displaced(self, tokens: Sequence[int], named: Named) -> bool:
        """Whether what is named in some places of a text is not what the server goes on with there.

        Args:
            tokens: Of the text.
            named: What `said` gave for it.
        """
        places = [place for place in range(2, len(tokens)) if named[place - 1][0]]
        # Cut before a space, a text has the same tokens as before it was cut.
        clean = [place for place in places if self.spelling.of(tokens[place]).startswith(b" ")] or places
        some = clean[:: max(1, len(clean) // _CUTS)][:_CUTS]
        asked = [self._goes_on(tokens[:place]) for place in some]
        wrong = right = 0
        for place, text in zip(some, self.client.ask(asked, trying=True), strict=True):
            if isinstance(text, str) and text.strip("\ufffd"):
                symbols, values = named[place - 1]
                likely = (symbol for symbol, value in zip(symbols, values, strict=True) if value > values[0] - _NEAR)
                found = any(text in self.spelling.names(symbol) for symbol in likely)
                right, wrong = right + found, wrong + (not found)
        return wrong > right

    def _goes_on(self, tokens: Sequence[int]) -> Request:
        body = self._body(tokens)
        assert body is not None
        return Request("/completions", {**body, "temperature": 0.0}, lambda said: str(said["choices"][0]["text"]))

    def _body(self, tokens: Sequence[int]) -> dict[str, Any] | None:
        """What a text is sent as; None where it is no whole letters."""
        prompt: Any = list(map(int, tokens))
        if self.way.sends == "text":
            prompt = self.spelling.text(prompt[1:] if self.way.first else prompt)
        return {"prompt": prompt, "max_tokens": 1} if prompt else None

    def _request(self, tokens: Sequence[int]) -> Request | Refused:
        meant, body = [int(token) for token in tokens], self._body(tokens)
        if body is None:
            return Refused(f"the tokens {meant[:8]} of a text are no whole letters, and cannot be sent as text")
        body["temperature"], count = 1.0, self.client.server.logprobs
        numbered = self.way.field == "prompt_logprobs"
        body |= {"prompt_logprobs": count} if numbered else {"echo": True, "logprobs": count}
        read = self._numbered if numbered else self._echoed

        def counted(answer: dict[str, Any]) -> Named:
            found, usage = read(answer, meant), answer.get("usage")
            there = usage.get("prompt_tokens") if isinstance(usage, dict) else None
            if isinstance(there, int) and there != len(meant):
                raise Refused(
                    f"{self.client.server} read {there} tokens, and {len(meant)} were meant: "
                    f"{self.spelling.text(meant[:12])!r} ...",
                    expected="a server that puts no token of its own before a text",
                )
            return found

        return Request("/completions", body, counted)

    def _numbered(self, answer: dict[str, Any], meant: list[int]) -> Named:
        """Reads `prompt_logprobs`: for each token None or {number: {logprob, decoded_token}}, the token's own too."""
        found = self._field(answer, "prompt_logprobs")
        if len(found) != len(meant):
            raise Refused(f"{self.client.server} speaks of {len(found)} tokens, and was sent {len(meant)}")
        named = []
        for place, (token, said) in enumerate(zip(meant[1:], found[1:], strict=True), 1):
            try:
                values = {int(number): float(entry["logprob"]) for number, entry in said.items()}
                own = said.get(str(token), {}).get("decoded_token")
            except (TypeError, KeyError, ValueError, AttributeError) as error:
                raise self._unreadable(said) from error
            if token not in values or (own is not None and own not in self.spelling.names(token)):
                there = (
                    own if own is not None else ", ".join(str(entry.get("decoded_token")) for entry in said.values())
                )
                raise self._other(place, token, there, meant)
            named.append(self._checked(values))
        return named

    def _echoed(self, answer: dict[str, Any], meant: list[int]) -> Named:
        """Reads the `logprobs` of a prompt said again: tokens, token_logprobs and top_logprobs, one for each token.

        The first token may be left out, as llama.cpp's Python server does with BOS; the second is then unknown.
        """
        said = self._field(answer, "logprobs")
        try:
            tokens, own, top = (list(said[name]) for name in ("tokens", "token_logprobs", "top_logprobs"))
            if not self._same(tokens, meant) and self._same(tokens, meant[1:]):
                tokens, own, top = ([first, *part] for first, part in ((tokens, tokens), (None, own), (None, top)))
            elif not self._same(tokens, meant):
                raise self._first_other(tokens, meant)
            # What was written after the prompt follows.
            return [
                [[], []]
                if value is None and place == 1
                else self._checked(self._by_number(token, float(value), others))
                for place, (token, value, others) in enumerate(zip(meant, own, top, strict=False))
                if place
            ]
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise self._unreadable(said) from error

    def _same(self, tokens: Sequence[Any], meant: Sequence[int]) -> bool:
        there = zip(meant, tokens, strict=False)
        return len(tokens) >= len(meant) and all(text in self.spelling.names(token) for token, text in there)

    def _by_number(self, token: int, value: float, others: dict[str, float]) -> dict[int, float]:
        """The numbers of those tokens whose name is nobody else's, and the token's own."""
        values = {self.spelling.numbers.get(name, NOBODY): float(each) for name, each in others.items()}
        values.pop(NOBODY, None)
        return values | {token: value}

    def _field(self, answer: dict[str, Any], name: str) -> Any:
        try:
            found = answer["choices"][0].get(name) or answer.get(name)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._unreadable(answer) from error
        if not found:
            raise Refused(f"its answer holds no {name}")
        return found

    def _checked(self, values: dict[int, float]) -> list[Any]:
        """The numbers of tokens, likeliest first, and their log-probabilities, of which at most 1 is the sum."""
        if foreign := [token for token in values if not 0 <= token < len(self.spelling.texts)]:
            # The rows that a vocabulary was padded with are nobody's.
            values = {token: value for token, value in values.items() if token not in foreign}
        chances = [value for value in values.values() if value <= _SLACK]
        whole = sum(math.exp(value) for value in chances)
        if len(chances) < len(values) or whole > 1 + _SLACK:
            raise TeacherError(
                f"{self.client.server} says log-probabilities of a token whose probabilities sum to {whole:.4g}",
                expected="those of one distribution, at temperature 1",
                remedy="does the server sample with a temperature, a penalty or a bias of its own?",
            )
        order = sorted(values, key=lambda token: (-values[token], token))
        return [order, [min(values[token], 0.0) for token in order]]

    def _other(self, place: int, token: int, text: object, meant: list[int]) -> Refused:
        before = (self.spelling.text(meant[max(0, place - 8) : place]) or "")[-40:]
        return Refused(
            f"{self.client.server} read other tokens than were sent: token {place} is {text!r} there, and "
            f"{self.spelling.texts[token]!r} ({token}) here, after {before!r}",
            expected="a server with the tokenizer of the data",
            remedy="data.tokens.tokenizer: that of the model"
            + ("; data.tokens.bos: true where the server begins each text with such a token" if not place else ""),
        )

    def _first_other(self, tokens: Sequence[Any], meant: list[int]) -> Refused:
        for place, (text, token) in enumerate(zip(tokens, meant, strict=False)):
            if text not in self.spelling.names(token):
                return self._other(place, token, text, meant)
        return Refused(f"{self.client.server} speaks of {len(tokens)} tokens, and was sent {len(meant)}")

    def _unreadable(self, said: object) -> TeacherError:
        return TeacherError(
            f"{self.client.server} answered with log-probabilities that cannot be read: {str(said)[:300]}",
            expected=f"the field {self.way.field}, as its protocol has it",
        )
