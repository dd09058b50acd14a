"""`tune`: when an artifact alarms, chosen on validation records to a stated rate of false alarms."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from limbeck.data.source import Data
from limbeck.data.timelines import timelines
from limbeck.errors import ModelError, RecipeError
from limbeck.metrics.episodes import Counted, counted
from limbeck.progress import Progress, Silent
from limbeck.tuning.files import Opened, data_for, refuse_test, told
from limbeck.tuning.happenings import Happening, described, happening, rate
from limbeck.tuning.search import Trial, chosen
from limbeck_runtime.alerts import Rule
from limbeck_runtime.alerts import rule as rule_of
from limbeck_runtime.errors import ArtifactError
from limbeck_runtime.scores import Watch


@dataclass(frozen=True)
class Tuned:
    """An artifact with its thresholds.

    Args:
        path: Where it lies.
        rule: When it alarms.
        what: What an episode is.
        valid: What the rule does on the validation records it was chosen on.
        test: What it does on test records, where that was asked for.
        tried: Candidates.
    """

    path: Path
    rule: Rule
    what: Happening
    valid: Counted
    test: Counted | None
    tried: int


def tune(
    artifact: str | os.PathLike[str],
    data: Data | str | os.PathLike[str],
    *,
    false_alarms: str = "1/day",
    watch: Watch | None = None,
    what: Mapping[str, Any] | None = None,
    times: Mapping[str, Any] | None = None,
    to: str | os.PathLike[str] | None = None,
    split: str = "valid",
    test: bool = False,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Tuned:
    """Chooses when an artifact alarms, on validation rows alone, and writes that into it.

    Thresholds and how many answers must agree are searched; every candidate is run over the whole records, as
    `limbeck_runtime.alerts` does it on a device, and counted for each episode.

    Args:
        artifact: `NAME.limbeck`.
        data: A run's folder, a recipe, or the data itself; rows must have times.
        false_alarms: The rate to keep to.
        watch: What the score is; by default the event of a forecast, or the classes of `what`.
        what: Fields of `Happening`; by default what a forecast's task calls its event.
        times: `calm`, `hold_seconds`, `refractory_seconds`, `stale_seconds` (by default as a hole may be) and `budget`.
        to: A file of its own; by default the artifact itself is replaced, whole or not at all.
        split: Only "valid".
        test: Count on test records too, once everything is chosen; the artifact keeps how often.
        overrides: Changes to the recipe, such as `data.path=elsewhere`.
        progress: Is told what is being done.

    Raises:
        LimbeckError: When the split is another; it is not said what an episode is; rows have no times or no episode; no
            threshold keeps to the rate; the artifact does not open, or has no such number to watch.
    """
    refuse_test(split)
    allowed, watcher, opened = rate(false_alarms), progress or Silent(), Opened.of(artifact)
    episode = happening(opened.manifest, dict(what or {}))
    begun = _begun(opened, watch, episode, dict(times or {}))
    watcher.say("reading the data")
    rows = data_for(data, opened.manifest, list(overrides))
    trial = _trial(opened, rows, "valid", begun.watch, episode)
    watcher.say(f"trying thresholds on {len(trial.lines)} validation records")
    found = chosen(trial, begun, allowed)
    measured: dict[str, Any] = {
        "asked": false_alarms,
        "episode": described(episode),
        "happening": asdict(episode),
        "data": rows.fingerprint,
        "tried": found.tried,
        "test_looks": _looks(opened) + test,
        "valid": _facts(trial, found.rule),
    }
    held_out = _trial(opened, rows, "test", begun.watch, episode) if test else None
    if held_out is not None:
        measured["test"] = _facts(held_out, found.rule)
    judged = None if held_out is None else held_out.counted(found.rule)
    path = opened.written(to, alerts=asdict(replace(found.rule, measured=measured)))
    return Tuned(path, rule_of(Opened.of(path).manifest), episode, found.counted, judged, found.tried)


def _looks(opened: Opened) -> int:
    """How often thresholds of this artifact were shown on test rows before; says so, because it is no secret then."""
    before = int(((opened.manifest.alerts or {}).get("measured") or {}).get("test_looks", 0))
    if before:
        warnings.warn(
            f"thresholds of {opened.path.name} were shown on test rows {before} times before: whoever chooses again "
            "after that chooses on test rows",
            stacklevel=3,
        )
    return before


def _begun(opened: Opened, watch: Watch | None, what: Happening, times: dict[str, Any]) -> Rule:
    """The rule but for its thresholds.

    Raises:
        ModelError: When the artifact has no such number.
        RecipeError: When a time is out of range.
    """
    kind, stream = opened.manifest.output.reading.get("kind"), opened.manifest.stream or {}
    if watch is None and kind == "forecast" and opened.manifest.output.reading.get("event"):
        watch = Watch("event")
    if watch is None and what.classes and kind == "class":
        watch = Watch("classes", what.classes)
    if watch is None:
        raise RecipeError(
            f"it is not said which number of an answer of kind {kind!r} is watched",
            expected="one of event, classes:NAMES, number:NAME, reading:CHANNEL",
            remedy="--watch",
        )
    try:
        watch.check(opened.manifest)
    except ArtifactError as fault:
        raise told(fault, ModelError) from fault
    every = stream.get("every_seconds") or 0.0
    said = {"stale_seconds": every * (stream.get("stride", 1) + stream.get("fill", 0)), **times}
    low = watch.kind in ("number", "reading") and what.below is not None
    try:
        return Rule(watch, 0.0, 0.0, "below" if low else "above", **said)
    except ArtifactError as fault:
        raise told(fault, RecipeError) from fault


def _trial(opened: Opened, data: Data, split: str, watch: Watch, what: Happening) -> Trial:
    lines = timelines(data, split)
    inputs, outputs = opened.asked(getattr(data, split))
    scores = watch.scores(opened.manifest, inputs, outputs)
    return Trial(lines, [scores[line.positions] for line in lines], what.episodes(data, split, lines), what)


def _facts(trial: Trial, rule: Rule) -> dict[str, Any]:
    """What a rule does, and in each record, so that one that misses everything is not lost in a sum."""
    found: dict[str, Any] = {}
    what = trial.what
    for line, alarms, episodes in zip(trial.lines, trial.alarms(rule), trial.episodes, strict=True):
        days = line.watched(rule.stale_seconds) / 86400
        each = counted([(alarms, episodes)], days=days, ahead=what.ahead, late=what.late, within=what.within)
        found[line.name] = {
            "days": round(days, 4),
            "episodes": each.episodes,
            "caught": each.caught,
            "false": each.false,
        }
    return {**trial.counted(rule).facts(), "records": found}
