"""Asking a server: several requests under way at a time, each answered once and for all."""

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.servers.address import Server
from limbeck.servers.connection import Connection, Refused
from limbeck.servers.correspondence import Correspondence

# Raised when what is kept of an answer changes.
_FORMAT = 1


@dataclass(frozen=True)
class Request:
    """One question.

    Args:
        path: After the server's URL.
        body: What is asked, as JSON, apart from the model.
        read: From the server's answer to what is kept of it, as JSON; raises a TeacherError where it is none.
    """

    path: str
    body: dict[str, Any]
    read: Callable[[dict[str, Any]], Any]


class Client:
    """A server with the file of what it has answered.

    Args:
        server: Where, and how it is asked.
        folder: Where the file lies when the server's text does not name one.

    Raises:
        TeacherError: When the key's variable is not set.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        name = hashlib.sha256(str(server).encode()).hexdigest()[:16]
        place = Path(server.ledger).expanduser() if server.ledger else folder / "servers" / f"{name}.jsonl"
        self.ledger = Correspondence(place)
        self._connection = Connection(server)
        self._lock = threading.Lock()
        self._first: BaseException | None = None

    def ask(self, requests: Sequence[Request], *, trying: bool = False) -> list[Any]:
        """The answers, in the order of the requests; what was answered before is read from the file.

        Where one fails for all (see `Connection.post`), those under way are waited for and kept, no other is begun,
        and the first error is raised.

        Args:
            requests: In any number.
            trying: Whether the server may not understand them; see `Connection.post`.

        Returns:
            For each request what is kept of its answer; for one that the server refused by itself a `Refused`.

        Raises:
            TeacherError, TeacherStopped: As `Connection.post`, or when an answer is none.
            StorageError: When an answer cannot be written down.
        """
        keys = [self._key(request) for request in requests]
        wanted = {key: request for key, request in zip(keys, requests, strict=True) if key not in self.ledger}
        refused: dict[str, Refused] = {}
        self._connection.stopped.clear()
        self._first = None
        with ThreadPoolExecutor(self.server.at_once) as pool:
            begun = {key: pool.submit(self._answered, key, request, trying) for key, request in wanted.items()}
            try:
                for key, future in begun.items():
                    try:
                        future.result()
                    except Refused as error:
                        refused[key] = error
            except BaseException as error:
                first = self._give_up(error)
                for future in begun.values():
                    future.cancel()
                if first is not error:
                    raise first from error
                raise
        return [refused[key] if key in refused else self.ledger.answer(key) for key in keys]

    def _answered(self, key: str, request: Request, trying: bool) -> None:
        if self._connection.stopped.is_set():
            return
        try:
            answer = self._connection.post(request.path, {"model": self.server.model, **request.body}, trying=trying)
            try:
                found = request.read(answer)
            except Refused as error:
                self.ledger.refuse(key, answer.get("usage"), error.happened)
                raise
            self.ledger.enter(key, answer.get("usage"), found)
        except Refused:
            raise
        except BaseException as error:
            # Here, before another request is begun, and not where the errors are gathered.
            self._give_up(error)
            raise

    def _give_up(self, error: BaseException) -> BaseException:
        """Lets no other request begin or be repeated; gives the error that came first."""
        with self._lock:
            self._first = self._first or error
            self._connection.stopped.set()
            return self._first

    def _key(self, request: Request) -> str:
        said = [_FORMAT, self.server.url, self.server.model, request.path, request.body]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
