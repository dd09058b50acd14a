"""Students as streams over whole held-out records: episodes caught, false alarms, lead time, CPU time.

    python benchmarks/streams.py glucose RUN --rate 1/day --unit mg/dL --refractory 1800 --json OUT
    python benchmarks/streams.py heartbeat RUN --rate 2/hour --event V --json OUT

RUN is a finished run (`limbeck chain recipes/glucose.yaml`, `recipes/heartbeat.yaml`). The student, its control (the
same network alone on the labels) and, for a series, the last reading are tuned alike on validation records and counted
once on test records. Then every test record is run as a device would, one reading or beat at a time, and its alarms are
held to those of the batch.
"""

import argparse
import csv
import json
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.data.source import Data
from limbeck.data.timelines import timelines
from limbeck.recipe import Recipe
from limbeck.run import Run
from limbeck.shipment import export
from limbeck.tuning.files import Opened, data_for
from limbeck.tuning.happenings import Happening
from limbeck.tuning.search import Trial
from limbeck.tuning.thresholds import Tuned, tune
from limbeck_runtime.alerts import ALERT, Alerts
from limbeck_runtime.predictor import OnnxPredictor, load
from limbeck_runtime.scores import Watch
from limbeck_runtime.stream import Stream


def main() -> None:
    said = _arguments()
    run = Run.open(said.run)
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), {}
        student = export(run, folder / "student.limbeck", units=[said.unit] if said.unit else ()).path
        control = export(run, folder / "control.limbeck", who="control", units=[said.unit] if said.unit else ()).path
        last = shutil.copy(student, folder / "last.limbeck")
        data = data_for(run.folder, load(student).manifest, [])
        what: dict[str, Any] = {"classes": tuple(said.event.split(",")) if said.event else ()}
        what |= {"lasting": said.lasting, "apart": said.apart, "ahead": said.ahead}
        times = {"refractory_seconds": said.refractory}
        asked: dict[str, tuple[Path, Watch | None]] = {"student": (student, None), "control": (control, None)}
        if said.kind == "glucose":
            asked["last reading"] = (Path(last), Watch("reading", ("gl",)))
        for who, (path, watch) in asked.items():
            tuned = tune(path, data, false_alarms=said.rate, watch=watch, what=what, times=times, test=True)
            found[who] = _facts(tuned)
            print(who, json.dumps(found[who]["test"]), file=sys.stderr)
        records = streamed(said.kind, student, run, data, tuned_rule_trial(student, data, what))
        report = {"run": str(run.folder), "arguments": vars(said), "who": found, "records": records}
        report["total"] = _total(records)
    Path(said.json).write_text(json.dumps(report, indent=1, default=str))
    print(json.dumps(report["total"], indent=1))


def tuned_rule_trial(path: Path, data: Data, what: dict[str, Any]) -> dict[str, list[float]]:
    """The alarms of the batch in each test record."""
    opened = Opened.of(path)
    from limbeck_runtime.alerts import rule as rule_of

    rule, lines = rule_of(opened.manifest), timelines(data, "test")
    inputs, outputs = opened.asked(data.test)
    scores = rule.watch.scores(opened.manifest, inputs, outputs)
    trial = Trial(lines, [scores[line.positions] for line in lines], [[] for _ in lines], Happening(below=0.0))
    return {line.name: alarms for line, alarms in zip(lines, trial.alarms(rule), strict=True)}


def streamed(kind: str, path: Path, run: Run, data: Data, batch: dict[str, list[float]]) -> dict[str, Any]:
    """Every test record, reading by reading or beat by beat, with the CPU time it took."""
    predictor, found = load(path), {}
    for line in timelines(data, "test"):
        begin = time.process_time()
        if kind == "glucose":
            alarms, answers, equal, lasting = _readings(predictor, run, data, line)
        else:
            alarms, answers, equal, lasting = _beats(predictor, data, line)
        spent = time.process_time() - begin
        wanted = [moment for moment in batch[line.name] if moment <= line.times[-1]]
        seen = [moment for moment in alarms if moment <= line.times[-1]]
        found[line.name] = {
            "answers": answers,
            "inputs_equal": equal,
            "alarms": len(alarms),
            "alarms_equal": np.allclose(seen, wanted, atol=2e-3) if len(seen) == len(wanted) else False,
            "seconds": lasting,
            "cpu_seconds": spent,
            "cpu_share": spent / lasting,
        }
    return found


def _readings(predictor: OnnxPredictor, run: Run, data: Data, line: Any) -> tuple[list[float], int, bool, float]:
    """One person's readings from the table itself, through Stream and Alerts."""
    from limbeck_runtime.alerts import rule as rule_of

    columns = Recipe.read(run.folder / "recipe.yaml").data.columns
    with open(Recipe.read(run.folder / "recipe.yaml").data.source) as file:
        rows = [each for each in csv.DictReader(file) if each[str(columns.group)] == line.name]
    moments = np.array([each[str(columns.time)] for each in rows], "datetime64[us]").astype(np.int64) / 1e6
    values = np.array([float(each[columns.inputs[0]] or "nan") for each in rows])
    order = np.argsort(moments, kind="stable")
    stream, alerts = (
        Stream(predictor, units=predictor.manifest.stream["units"] or [""]),
        Alerts(rule_of(predictor.manifest)),
    )
    alarms, seen, answers = [], {}, 0
    for place in order:
        answer = stream.push(values[place], moments[place])
        if answer is None:
            continue
        answers += answer["state"] == "answer"
        if "row" in answer:
            seen[round(moments[place], 3)] = answer["row"]
        events = alerts.step(moments[place], answer.get("score"), answer.get("reason", ""))
        alarms += [event.time for event in events if event.kind == ALERT]
    rows_there = data.test.take(torch.from_numpy(line.positions)).inputs.numpy()
    # A grid's clock is read again from its windows to within a rounding.
    keys = np.array(sorted(seen))
    equal = all(
        np.array_equal(seen[keys[np.abs(keys - end).argmin()]], row)
        for end, row in zip(line.times, rows_there, strict=True)
    )
    return alarms, answers, equal, float(moments.max() - moments.min())


def _beats(predictor: OnnxPredictor, data: Data, line: Any) -> tuple[list[float], int, bool, float]:
    """One patient's beats, each when everything in its row is known, one at a time through the predictor and Alerts."""
    from limbeck_runtime.alerts import rule as rule_of

    rule = rule_of(predictor.manifest)
    alerts, alarms = Alerts(rule), []
    rows = data.test.take(torch.from_numpy(line.positions)).inputs.numpy()
    for moment, row in zip(line.times.tolist(), rows, strict=True):
        outputs = predictor.outputs(row)
        [score] = rule.watch.scores(predictor.manifest, row[None], outputs)
        alarms += [event.time for event in alerts.step(moment, score) if event.kind == ALERT]
    return alarms, len(rows), True, float(line.times[-1] - line.times[0])


def _facts(tuned: Tuned) -> dict[str, Any]:
    rule = tuned.rule
    test = {} if tuned.test is None else tuned.test.facts()
    words = {"enter": rule.watch.spelled(rule.enter), "leave": rule.watch.spelled(rule.leave)}
    return {
        "rule": {**words, "needed": rule.needed, "of": rule.of, "tried": tuned.tried},
        "episode": rule.measured["episode"],
        "valid": tuned.valid.facts(),
        "test": test,
        "records": rule.measured.get("test", {}).get("records", {}),
    }


def _total(records: dict[str, Any]) -> dict[str, Any]:
    shares = [each["cpu_share"] for each in records.values()]
    return {
        "records": len(records),
        "answers": sum(each["answers"] for each in records.values()),
        "inputs_equal": all(each["inputs_equal"] for each in records.values()),
        "alarms_equal": all(each["alarms_equal"] for each in records.values()),
        "hours": sum(each["seconds"] for each in records.values()) / 3600,
        "cpu_share_median": float(np.median(shares)) if shares else math.nan,
        "cpu_microseconds_an_answer": 1e6
        * sum(each["cpu_seconds"] for each in records.values())
        / max(sum(each["answers"] for each in records.values()), 1),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("glucose", "heartbeat"))
    parser.add_argument("run")
    parser.add_argument("--rate", default="1/day")
    parser.add_argument("--unit", default="")
    parser.add_argument("--event", default="")
    parser.add_argument("--lasting", type=float, default=None)
    parser.add_argument("--apart", type=float, default=None)
    parser.add_argument("--ahead", type=float, default=None)
    parser.add_argument("--refractory", type=float, default=0.0)
    parser.add_argument("--json", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
