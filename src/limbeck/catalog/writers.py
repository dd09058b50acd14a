"""Text -> whoever writes texts: a language model, the student of a run that is one, or a server."""

from pathlib import Path
from typing import Any

from limbeck.catalog.languages import is_language, language, tokenizer
from limbeck.catalog.models import is_run, of_run
from limbeck.data import cache
from limbeck.errors import TeacherError
from limbeck.languages.writing import LocalWriter, Writer
from limbeck.servers.address import is_server, server
from limbeck.servers.client import Client
from limbeck.servers.writer import ServerWriter


def writer(what: Any) -> Writer:
    """Finds a writer.

    Args:
        what: A `Writer`; a language model as `limbeck models` lists them; the folder of a run whose student is one; or
            `openai:URL#MODEL`, a server.

    Raises:
        TeacherError: When it is none of these.
        ModelError, RunError: When it is one, but cannot be used.
    """
    if isinstance(what, str | Path):
        text = str(what)
        if is_server(text):
            return ServerWriter(Client(server(text), cache.folder()))
        if is_language(text):
            return LocalWriter(language(text), tokenizer(text), text)
        if is_run(text):
            return LocalWriter(of_run(Path(text)), tokenizer(text), text)
    elif isinstance(what, Writer):
        return what
    raise TeacherError(
        f"{what!r} writes no texts",
        expected="hf:PATH, gguf:PATH, smollm2, openai:URL#MODEL, or the folder of a run whose student is a language "
        "model",
    )
