"""Trackers (TensorBoard, Weights & Biases, MLflow), through accelerate: opened, told of each training, closed.

What they write lies in the run's folder, unless the person has set up a place of their own: MLflow's tracking URI, a
W&B account. A resumed run goes on in the same run of its trackers; the few steps since its last checkpoint, which are
taken again, are told again. Neither package reports to its makers from here (law 7), unless the person's environment
says so.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from limbeck.errors import RecipeError
from limbeck.storage import write_text

PROJECT = "limbeck"
NOTES = "trackers.json"
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
# What MLflow takes in the name of a metric, on every system.
_UNNAMEABLE = re.compile(r"[^\w.\- /]")


def refuse_missing(trackers: Sequence[str]) -> None:
    """Raises `RecipeError` when a tracker's package is not installed."""
    for tracker in trackers:
        if find_spec(tracker) is None:
            raise RecipeError(f"the tracker {tracker} is not installed", remedy=f"pip install {tracker}")


@contextmanager
def followed(accelerator: Accelerator, name: str, folder: Path, config: Mapping[str, Any]) -> Iterator[None]:
    """Opens the trackers of an accelerator while the block runs, and closes them however it ends.

    Args:
        accelerator: As `engine` gives it; without trackers nothing happens.
        name: The run's name for the trackers, all of whose runs are in one project.
        folder: The run's folder.
        config: What the trackers show as the run's settings.

    Raises:
        RecipeError: When a tracker cannot be opened: no account, no server.
    """
    if not accelerator.log_with:
        yield
        return
    place = folder / "mlflow" if "mlflow" in map(str, accelerator.log_with) else None
    with _environment(_QUIET), _mlflow_in(place) as artifacts:
        if accelerator.is_main_process:
            _open(accelerator, name, folder, config, artifacts)
        failed = True
        try:
            yield
            failed = False
        finally:
            for tracker in accelerator.trackers:
                _close(tracker, failed)
            accelerator.trackers.clear()


def begin(accelerator: Accelerator, training: str) -> None:
    """Says that one training of the run begins, such as `student/0`: its steps are its own."""
    for tracker in accelerator.trackers:
        if tracker.name == "wandb":
            tracker.run.define_metric(f"{training}/*", step_metric=f"{training}/step")


def tell(accelerator: Accelerator, training: str, event: str, step: int, facts: Mapping[str, Any]) -> None:
    """Tells the trackers the numbers of one line of the journal, as `TRAINING/EVENT/NAME`."""
    values = dict(_flat(f"{training}/{event}", facts))
    for tracker in accelerator.trackers:
        if tracker.name == "wandb":
            # Its own steps only rise, and student, control and every seed begin at 1.
            tracker.log({**values, f"{training}/step": step})
        elif tracker.name == "mlflow":
            tracker.log({_UNNAMEABLE.sub("_", name): value for name, value in values.items()}, step=step)
        else:
            tracker.log(values, step=step)


def _open(accelerator: Accelerator, name: str, folder: Path, config: Mapping[str, Any], artifacts: str | None) -> None:
    path = folder / NOTES
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    wandb = {"dir": str(folder), "name": name, "id": before.get("wandb"), "resume": "allow"}
    mlflow = {"run_name": name, "run_id": before.get("mlflow"), "logging_dir": artifacts}
    try:
        accelerator.init_trackers(PROJECT, init_kwargs={"wandb": wandb, "mlflow": mlflow})
    except _refusals(accelerator) as error:
        accelerator.trackers.clear()
        raise RecipeError(
            f"a tracker cannot be opened: {str(error).strip().splitlines()[0]}",
            expected="an account, or a server that answers",
            remedy="WANDB_MODE=offline, or no MLFLOW_TRACKING_URI, keeps everything in the run folder; then --resume",
        ) from error
    flat = {key: value for key, value in config.items() if isinstance(value, int | float | str | bool)}
    now = dict(before)
    for tracker in accelerator.trackers:
        if tracker.name == "wandb":
            now["wandb"] = tracker.run.id
        elif tracker.name == "mlflow":
            now["mlflow"] = tracker.active_run.info.run_id
        if tracker.name not in before:  # MLflow refuses settings that were settled otherwise before
            tracker.store_init_configuration(flat)
    write_text(path, json.dumps(now))


def _close(tracker: Any, failed: bool) -> None:
    if failed and tracker.name == "wandb":
        tracker.run.finish(exit_code=1)
    elif failed and tracker.name == "mlflow":
        import mlflow

        mlflow.end_run("KILLED")
    else:
        tracker.finish()


def _refusals(accelerator: Accelerator) -> tuple[type[Exception], ...]:
    """What the opened packages raise when they have no account or no server."""
    names = set(map(str, accelerator.log_with))
    found: list[type[Exception]] = []
    if "wandb" in names:
        from wandb.errors import Error

        found.append(Error)
    if "mlflow" in names:
        from mlflow.exceptions import MlflowException

        found.append(MlflowException)
    return tuple(found)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets what the person has not set, while the block runs."""
    ours = {key: value for key, value in values.items() if key not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key in ours:
            os.environ.pop(key, None)


@contextmanager
def _mlflow_in(place: Path | None) -> Iterator[str | None]:
    """Lets MLflow write into a folder while the block runs, unless the person has chosen a place; gives where to."""
    if place is None:
        yield None
        return
    import mlflow

    if mlflow.tracking.is_tracking_uri_set():
        yield None
        return
    place.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(f"sqlite:///{place.resolve() / 'mlflow.db'}")
    try:
        yield str(place.resolve())
    finally:
        mlflow.set_tracking_uri(None)


def _flat(prefix: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}/{name}", value)
        elif isinstance(value, int | float):
            yield f"{prefix}/{name}", float(value)
