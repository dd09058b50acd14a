"""A page of an artifact as a real browser without a network visits it, shared by tests; it is no test by itself."""

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_artifacts

from limbeck.page.server import RUNTIME, Server, complete

CHROMIUM = "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
DIGITS = {"kind": "class", "names": [str(digit) for digit in range(10)]}
STREAM = {
    "channels": ["gl"],
    "units": ["mg/dL"],
    "every_seconds": 300.0,
    "steps": 6,
    "stride": 1,
    "fill": 2,
    "horizon": 2,
}
FORECAST = {"kind": "forecast", "names": ["in 5 min", "in 10 min"], "quantiles": [0.1, 0.5, 0.9], "event": "below 70"}
ALERTS = {
    "watch": {"kind": "reading", "names": ["gl"]},
    "enter": 70.0,
    "leave": 80.0,
    "direction": "below",
    "needed": 2,
    "of": 3,
}


def picture(folder: Path) -> Path:
    """An artifact of pictures, light ink on dark ground: what lies at the edges of its golden rows is dark."""
    rows = np.random.default_rng(0).integers(0, 256, (4, 1, 12, 12)).astype("uint8")
    rows[:, :, [0, -1]] = rows[:, :, :, [0, -1]] = 0
    rows[0, 0, 5, 5] = 255
    return small_artifacts.made(folder, row=(1, 12, 12), dtype="uint8", kind="image", rows=rows, reading=DIGITS)


def table(folder: Path) -> Path:
    """An artifact of rows of three numbers, whose answers have names that an object would put in another order."""
    return small_artifacts.made(
        folder, row=(3,), names=("a", "b", "c"), reading={"kind": "numbers", "names": ["10", "2", "z"]}
    )


def glucose(folder: Path) -> Path:
    """An artifact of a stream with a rule for alerts."""
    graph = small_artifacts.linear(folder, (1, 6), 7)
    rows = np.random.default_rng(2).uniform(50, 200, (4, 1, 6)).astype("float32")
    return small_artifacts.made(
        folder,
        row=(1, 6),
        kind="series",
        names=("gl",),
        graph=graph,
        rows=rows,
        reading=FORECAST,
        stream=STREAM,
        alerts=ALERTS,
    )


class Asked(dict[str, Path]):
    """The files of a server, and which of them it was asked for."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        super().__init__(files)
        self.names: list[str] = []

    def get(self, name: str, otherwise: Any = None) -> Any:
        self.names.append(name)
        return super().get(name, otherwise)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    server.files = Asked(server.files)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips where there is none, or where the page has no runtime for it."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the page is not tried in a browser")
    if not complete(RUNTIME):
        pytest.skip("onnxruntime-web is not here (make page): the page is not tried in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as session:
        opened = session.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


class Visit:
    """A page that has loaded, what the browser asked for and the server was asked for since, and what went wrong."""

    def __init__(self, browser: Any, server: Server, **settings: Any) -> None:
        assert isinstance(server.files, Asked)
        self.reached = server.files.names
        self.requests: list[str] = []
        self.troubles: list[str] = []
        self.page = browser.new_page(**settings)
        origin = f"http://127.0.0.1:{server.server_address[1]}/"
        self.page.route(
            "**/*", lambda route: route.continue_() if route.request.url.startswith(origin) else route.abort()
        )
        self.page.on("request", lambda request: self.requests.append(f"{request.method} {request.url}"))
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.goto(server.address)
        self.page.wait_for_selector("body[data-ready]", timeout=60_000)
        loaded = [each for each in self.requests if not each.startswith("GET data:")]
        assert all(each.startswith(f"GET {server.address}") and "?" not in each for each in loaded)
        assert "artifact.limbeck" in self.reached
        self.requests.clear()
        self.reached.clear()

    def text(self, where: str = "body") -> str:
        return " ".join(self.page.inner_text(where).split())

    def dropped(self, path: Path) -> None:
        self.page.set_input_files("input[type=file]", str(path))

    def close(self) -> None:
        """No request since it loaded, and nothing went wrong."""
        assert self.requests == [] and self.reached == [] and self.troubles == []
        self.page.close()
