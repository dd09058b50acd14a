"""One server over HTTP: requests and answers in JSON, repeated where that helps.

urllib3 keeps the connections and does the waiting: after a timeout, a broken connection, and the states that pass, with
waits that double, or as long as the server asks (Retry-After).
"""

import json
import re
import threading
from typing import TYPE_CHECKING, Any

from limbeck.errors import TeacherError, TeacherStopped
from limbeck.servers.address import Server

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

# What may be otherwise when the same is asked again.
_PASSING = frozenset({408, 409, 429, *range(500, 600)})
# What some servers answer to what they do not understand (llama.cpp's Python server, to numbers of tokens).
_CONFUSED = frozenset({500, 501})
_DENIED = frozenset({401, 403, 404, 405})
_FIRST, _LONGEST = 0.5, 60.0
_CONNECTING = 20.0
_SHOWN = 300


class Refused(TeacherError):
    """An answer that is none for this one request; others may be answered."""


class Connection:
    """A server that is asked.

    Args:
        server: Where, and how.

    Attributes:
        stopped: Set to give up the requests that wait to be repeated.

    Raises:
        TeacherError: When urllib3 is not installed, or the key's variable is not set.
    """

    def __init__(self, server: Server) -> None:
        try:
            import urllib3
        except ModuleNotFoundError as error:
            raise TeacherError(
                "urllib3, which talks to servers, is not installed", remedy="pip install 'limbeck[server]'"
            ) from error
        self.server, self._secret = server, server.secret()
        self.stopped = stopped = threading.Event()

        class Patient(urllib3.Retry):
            """Waits as long as a server asks, but no longer than the user would."""

            def sleep(self, response: "BaseHTTPResponse | None" = None) -> None:
                asked = None if response is None else self.get_retry_after(response)
                if asked is not None and response is not None and asked > server.patience:
                    raise TeacherStopped(
                        f"{server} asks to wait {asked:.0f} s (state {response.status}, Retry-After)",
                        expected=f"{server.patience:g} s at most",
                        remedy="run the same command again later: what was answered is kept; or patience=3600",
                    )
                if stopped.wait(self.get_backoff_time() if asked is None else asked):
                    raise TeacherStopped(f"a request to {server} was given up, because another one failed")

        self._errors = urllib3.exceptions
        self._retries = Patient(
            total=server.retries,
            redirect=0,
            allowed_methods=None,
            status_forcelist=_PASSING,
            backoff_factor=_FIRST,
            backoff_max=_LONGEST,
            backoff_jitter=_FIRST,
            raise_on_status=False,
            raise_on_redirect=False,
        )
        timeout = urllib3.Timeout(connect=min(_CONNECTING, server.timeout), read=server.timeout)
        self._pool = urllib3.PoolManager(maxsize=server.at_once, timeout=timeout)

    def post(self, path: str, body: dict[str, Any], *, trying: bool = False) -> dict[str, Any]:
        """The answer to a request.

        Args:
            path: After the URL, such as /completions.
            body: What is asked.
            trying: Whether it is to be found out if the server understands such requests at all: its error 500 then
                says that it does not.

        Raises:
            Refused: When the server takes other requests, but not this one.
            TeacherError: When it does not know model, path or key, or answers with no JSON object.
            TeacherStopped: When it could not be reached, or was busy, for all retries.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._secret is not None:
            headers["Authorization"] = f"Bearer {self._secret}"
        try:
            answer = self._pool.request(
                "POST",
                f"{self.server.url}{path}",
                body=json.dumps(body).encode(),
                headers=headers,
                retries=self._retries.new(status_forcelist=_PASSING - _CONFUSED) if trying else self._retries,
            )
        except self._errors.HTTPError as error:
            raise TeacherStopped(
                f"{self.server} could not be asked: {self._told(str(error))}",
                expected=f"an answer within {self.server.timeout:g} s, in {self.server.retries + 1} attempts",
                remedy="is the server running? Run the same command again: what was answered is kept",
            ) from error
        self._refuse(answer, path, trying)
        return self._read(answer.data)

    def _refuse(self, answer: "BaseHTTPResponse", path: str, trying: bool) -> None:
        """Sorts out the states that are no answer."""
        state, said = answer.status, self._told(answer.data.decode(errors="replace"))
        if 200 <= state < 300:
            return
        if state in _PASSING and not (trying and state in _CONFUSED):
            raise TeacherStopped(
                f"{self.server} answered with state {state} in all {self.server.retries + 1} attempts: {said}",
                expected="an answer",
                remedy="run the same command again later: what was answered is kept; or retries=10, at_once=1",
            )
        if 300 <= state < 400:
            raise TeacherError(
                f"{self.server} sends requests on to {answer.headers.get('Location')}",
                expected="the URL at which it answers itself",
            )
        if state in _DENIED:
            raise TeacherError(
                f"{self.server} refused {path} with state {state}: {said}",
                expected=f"a server with the model {self.server.model} and {path}",
                remedy="check URL and model" if state in (404, 405) else "key='NAME': the variable with its API key",
            )
        raise Refused(f"{self.server} refused a request with state {state}: {said}")

    def _read(self, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except ValueError as error:
            raise TeacherError(
                f"{self.server} answered with what is no JSON: {self._told(data.decode(errors='replace'))!r}",
                expected="a JSON object, as OpenAI's protocol has it",
                remedy="is this URL a server of that protocol, up to and with /v1?",
            ) from error
        if not isinstance(found, dict):
            raise TeacherError(f"{self.server} answered with a JSON {type(found).__name__}", expected="a JSON object")
        return found

    def _told(self, text: str) -> str:
        """What a server or a library said, on one line, without the key."""
        plain = re.sub(r"\s+", " ", text).strip()[:_SHOWN]
        return plain.replace(self._secret, "[key]") if self._secret else plain
