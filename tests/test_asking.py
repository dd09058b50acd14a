"""How a training asks its teacher: in a settled precision, perhaps compiled, and live the same bits as recorded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_recordings import LAYERS, LOGITS, TASK, Wanted, live, pieces

from limbeck.cli import main
from limbeck.data.rows import TensorRows
from limbeck.data.source import Data
from limbeck.errors import RecordingError
from limbeck.recorder import record
from limbeck.recordings.manifest import read_manifest
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.estimator import EstimatorTeacher
from limbeck.teachers.protocol import computed
from limbeck.teachers.recording import RecordedTeacher
from limbeck.teachers.renamed import RenamedTeacher
from limbeck.training.asking import faster, question, uncompilable
from limbeck.training.compilation import missing

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")

RECIPE = """\
data: {source: digits, valid: 0.1, test: 0.2}
teacher: TEACHER
student: mlp(size=16)
objective: kd(temperature=4)
record: 1
budget: 1 epochs
training: {batch: 64, lr: 0.01, precision: float32, channels_last: false, threads: 1}
device: cpu
"""


def test_asked_in_bfloat16_recorded_equals_live_bit_for_bit(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r")
    asked = {name: value for name, value in vars(wanted).items() if name not in ("teacher", "rows")}
    made = record(wanted.teacher, few, TASK, **asked, precision="bfloat16")
    assert read_manifest(made).identity.precision == "autocast bfloat16"
    recorded = RecordedTeacher(made)
    recorded.prepare(LAYERS, wanted.classes)
    # A recording answers as it was made, in whatever precision the training asks its live teachers.
    says = question(recorded, "float32")
    for view in range(2):
        for batch in pieces(few, wanted, view, 32):
            was, now, whole = says(batch), question(wanted.teacher, "bfloat16")(batch), wanted.teacher.signals(batch)
            assert was.logits is not None
            assert now.logits is not None
            assert was.targets is not None
            assert was.logits.dtype == was.features["layer2"].dtype == was.targets.logits.dtype == torch.float32
            assert torch.equal(was.logits, now.logits)
            assert torch.equal(was.targets.logits, now.logits)
            assert torch.equal(was.features["layer2"], now.features["layer2"])
            assert not torch.equal(now.logits, whole.logits)
            # bfloat16 keeps 8 bits of each number: a few of these roundings follow each other here.
            assert float((now.logits - whole.logits).abs().max()) <= 0.02 * float(whole.logits.abs().max())
    with pytest.raises(RecordingError, match="was made in the precision autocast bfloat16"):
        wanted.record()


def test_in_float32_a_teacher_is_asked_as_it_is(few: TensorRows, tmp_path: Path) -> None:
    wanted = Wanted(few, tmp_path / "r")
    wanted.teacher.prepare(LAYERS, wanted.classes)
    batch = next(pieces(few, wanted, 0, 32))
    asked, whole = question(wanted.teacher, "float32")(batch), wanted.teacher.signals(batch)
    assert torch.equal(asked.logits, whole.logits)
    assert question(None, "bfloat16")(batch).logits is None


@pytest.mark.slow
@pytest.mark.skipif(missing(CPU) is not None, reason="nothing to compile with")
def test_asked_through_a_compiled_function_recorded_equals_live_bit_for_bit(tmp_path: Path) -> None:
    """In a process of its own: compiling reads code as it is, and tests execute the annotations around it."""
    program = Path(__file__).with_name("compiled_teacher.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, program, tmp_path / "r"], env=environment, capture_output=True, text=True)
    assert json.loads(ran.stdout or "{}") == {
        "precision": "autocast bfloat16, compiled",
        "same_bits": True,
        "other_bits_than_plain": True,
        "near_plain": True,
        "watched": True,
    }, ran.stderr[-3000:]


def test_only_what_torch_computes_here_is_asked_in_fewer_digits(few: TensorRows, tmp_path: Path, digits: Data) -> None:
    from sklearn.tree import DecisionTreeClassifier

    tree = EstimatorTeacher(DecisionTreeClassifier().fit([[0.0], [1.0]], [0, 1]))
    network = live()
    recorded = RecordedTeacher(Wanted(few, tmp_path / "r").record())
    assert computed(network)
    assert computed(EnsembleTeacher([(1, tree), (1, network)]))
    assert computed(RenamedTeacher(network, {}))
    assert not computed(tree)
    assert not computed(EnsembleTeacher([(1, tree), (1, tree)]))
    assert not computed(recorded)
    assert "not one network" in (uncompilable(EnsembleTeacher([(1, network)]), LOGITS, CPU) or "")
    assert "layer2" in (uncompilable(network, LAYERS, CPU) or "")


def test_the_choice_is_made_of_what_was_measured(few: TensorRows) -> None:
    teacher = live()
    teacher.prepare(LOGITS, tuple("0123456789"))
    found = faster(teacher, next(pieces(few, Wanted(few, Path()), 0, 100)))
    assert set(found.milliseconds) == {"float32", "bfloat16"}
    saves = found.milliseconds["bfloat16"] < 0.85 * found.milliseconds["float32"]
    assert found.precision == ("bfloat16" if saves else "float32")
    assert f"asked in {found.precision}" in found.sentence()


def test_a_begun_recording_keeps_the_precision_it_was_begun_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("teacher.yaml").write_text(
        RECIPE.replace("teacher: TEACHER\n", "").replace("objective: kd(temperature=4)\nrecord: 1\n", "name: teacher\n")
    )
    Path("student.yaml").write_text(RECIPE.replace("TEACHER", "teacher"))

    def call(*words: str) -> int:
        with pytest.raises(SystemExit) as left:
            main(words)
        return int(left.value.code or 0)

    assert call("distill", "teacher.yaml", "--to", "teacher") == 0
    low = ("--set", "training.teacher_precision=bfloat16")
    assert call("record", "student.yaml", "--to", "kept", *low) == 0
    before = json.loads(Path("kept/manifest.json").read_text())
    assert before["identity"]["precision"] == "autocast bfloat16"
    # `auto`, which a float32 training would settle as float32, goes on with what was begun.
    assert call("record", "student.yaml", "--to", "kept") == 0
    assert json.loads(Path("kept/manifest.json").read_text()) == before
    capsys.readouterr()
    assert call("record", "student.yaml", "--to", "kept", "--set", "training.teacher_precision=float32") == 6
    assert "was made in the precision autocast bfloat16" in capsys.readouterr().err
    # A run settles it, and its own recording is made so.
    assert call("distill", "student.yaml", "--to", "run", *low) == 0
    assert "teacher_precision: bfloat16" in Path("run/recipe.yaml").read_text()
    (made,) = Path("run/recording").glob("*/manifest.json")
    assert json.loads(made.read_text())["identity"]["precision"] == "autocast bfloat16"
    listens = ("--set", "objective=kd + hint('layer1', 'layer2')")
    capsys.readouterr()
    assert call("record", "student.yaml", "--to", "other", *listens, "--set", "training.teacher_compile=true") != 0
    assert "teacher's layer" in capsys.readouterr().err
