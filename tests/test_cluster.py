"""Recording through Ray: the bytes of one process, also where a worker is killed; nothing finished is asked twice.

The tests marked slow start Ray and skip where it is not installed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from small_recordings import bytes_of

from limbeck import cluster
from limbeck.dictation import dictated
from limbeck.errors import RecipeError
from limbeck.recipe import Recipe
from limbeck.recordings.writer import Share

RAY = ("--ray", "local", "--workers", "2")
BATCHES = 30  # five in each of six views
SESSION = Path(__file__).with_name("ray_session.py")

RECIPE = """
data: {source: digits, valid: 0.1, test: 0.2}
augment: crop(padding=1)
training: {batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}
teacher: call:deeds:says
student: mlp(size=16)
objective: kd(temperature=2)
record: 6
budget: 30 steps
device: cpu
"""

# In Ray's workers the teacher notes in files of theirs what it has answered. A file of this name in the folder kills:
# "fragile" the first worker that is asked an eighth time, in its second shard; "poison" each that is asked about
# the batch which was the first to be asked as the fourth of a worker. "slow" makes it take half a second for a batch.
DEEDS = """
import hashlib, os, signal, sys, time
from pathlib import Path

import numpy as np

from limbeck.errors import RecordingError

HERE = Path(__file__).parent
WEIGHTS = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
asked = []

def says(images):
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized() and ray.get_runtime_context().get_task_id() is not None:
        in_a_worker(hashlib.sha256(images.tobytes()).hexdigest())
    return images.reshape(len(images), -1).astype(np.float32) / 16 @ WEIGHTS

def in_a_worker(batch):
    if (HERE / "slow").exists():
        time.sleep(0.5)
    asked.append(batch)
    (HERE / "asked").mkdir(exist_ok=True)
    (HERE / "asked" / str(os.getpid())).write_text("\\n".join(asked))
    if (HERE / "fragile").exists() and len(asked) == 8:
        die_once(str(HERE / "killed"))
    if (HERE / "poison").exists():
        if len(asked) == 4 and not (HERE / "poison").read_text():
            (HERE / "poison").write_text(batch)
        if (HERE / "poison").read_text() == batch:
            os.kill(os.getpid(), signal.SIGKILL)

def double(number):
    return 2 * number

def die_once(name):
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "survived"
    os.kill(os.getpid(), signal.SIGKILL)

def die(name):
    with open(name, "a") as file:
        file.write("x")
    os.kill(os.getpid(), signal.SIGKILL)

def lament(number):
    if not number:
        try:
            for _ in range(6000):  # what stops a call is heard between two steps of Python
                time.sleep(0.1)
        except KeyboardInterrupt:
            (HERE / "saved").write_text("")
            raise
    time.sleep(5)
    raise RecordingError("it is torn", remedy="mend it")
"""


@pytest.mark.slow
def test_nothing_of_ray_is_loaded_until_it_is_asked_for() -> None:
    code = "import sys, limbeck.cluster, limbeck.dictation; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    place = tmp_path_factory.mktemp("ray")
    (place / "r.yaml").write_text(RECIPE)
    (place / "deeds.py").write_text(DEEDS)
    ran = limbeck(place, "one")
    assert ran.returncode == 0, ran.stderr
    return place


def record(to: str, *more: str) -> list[str]:
    return ["-m", "limbeck", "record", "r.yaml", "--to", to, "--quiet", *more]


def limbeck(place: Path, to: str, *more: str) -> subprocess.CompletedProcess[str]:
    return started(place, *record(to, *more))


def started(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = start(place, *arguments)
    out, error = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def start(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """A Python in a group of its own, as a terminal starts it."""
    path = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *arguments], cwd=place, env=environment, start_new_session=True, **piped)


def answered(place: Path) -> Counter[str]:
    """How often Ray's workers have answered about each batch; forgotten when it has been said."""
    found = Counter(line for process in (place / "asked").iterdir() for line in process.read_text().split())
    shutil.rmtree(place / "asked")
    return found


@pytest.mark.slow
def test_a_worker_is_killed_and_nothing_is_lost(here: Path) -> None:
    """Views are shards here, and the second of the killed worker's is begun anew: it had not been saved yet."""
    (here / "fragile").touch()
    ran = limbeck(here, "killed-once", *RAY)
    (here / "fragile").unlink()
    assert ran.returncode == 0, ran.stderr
    assert (here / "killed").exists()
    assert bytes_of(here / "killed-once") == bytes_of(here / "one")
    asked = answered(here)
    assert len(asked) == BATCHES and Counter(asked.values()) == {1: BATCHES - 3, 2: 3}


@pytest.mark.slow
def test_workers_that_always_die_end_the_command_and_it_goes_on_later(here: Path) -> None:
    (here / "poison").touch()
    ran = limbeck(here, "poisoned", *RAY)
    assert (here / "poison").read_text(), "no worker met the batch"
    (here / "poison").unlink()
    assert ran.returncode == 130, ran.stderr
    assert "a worker of Ray's died 4 times over the same work" in ran.stderr
    assert "try: limbeck record r.yaml --to poisoned --ray local --workers 2" in ran.stderr
    assert max(answered(here).values()) == 4
    ran = limbeck(here, "poisoned")
    assert ran.returncode == 0, ran.stderr
    assert bytes_of(here / "poisoned") == bytes_of(here / "one")


@pytest.mark.slow
def test_ctrl_c_saves_what_every_worker_has_and_it_goes_on(here: Path) -> None:
    """A terminal sends SIGINT to all processes of the group, Ray's too."""
    (here / "slow").touch()
    stopped = start(here, *record("stopped", *RAY))
    began = time.monotonic()
    while len(list(here.glob("asked/*"))) < 2 or min(len(p.read_text().split()) for p in here.glob("asked/*")) < 2:
        assert stopped.poll() is None and time.monotonic() - began < 300
        time.sleep(0.1)
    os.killpg(stopped.pid, signal.SIGINT)
    said = stopped.communicate(timeout=60)[1]
    (here / "slow").unlink()
    assert stopped.returncode == 130, said
    assert "try: limbeck record r.yaml --to stopped --ray local --workers 2" in said
    before = answered(here)
    assert 4 <= len(before) < BATCHES
    ran = limbeck(here, "stopped", *RAY)
    assert ran.returncode == 0, ran.stderr
    assert bytes_of(here / "stopped") == bytes_of(here / "one")
    both = before + answered(here)
    assert len(both) == BATCHES and set(both.values()) == {1}, "what was answered had been saved"


@pytest.fixture(scope="module")
def seen(here: Path) -> dict[str, Any]:
    ran = started(here, str(SESSION))
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_statistics_are_off_and_the_process_is_left_as_it_was(seen: dict[str, Any]) -> None:
    assert seen["statistics"] == {"gcs_server": True, "raylet": True}
    assert seen["put back"] and seen["stays connected"] and seen["ended"]


@pytest.mark.slow
def test_a_cluster_that_runs_is_joined(seen: dict[str, Any], here: Path) -> None:
    assert seen["joined"] == ""
    assert bytes_of(here / "joined") == bytes_of(here / "one")
    assert "no Ray cluster answers at 127.0.0.1:9" in seen["nobody there"]["happened"]


@pytest.mark.slow
def test_what_cannot_work_is_refused_before(seen: dict[str, Any]) -> None:
    assert seen["room"] == 2
    assert "has 3 processors and 0 GPUs for one worker" in seen["too large"]["happened"]
    assert "has 1 processors and 1 GPUs for one worker" in seen["no GPU"]["happened"]
    assert seen["seen"] == {}
    assert seen["unseen"]["kind"] == "StorageError"
    assert "does not see /proc/self as this machine does" in seen["unseen"]["happened"]


@pytest.mark.slow
def test_calls_answer_die_raise_and_are_stopped(seen: dict[str, Any], here: Path) -> None:
    assert seen["answers"] == [2, 4, 6] and seen["looked"]
    assert seen["once"] == ["survived"]
    assert "died 4 times over the same work" in seen["always"]["happened"]
    assert (here / "deaths").read_text() == "xxxx"
    torn = {"kind": "RecordingError", "happened": "it is torn", "remedy": "mend it"}
    assert seen["raised"] == torn and seen["stopped"] == torn
    assert (here / "saved").exists(), "a call that is stopped hears of it"


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match="Ray is not installed") as refused:
        dictated(Recipe.parse(RECIPE), tmp_path / "to", ray="local")
    assert refused.value.remedy == "pip install 'limbeck[ray]'"
    assert not (tmp_path / "to").exists()


def test_shares_and_workers_are_one_or_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="Ray's workers take all shares"):
        dictated(Recipe.parse(RECIPE), tmp_path / "to", ray="local", share=Share(0, 2))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="record together already, without Ray"):
        dictated(Recipe.parse(RECIPE), tmp_path / "to", ray="local")


@pytest.mark.parametrize("address", ["locally", "127.0.0.1:9", "127.0.0.1:99999", "ray://127.0.0.1:10001"])
def test_an_address_where_no_cluster_is_is_refused_at_once(address: str) -> None:
    began = time.monotonic()
    with pytest.raises(RecipeError) as refused:
        cluster.refuse_silent(address)
    assert address in refused.value.happened
    assert time.monotonic() - began < cluster.SECONDS_TO_CONNECT + 5
