"""Text -> server: `openai:URL#MODEL(argument=value)`."""

import os
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from limbeck.errors import TeacherError
from limbeck.grammar import arguments, parse_call

KIND = "openai"


@dataclass(frozen=True)
class Server:
    """A model behind a URL, and how it is asked.

    Args:
        url: Up to and with the version, such as http://localhost:8000/v1.
        model: Its name there.
        key: The environment variable that holds the API key; the key itself is never written down. Empty: none is sent.
        logprobs: How many log-probabilities of each position are asked for, 1 or more.
        sends: How a text is sent to be scored: `numbers` of tokens, `text`, or `auto`, which tries them in this order.
        at_once: Requests under way at a time, 1 or more.
        timeout: Seconds a server may take to say the next bytes, above 0.
        retries: How often a request is repeated after a timeout, a broken connection, or one of the states 408, 409,
            429 and 500 to 599; 0 or more. The waits double from half a second to a minute, or are what the server asks.
        patience: The longest wait that a server may ask for, in seconds.
        failures: The share of rows (0 up to, not including, 1) that a recording may lack because the server refused
            them or read other tokens than were sent.
        prices: What a million tokens cost, asked and said, in any currency.
        ledger: The file of answered requests; empty: one in the cache.
    """

    url: str
    model: str
    key: str = ""
    logprobs: int = 20
    sends: str = "auto"
    at_once: int = 4
    timeout: float = 120.0
    retries: int = 5
    patience: float = 120.0
    failures: float = 0.01
    prices: tuple[float, ...] = (0.0, 0.0)
    ledger: str = ""

    def __post_init__(self) -> None:
        known = ("auto", "numbers", "text")
        priced = [type(price) in (int, float) for price in self.prices] == [True] * 2
        for name, right, expected in (
            ("logprobs", self.logprobs >= 1, "1 or more"),
            ("sends", self.sends in known, " or ".join(known)),
            ("at_once", self.at_once >= 1, "1 or more"),
            ("timeout", self.timeout > 0, "seconds above 0"),
            ("retries", self.retries >= 0, "0 or more"),
            ("patience", self.patience >= 0, "seconds, 0 or more"),
            ("failures", 0 <= self.failures < 1, "a share from 0 up to, not including, 1"),
            ("prices", priced and min(self.prices) >= 0, "two numbers: a million tokens asked, and said"),
        ):
            if not right:
                raise TeacherError(f"{name}={getattr(self, name)!r} of {self} is out of range", expected=expected)

    def __str__(self) -> str:
        return f"{KIND}:{self.url}#{self.model}"

    def secret(self) -> str | None:
        """The API key; None where none is sent.

        Raises:
            TeacherError: When its variable is not set.
        """
        if not self.key:
            return None
        found = os.environ.get(self.key)
        if not found:
            raise TeacherError(
                f"the environment variable {self.key} is not set, and {self} asks for the key in it",
                expected="the API key in that variable",
                remedy=f"export {self.key}=..., or leave key out where the server asks for none",
            )
        return found


@dataclass(frozen=True)
class _Manner:
    """The arguments that may stand in brackets, with the types that are checked."""

    key: str = Server.key
    logprobs: int = Server.logprobs
    sends: str = Server.sends
    at_once: int = Server.at_once
    timeout: float = Server.timeout
    retries: int = Server.retries
    patience: float = Server.patience
    failures: float = Server.failures
    prices: tuple[float, ...] = Server.prices
    ledger: str = Server.ledger


def is_server(what: str) -> bool:
    """Whether a text names a server."""
    return what.partition(":")[0] == KIND


def server(what: str) -> Server:
    """The server that a text names.

    Raises:
        TeacherError: When it has no URL or no model, or an argument is out of range.
        RecipeError: When the arguments cannot be read.
    """
    rest, said = what.partition(":")[2], ""
    if rest.endswith(")") and "(" in rest:
        rest, _, inside = rest.partition("(")
        said = f"({inside}"
    url, _, model = rest.partition("#")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not model:
        raise TeacherError(
            f"{what!r} names no server",
            expected="openai:URL#MODEL, such as openai:http://localhost:8000/v1#NAME",
            remedy="the URL up to and with /v1, and the model's name there",
        )
    if parts.username or parts.password:
        raise TeacherError(
            "a server's URL holds a password, which would be written into run folders",
            expected="a URL without one",
            remedy="key='NAME' says which environment variable holds the key",
        )
    manner = _Manner(**arguments(parse_call(f"{KIND}{said}", "teacher"), _Manner, what))
    return replace(Server(url.rstrip("/"), model), **vars(manner))
