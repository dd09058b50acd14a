"""Alerts against stories worked by hand, and against a second reading of their rules that keeps whole histories."""

import json
import math

import numpy as np
import pytest
import small_artifacts
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck_runtime.alerts import ALERT, BUDGET, DATA, NO_DATA, OVER, REFRACTORY, Alerts, Rule, rule
from limbeck_runtime.errors import ArtifactError, InputError
from limbeck_runtime.predictor import load
from limbeck_runtime.scores import Watch

EVENT = Watch("event")


def story(scores, every=60.0, **fields):
    """The events of scores that come every minute, as (minute, kind); None is no score."""
    alerts = Alerts(Rule(EVENT, **({"enter": 2.0, "leave": 1.0} | fields)))
    events = [event for minute, score in enumerate(scores) for event in alerts.step(minute * every, score)]
    return [(event.time / every, event.kind) for event in events], alerts


def without_data(events):
    return [event for event in events if event[1] != DATA]


def test_hysteresis_leaves_lower_than_it_enters():
    events, alerts = story([0, 2, 1.5, 1, 0.9, 1.9, 2])
    assert events == [(0, DATA), (1, ALERT), (4, OVER), (6, ALERT)]
    assert alerts.state == "alert"


def test_k_of_n_counts_the_last_answers():
    assert without_data(story([2, 0, 0, 2, 0, 2], needed=2, of=3)[0]) == [(5, ALERT)]
    # At minute 5 two of three reached and nothing holds it back any more, but the newest answer is not one of them.
    held = story([2, 2, 0, 2, 2, 0, 2], needed=2, of=3, refractory_seconds=180)[0]
    assert without_data(held) == [(1, ALERT), (2, OVER), (4, REFRACTORY), (6, ALERT)]
    # Two of three are there at minute 2 and the third answer does not reach: an alert begins with one that does.
    assert without_data(story([0, 2, 2, 0.5, 2, 0, 2], needed=2, of=3)[0]) == [(2, ALERT), (3, OVER), (6, ALERT)]


def test_a_hold_keeps_an_alert_and_calm_counts_answers_in_a_row():
    assert without_data(story([2, 0, 0, 0, 0], hold_seconds=180)[0]) == [(0, ALERT), (3, OVER)]
    assert without_data(story([2, 0, 1, 0, 0, 0], calm=2)[0]) == [(0, ALERT), (4, OVER)]


def test_refractory_time_begins_when_an_alert_ends_and_is_said_once():
    events, _ = story([2, 0, 2, 2, 2, 2, 2], refractory_seconds=240)
    assert without_data(events) == [(0, ALERT), (1, OVER), (2, REFRACTORY), (5, ALERT)]


def test_a_budget_is_of_any_24_hours():
    hour = 3600.0
    events, _ = story([2, 0] * 20, every=hour, budget=3)
    kinds = [(at, kind) for at, kind in events if kind in (ALERT, BUDGET)]
    # Alerts at 0, 2 and 4 h; the next when the first is 24 hours old, at 24 h, then at 26 and 28.
    assert [at for at, kind in kinds if kind == ALERT] == [0, 2, 4, 24, 26, 28]
    assert [at for at, kind in kinds if kind == BUDGET] == [6, *range(8, 24, 2), 30, 32, 34, 36, 38]


def test_no_data_is_never_normal():
    alerts = Alerts(Rule(EVENT, 2.0, 1.0, needed=2, of=2, stale_seconds=120))
    assert alerts.state == "no data"
    assert [event.kind for event in alerts.step(0.0, 0.0)] == [DATA] and alerts.state == "normal"
    alerts.step(60.0, 3.0)
    [lost] = alerts.step(120.0, None, "the sensor is off")
    assert (lost.kind, lost.reason, alerts.state) == (NO_DATA, "the sensor is off", "no data") and math.isnan(
        lost.score
    )
    # The vote of minute 1 is forgotten: what lies on the other side of a hole says nothing.
    assert [event.kind for event in alerts.step(180.0, 3.0)] == [DATA]
    assert [event.kind for event in alerts.step(240.0, 3.0)] == [ALERT]
    [lost] = alerts.pass_time(361.0)
    assert (lost.time, lost.reason) == (360.0, "no answer for 120 s; an alert was on") and alerts.state == "no data"


def test_silence_ends_an_alert_at_its_own_time_whenever_it_is_noticed():
    alerts = Alerts(Rule(EVENT, 2.0, 1.0, stale_seconds=90, refractory_seconds=30))
    alerts.step(0.0, 2.0)
    noticed = alerts.step(500.0, 2.0)
    assert [(event.time, event.kind) for event in noticed] == [(90.0, NO_DATA), (500.0, DATA), (500.0, ALERT)]


def test_low_numbers_can_alarm():
    events, _ = story([80, 69, 72, 75, 76], enter=70.0, leave=75.0, direction="below")
    assert without_data(events) == [(1, ALERT), (4, OVER)]


def test_a_score_is_rounded_to_float32_before_it_is_held_against_a_threshold():
    tenth = float(np.float32(0.1))  # above 0.1
    assert tenth > 0.1
    assert story([0.1], enter=tenth, leave=tenth)[1].state == "alert"
    assert story([np.float32(0.1)], enter=0.1, leave=0.1)[1].state == "alert"


def test_reasons_are_words():
    alerts = Alerts(Rule(Watch("classes", ("V", "F")), 0.0, -1.0, needed=2, of=3, refractory_seconds=60))
    alerts.step(0.0, 1.0)
    [alert] = alerts.step(1.0, 2.0)
    assert alert.reason == "V or F at 0.881; 2 of 3 answers 0.5 or more"
    assert alerts.step(2.0, -2.0)[0].reason == "V or F at 0.119, no longer 0.269 or more"
    alerts.step(3.0, 1.0)
    assert alerts.step(4.0, 1.0)[0].reason == "the last alert ended less than 60 s ago"


def test_time_that_goes_back_changes_nothing():
    alerts = Alerts(Rule(EVENT, 2.0, 1.0))
    alerts.step(10.0, 2.0)
    before = vars(alerts).copy()
    for time in (10.0, 9.0, 10.0004, math.nan, math.inf, 1e300):
        with pytest.raises(InputError):
            alerts.step(time, 0.0)
    assert vars(alerts) == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"leave": 3.0}, "beyond alerts.enter"),
        ({"direction": "up"}, "above or below"),
        ({"direction": "below"}, "beyond alerts.enter"),
        ({"needed": 3, "of": 2}, "3 of 2 answers"),
        ({"needed": 0}, "0 of 1 answers"),
        ({"of": 33}, "of 33 answers"),
        ({"budget": 65}, "budget 65"),
        ({"calm": 0}, "calm is 0"),
        ({"hold_seconds": -1.0}, "hold_seconds"),
        ({"enter": math.nan}, "beyond"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(fields, words):
    with pytest.raises(ArtifactError, match=words):
        Rule(EVENT, **({"enter": 2.0, "leave": 1.0} | fields))


class Slow:
    """The rules again, from the whole history at every step: events as (milliseconds, kind)."""

    def __init__(self, how: Rule) -> None:
        self.how, self.state, self.told, self.last = how, "no data", False, None
        self.events, self.history, self.alarms, self.ends = [], [], [], []

    def reaches(self, score, limit):
        if self.how.direction == "above":
            return np.float32(score) >= np.float32(limit)
        return np.float32(score) <= np.float32(limit)

    def lose(self, moment):
        if self.state == "alert":
            self.ends.append(moment)
        if self.state != "no data":
            self.events.append((moment, NO_DATA))
        self.state, self.history, self.told = "no data", [], False

    def step(self, time, score):
        stale = round(self.how.stale_seconds * 1000)
        if self.last is not None and stale and time - self.last > stale:
            self.lose(self.last + stale)
        self.last = time
        if score is None:
            return self.lose(time)
        if self.state == "no data":
            self.state = "normal"
            self.events.append((time, DATA))
        self.history.append(score)
        return self.begin(time) if self.state == "normal" else self.go_on(time)

    def begin(self, time):
        reached = [self.reaches(each, self.how.enter) for each in self.history[-self.how.of :]]
        if sum(reached) < self.how.needed:
            self.told = False
            return
        if not reached[-1]:
            return
        quiet = self.ends and time < self.ends[-1] + round(self.how.refractory_seconds * 1000)
        full = self.how.budget and len([at for at in self.alarms if at > time - 86_400_000]) >= self.how.budget
        if not quiet and not full:
            self.events.append((time, ALERT))
            self.alarms.append(time)
            self.state, self.told, self.began = "alert", False, len(self.history)
        elif not self.told:
            self.events.append((time, REFRACTORY if quiet else BUDGET))
            self.told = True

    def go_on(self, time):
        since = self.history[self.began :]
        last = [self.reaches(each, self.how.leave) for each in since[-self.how.calm :]]
        left = len(last) == self.how.calm and not any(last)
        if left and time - self.alarms[-1] >= round(self.how.hold_seconds * 1000):
            self.events.append((time, OVER))
            self.ends.append(time)
            self.state, self.history = "normal", []


seconds = st.sampled_from([0.0, 0.5, 60.0, 300.0, 7200.0])
rules = st.builds(
    lambda enter, gap, direction, of, needed, **rest: Rule(
        EVENT, enter, enter - gap if direction == "above" else enter + gap, direction, min(needed, of), of, **rest
    ),
    enter=st.sampled_from([0.0, 1.0]),
    gap=st.sampled_from([0.0, 1.0]),
    direction=st.sampled_from(["above", "below"]),
    of=st.integers(1, 4),
    needed=st.integers(1, 4),
    calm=st.integers(1, 3),
    hold_seconds=seconds,
    refractory_seconds=seconds,
    stale_seconds=seconds,
    budget=st.integers(0, 3),
)
steps = st.lists(
    st.tuples(
        st.sampled_from([60_000] * 5 + [1, 59_999, 300_000, 300_001, 7_200_000, 40_000_000]),
        st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), st.sampled_from([-1.0, 2.0, None, 2.0])),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(rules, steps, st.booleans())
def test_the_machine_does_what_its_rules_say(how, drawn, watched):
    """Whether somebody asks what time it is in between changes nothing."""
    time, timed = 0, []
    for ahead, score in drawn:
        time += ahead
        timed.append((time, score))
    alerts, found = Alerts(how), []
    for moment, score in timed:
        if watched:
            found += alerts.pass_time((moment - 1) / 1000)
        found += alerts.step(moment / 1000, score)
    reference = Slow(how)
    for moment, score in timed:
        reference.step(moment, score)
    assert [(round(event.time * 1000), event.kind) for event in found] == reference.events
    assert alerts.state == reference.state
    assert all(event.reason for event in found)


def sealed(folder, alerts, reading, outputs=3, row=(2, 4)):
    graph = small_artifacts.linear(folder, row, outputs)
    return load(
        small_artifacts.made(
            folder, graph=graph, row=row, kind="series", names=("gl", "carbs"), reading=reading, alerts=alerts
        )
    )


FORECAST = {"kind": "forecast", "names": ["+1", "+2"], "event": "below 70"}
LEVELS = {"kind": "forecast", "names": ["+1"], "quantiles": [0.1, 0.5, 0.9]}


@pytest.mark.parametrize(
    ("watch", "reading", "wanted"),
    [
        ({"kind": "event"}, FORECAST, lambda rows, said: said[:, 2]),
        ({"kind": "number", "names": ["+2"]}, FORECAST, lambda rows, said: said[:, 1]),
        ({"kind": "number", "names": ["+1"], "level": 0.9}, LEVELS, lambda rows, said: said[:, 2]),
        ({"kind": "number", "names": ["b"]}, {"kind": "numbers", "names": list("abc")}, lambda rows, said: said[:, 1]),
        ({"kind": "reading", "names": ["carbs"]}, FORECAST, lambda rows, said: rows[:, 1, -1]),
        (
            {"kind": "classes", "names": ["c", "a"]},
            {"kind": "class", "names": list("abc")},
            lambda rows, said: np.maximum(said[:, 0], said[:, 2]) - said[:, 1],
        ),
        (
            {"kind": "classes", "names": ["c", "a"]},
            {"kind": "classes", "names": list("abc")},
            lambda rows, said: np.maximum(said[:, 0], said[:, 2]),
        ),
    ],
)
def test_what_is_watched_is_taken_from_the_graph_s_outputs(tmp_path, watch, reading, wanted):
    predictor = sealed(tmp_path, {"watch": watch, "enter": 1.0, "leave": 0.0}, reading)
    found = rule(predictor.manifest)
    rows = np.random.default_rng(0).standard_normal((50, 2, 4)).astype(np.float32)
    outputs = predictor.outputs(rows)
    scores = found.watch.scores(predictor.manifest, rows, outputs)
    assert scores.dtype == np.float32 and np.array_equal(scores, wanted(rows, outputs))
    assert len(np.unique(scores)) == 50


@pytest.mark.parametrize(
    ("watch", "words"),
    [
        ({"kind": "loudness"}, "alerts watch 'loudness'"),
        ({"kind": "classes", "names": ["a"]}, "outputs of kind 'forecast'"),
        ({"kind": "number", "names": ["+9"]}, r"alerts watch \+9"),
        ({"kind": "number", "names": ["+1", "+2"]}, "one of"),
        ({"kind": "number", "names": ["+1"], "level": 0.9}, "quantile 0.9"),
        ({"kind": "reading", "names": ["x"]}, "one of gl, carbs"),
        ({"kind": "reading"}, "alerts watch nothing"),
        ({"kind": "event", "colour": 1}, "has a field 'colour'"),
    ],
)
def test_what_cannot_be_watched_is_refused(tmp_path, watch, words):
    predictor = sealed(tmp_path, {"watch": watch, "enter": 1.0, "leave": 0.0}, FORECAST)
    with pytest.raises(ArtifactError, match=words):
        rule(predictor.manifest)


def test_an_artifact_that_nobody_tuned_says_so(tmp_path):
    predictor = sealed(tmp_path, None, FORECAST)
    with pytest.raises(ArtifactError, match=r"has no thresholds.*limbeck tune"):
        rule(predictor.manifest)
    everything = {"watch": {"kind": "classes", "names": list("abc")}, "enter": 1.0, "leave": 0.0}
    with pytest.raises(ArtifactError, match="every class"):
        rule(sealed(tmp_path, everything, {"kind": "class", "names": list("abc")}).manifest)


def test_a_rule_comes_back_from_json_as_it_was():
    from dataclasses import asdict

    from limbeck_runtime.fields import built

    how = Rule(Watch("number", ("+6",), 0.9), 1.5, 1.0, needed=2, of=3, budget=4, measured={"episodes": 3})
    assert built(Rule, json.loads(json.dumps(asdict(how))), "alerts") == how
