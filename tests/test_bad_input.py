"""What goes wrong outside is said before work starts, with an exit code and a remedy, and nothing finished is lost."""

import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from invented_runs import a_record, a_run
from small_files import fill_up
from small_runs import same_bits, weights

from limbeck.cli import main
from limbeck.errors import StorageError
from limbeck.records import read_record, write_record
from limbeck.reporting.html import report

RECIPE = """\
data: {source: digits, valid: 0.1, test: 0.2}
student: mlp(size=16)
budget: 2 epochs
training: {batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
"""

# Data and students of a person's own, as `package.module:function`.
OWN = """
import numpy as np
from torch import nn

def rows(count=200, classes=4):
    generator = np.random.default_rng(0)
    return generator.random((count, 1, 8, 8), dtype=np.float32), np.arange(count) % classes

def good():
    return rows()

def nan():
    inputs, labels = rows()
    inputs[7, 0, 3, 3] = np.nan
    return inputs, labels

def empty():
    inputs, labels = rows()
    return {"train": (inputs, labels), "valid": (inputs[:0], labels[:0]), "test": (inputs, labels)}

def negative():
    inputs, labels = rows()
    labels[5] = -3
    return {"train": (inputs, labels), "classes": ["a", "b", "c", "d"]}

def too_many():
    inputs, labels = rows()
    late = labels.copy()
    late[5] = 99
    return {"train": (inputs, labels), "valid": (inputs, labels), "test": (inputs, late), "classes": list("abcd")}

def short():
    inputs, labels = rows()
    return inputs, labels[:-1]

def frozen():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return network.requires_grad_(False)

def blank():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(network[1].bias, float("nan"))
    return network


def taught():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def answers(rows):
    return rows.reshape(len(rows), -1)[:, :10]

def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
"""


class Desk:
    """A folder with a recipe, and what the command line says there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        (folder / "mine.yaml").write_text(RECIPE)

    def refuses(self, *changes: str, code: int, to: str = "run") -> str:
        """Runs the recipe with changes, checks the exit code, and gives what was said on stderr."""
        settings = [word for change in changes for word in ("--set", change)]
        with pytest.raises(SystemExit) as left:
            main(["distill", "mine.yaml", "--to", to, "--quiet", *settings])
        said = self.capsys.readouterr()
        assert left.value.code == code, said.err
        assert "Traceback" not in said.err
        assert said.out == ""
        return said.err

    def makes(self, *changes: str, to: str) -> None:
        """Runs the recipe with changes, and expects no trouble."""
        settings = [word for change in changes for word in ("--set", change)]
        with pytest.raises(SystemExit) as left:
            main(["distill", "mine.yaml", "--to", to, "--quiet", *settings])
        assert not left.value.code, self.capsys.readouterr().err
        self.capsys.readouterr()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    return Desk(tmp_path, capsys)


@pytest.mark.parametrize(
    ("changes", "code", "parts"),
    [
        (["objective=lables"], 5, ["'lables'", "did you mean 'labels'?"]),
        (["objective=kd(temprature=4)", "teacher=mlp"], 5, ["temprature", "did you mean 'temperature'?"]),
        (["objective=kd(temperature=-1)", "teacher=mlp"], 5, ["temperature", "> 0"]),
        (["objective=kd"], 5, ["needs a teacher"]),
        (["objective=0 * kd + 0.0 * labels", "teacher=own:taught"], 5, ["every weight", "is zero"]),
        (["objective=rkd(distance=0, angle=0)", "teacher=own:taught"], 5, ["every weight", "is zero"]),
        (["objective=linear(0, 0) * kd", "teacher=own:taught"], 5, ["linear(0, 0)", "above it at one end"]),
        (
            ["objective=rkd + labels", "training.batch=1", "teacher=own:taught"],
            5,
            ["has 1", "at least 3", "training.batch"],
        ),
        (
            ["objective=linear(0.9, 0.1, over='10 epochs') * kd + labels", "teacher=own:taught"],
            5,
            ["over='10 epochs'", "within the budget", "leave `over` out"],
        ),
        (
            ["objective=kd(temperature=cosine(8, 1, over='500 steps'))", "teacher=own:taught"],
            5,
            ["takes 500 steps", "within the budget"],
        ),
        (["objective=hint('layer1', 'a') + labels", "teacher=call:own:answers"], 4, ["features of a", "has no layers"]),
        (["student=mpl"], 4, ["'mpl'", "did you mean 'mlp'?"]),
        (["student=mlp(sise=3)"], 4, ["'sise'", "did you mean 'size'?"]),
        (["student=mlp(size=0)"], 4, ["size=0", "1 or more"]),
        (["student=own:frozen"], 4, ["no trainable parameter"]),
        (["student=own:narrow"], 4, ["7 outputs", "10"]),
        (["student=own:blank"], 4, ["the student says NaN or infinity", "scale of the inputs"]),
        (["teacher=own:blank", "objective=logit_mse"], 4, ["the teacher says NaN or infinity", "its weights"]),
        (["data.valid=0.6", "data.test=0.4"], 3, ["valid=0.6 leaves no row", "1078 of 1797 rows"]),
        (["student=own:fozen"], 4, ["did you mean 'frozen'?"]),
        (["student=nowhere:net"], 4, ["nowhere", "cannot be imported"]),
        (["teacher=runs/none"], 4, ["runs/none"]),
        (["augment=flop"], 2, ["'flop'", "did you mean 'flip'?"]),
        (["task=clasification"], 2, ["did you mean 'classification'?"]),
        (["data.source=digit"], 3, ["'digit'", "did you mean 'digits'?"]),
        (["data.source=mnist", "data.path=none.npz"], 3, ["none.npz"]),
        (["data.source=own:nan"], 3, ["NaN or infinity", "row 7"]),
        (["data.source=own:empty"], 3, ["valid", "at least one row"]),
        (["data.valid=5000"], 3, ["5000"]),
        (["data.source=own:negative"], 3, ["label -3", "0 to 3"]),
        (["data.source=own:too_many"], 3, ["test", "label 99", "0 to 3"]),
        (["data.source=own:short"], 3, ["199", "200"]),
        (["data.omit=[eleven]"], 3, ["eleven"]),
        (["data.labelled=3"], 3, ["3", "10"]),
        (["bugdet=3"], 2, ["--set bugdet=3", "did you mean 'budget'?"]),
        (["training.lr=-1"], 2, ["greater than 0"]),
        (["trackers=mlflow"], 2, ["mlflow is not installed", "pip install mlflow"]),
        (["trackers=[tensorboard, wandb]"], 2, ["wandb is not installed", "pip install wandb"]),
        (["trackers=tensorboard", "objective=lables"], 5, ["did you mean 'labels'?"]),
        pytest.param(
            ["device=cuda"],
            2,
            ["no CUDA device", "device: auto"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
    ],
)
def test_a_mistake_is_said_before_anything_is_written(
    desk: Desk, changes: list[str], code: int, parts: list[str]
) -> None:
    said = desk.refuses(*changes, code=code)
    for part in parts:
        assert part in said
    assert not Path("run").exists()


def test_an_unknown_key_is_said_with_its_line(desk: Desk) -> None:
    Path("mine.yaml").write_text(RECIPE + "objectiv: labels\n")
    said = desk.refuses(code=2)
    assert "mine.yaml:6: unknown key 'objectiv'" in said
    assert "did you mean 'objective'?" in said


def test_a_run_folder_that_exists_is_not_touched(desk: Desk) -> None:
    desk.makes(to="run")
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    said = desk.refuses("student=mlp(size=8)", code=6)
    assert "run exists already" in said
    assert "--to run-2" in said
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before
    Path("taken").write_text("a file")
    assert "taken is a file" in desk.refuses(code=6, to="taken")
    Path("other").mkdir()
    Path("other/letter.txt").write_text("dear")
    assert "other" in desk.refuses(code=6, to="other")
    assert [path.name for path in Path("other").iterdir()] == ["letter.txt"]


def test_a_teacher_that_did_not_finish(desk: Desk) -> None:
    desk.makes(to="teacher")
    record = Path("teacher/run.json")
    record.write_text(record.read_text().replace('"finished"', '"interrupted"'))
    said = desk.refuses("teacher=./teacher", code=6)
    assert "teacher did not finish" in said
    assert "--resume" in said


def test_weights_that_are_torn_or_gone_come_back_with_a_resume(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """What the error says to do, done: the same bits are there again."""
    desk.makes(to="teacher")
    path = Path("teacher/student.safetensors")
    # Read, not mapped: the file they lie in is about to be cut off.
    whole = {name: tensor.clone() for name, tensor in weights(Path("teacher")).items()}
    path.write_bytes(path.read_bytes()[:900])
    said = desk.refuses("teacher=./teacher", code=6)
    assert "student.safetensors is damaged" in said
    assert "try: delete it and resume the run" in said
    path.unlink()
    assert "--resume" in desk.refuses("teacher=./teacher", code=6)
    assert "--resume goes on with it" in desk.refuses(code=6, to="teacher")
    with pytest.raises(SystemExit) as left:
        main(["distill", "mine.yaml", "--to", "teacher", "--quiet", "--resume"])
    assert not left.value.code, capsys.readouterr().err
    assert same_bits(weights(Path("teacher")), whole)


@pytest.mark.parametrize("verb", ["evaluate", "predict", "report"])
def test_a_damaged_record_is_said_and_left_alone(desk: Desk, verb: str) -> None:
    Path("run").mkdir()
    Path("run/run.json").write_text('{"name": "run", "sta')
    np.save("rows.npy", np.zeros((1, 1, 8, 8)))
    with pytest.raises(SystemExit) as left:
        main([verb, "run", *(["rows.npy"] if verb == "predict" else [])])
    assert left.value.code == 6
    said = desk.capsys.readouterr().err
    assert "run/run.json is damaged" in said
    assert "try: run the recipe again" in said
    assert [path.name for path in Path("run").iterdir()] == ["run.json"]


def test_a_teacher_of_other_classes(desk: Desk) -> None:
    desk.makes("data.source=own:good", to="teacher")
    said = desk.refuses("teacher=./teacher", code=4)
    assert "class" in said
    assert not Path("run/student.safetensors").exists()


def test_a_loss_that_is_not_a_number_keeps_the_last_good_checkpoint(desk: Desk) -> None:
    said = desk.refuses("training.lr=1.0e+30", "training.clip=null", "training.warmup=0", "budget=60 epochs", code=7)
    assert "labels" in said
    assert "step" in said
    assert not Path("run/student.safetensors").exists()
    assert read_record(Path("run")).status != "finished"


def _small_files(most: int) -> Callable[[], None]:
    # A limit on the size of a file is what a test can have of a full disk, without a disk of its own.
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


@pytest.mark.slow
def test_a_full_disk_loses_nothing_that_was_complete(desk: Desk) -> None:
    desk.makes(to="teacher")
    command = [sys.executable, "-m", "limbeck", "distill", "mine.yaml", "--to", "run", "--quiet"]
    command += ["--set", "teacher=./teacher", "--set", "student=mlp(size=512, depth=1)", "--set", "budget=10 steps"]
    full = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_small_files(100_000))
    assert full.returncode == 8, full.stderr
    assert "the disk is full" in full.stderr
    assert "--resume" in full.stderr
    assert "Traceback" not in full.stderr
    assert not list(Path("run").rglob("*.partial"))
    assert weights(Path("teacher"))
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert read_record(Path("run")).status == "finished"


@pytest.mark.slow
def test_a_disk_that_fills_up_after_training_keeps_the_weights(desk: Desk) -> None:
    """The weights fit; then the record does not, then the report does not, then both do."""
    command = [sys.executable, "-m", "limbeck", "distill", "mine.yaml", "--to", "run", "--quiet"]
    command += ["--set", "student=mlp(size=8)"]
    trained: dict[Path, int] = {}
    for most, missing in ((5_000, "run.json"), (45_000, "report.html")):
        more = ["--resume"] if trained else []
        full = subprocess.run(
            [*command, *more], capture_output=True, text=True, check=False, preexec_fn=_small_files(most)
        )
        assert full.returncode == 8, full.stderr
        assert f"the disk is full: {missing} could not be written" in full.stderr
        assert "what was finished is kept" in full.stderr
        assert "Traceback" not in full.stderr
        assert not list(Path("run").rglob("*.partial"))
        now = {path: path.stat().st_mtime_ns for path in Path("run").rglob("*.safetensors")}
        assert now == (trained or now)
        trained = now
    assert [path.name for path in trained] == ["student.safetensors"]
    assert read_record(Path("run")).status == "finished"
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert Path("run/report.html").is_file()
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


def test_a_record_and_a_report_on_a_full_disk_are_the_old_ones(small_disk: Path, tmp_path: Path) -> None:
    record = a_record(students=(0.9,), controls=(0.89,))
    run = a_run(small_disk / "run", record)
    report(run, to=run / "report.html")
    before = {path: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(OSError, match="No space"):
        fill_up(small_disk / "ballast")
    with pytest.raises(StorageError, match=r"the disk is full: run\.json"):
        write_record(replace(record, name="long " * 3000), run)
    with pytest.raises(StorageError, match=r"the disk is full: report\.html"):
        report(run, to=run / "report.html")
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    (small_disk / "ballast").unlink()
    write_record(replace(record, name="short"), run)
    assert read_record(run).name == "short"
