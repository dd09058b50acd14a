"""What the page computes in the browser is what a device computes: answers, alerts, windows and scores."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import page_visits
import pytest
import small_artifacts
from page_visits import DIGITS, FORECAST, STREAM, serving

from limbeck.page.server import Server, page
from limbeck_runtime import load
from limbeck_runtime.decoding import decoder

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
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modules]:
    table = page_visits.table(tmp_path_factory.mktemp("table"))
    with page_visits.chromium() as browser, serving(page(table)) as server:
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
        given = [
            [time, [None if np.isnan(each) else each for each in row]]
            for time, row in zip(times, values.tolist(), strict=True)
        ]
        assert modules.call(CUT, {"cut": words, "readings": given}) == known, f"trial {trial}"
    assert whole > 200


SCORED = """
const { score } = await import('./scores.js');
const said = (each) => score(each.watch, each.manifest, Float32Array.from(each.row), Float32Array.from(each.outputs));
return JSON.stringify(given.map(said));
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
            tmp_path,
            name=f"w{number}",
            row=(1, 6),
            kind="series",
            names=("gl",),
            graph=graph,
            reading=reading,
            stream=STREAM,
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
