"""Thresholds chosen on validation records: against brute force, against the stream of a device, and what is refused."""

import itertools
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_files
import pytest
import small_artifacts

from limbeck.cli import main
from limbeck.data.source import Data, load
from limbeck.data.timelines import timelines
from limbeck.errors import DataError, ModelError, RecipeError
from limbeck.tuning.escalation import escalate
from limbeck.tuning.files import Opened
from limbeck.tuning.happenings import Happening, rate, spread
from limbeck.tuning.search import Trial, chosen
from limbeck.tuning.thresholds import tune
from limbeck_runtime.alerts import ALERT, Alerts, Rule
from limbeck_runtime.alerts import rule as rule_of
from limbeck_runtime.container import unsealed
from limbeck_runtime.predictor import load as load_artifact
from limbeck_runtime.scores import Watch
from limbeck_runtime.stream import Stream

STEPS, EVERY = 4, 300.0
RECIPE = """\
task: forecasting(horizon=2, below=70)
data:
  source: {source}
  columns: {{inputs: gl, group: who, time: time}}
  windows: {{steps: 4, every: 5m, fill: 1, horizon: 2}}
  valid: [v1, v2]
  test: [t1]
student: gru(size=4)
budget: 1 epochs
"""


def sugar(seed, days=1.5):
    """A wandering series with dips below 70, some holes, and a few spikes that look like dips."""
    draw = np.random.default_rng(seed)
    count = int(days * 288)
    values = 120 + 30 * np.sin(np.arange(count) / 40 + seed) + draw.normal(0, 4, count)
    for at in draw.integers(30, count - 30, 5):
        values[at : at + 12] -= 70 * np.hanning(12)
    values[draw.integers(0, count, 3)] -= 45
    keep = draw.random(count) > 0.02
    keep[count // 2 : count // 2 + 5] = False
    times = np.arange(count) * EVERY + draw.uniform(-9, 9, count)
    return times[keep], values[keep].round(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def recipe(folder):
    lines = ["who,time,gl"]
    for seed, who in enumerate(("v1", "v2", "t1", "w1")):
        lines += [f"{who},{time:.3f},{value}" for time, value in zip(*sugar(seed), strict=True)]
    (folder / "sugar.csv").write_text("\n".join(lines) + "\n")
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(source=folder / "sugar.csv"))
    return path


@pytest.fixture(scope="module")
def sugars(recipe) -> Data:
    from limbeck.catalog.data import data_of
    from limbeck.recipe import Recipe

    return data_of(Recipe.read(recipe).data, labels="values")


@pytest.fixture(scope="module")
def made(folder):
    """A student by hand: what comes is the last reading going on as it went; the event's logit falls with that."""
    weight = np.zeros((STEPS, 3), np.float32)
    weight[-1] = [1, 2, -0.2]
    weight[-2] = [0, -1, 0.1]
    nodes = [("Flatten", ["x"], ["f"], {"axis": 1}), ("MatMul", ["f", "w"], ["z"], {}), ("Add", ["z", "b"], ["y"], {})]
    weights = {"w": weight, "b": np.float32([0, 0, 8])}
    graph = onnx_files.made(
        folder / "g.onnx", nodes, row=(1, STEPS), outputs={"y": ["rows", 3]}, weights=weights
    ).read_bytes()
    stream = {"channels": ["gl"], "units": ["mg/dL"], "every_seconds": EVERY, "steps": STEPS, "stride": 1, "fill": 1}
    rows = np.random.default_rng(0).uniform(40, 200, (4, 1, STEPS)).astype(np.float32)
    return small_artifacts.made(
        folder,
        graph=graph,
        row=(1, STEPS),
        kind="series",
        names=("gl",),
        rows=rows,
        reading={"kind": "forecast", "names": ["+1", "+2"], "event": "below 70"},
        stream={**stream, "horizon": 2, "target": None},
        provenance={"data": {}},
    )


@pytest.fixture
def artifact(made, tmp_path):
    """A copy that a test may write to; its task is the one of the recipe."""
    path = tmp_path / "sugar.limbeck"
    path.write_bytes(made.read_bytes())
    small_artifacts.rewrite(path, lambda said, files: said.update(task="forecasting(horizon=2, below=70)"))
    return path


def test_the_best_rule_is_the_one_brute_force_finds():
    """Few scores, so that every threshold between two of them can be tried by hand."""
    draw = np.random.default_rng(3)
    data = _rows_of_classes(draw, 60)
    lines = timelines(data, "valid")
    what = Happening(classes=("b",), apart=5.0, ahead=1.0, late=4.0)
    scores = [draw.normal(0, 1, len(line.times)).astype(np.float32) for line in lines]
    trial = Trial(lines, scores, what.episodes(data, "valid", lines), what)
    begun = Rule(Watch("event"), 0.0, 0.0)
    for allowed in (2000.0, 8000.0, 40000.0):
        found = chosen(trial, begun, allowed, votes=[(1, 1)])
        ordered = np.unique(np.concatenate(scores))
        between = [(one + other) / 2 for one, other in itertools.pairwise(ordered)]
        every = [trial.counted(replace(begun, enter=float(t), leave=float(t))) for t in between]
        most = max((each.caught for each in every if each.false_a_day <= allowed), default=0)
        assert found.counted.false_a_day <= allowed
        assert found.counted.caught >= most  # those that leave later are tried too
        assert found.counted == trial.counted(found.rule)


def _rows_of_classes(draw, count) -> Data:
    """Rows a second apart, of three records, one row in six of class b."""
    from limbeck.data.raw import Raw

    labels = (draw.random(3 * count) < 1 / 6).astype(int)
    times = np.tile(np.arange(count, dtype=float), 3)
    raw = Raw(
        "beats",
        (draw.standard_normal((3 * count, 8)).astype(np.float32), labels),
        classes=("a", "b"),
        groups={"train": np.repeat(["x", "y", "z"], count)},
        times={"train": (times, times + 0.5)},
    )
    return load(raw, valid=["x"], test=["y"])


def test_episodes_of_classes_lie_where_their_rows_end():
    data = _rows_of_classes(np.random.default_rng(0), 40)
    [line] = timelines(data, "valid")
    labels = data.valid.labels[line.positions].numpy()
    assert line.times.tolist() == (np.arange(40) + 0.5).tolist()
    episodes = Happening(classes=("b",)).episodes(data, "valid", [line])[0]
    marked = np.zeros(40, dtype=int)
    for episode in episodes:
        marked[int(episode.begin) : int(episode.end) + 1] = 1
    assert marked.tolist() == labels.tolist() and len(episodes) > 3


def test_thresholds_lie_between_scores_and_reach_from_the_highest_to_the_middle():
    scores = np.arange(100, dtype=np.float32)
    found = spread(scores, 8)
    assert found[0] == 98.5 and found[-1] == 49.5 and not set(found) & set(scores.tolist())


def test_tuned_thresholds_keep_to_the_rate_and_lie_in_the_artifact(artifact, recipe, sugars, tmp_path):
    before = unsealed(artifact)
    tuned = tune(artifact, recipe, false_alarms="1/day", times={"refractory_seconds": 600.0})
    assert 0 < tuned.valid.false_a_day <= 1 and tuned.valid.noticed >= 0.6 * tuned.valid.episodes
    after = unsealed(artifact)
    changed = json.loads(after.pop("manifest.json"))
    alerts = changed.pop("alerts")
    unchanged = json.loads(before.pop("manifest.json"))
    del unchanged["alerts"]
    assert after == before and changed == unchanged
    rule = rule_of(load_artifact(artifact).manifest)
    assert rule == tuned.rule and rule.refractory_seconds == 600 and rule.stale_seconds == 600
    valid = alerts["measured"]["valid"]
    assert valid["caught"] == tuned.valid.caught and set(valid["records"]) == {"v1", "v2"}
    assert sum(each["false"] for each in valid["records"].values()) == tuned.valid.false
    assert alerts["measured"]["test_looks"] == 0 and "test" not in alerts["measured"]
    assert alerts["measured"]["data"] == sugars.fingerprint


def test_a_device_s_stream_alarms_when_tuning_said_it_would(artifact, recipe, sugars):
    """Whole records, reading by reading, through Stream and Alerts; the batch of windows is what was tuned on."""
    tuned = tune(artifact, recipe, false_alarms="2/day")
    predictor = load_artifact(artifact)
    opened, lines = Opened.of(artifact), timelines(sugars, "valid")
    inputs, outputs = opened.asked(sugars.valid)
    scores = tuned.rule.watch.scores(predictor.manifest, inputs, outputs)
    what = Happening(below=70.0)
    trial = Trial(lines, [scores[line.positions] for line in lines], [[] for _ in lines], what)
    for line, seed, wanted in zip(lines, (0, 1), trial.alarms(tuned.rule), strict=True):
        assert line.name == f"v{seed + 1}"
        stream, alerts, found = Stream(predictor, units=["mg/dL"]), Alerts(tuned.rule), []
        times, values = sugar(seed)
        for time, value in zip(np.round(times, 3), values, strict=True):
            answer = stream.push(value, time)
            found += alerts.step(time, answer.get("score"), answer.get("reason", ""))
        begun = [event.time for event in found if event.kind == ALERT]
        assert any(event.kind == "no data" for event in found[1:])
        # Labels end before the record does: the last windows are asked about by the device alone.
        assert [time for time in begun if time <= line.times[-1]] == pytest.approx(wanted, abs=2e-3) and wanted


def test_test_rows_are_shown_once_and_that_is_kept(artifact, recipe):
    tuned = tune(artifact, recipe, test=True)
    assert tuned.test.episodes > 0
    said = load_artifact(artifact).manifest.alerts["measured"]
    assert said["test_looks"] == 1 and said["test"]["caught"] == tuned.test.caught
    with pytest.warns(UserWarning, match="shown on test rows 1 times before"):
        again = tune(artifact, recipe, test=True)
    assert again.rule.measured["test_looks"] == 2


def test_the_last_reading_is_a_control_tuned_in_the_same_way(artifact, recipe, tmp_path):
    late = {"within": 900.0}  # the dips of these series come too fast for a threshold to foresee them
    found = tune(artifact, recipe, watch=Watch("reading", ("gl",)), what=late, to=tmp_path / "last.limbeck")
    assert found.rule.direction == "below" and found.rule.enter <= found.rule.leave
    assert 45 < found.rule.enter < 95
    assert load_artifact(artifact).manifest.alerts is None  # a file of its own was asked for


@pytest.mark.parametrize("split", ["test", "train", "tset"])
def test_nothing_is_tuned_on_other_rows(artifact, recipe, split):
    before = artifact.read_bytes()
    with pytest.raises(RecipeError, match=f"not tuned on the split '{split}'"):
        tune(artifact, recipe, split=split)
    with pytest.raises(RecipeError, match=f"not tuned on the split '{split}'"):
        escalate(artifact, artifact, recipe, split=split)
    assert artifact.read_bytes() == before


def test_the_run_s_own_data_divided_otherwise_is_refused(artifact, recipe, sugars):
    known = {"name": sugars.name, "fingerprint": "0" * 32}
    small_artifacts.rewrite(artifact, lambda said, files: said["provenance"].update(data=known))
    with pytest.raises(DataError, match="not what small was made with: other rows, or other splits"):
        tune(artifact, recipe)
    known["fingerprint"] = sugars.fingerprint
    small_artifacts.rewrite(artifact, lambda said, files: said["provenance"].update(data=known))
    assert tune(artifact, sugars).path == artifact


def test_what_cannot_be_tuned_says_why(artifact, recipe, sugars, tmp_path):
    with pytest.raises(DataError, match="there is no episode to catch"):
        tune(artifact, sugars, what={"below": -500.0})
    high = {"above": 140.0, "ahead": 0.0, "within": 0.0}  # what the student warns of is low
    with pytest.raises(DataError, match=r"no threshold catches an episode with at most 0\.001 false alarms a day"):
        tune(artifact, sugars, false_alarms="0.007/week", what=high)
    with pytest.raises(RecipeError, match="budget 99"):
        tune(artifact, sugars, times={"budget": 99})
    with pytest.raises(RecipeError, match="it is not said what an episode is"):
        tune(artifact, sugars, what={"below": 70.0, "above": 200.0})
    with pytest.raises(ModelError, match="alerts watch a classes"):
        tune(artifact, sugars, watch=Watch("classes", ("a",)))
    with pytest.raises(RecipeError, match="is there already"):
        tune(artifact, sugars, to=artifact)
    damaged = tmp_path / "damaged.limbeck"
    damaged.write_bytes(artifact.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged"):
        tune(damaged, sugars)
    rows = load((np.zeros((60, 3), np.float32), np.arange(60) % 2))
    with pytest.raises(DataError, match="have no times"):
        tune(artifact, rows)


@pytest.mark.parametrize(("text", "a_day"), [("1/day", 1.0), ("0.5/hour", 12.0), ("2 / week", 2 / 7)])
def test_rates(text, a_day):
    assert rate(text) == pytest.approx(a_day)


@pytest.mark.parametrize("text", ["1", "0/day", "-1/day", "1/month", "many"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(RecipeError, match="no rate of false alarms"):
        rate(text)


def told(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main([str(each) for each in arguments])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_the_command_line_tunes_and_says_what_was_measured(artifact, recipe, capsys):
    code, out, _ = told(["tune", artifact, "--data", recipe, "--refractory", "30m", "-q", "--test"], capsys)
    assert code == 0 and "readings below 70 for at least 15 min" in out and "caught" in out
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, out, errors = told(["tune", artifact, "--data", recipe, "-q", "--json", "--calm", 2], capsys)
    said = json.loads(out)
    assert "shown on test rows 1 times before" in errors
    assert said["rule"]["calm"] == 2 and said["measured"]["test_looks"] == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--split", "test"], 2, "what is chosen on test rows cannot be judged by them"),
        (["--false-alarms", "often"], 2, "no rate of false alarms"),
        (["--lasting", "soon"], 2, "--lasting 'soon' is no duration"),
        (["--watch", "loudness"], 2, "--watch 'loudness'"),
        (["--watch", "number:+9"], 4, "alerts watch +9"),
        (["--event", "V"], 2, "there is no class 'V'"),
        (["--below", "-500"], 3, "no episode to catch"),
        (["--set", "data.source=nowhere.csv"], 3, "nowhere.csv"),
        (["--escalate-to", "missing.limbeck"], 4, "missing.limbeck cannot be read"),
        (["--budget", "100"], 2, "alerts.budget 100"),
    ],
)
def test_the_command_line_refuses(artifact, recipe, capsys, words, code, message):
    before = artifact.read_bytes()
    found, _, errors = told(["tune", artifact, "--data", recipe, "-q", *words], capsys)
    assert (found, message in errors) == (code, True), errors
    assert artifact.read_bytes() == before


def test_a_file_that_is_no_artifact_is_refused(recipe, tmp_path, capsys):
    (tmp_path / "x.limbeck").write_bytes(b"PK\x03\x04" * 50)
    code, _, errors = told(["tune", tmp_path / "x.limbeck", "--data", recipe], capsys)
    assert code == 4 and "is damaged" in errors
    assert not list(Path(tmp_path).glob(".*"))
