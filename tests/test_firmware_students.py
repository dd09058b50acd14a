"""Real students on a Cortex-M4F in QEMU: within 1 MB of flash and 256 KB of RAM, and answering as ONNX Runtime does."""

import gzip
from pathlib import Path

import numpy as np
import onnx
import pytest
from test_cli import call

from limbeck.emission import emit
from limbeck.firmware import emulation
from limbeck.firmware.folder import FLASH, RAM
from limbeck.firmware.graph import prepared
from limbeck.firmware.translation import translated
from limbeck_runtime.container import unsealed
from limbeck_runtime.predictor import load

pytest.importorskip("emx_onnx_cgen", reason="needs the extra micro")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(emulation.missing() is not None, reason=f"needs {emulation.missing()}"),
]

SHARED = Path(__file__).parents[2] / "shared" / "data"
DIGITS = "data: {source: digits, valid: 0.1, test: 0.2}\nstudent: mlp(size=64, depth=1)\nbudget: 2 epochs\n"
GLUCOSE = """
task: forecasting(horizon=6, below=70)
data:
  source: SOURCE
  columns: {inputs: gl, group: id, time: time}
  windows: {steps: 24, every: 5m, fill: 2, horizon: 6}
  valid: 0.2
  test: 0.25
student: gru(size=48)
budget: 40 steps
"""
HEARTBEAT = """
task: classification(select="macro_f1", weights=(1, 4, 2, 4, 4))
data: {source: mit-bih, path: SOURCE, valid: ["114", "124", "207", "223"]}
student: transformer(size=16, depth=2, heads=2, patch=16)
budget: 40 steps
"""
TRAINING = "training: {batch: 64, lr: 0.002, precision: float32, channels_last: false, threads: 1}\ndevice: cpu\n"


def source(name: str, folder: Path) -> str:
    """The data of a student as a recipe names it."""
    if name == "glucose":
        packed = SHARED / "cgm" / "example_data_hall.csv.gz"
        if not packed.is_file():
            pytest.skip("needs ../shared/data/cgm")
        (folder / "cgm.csv").write_bytes(gzip.decompress(packed.read_bytes()))
        return str(folder / "cgm.csv")
    beats = SHARED / "mitdb" / "mitdb_beats_256.npz"
    if name == "heartbeat" and not beats.is_file():
        pytest.skip("needs ../shared/data/mitdb")
    return str(beats)


# Instructions for an answer, in thousands: measured, and room for another compiler.
@pytest.mark.parametrize(
    ("name", "recipe", "thousands"),
    [("digits", DIGITS, 60), ("glucose", GLUCOSE, 2000), ("heartbeat", HEARTBEAT, 2000)],
)
def test_a_student_fits_and_answers_alike(name, recipe, thousands, tmp_path):
    (tmp_path / "recipe.yaml").write_text(recipe.replace("SOURCE", source(name, tmp_path)) + TRAINING)
    call("distill", str(tmp_path / "recipe.yaml"), "--to", str(tmp_path / "run"), "--quiet")
    found = emit(tmp_path / "run", tmp_path / "c", name=name)
    [artifact] = found.folder.glob("*.limbeck")
    assert found.real and found.rows == 16 and found.fits
    assert found.sized.flash <= FLASH // 8 and found.sized.static + found.board.stack <= RAM // 8
    assert found.host.same and found.board.same
    largest = np.abs(found.host.answers).max()
    # The functions of another C library differ in their last digit; sums and products do not.
    off = np.abs(found.board.answers - found.host.answers).max()
    assert off <= 2e-6 * largest and (name != "digits" or off == 0)
    assert found.board.difference <= 2e-5 * max(1.0, largest)
    assert 0 < found.board.instructions < thousands * 1000 and found.board.stack < 2048
    assert found.code.arena == found.code.least
    alone = load(artifact).manifest.graph
    assert alone.batch == 1 and alone.precision == "float32"


def test_memory_is_shared_down_to_what_one_step_needs(tmp_path):
    """A separable network for Fashion-MNIST, untrained: 609 kB between its nodes if nothing were shared."""
    import torch

    from limbeck.artifact.graph import onnx_bytes
    from limbeck.catalog.models import Shape, model

    shape = Shape((1, 28, 28), 10, tuple("0123456789"), torch.zeros(1), torch.ones(1))
    graph = onnx_bytes(model("separable_cnn", shape).eval(), torch.rand(2, 1, 28, 28))
    code = translated(prepared(graph), "fashion")
    assert code.apart > 500_000 and code.arena == code.least < 100_000 and not code.on_stack
    assert onnx.load_from_string(graph).graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_an_artifact_that_answers_any_number_of_rows_is_emitted_too(good_run, tmp_path):
    call("export", str(good_run.folder), "--to", str(tmp_path / "digits.limbeck"), "--quiet")
    found = emit(tmp_path / "digits.limbeck", tmp_path / "c", data=good_run.folder)
    assert found.real and found.host.same and found.board.answers.tobytes() == found.host.answers.tobytes()
    assert unsealed(tmp_path / "digits.limbeck")["model.onnx"]
