"""The alerts of a microcontroller, compiled and fed step by step: event for event those of the runtime."""

import gzip
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.firmware import building
from limbeck.firmware.building import FLAGS, HOST, found
from limbeck_runtime.alerts import KINDS, NO_DATA, Alerts, Rule, milliseconds
from limbeck_runtime.errors import InputError
from limbeck_runtime.scores import Watch

TEMPLATES = Path(building.__file__).parent / "templates"
READINGS = Path(__file__).parents[2] / "shared" / "data" / "cgm" / "example_data_hall.csv.gz"
REFUSED, STATES = 64, {"no data": 0, "normal": 1, "alert": 2}
EVENT = Watch("event")


@pytest.fixture(scope="module")
def machine(tmp_path_factory) -> Path:
    compiler = found(HOST)
    if compiler is None:
        pytest.skip("no C compiler is here")
    folder = tmp_path_factory.mktemp("alerts")
    for file in ("alerts.h", "alerts.c"):
        shutil.copy(TEMPLATES / file, folder)
    shutil.copy(Path(__file__).parent / "alerts_stdin.c", folder)
    sources = [str(folder / file) for file in ("alerts_stdin.c", "alerts.c")]
    subprocess.run([compiler, *FLAGS, "-pedantic", "-o", str(folder / "machine"), *sources], check=True)
    return folder / "machine"


def bits(number) -> int:
    return int(np.float32(np.nan if number is None else number).view(np.uint32))


def in_c(machine: Path, stories) -> list[list[int]]:
    """What C says to the steps of several stories: (rule, [(passes, milliseconds, score)])."""
    lines = []
    for rule, steps in stories:
        spans = [milliseconds(each) for each in (rule.hold_seconds, rule.refractory_seconds, rule.stale_seconds)]
        lines.append(
            f"r {int(rule.direction == 'above')} {bits(rule.enter)} {bits(rule.leave)} {rule.needed} {rule.of} "
            f"{rule.calm} {' '.join(map(str, spans))} {rule.budget}"
        )
        lines += [f"p {now}" if passes else f"s {now} {bits(score)}" for passes, now, score in steps]
    said = subprocess.run([machine], input="\n".join(lines), capture_output=True, text=True, check=True)
    return [list(map(int, line.split())) for line in said.stdout.splitlines()]


def in_python(stories) -> list[list[int]]:
    said = []
    for rule, steps in stories:
        alerts = Alerts(rule)
        for passes, now, score in steps:
            try:
                events = alerts.pass_time(now / 1000) if passes else alerts.step(now / 1000, score)
            except InputError:
                said.append([REFUSED, 0, STATES[alerts.state]])
                continue
            lost = [milliseconds(event.time) for event in events if event.kind == NO_DATA]
            mask = sum(1 << KINDS.index(event.kind) for event in events)
            said.append([mask, *(lost or [0]), STATES[alerts.state]])
    return said


seconds = st.sampled_from([0.0, 0.001, 0.5, 60.0, 300.0, 7200.0, 1e9])
rules = st.builds(
    lambda enter, gap, above, of, needed, **rest: Rule(
        EVENT, enter, enter - gap if above else enter + gap, "above" if above else "below", min(needed, of), of, **rest
    ),
    enter=st.sampled_from([0.0, -0.0, 0.1, 1.0, 1e-40, 16777217.0]),
    gap=st.sampled_from([0.0, 1e-9, 1.0]),
    above=st.booleans(),
    of=st.sampled_from([1, 2, 3, 31, 32]),
    needed=st.integers(1, 32),
    calm=st.integers(1, 3),
    hold_seconds=seconds,
    refractory_seconds=seconds,
    stale_seconds=seconds,
    budget=st.sampled_from([0, 1, 2, 3, 64]),
)
scores = st.one_of(
    st.sampled_from([-1.0, -0.0, 0.0, 0.1, float(np.float32(0.1)), 1.0, 2.0, None, 1e-40, float("inf")]),
    st.floats(width=32, allow_nan=True),
)
ahead = st.sampled_from([60_000] * 5 + [1, -1, 0, 59_999, 300_000, 300_001, 7_200_000, 40_000_000])
steps = st.lists(st.tuples(st.sampled_from([False] * 4 + [True]), ahead, scores), max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(rules, st.sampled_from([0, -(2**50), 1_700_000_000_000]), steps), min_size=1, max_size=8))
def test_c_says_what_the_runtime_says(machine, drawn):
    stories = []
    for rule, now, moves in drawn:
        timed = []
        for passes, by, score in moves:
            now += by
            timed.append((passes, now, score))
        stories.append((rule, timed))
    assert in_c(machine, stories) == in_python(stories)


def long_stories(draw: np.random.Generator, rows: int):
    """Scores that wander around thresholds, with holes, for years."""
    for above in (True, False):
        walk = np.cumsum(draw.standard_normal(rows)).astype(np.float32)
        walk -= np.float32(0.02) * np.cumsum(walk / np.abs(walk).max())
        scores = np.where(draw.random(rows) < 0.01, np.nan, np.sin(walk / 9) * 3 + draw.standard_normal(rows) / 4)
        times = np.cumsum(draw.choice([300_000, 900_001], rows, p=[0.98, 0.02]))
        rule = Rule(
            EVENT, 2.0 if above else -2.0, 1.0 if above else -1.0, "above" if above else "below", 3, 5,
            calm=2, hold_seconds=900.0, refractory_seconds=1800.0, stale_seconds=600.0, budget=6,
        )  # fmt: skip
        yield rule, [(False, int(time), float(score)) for time, score in zip(times, scores, strict=True)]


def test_long_random_records_alarm_alike(machine):
    stories = list(long_stories(np.random.default_rng(7), 8_000))
    said = in_c(machine, stories)
    assert said == in_python(stories)
    seen = np.bitwise_or.reduce([each[0] for each in said])
    assert seen == 63, "every kind of event happens"


@pytest.mark.skipif(not READINGS.is_file(), reason="needs ../shared/data/cgm")
def test_real_readings_alarm_alike(machine):
    """Blood sugar under 70 mg/dL in the records of real people, one story each."""
    with gzip.open(READINGS, "rt") as file:
        header, *lines = [line.strip().replace('"', "").split(",") for line in file]
    column = {name: header.index(name) for name in ("id", "time", "gl")}
    people: dict[str, list] = {}
    for line in lines:
        moment = int(np.datetime64(line[column["time"]].replace(" ", "T"), "ms").astype(np.int64))
        people.setdefault(line[column["id"]], []).append((False, moment, float(line[column["gl"]])))
    rule = Rule(EVENT, 90.0, 100.0, "below", 2, 3, calm=2, refractory_seconds=3600.0, stale_seconds=1200.0, budget=4)
    stories = [(rule, person) for person in people.values()]
    said = in_c(machine, stories)
    assert said == in_python(stories) and len(said) > 10_000
    assert sum(each[0] & 4 > 0 for each in said) > 100


def test_a_budget_is_of_24_hours_and_an_alert_of_a_day_ago_is_no_part_of_it(machine):
    rule, day = Rule(EVENT, 2.0, 1.0, budget=1), 86_400_000
    for after, mask in ((day - 1, 32), (day, 4)):
        story = [(rule, [(False, 0, 3.0), (False, 1000, 0.0), (False, after, 3.0)])]
        assert [each[0] for each in in_c(machine, story)] == [2 | 4, 8, mask]
        assert in_c(machine, story) == in_python(story)


def test_times_that_would_overflow_are_refused(machine):
    rule = Rule(EVENT, 2.0, 1.0, stale_seconds=60.0)
    said = in_c(machine, [(rule, [(False, 2**61, 0.0), (False, -(2**61), 0.0), (False, 5, 3.0), (False, 5, 3.0)])])
    assert [each[0] for each in said] == [REFUSED, REFUSED, 2 | 4, REFUSED]
