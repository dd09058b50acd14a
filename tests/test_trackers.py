"""Trackers as their own packages read them: every number of the journal at its step, and one run across a resume."""

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_runs import teacher_run

# MLflow's store, as it is read here, calls what its own libraries will take away.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RECIPE = """
data: {source: digits, valid: 0.1, test: 0.2}
teacher: ./teacher
student: mlp(size=16)
objective: 0.9 * kd(temperature=4) + 0.1 * labels
budget: 60 steps
training: {batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
name: small-student
"""

# Stops like Ctrl-C when the control has trained for 30 steps, where it is told to; notes who is asked over a network.
PROGRAM = """
import os, signal, sys
from limbeck.cli import main
from limbeck.training.loop import Trainer
asked = open("asked.txt", "a")
def watch(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "localhost", "127.0.0.1", "::1"):
        print(arguments[0], file=asked, flush=True)
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in ("127.0.0.1", "::1"):
        print(arguments[1], file=asked, flush=True)
sys.addaudithook(watch)
if os.environ.get("STOP"):
    step = Trainer._step
    def stopping(self, number, batch):
        if self.who == "control" and number == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, number, batch)
    Trainer._step = stopping
main(sys.argv[1:])
"""

Read = Callable[[Path], dict[str, dict[int, float]]]


def log_records(content: bytes) -> Iterator[bytes]:
    """Records of a log as LevelDB writes it: blocks of 32 kB, before each piece its checksum, length and kind."""
    place, pieces = 7, b""  # W&B's own header comes first
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield pieces
            pieces = b""


def wandb_history(run: Path) -> dict[str, dict[int, float]]:
    """Name -> step of its training -> value, from the files of an offline run, in the order of its sittings."""
    from wandb.proto import wandb_internal_pb2

    found: dict[str, dict[int, float]] = {}
    for path in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        for data in log_records(path.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") != "history":
                continue
            line = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for name, value in line.items():
                training = "/".join(name.split("/")[:2])
                if f"{training}/step" in line:
                    found.setdefault(name, {})[int(line[f"{training}/step"])] = value
    return {name: values for name, values in found.items() if not name.endswith("/step")}


def mlflow_history(run: Path) -> dict[str, dict[int, float]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{(run / 'mlflow/mlflow.db').resolve()}")
    number = json.loads((run / "trackers.json").read_text())["mlflow"]
    return {
        name: {metric.step: metric.value for metric in client.get_metric_history(number, name)}
        for name in client.get_run(number).data.metrics
    }


def tensorboard_history(run: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, dict[int, float]] = {}
    for folder in sorted({path.parent for path in run.rglob("events.out.tfevents.*")}):
        events = EventAccumulator(str(folder)).Reload()
        for name in events.Tags()["scalars"]:
            found.setdefault(name, {}).update({event.step: event.value for event in events.Scalars(name)})
    return found


READERS: dict[str, Read] = {"wandb": wandb_history, "mlflow": mlflow_history, "tensorboard": tensorboard_history}


def journal(run: Path, tracker: str) -> dict[str, dict[int, float]]:
    """What the trackers should have been told, from `metrics.jsonl`."""
    found: dict[str, dict[int, float]] = {}

    def add(name: str, step: int, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{name}/{key}", step, inner)
        elif isinstance(value, int | float):
            found.setdefault(re.sub(r"[()=]", "_", name) if tracker == "mlflow" else name, {})[step] = float(value)

    for line in (run / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        head = {key: entry.pop(key) for key in ("event", "who", "seed", "step", "epoch")}
        for key, value in entry.items():
            add(f"{head['who']}/{head['seed']}/{head['event']}/{key}", head["step"], value)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tracker", READERS)
def test_a_tracker_is_told_every_number_and_goes_on_after_a_resume(tmp_path: Path, tracker: str) -> None:
    pytest.importorskip(tracker, reason=f"the extra {tracker} is not installed")
    teacher_run(tmp_path / "teacher")
    (tmp_path / "r.yaml").write_text(RECIPE)
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        "distill",
        "r.yaml",
        "--to",
        "run",
        "--quiet",
        "--set",
        f"trackers={tracker}",
    ]
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "MLFLOW_", "CI"))}
    environment = plain | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}

    def started(*more: str, **words: str) -> int:
        done = subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment | words, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        (tmp_path / "said.txt").write_text(done.stderr)
        return done.returncode

    assert started(STOP="1") == 130, (tmp_path / "said.txt").read_text()
    before = json.loads((tmp_path / "run/trackers.json").read_text())
    assert started("--resume") == 0, (tmp_path / "said.txt").read_text()
    assert json.loads((tmp_path / "run/trackers.json").read_text()) == before
    found = READERS[tracker](tmp_path / "run")
    wanted = journal(tmp_path / "run", tracker)
    assert {name.split("/")[0] for name in wanted} == {"student", "control"}
    for name, values in wanted.items():
        told = {step: found[name][step] for step in values}
        assert told == pytest.approx(values, rel=1e-6), name
    assert not set(tmp_path.iterdir()) - {
        tmp_path / name for name in ("teacher", "r.yaml", "run", "asked.txt", "said.txt")
    }
    assert (tmp_path / "asked.txt").read_text() == "", "somebody was asked over the network"


@pytest.mark.slow
def test_what_mlflow_knows_of_a_run(tmp_path: Path) -> None:
    """Its name, its settings, that it ended; and a server that does not answer is an error before training."""
    tracking = pytest.importorskip("mlflow.tracking", reason="the extra mlflow is not installed")
    plain = RECIPE.replace("teacher: ./teacher\n", "").replace(
        "objective: 0.9 * kd(temperature=4) + 0.1 * labels\n", ""
    )
    (tmp_path / "r.yaml").write_text(plain)
    command = [sys.executable, "-m", "limbeck", "distill", "r.yaml", "--quiet", "--set", "trackers=mlflow"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    store = f"sqlite:///{tmp_path / 'shared.db'}"
    for to, uri, code in (("own", None, 0), ("shared", store, 0), ("nowhere", "databricks://nobody", 2)):
        done = subprocess.run(
            [*command, "--to", to],
            cwd=tmp_path,
            env=environment if uri is None else environment | {"MLFLOW_TRACKING_URI": uri},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        if code:
            assert "a tracker cannot be opened" in done.stderr
            assert not (tmp_path / to / "student.safetensors").exists()
            continue
        client = tracking.MlflowClient(uri or f"sqlite:///{tmp_path / to / 'mlflow/mlflow.db'}")
        run = client.get_run(json.loads((tmp_path / to / "trackers.json").read_text())["mlflow"])
        assert run.info.status == "FINISHED"
        assert run.info.run_name == "small-student"
        assert client.get_experiment(run.info.experiment_id).name == "limbeck"
        assert run.data.params["student"] == "mlp(size=16)"
        assert (tmp_path / to / "mlflow").exists() == (uri is None)
