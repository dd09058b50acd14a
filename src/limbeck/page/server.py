"""Hands the page, an artifact and ONNX Runtime for browsers to a browser on this machine, and takes nothing in."""

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from limbeck.artifact.reading import opened
from limbeck.errors import StorageError

HOST = "127.0.0.1"
WEB = Path(__file__).with_name("web")
RUNTIME = Path(__file__).with_name("onnxruntime-web")
"""Where `make page` puts what it brings from npm."""

RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".limbeck": "application/octet-stream",
}

# No inline script or style, nothing from elsewhere, nothing to elsewhere. Once it has loaded, the page also forbids
# itself to ask this server (web/main.js).
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
    "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """One artifact's page, on 127.0.0.1 and a free port, under a path that nobody guesses.

    Args:
        files: What is handed out, by name; nothing else is.
        port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, Path], port: int = 0) -> None:
        self.files, self.token = files, secrets.token_urlsafe(16)
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise StorageError(f"no page on port {port}: {error.strerror}", remedy="another --port, or none") from error

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "limbeck", ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: which files a person's browser asks for is nobody's business."""

    def _answer(self, *, body: bool) -> None:
        status, path = self._found()
        content = b"" if path is None else path.read_bytes()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if path is not None:
            self.send_header("Content-Type", KINDS[path.suffix])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _found(self) -> tuple[HTTPStatus, Path | None]:
        """Which file is asked for; none under a foreign name of this machine, with a body, or off the list."""
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            return HTTPStatus.FORBIDDEN, None
        if self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding"):
            return HTTPStatus.BAD_REQUEST, None
        prefix = f"/{self.server.token}/"
        if not secrets.compare_digest(self.path[: len(prefix)].encode(), prefix.encode()):
            return HTTPStatus.NOT_FOUND, None
        path = self.server.files.get(self.path[len(prefix) :] or "index.html")
        return (HTTPStatus.OK, path) if path is not None else (HTTPStatus.NOT_FOUND, None)


def page(file: str | Path, *, port: int = 0, runtime: Path = RUNTIME) -> Server:
    """The page of one artifact, ready to serve; `serve_forever` does, `address` says where.

    Args:
        file: An artifact.
        port: 0 takes a free one.
        runtime: The folder with onnxruntime-web's files; where they are missing, the page says how to get them.

    Raises:
        ModelError: When the artifact does not open here.
        StorageError: When the port is taken.
    """
    opened(file)
    files = {path.relative_to(WEB).as_posix(): path for path in WEB.rglob("*") if path.suffix in KINDS}
    files["artifact.limbeck"] = Path(file).resolve()
    if complete(runtime):
        files |= {f"onnxruntime-web/{name}": runtime / name for name in RUNTIME_FILES}
    return Server(files, port)


def complete(runtime: Path) -> bool:
    """Whether the browser's ONNX Runtime is there."""
    return all((runtime / name).is_file() for name in RUNTIME_FILES)
