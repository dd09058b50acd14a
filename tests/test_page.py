"""The page of an artifact: who hands it out, and what a real browser does with it while it has no network."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_artifacts
from PIL import Image

from limbeck.cli import main
from limbeck.errors import ModelError, StorageError
from limbeck.page.server import HEADERS, RUNTIME, WEB, Server, complete, page
from limbeck_runtime import load
from limbeck_runtime.decoding import decoder

CHROMIUM = "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
DIGITS = {"kind": "class", "names": [str(digit) for digit in range(10)]}
STREAM = {"channels": ["gl"], "units": ["mg/dL"], "every_seconds": 300.0, "steps": 6, "stride": 1, "fill": 2, "horizon": 2}
FORECAST = {"kind": "forecast", "names": ["in 5 min", "in 10 min"], "quantiles": [0.1, 0.5, 0.9], "event": "below 70"}
ALERTS = {"watch": {"kind": "reading", "names": ["gl"]}, "enter": 70.0, "leave": 80.0, "direction": "below", "needed": 2, "of": 3}


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


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of pictures, light ink on dark ground: what lies at the edges of its golden rows is dark."""
    rows = np.random.default_rng(0).integers(0, 256, (4, 1, 12, 12)).astype("uint8")
    rows[:, :, [0, -1]] = rows[:, :, :, [0, -1]] = 0
    rows[0, 0, 5, 5] = 255
    folder = tmp_path_factory.mktemp("picture")
    return small_artifacts.made(folder, row=(1, 12, 12), dtype="uint8", kind="image", rows=rows, reading=DIGITS)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    return small_artifacts.made(folder, row=(3,), names=("a", "b", "c"), reading={"kind": "numbers", "names": ["10", "2", "z"]})


@pytest.fixture(scope="module")
def glucose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glucose")
    graph = small_artifacts.linear(folder, (1, 6), 7)
    rows = np.random.default_rng(2).uniform(50, 200, (4, 1, 6)).astype("float32")
    return small_artifacts.made(
        folder, row=(1, 6), kind="series", names=("gl",), graph=graph, rows=rows, reading=FORECAST, stream=STREAM, alerts=ALERTS
    )


class TestServer:
    def asked(self, server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read()
        connection.close()
        return found

    def test_hands_out_what_is_on_its_list_and_nothing_else(self, picture: Path, tmp_path: Path) -> None:
        with serving(page(picture, runtime=tmp_path)) as server:
            root = f"/{server.token}/"
            assert self.asked(server, root)[2] == (WEB / "index.html").read_bytes()
            status, headers, body = self.asked(server, f"{root}artifact.limbeck")
            assert (status, body) == (200, picture.read_bytes())
            assert {name: headers[name] for name in HEADERS} == HEADERS
            assert self.asked(server, f"{root}main.js")[1]["Content-Type"] == "text/javascript; charset=utf-8"
            assert self.asked(server, f"{root}main.js", "HEAD")[2] == b""
            for path in (
                "/",
                "/main.js",
                f"/{'x' * len(server.token)}/main.js",
                f"{root}../server.py",
                f"{root}%2e%2e/server.py",
                f"{root}main.js?data=1",
                f"{root}onnxruntime-web/ort.wasm.min.mjs",
                f"{root}{picture}",
            ):
                assert self.asked(server, path)[0] == 404, path

    def test_takes_nothing_in(self, picture: Path) -> None:
        with serving(page(picture)) as server:
            root = f"/{server.token}/"
            for method in ("POST", "PUT", "DELETE", "OPTIONS"):
                assert self.asked(server, root, method)[0] == 501
            connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
            connection.request("GET", root, body=b"a person's data")
            assert connection.getresponse().status == 400
            connection.close()

    def test_answers_to_its_own_name_alone(self, picture: Path) -> None:
        """A foreign name that was made to mean 127.0.0.1 reaches the port, and gets nothing."""
        with serving(page(picture)) as server:
            root, port = f"/{server.token}/", server.server_address[1]
            assert self.asked(server, root, Host=f"evil.example:{port}")[0] == 403
            assert self.asked(server, root, Host=f"localhost:{port}")[0] == 200
            assert server.server_address[0] == "127.0.0.1"

    def test_no_page_is_like_another(self, picture: Path) -> None:
        one, other = page(picture), page(picture)
        assert one.token != other.token and len(one.token) >= 22
        with pytest.raises(StorageError, match="no page on port"):
            page(picture, port=one.server_address[1])
        one.server_close()
        other.server_close()

    def test_a_damaged_artifact_gets_no_page(self, picture: Path, tmp_path: Path) -> None:
        (tmp_path / "cut.limbeck").write_bytes(picture.read_bytes()[:-9])
        with pytest.raises(ModelError, match="damaged"):
            page(tmp_path / "cut.limbeck")

    def test_every_file_of_the_page_is_its_own(self) -> None:
        """No address, no inline script or style, and every import is a file beside it."""
        for path in WEB.iterdir():
            text = path.read_text()
            addresses = set(re.findall(r"https?://[\w./-]+", text))
            assert addresses <= {"http://www.w3.org/2000/svg", "http://yann.lecun.com/exdb/mnist/"}, path
            for name in re.findall(r'from "([^"]+)"', text):
                assert (WEB / name).is_file(), f"{path}: {name}"
            assert "innerHTML" not in text and " style=" not in text and "eval(" not in text
            assert len(text.splitlines()) <= 400 and max(map(len, text.splitlines())) <= 132, path


class TestCommandLine:
    def said(self, capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
        with pytest.raises(SystemExit) as left:
            main(["serve", *arguments])
        assert left.value.code == code
        return capsys.readouterr().err

    def test_bad_input(self, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "cannot be read" in self.said(capsys, str(tmp_path / "nowhere.limbeck"), code=4)
        assert "port" in self.said(capsys, str(picture), "--port", "99999", code=2)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            assert f"no page on port {port}" in self.said(capsys, str(picture), "--port", port, code=8)

    def test_serves_until_it_is_told_to_end(self, picture: Path, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "limbeck", "serve", str(picture), "--json", "--runtime", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stderr is not None
            said = json.loads(process.stdout.readline())
            assert said["runtime"] is False and re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{22}/", said["address"])
            connection = http.client.HTTPConnection(said["address"].split("/")[2], timeout=10)
            connection.request("GET", "/" + said["address"].split("/", 3)[3])
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 0
            assert "make page" in process.stderr.read()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
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
        self.page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(origin) else route.abort())
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


class TestBrowser:
    def test_a_picture_gets_the_answer_that_python_gives(self, browser: Any, picture: Path, tmp_path: Path) -> None:
        pixels = np.random.default_rng(5).integers(0, 256, (12, 12)).astype("uint8")
        pixels[0, 0] = 255
        Image.fromarray(pixels).save(tmp_path / "picture.png")
        predictor = load(picture)
        high = predictor.manifest.input.high
        assert high == 255 and predictor.manifest.input.low == 0
        (known,) = predictor(pixels[None])
        with serving(page(picture)) as server:
            visit = Visit(browser, server, viewport={"width": 380, "height": 800})
            assert "This browser gives the same answers to the golden rows: max difference" in visit.text()
            visit.dropped(tmp_path / "picture.png")
            visit.page.wait_for_selector("#answer .big")
            assert visit.text("#answer .big") == known["class"]
            shown = [100 * float(each) for each in visit.page.eval_on_selector_all("#answer meter", "all => all.map(m => m.value)")]
            assert shown == pytest.approx([100 * each for each in known["likeliest"].values()], abs=1e-3)
            assert visit.page.eval_on_selector_all("#answer meter", "all => all.map(m => m.ariaLabel)") == [*known["likeliest"]]
            assert "12 x 12 pixels, uint8 from 0 to 255" in visit.text()
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= 380
            visit.close()

    @pytest.mark.slow
    def test_a_drawing_becomes_light_ink_in_the_middle(self, browser: Any, picture: Path) -> None:
        with serving(page(picture)) as server:
            visit = Visit(browser, server)
            box = visit.page.locator("canvas.pad").bounding_box()
            mouse = visit.page.mouse
            mouse.move(box["x"] + 20, box["y"] + 20)
            mouse.down()
            mouse.move(box["x"] + 20, box["y"] + 120, steps=5)
            mouse.up()
            visit.page.wait_for_selector("#answer .big")
            assert "light ink on dark ground" in visit.text()
            seen = visit.page.evaluate(
                "Array.from(document.querySelector('canvas.seen').getContext('2d').getImageData(0, 0, 12, 12).data)"
            )
            ink = np.array(seen).reshape(12, 12, 4)[:, :, 0] / 255
            weight = ink / ink.sum()
            # A stroke at the left edge of the pad: its mass lies in the middle, its length is 20/28 of the frame.
            assert abs((weight.sum(1) * (np.arange(12) + 0.5)).sum() - 6) < 0.75
            assert abs((weight.sum(0) * (np.arange(12) + 0.5)).sum() - 6) < 0.75
            assert 8 <= (ink.max(1) > 0.1).sum() <= 10 and (ink.max(0) > 0.1).sum() <= 4
            visit.close()

    @pytest.mark.slow
    def test_once_loaded_the_page_can_ask_no_server_not_even_its_own(self, browser: Any, picture: Path) -> None:
        with serving(page(picture)) as server:
            visit = Visit(browser, server)
            asked = "name => fetch(name).then(() => 'answered', () => 'refused')"
            assert visit.page.evaluate(asked, "artifact.limbeck") == "refused"
            assert visit.page.evaluate(asked, "https://example.org/") == "refused"
            loads = "name => new Promise(done => { const i = new Image(); i.onload = () => done('answered');"
            assert visit.page.evaluate(f"{loads} i.onerror = () => done('refused'); i.src = name; }})", "style.css?x") == "refused"
            assert visit.reached == [] and any("Content Security Policy" in each for each in visit.troubles)
            visit.page.close()

    @pytest.mark.slow
    def test_a_table_gets_the_numbers_that_python_gives(self, browser: Any, table: Path, tmp_path: Path) -> None:
        rows = np.random.default_rng(1).standard_normal((5, 3)).astype("float32")
        lines = ["c;a;b", *(f"{float(c)!r};{float(a)!r};{float(b)!r}" for a, b, c in rows)]
        (tmp_path / "rows.csv").write_text("\n".join(lines))
        known = load(table)(rows)
        with serving(page(table)) as server:
            visit = Visit(browser, server)
            visit.dropped(tmp_path / "rows.csv")
            visit.page.wait_for_selector("#answer table")
            cells = visit.page.eval_on_selector_all("#answer tr", "all => all.map(r => [...r.cells].map(c => c.innerText))")
            assert cells[0] == ["row", "10", "2", "z"]
            shown = np.array([[float(each) for each in line[1:]] for line in cells[1:]])
            assert shown == pytest.approx(np.array([[*each.values()] for each in known]), rel=1e-3)
            (tmp_path / "hole.csv").write_text("a,b,c\n1,,3\n")
            errors: list[str] = []
            visit.page.on("pageerror", lambda error: errors.append(str(error)))
            visit.page.get_by_label("a", exact=True).fill("")
            visit.page.get_by_role("button", name="Ask").click()
            visit.page.wait_for_selector("#answer .error")
            assert "no number for a; a missing one is no 0" in visit.text("#answer")
            visit.close()

    def test_a_stream_alarms_where_its_thresholds_say(self, browser: Any, glucose: Path, tmp_path: Path) -> None:
        level = [120.0] * 8 + [69.0, 68.0, 65.0, 66.0, 90.0, 91.0] + [120.0] * 4
        lines = [f"2026-01-01 {minute // 60:02d}:{minute % 60:02d}:00,{value}" for minute, value in zip(range(0, 90, 5), level, strict=True)]
        del lines[16]  # a hole of one step, which is bridged
        (tmp_path / "gl.csv").write_text("\n".join(["time,gl", *lines]))
        with serving(page(glucose)) as server:
            visit = Visit(browser, server, color_scheme="dark", viewport={"width": 380, "height": 800})
            visit.dropped(tmp_path / "gl.csv")
            visit.page.wait_for_selector(".state[data-done]")
            events = visit.page.eval_on_selector_all("#input tr", "all => all.map(r => [...r.cells].map(c => c.innerText))")
            assert [(when, kind) for when, kind, _ in events] == [
                ("2026-01-01 00:25:00", "data"),
                ("2026-01-01 00:45:00", "alert"),
                ("2026-01-01 01:00:00", "over"),
            ]
            (known,) = load(glucose)(np.float32(level[-6:])[None, None])
            said = visit.text("#answer")
            assert "below 70" in said and f"{100 * known['probability']:.1f}"[:3] in said
            assert visit.page.locator("svg .alarm").count() == 1 and visit.page.locator("svg .forecast").count() == 1
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= 380
            visit.close()

    @pytest.mark.slow
    def test_an_artifact_that_was_changed_on_the_way_is_not_opened(
        self, browser: Any, picture: Path, tmp_path: Path
    ) -> None:
        content = bytearray(picture.read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / "damaged.limbeck").write_bytes(content)
        other = tmp_path / "other.limbeck"
        shutil.copy(picture, other)

        def swapped(said: dict[str, Any], files: dict[str, bytes]) -> None:
            files["golden/outputs.bin"] = np.float32(np.ones((4, 10))).tobytes()

        small_artifacts.rewrite(other, swapped)
        for path, words in ((tmp_path / "damaged.limbeck", "damaged"), (other, "read otherwise")):
            server = page(picture)
            server.files = {**server.files, "artifact.limbeck": path}
            with serving(server):
                visit = Visit(browser, server)
                assert visit.page.get_attribute("body", "data-ready") == "failed" and words in visit.text("#input")
                visit.close()

    def test_without_the_browsers_runtime_the_page_says_how_to_get_it(
        self, browser: Any, picture: Path, tmp_path: Path
    ) -> None:
        with serving(page(picture, runtime=tmp_path)) as server:
            visit = Visit(browser, server)
            assert "make page" in visit.text("#input") and "takes uint8 rows of 1 x 12 x 12" in visit.text("header")
            assert all("404" in each for each in visit.troubles)
            visit.page.close()

    def test_light_and_dark_are_two(self, browser: Any, table: Path, tmp_path: Path) -> None:
        found = {}
        with serving(page(table, runtime=tmp_path)) as server:
            for scheme in ("light", "dark"):
                visit = Visit(browser, server, color_scheme=scheme)
                found[scheme] = visit.page.evaluate(
                    "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
                )
                visit.page.close()
        assert found["light"][0] != found["dark"][0] and found["light"][1] != found["dark"][1]


READINGS: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    (DIGITS, (10,)),
    ({"kind": "classes", "names": ["x", "y", "3"]}, (3,)),
    ({"kind": "steps", "names": ["n", "v"]}, (5, 2)),
    ({"kind": "numbers", "names": ["10", "2"]}, (2,)),
    (FORECAST, (7,)),
    ({"kind": "forecast", "names": ["one", "two"]}, (2,)),
]


class Modules:
    """Modules of the page, called in the browser with plain values."""

    def __init__(self, browser: Any, server: Server) -> None:
        self.page = browser.new_page()
        self.page.goto(f"{server.address}style.css")

    def call(self, code: str, value: Any) -> Any:
        said = json.dumps(value)
        return json.loads(self.page.evaluate(f"async (text) => {{ const given = JSON.parse(text); {code} }}", said))


@pytest.fixture(scope="module")
def modules(browser: Any, table: Path) -> Iterator[Modules]:
    with serving(page(table)) as server:
        found = Modules(browser, server)
        yield found
        found.page.close()


def test_answers_are_read_as_on_a_device(modules: Modules) -> None:
    draw = np.random.default_rng(3)
    for reading, shape in READINGS:
        outputs = (4 * draw.standard_normal((6, *shape))).astype("float32")
        known = decoder(reading, shape)(outputs)
        code = (
            "const { decoded, plain } = await import('./decoding.js');"
            "return JSON.stringify(given.rows.map((row) => plain(decoded(given.reading, row))));"
        )
        said = modules.call(code, {"reading": reading, "rows": outputs.reshape(6, -1).tolist()})
        for mine, theirs in zip(said, json.loads(json.dumps(known)), strict=True):
            assert mine.keys() == theirs.keys()
            for name, value in theirs.items():
                words = isinstance(value, str) or (isinstance(value, list) and isinstance([*value, ""][0], str))
                assert mine[name] == (value if words else pytest.approx(value, rel=1e-6))


PLAYED = """
const { Alerts } = await import('./alerts.js');
const machine = new Alerts(given.rule);
return JSON.stringify(given.steps.map(([time, score]) => machine.step(time, score).map((each) => [each.time, each.kind,
  Number.isNaN(each.score) ? null : each.score]).concat([[machine.state]])));
"""


def test_alerts_are_those_of_the_device(modules: Modules) -> None:
    alerts = pytest.importorskip("limbeck_runtime.alerts")
    scores = pytest.importorskip("limbeck_runtime.scores")
    draw = np.random.default_rng(11)
    happened = set()
    for trial in range(60):
        of = int(draw.choice([1, 2, 3, 5, 32]))
        rising = bool(draw.integers(2))
        enter = float(draw.choice([0.1, 0.3, 0.7]))
        words: dict[str, Any] = {
            "enter": enter,
            "leave": enter - 0.1 if rising else enter + 0.1,
            "direction": "above" if rising else "below",
            "needed": int(draw.integers(1, of + 1)) if of < 32 else 3,
            "of": of,
            "calm": int(draw.integers(1, 4)),
            "hold_seconds": float(draw.choice([0, 2, 10.0005])),
            "refractory_seconds": float(draw.choice([0, 5, 40])),
            "stale_seconds": float(draw.choice([0, 3])),
            "budget": int(draw.choice([0, 1, 2])),
        }
        times = np.cumsum(draw.choice([0.5, 1.0, 1.0005, 4.0, 30_000.0], 120, p=[0.3, 0.3, 0.3, 0.09, 0.01]))
        said = [None if draw.random() < 0.03 else float(each) for each in np.repeat(draw.random(30), 4)]
        steps = list(zip(times.tolist(), said, strict=True))
        rule = alerts.Rule(watch=scores.Watch("reading", ("x",)), **words)
        machine, known = alerts.Alerts(rule), []
        for time, score in steps:
            events = machine.step(time, score)
            happened |= {event.kind for event in events}
            known.append([[e.time, e.kind, None if np.isnan(e.score) else e.score] for e in events] + [[machine.state]])
        assert modules.call(PLAYED, {"rule": words, "steps": steps}) == json.loads(json.dumps(known)), f"trial {trial}"
    assert happened == set(alerts.KINDS)


CUT = """
const { Windows } = await import('./windows.js');
const windows = new Windows(given.cut);
const numbers = (values) => values.map((each) => (each === null ? NaN : each));
return JSON.stringify(given.readings.map(([time, values]) => {
  const missing = windows.take(numbers(values), time);
  return missing === null ? null : missing ? 'no data' : Array.from(windows.row());
}));
"""


def test_windows_are_those_of_the_device(modules: Modules) -> None:
    stream = pytest.importorskip("limbeck_runtime.stream")
    draw = np.random.default_rng(12)
    whole = 0
    for trial in range(30):
        words = {
            "channels": ["a", "b"],
            "steps": int(draw.integers(2, 7)),
            "stride": int(draw.integers(1, 4)),
            "fill": int(draw.integers(0, 4)),
            "every_seconds": 60.0,
        }
        apart = draw.choice([60.0, 63.0, 58.0, 20.0, 121.0, 300.0], 80, p=[0.7, 0.1, 0.1, 0.02, 0.05, 0.03])
        times = np.cumsum(apart).tolist()
        values = draw.standard_normal((80, 2))
        values[draw.random((80, 2)) < 0.08] = np.nan
        windows = stream.Windows(stream.Cut(**{**words, "channels": ("a", "b")}))
        known: list[Any] = []
        for time, reading in zip(times, values, strict=True):
            due, missing = windows.take(reading, time)
            known.append(None if not due else "no data" if missing else windows.row.flatten().tolist())
        whole += sum(isinstance(each, list) for each in known)
        given = [[time, [None if np.isnan(each) else each for each in row]] for time, row in zip(times, values.tolist(), strict=True)]
        assert modules.call(CUT, {"cut": words, "readings": given}) == known, f"trial {trial}"
    assert whole > 200


SCORED = """
const { score } = await import('./scores.js');
return JSON.stringify(given.map(({ watch, manifest, row, outputs }) => score(watch, manifest, Float32Array.from(row), Float32Array.from(outputs))));
"""


def test_scores_are_those_of_the_device(modules: Modules, tmp_path: Path) -> None:
    scores = pytest.importorskip("limbeck_runtime.scores")
    watched: list[tuple[dict[str, Any], tuple[int, ...], dict[str, Any]]] = [
        (DIGITS, (10,), {"kind": "classes", "names": ["3", "7"]}),
        ({"kind": "classes", "names": ["x", "y", "z"]}, (3,), {"kind": "classes", "names": ["y", "z"]}),
        (FORECAST, (7,), {"kind": "event"}),
        (FORECAST, (7,), {"kind": "number", "names": ["in 10 min"], "level": 0.1}),
        ({"kind": "numbers", "names": ["p", "q"]}, (2,), {"kind": "number", "names": ["q"]}),
        (DIGITS, (10,), {"kind": "reading", "names": ["gl"]}),
    ]
    draw = np.random.default_rng(13)
    given, known = [], []
    for number, (reading, shape, watch) in enumerate(watched):
        graph = small_artifacts.linear(tmp_path, (1, 6), shape[0])
        path = small_artifacts.made(
            tmp_path, name=f"w{number}", row=(1, 6), kind="series", names=("gl",), graph=graph, reading=reading, stream=STREAM
        )
        predictor = load(path)
        rows = draw.standard_normal((3, 1, 6)).astype("float32")
        outputs = predictor.outputs(rows)
        said = scores.Watch(watch["kind"], tuple(watch.get("names", ())), watch.get("level", 0.5))
        known += said.scores(predictor.manifest, rows, outputs).tolist()
        manifest = {"input": {"shape": [1, 6], "names": ["gl"]}, "output": {"reading": reading}, "stream": STREAM}
        given += [
            {"watch": watch, "manifest": manifest, "row": row.flatten().tolist(), "outputs": out.tolist()}
            for row, out in zip(rows, outputs, strict=True)
        ]
    assert modules.call(SCORED, given) == known
