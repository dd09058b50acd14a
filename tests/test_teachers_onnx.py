"""ONNX files as teachers: they say what their network said, and read rows as the data holds them or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from onnx_files import WEIGHT, linear, made, softmaxed, zipmapped
from small_runs import small
from torch import Tensor, nn

from limbeck.catalog.models import Shape
from limbeck.catalog.teachers import teacher as find
from limbeck.cli import main
from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.errors import TeacherError
from limbeck.objective import Needs
from limbeck.recorder import record
from limbeck.signals import Batch
from limbeck.students import cnn
from limbeck.tasks.classification import Classification
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.onnx import OnnxTeacher
from limbeck.teachers.protocol import Teacher
from limbeck.teachers.recording import RecordedTeacher

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

TASK = Classification()
CLASSES = tuple("0123456789")
LOGITS = Needs(logits=True)
SHAPE = Shape((1, 8, 8), 10, CLASSES, torch.zeros(1), torch.ones(1))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows() -> TensorRows:
    few = load("digits", valid=0.1, test=0.2).train.select(torch.arange(80))
    return TensorRows(few.inputs.float(), few.labels, few.known, few.ids)


@pytest.fixture
def batch(rows: TensorRows) -> Batch:
    return Batch.of(rows.inputs[:20], rows.labels[:20], TASK, ids=rows.ids[:20])


class Sharp(nn.Module):
    """A small network on 0..16, sure enough that its answers differ."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = cnn.build((1, 8, 8), 10, size=4, depth=1)

    def forward(self, images: Tensor) -> Tensor:
        return 8 * self.network(images / 16)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return Sharp().eval()


@pytest.fixture(scope="module")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What torch.onnx.export writes of a small network, its number of rows free."""
    path = tmp_path_factory.mktemp("onnx") / "cnn.onnx"
    rows = torch.export.Dim("rows", min=1, max=4096)
    torch.onnx.export(
        network,
        (torch.rand(3, 1, 8, 8),),
        path,
        dynamo=True,
        dynamic_shapes=({0: rows},),
        input_names=["images"],
        output_names=["logits"],
        external_data=False,
        verbose=False,
    )
    return path


def changed(path: Path, to: Path, change: Callable[[Any], object]) -> Path:
    model = onnx.load(path)
    change(model)
    onnx.save(model, to)
    return to


def prepared(path: Path, classes: tuple[str, ...] = CLASSES, **arguments: Any) -> OnnxTeacher:
    teacher = OnnxTeacher(path, **arguments)
    teacher.prepare(LOGITS, classes)
    return teacher


def test_it_says_what_torch_says(exported: Path, network: nn.Module, batch: Batch) -> None:
    teacher = find(f"onnx:{exported}", SHAPE)
    assert isinstance(teacher, Teacher) and teacher.views is None and teacher.to(torch.device("cpu")) is teacher
    teacher.prepare(LOGITS, CLASSES)
    with torch.no_grad():
        expected = network(batch.inputs)
    assert expected.std() > 0.5
    torch.testing.assert_close(teacher.signals(batch).logits, expected, atol=1e-5, rtol=0)
    alone = teacher.signals(batch.rows(slice(0, 1))).logits
    torch.testing.assert_close(alone, expected[:1], atol=1e-5, rtol=0)


def test_an_ensemble_takes_it(exported: Path, tmp_path: Path, batch: Batch) -> None:
    alone = prepared(exported).signals(batch).logits.softmax(-1)
    other = prepared(linear(tmp_path / "linear.onnx")).signals(batch).logits.softmax(-1)
    ensemble = EnsembleTeacher([(3, OnnxTeacher(exported)), (1, OnnxTeacher(tmp_path / "linear.onnx"))])
    ensemble.prepare(LOGITS, CLASSES)
    torch.testing.assert_close(ensemble.signals(batch).logits.softmax(-1), 0.75 * alone + 0.25 * other)


def test_recorded_is_live_bit_for_bit(exported: Path, rows: TensorRows, tmp_path: Path) -> None:
    teacher = OnnxTeacher(exported)
    record(teacher, rows, TASK, to=tmp_path / "r", needs=LOGITS, classes=CLASSES, batch_size=16)
    recorded, live = RecordedTeacher(tmp_path / "r"), prepared(exported)
    recorded.prepare(LOGITS, CLASSES)
    order = rows.ids.argsort()
    for start in range(0, 80, 16):
        at = order[start : start + 16]
        asked = Batch.of(rows.inputs[at], rows.labels[at], TASK, ids=rows.ids[at])
        assert torch.equal(recorded.signals(asked).logits, live.signals(asked).logits)


def test_it_teaches_a_student_live_and_recorded(exported: Path, tmp_path: Path) -> None:
    text = f"onnx:{exported}(divide=1)"
    for record_it in (None, 1):
        run = small(text, tmp_path / f"run{record_it}", record=record_it, objective="kd(temperature=2)")
        assert run.record.results[0].control is not None
        assert run.record.teacher is not None
        assert run.record.teacher.rows == run.record.results[0].student.rows


def test_a_fixed_number_of_rows_is_filled_up_and_the_filling_dropped(
    exported: Path, tmp_path: Path, batch: Batch
) -> None:
    fixed = linear(tmp_path / "fixed.onnx", rows=8, outputs={"y": [8, 10]})
    free = linear(tmp_path / "free.onnx")
    for count in (1, 7, 8, 20):
        piece = batch.rows(slice(0, count))
        said = prepared(fixed).signals(piece).logits
        assert said.shape == (count, 10)
        torch.testing.assert_close(said, prepared(free).signals(piece).logits, atol=1e-4, rtol=1e-6)


def test_probabilities_become_logits_whose_softmax_they_are(tmp_path: Path, batch: Batch) -> None:
    path = softmaxed(tmp_path / "p.onnx")
    truth = (batch.inputs.flatten(1) @ torch.from_numpy(WEIGHT / 200)).double()
    for teacher in (prepared(path, outputs="probabilities"), find(f'onnx:{path}(outputs="probabilities")', SHAPE)):
        teacher.prepare(LOGITS, CLASSES)
        said = teacher.signals(batch).logits.double()
        for temperature in (1, 4):
            torch.testing.assert_close(
                (said / temperature).softmax(-1), (truth / temperature).softmax(-1), atol=2e-5, rtol=0
            )
    marked = softmaxed(tmp_path / "marked.onnx", metadata={"outputs": "probabilities"})
    assert torch.equal(
        prepared(marked).signals(batch).logits, prepared(path, outputs="probabilities").signals(batch).logits
    )
    with pytest.raises(TeacherError, match=r"look like probabilities: every row sums to 1") as caught:
        prepared(path).signals(batch)
    assert 'outputs="probabilities"' in caught.value.remedy
    assert float(prepared(path, outputs="logits").signals(batch).logits.max()) <= 1
    with pytest.raises(TeacherError, match="are no probabilities"):
        prepared(linear(tmp_path / "l.onnx"), outputs="probabilities").signals(batch)


def test_classes_in_the_metadata_are_matched_by_name(tmp_path: Path, batch: Batch) -> None:
    plain = prepared(linear(tmp_path / "plain.onnx")).signals(batch).logits
    named = linear(tmp_path / "named.onnx", metadata={"classes": json.dumps(list("jihgfedcba"))})
    assert torch.equal(prepared(named, tuple("abcdefghij")).signals(batch).logits, plain.flip(-1))
    assert torch.equal(prepared(named, tuple("cja")).signals(batch).logits, plain[:, [7, 0, 9]])
    with pytest.raises(TeacherError, match=r"knows no class 'z' \(1 of 2 are missing\)"):
        prepared(named, ("a", "z"))
    bad = linear(tmp_path / "bad.onnx", metadata={"classes": "a, b"})
    with pytest.raises(TeacherError, match=r"the metadata of onnx:.* hold .classes.: 'a, b'"):
        OnnxTeacher(bad)


def test_rows_keep_their_numbers_in_any_type_or_are_refused(tmp_path: Path, batch: Batch) -> None:
    whole = batch.inputs.round()
    said = prepared(linear(tmp_path / "f.onnx")).signals(Batch.of(whole, None, TASK)).logits
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32):
        other = prepared(tmp_path / "f.onnx").signals(Batch.of(whole.to(dtype), None, TASK)).logits
        assert torch.equal(other, said)
    bytes_as_they_are = Batch.of(whole.to(torch.uint8), None, TASK)
    with pytest.warns(UserWarning, match=r"bytes \(0\.\.255\) are given to onnx:.* as they are"):
        assert torch.equal(prepared(tmp_path / "f.onnx").signals(bytes_as_they_are).logits, said)
    assert torch.equal(prepared(tmp_path / "f.onnx", divide=1).signals(bytes_as_they_are).logits, said)
    halves = prepared(tmp_path / "f.onnx", divide=2).signals(bytes_as_they_are).logits
    torch.testing.assert_close(halves, said / 2, atol=1e-4, rtol=1e-5)

    cast = [("Cast", ["x"], ["z"], {"to": 1}), ("MatMul", ["z", "w"], ["y"], {})]
    words = {"outputs": {"y": ["rows", 10]}, "weights": {"w": WEIGHT}}
    for given in ("UINT8", "INT64", "FLOAT16", "DOUBLE"):
        path = made(tmp_path / f"{given}.onnx", cast, given=given, **words)
        torch.testing.assert_close(prepared(path).signals(Batch.of(whole, None, TASK)).logits, said, atol=1e-4, rtol=0)
    for given, value in (("UINT8", 0.5), ("UINT8", -1.0), ("UINT8", 256.0), ("INT64", 0.5), ("FLOAT16", 1e6)):
        teacher = prepared(tmp_path / f"{given}.onnx")
        with pytest.raises(TeacherError, match=rf"the rows hold .*, and the input x is of type {given.lower()}"):
            teacher.signals(Batch.of(torch.full((2, 64), value), None, TASK))


def test_a_transform_is_applied_and_is_part_of_the_fingerprint(tmp_path: Path, batch: Batch) -> None:
    from limbeck.transforms import ImageScale

    path = made(
        tmp_path / "image.onnx",
        [("Flatten", ["x"], ["z"], {}), ("MatMul", ["z", "w"], ["y"], {})],
        row=(3, 4, 4),
        outputs={"y": ["rows", 10]},
        weights={"w": WEIGHT[:48]},
    )
    scale = ImageScale((0.5,) * 3, (0.5,) * 3, size=4)
    teacher = prepared(path, transform=scale)
    expected = scale(batch.inputs).flatten(1) @ torch.from_numpy(WEIGHT[:48])
    torch.testing.assert_close(teacher.signals(batch).logits, expected, atol=1e-4, rtol=1e-5)
    other = OnnxTeacher(path, transform=ImageScale((0.4,) * 3, (0.5,) * 3, size=4)).fingerprint
    assert len({teacher.fingerprint, other, OnnxTeacher(path).fingerprint}) == 3


def test_the_fingerprint_is_of_the_bytes_and_the_arguments(exported: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(exported.read_bytes())
    base = OnnxTeacher(exported).fingerprint
    assert OnnxTeacher(copy).fingerprint == base

    def touched(model: Any) -> None:
        name = next(one for one in model.graph.initializer if len(one.raw_data) >= 64)
        name.raw_data = name.raw_data[:-1] + bytes([name.raw_data[-1] ^ 1])

    others = [
        OnnxTeacher(changed(exported, tmp_path / "touched.onnx", touched)).fingerprint,
        OnnxTeacher(exported, outputs="logits").fingerprint,
        OnnxTeacher(exported, divide=16).fingerprint,
        OnnxTeacher(exported, tensor="logits").fingerprint,
    ]
    assert len({base, *others}) == 5


def test_weights_beside_the_file_belong_to_it_and_others_are_refused(tmp_path: Path, batch: Batch) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    plain = linear(inside / "plain.onnx")
    model = onnx.load(plain)
    onnx.save(model, inside / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=0)
    teacher = prepared(inside / "split.onnx")
    assert torch.equal(teacher.signals(batch).logits, prepared(plain).signals(batch).logits)
    (inside / "split.data").write_bytes(bytes(len((inside / "split.data").read_bytes())))
    assert OnnxTeacher(inside / "split.onnx").fingerprint != teacher.fingerprint

    def outside(location: str) -> Callable[[Any], None]:
        def point(model: Any) -> None:
            for entry in model.graph.initializer[0].external_data:
                if entry.key == "location":
                    entry.value = location

        return point

    (tmp_path / "secret.data").write_bytes(bytes(2560))
    for location in ("../secret.data", str(tmp_path / "secret.data")):
        wild = onnx.load(inside / "split.onnx", load_external_data=False)
        outside(location)(wild)
        (inside / "wild.onnx").write_bytes(wild.SerializeToString())
        with pytest.raises(TeacherError, match="names weights outside of its folder"):
            OnnxTeacher(inside / "wild.onnx")
    (inside / "split.data").unlink()
    with pytest.raises(TeacherError, match=r"there is no file .*split\.data"):
        OnnxTeacher(inside / "split.onnx")


def test_several_outputs_are_chosen_by_name(tmp_path: Path, batch: Batch) -> None:
    nodes = [("MatMul", ["x", "w"], ["y"], {}), ("Softmax", ["y"], ["p"], {"axis": -1})]
    outputs = {"y": ["rows", 10], "p": ["rows", 10]}
    both = made(tmp_path / "both.onnx", nodes, outputs=outputs, weights={"w": WEIGHT})
    with pytest.raises(TeacherError, match=r"has 2 outputs that may be meant: y tensor\(float\) .*, p tensor"):
        OnnxTeacher(both)
    plain = prepared(linear(tmp_path / "plain.onnx")).signals(batch).logits
    assert torch.equal(prepared(both, tensor="y").signals(batch).logits, plain)
    with pytest.raises(TeacherError, match="has no output 'z'"):
        OnnxTeacher(both, tensor="z")
    label = made(
        tmp_path / "label.onnx",
        [*nodes[:1], ("ReduceMax", ["y"], ["m"], {"axes": [1], "keepdims": 0})],
        outputs={"y": ["rows", 10], "m": ["rows"]},
        weights={"w": WEIGHT},
    )
    assert torch.equal(prepared(label).signals(batch).logits, plain)


def test_files_that_cannot_teach_say_why(exported: Path, tmp_path: Path, batch: Batch) -> None:
    with pytest.raises(TeacherError, match="answers with a list of mappings, not a table") as caught:
        OnnxTeacher(zipmapped(tmp_path / "zip.onnx"))
    assert '"zipmap": False' in caught.value.remedy

    def two(model: Any) -> None:
        model.graph.input.append(onnx.helper.make_tensor_value_info("x2", onnx.TensorProto.FLOAT, ["rows", 1]))

    linear(tmp_path / "plain.onnx")
    with pytest.raises(TeacherError, match=r"has 2 inputs: x tensor\(float\) .*, x2 tensor\(float\)"):
        OnnxTeacher(changed(tmp_path / "plain.onnx", tmp_path / "two.onnx", two))
    (tmp_path / "torn.onnx").write_bytes(exported.read_bytes()[:500])
    with pytest.raises(TeacherError, match=r"torn\.onnx (is no ONNX file|cannot be opened)"):
        OnnxTeacher(tmp_path / "torn.onnx")
    with pytest.raises(TeacherError, match="there is no file") as caught:
        OnnxTeacher(tmp_path / "plian.onnx")
    assert "plain.onnx" in caught.value.remedy
    with pytest.raises(TeacherError, match=r"a row of the data has the shape \(3, 8, 8\)"):
        prepared(exported).signals(Batch.of(torch.zeros(2, 3, 8, 8), None, TASK))
    with pytest.raises(TeacherError, match=r"answers with the shape \(rows, 10\)") as caught:
        prepared(tmp_path / "plain.onnx", tuple("abc")).signals(batch)
    assert caught.value.expected == "3 numbers for each row: (rows, 3)"
    with pytest.raises(TeacherError, match="was asked before it was prepared"):
        OnnxTeacher(exported).signals(batch)
    with pytest.raises(TeacherError, match="has no layers"):
        OnnxTeacher(exported).prepare(Needs(teacher_layers=frozenset({"a"})), CLASSES)
    for words, message in (
        ({"outputs": "logit"}, "outputs='logit'"),
        ({"divide": 0}, "divide=0"),
        ({"floor": 1}, "floor=1"),
    ):
        with pytest.raises(TeacherError, match=message):
            OnnxTeacher(exported, **words)


def test_it_takes_as_many_threads_as_torch(exported: Path) -> None:
    teacher = prepared(exported)
    assert teacher._session.get_session_options().intra_op_num_threads == 1
    torch.set_num_threads(2)
    teacher.prepare(LOGITS, CLASSES)
    assert teacher._session.get_session_options().intra_op_num_threads == 2


RECIPE = "data: {{source: digits, valid: 0.1, test: 0.2}}\nteacher: '{}'\nstudent: mlp(size=8)\nbudget: 1 epochs\n"


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    softmaxed(Path("p (1).onnx"))
    zipmapped(Path("zip.onnx"))
    said = {
        "onnx:none.onnx": "there is no file none.onnx",
        "onnx:p (1).onnx(otputs=1)": "has no argument 'otputs'",
        "onnx:p (1).onnx(divide=1)": "the answers of onnx:p (1).onnx look like probabilities",
        'onnx:p (1).onnx(outputs="probability")': "outputs='probability' of onnx:p (1).onnx is unknown",
        "onnx:zip.onnx": "answers with a list of mappings",
    }
    for text, message in said.items():
        Path("mine.yaml").write_text(RECIPE.format(text))
        with pytest.raises(SystemExit) as left:
            main(["distill", "mine.yaml", "--to", "run", "--quiet"])
        assert left.value.code == 4
        assert message in capsys.readouterr().err
        assert not Path("run").exists()
