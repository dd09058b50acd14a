"""An artifact as C: compiled without a warning, held to ONNX Runtime, and refused where it cannot be."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx_files
import pytest
import small_artifacts

from limbeck.cli import main
from limbeck.errors import ModelError, RecipeError
from limbeck.firmware import building, emulation
from limbeck.firmware.folder import firmware
from limbeck.firmware.graph import prepared
from limbeck.firmware.meaning import identifier, literal
from limbeck_runtime.container import unsealed
from limbeck_runtime.predictor import array, load
from limbeck_runtime.scores import Watch

pytest.importorskip("emx_onnx_cgen", reason="needs the extra micro")
needs_compiler = pytest.mark.skipif(building.found(building.HOST) is None, reason="needs a C compiler")

ROW, NAMES = (2, 12), ("a", "b", "c")
ALERTS = {"watch": {"kind": "classes", "names": ["b"]}, "enter": 0.5, "leave": 0.1, "needed": 2, "of": 3, "budget": 4}


def mixed(folder: Path, **gru) -> bytes:
    """A convolution, a GRU with its direction said, a norm and a linear map, for any number of rows."""
    draw = np.random.default_rng(5)

    def weight(*shape):
        return (draw.standard_normal(shape) / math.sqrt(shape[-1])).astype(np.float32)

    directions = 2 if gru.get("direction") == "bidirectional" else 1
    nodes = [
        ("Sub", ["x", "shift"], ["centred"], {}),
        ("Conv", ["centred", "kernel", "bias"], ["wide"], {"kernel_shape": [3], "pads": [1, 1]}),
        ("Relu", ["wide"], ["kept"], {}),
        ("Transpose", ["kept"], ["steps"], {"perm": [2, 0, 1]}),
        (
            "GRU",
            ["steps", "input.weight", "state.weight", "biases"],
            ["states"],
            {"hidden_size": 5, "linear_before_reset": 1, "direction": "forward", **gru},
        ),
        ("Gather", ["states", "last"], ["ended"], {"axis": 0}),
        ("Transpose", ["ended"], ["turned"], {"perm": [1, 0, 2]}),
        ("Reshape", ["turned", "flat"], ["said"], {}),
        ("LayerNormalization", ["said", "scale", "offset"], ["normal"], {"axis": -1}),
        ("Gemm", ["normal", "head.weight", "head.bias"], ["y"], {"transB": 1}),
    ]
    width = 5 * directions
    weights = {
        "shift": np.array([[100.0], [1.0]], np.float32),
        "kernel": weight(4, 2, 3),
        "bias": weight(4),
        "input.weight": weight(directions, 15, 4),
        "state.weight": weight(directions, 15, 5),
        "biases": weight(directions, 30),
        "last": np.array(-1, np.int64),
        "flat": np.array([-1, width], np.int64),
        "scale": weight(width),
        "offset": weight(width),
        "head.weight": weight(3, width),
        "head.bias": weight(3),
    }
    to = onnx_files.made(folder / "mixed.onnx", nodes, row=ROW, outputs={"y": ["rows", 3]}, weights=weights)
    return to.read_bytes()


def rows(count=6):
    return (np.random.default_rng(2).standard_normal((count, *ROW)) * [[9.0], [1.0]] + [[99.0], [0.0]]).astype("f4")


def sealed(folder: Path, graph: bytes, **words) -> Path:
    words = {"name": "Mixed 1", "kind": "series", "names": ("gl", "carbs"), "alerts": ALERTS} | words
    return small_artifacts.made(folder, graph=graph, row=ROW, rows=rows(4), **words)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    return sealed(folder, mixed(folder))


@pytest.fixture(scope="module")
def emitted(artifact, tmp_path_factory):
    return firmware(artifact, tmp_path_factory.mktemp("emitted") / "mixed", rows=rows())


@needs_compiler
def test_c_answers_as_onnx_runtime_does(artifact, emitted):
    wanted = load(artifact).outputs(rows())
    off = np.abs(emitted.host.answers - wanted).max()
    assert emitted.host.answers.shape == (6, 3) and emitted.host.same
    assert 0 < off < 1e-5 and emitted.host.difference == pytest.approx(float(off), rel=1e-3)
    assert np.ptp(wanted, axis=0).min() > 0.01, "rows are told apart"
    assert emitted.code.least <= emitted.code.arena < emitted.code.apart / 2


@needs_compiler
def test_nodes_share_one_array_and_the_stack_stays_small(emitted):
    code = (emitted.folder / "mixed_1.c").read_text()
    assert f"static float mixed_1_graph_float_arena[{emitted.code.arena // 4}];" in code
    assert "malloc" not in code and "float tmp" not in code.replace("float (*const tmp", "").replace("float *const", "")
    facts = json.loads((emitted.folder / "sizes.json").read_text())
    assert facts["arena_bytes"] == emitted.code.arena and facts["rows"] == 6
    assert "rows of the data" in (emitted.folder / "README.md").read_text()


@needs_compiler
def test_the_self_test_notices_another_answer(emitted, tmp_path):
    copy = Path(shutil.copytree(emitted.folder, tmp_path / "copy"))
    golden = (copy / "golden.h").read_text()
    first = golden[golden.index("golden_answers[") :].split("{")[2].split(",")[0]
    changed = golden.replace(f"{{{first},", f"{{{literal(np.float32(float.fromhex(first[:-1]) + 0.01))},")
    assert changed != golden
    for text, same in ((golden, True), (changed, False), (golden.replace(f"{{{first},", "{NAN,"), False)):
        (copy / "golden.h").write_text(text)
        building.host_program(copy, emitted.sources, tmp_path / "selftest")
        said = emulation.run([str(tmp_path / "selftest")])
        assert said.same is same and said.answers.tobytes() == emitted.host.answers.tobytes()


@needs_compiler
def test_what_is_watched_is_the_same_number(artifact, emitted, tmp_path):
    program = tmp_path / "score.c"
    program.write_text(
        '#include <stdio.h>\n#include <string.h>\n#include "mixed_1_rule.h"\n#include "golden.h"\n'
        "int main(void) {\n    for (int row = 0; row < GOLDEN_ROWS; ++row) {\n        unsigned bits;\n"
        "        float score = mixed_1_score(golden_rows[row], golden_answers[row]);\n"
        '        memcpy(&bits, &score, 4);\n        printf("%u\\n", bits);\n    }\n'
        '    printf("%d %d %d\\n", mixed_1_rule.needed, mixed_1_rule.of, mixed_1_rule.budget);\n    return 0;\n}\n'
    )
    command = [building.found(building.HOST), *building.FLAGS, "-I", str(emitted.folder), str(program)]
    subprocess.run([*command, "-o", str(tmp_path / "score")], check=True)
    *scores, rule = subprocess.run([tmp_path / "score"], capture_output=True, text=True, check=True).stdout.splitlines()
    opened = load(artifact)
    wanted = Watch("classes", ("b",)).scores(opened.manifest, rows(), opened.outputs(rows()))
    assert np.array(list(map(int, scores)), np.uint32).tobytes() == wanted.tobytes()
    assert rule == "2 3 4"


def test_on_a_cortex_m4f_it_answers_alike(emitted):
    if emitted.board is None:
        pytest.skip(f"needs {emulation.missing()}")
    assert emitted.fits and emitted.board.same and 0 < emitted.board.stack < 4096
    assert emitted.board.answers == pytest.approx(emitted.host.answers, abs=1e-6)
    # 12 steps of a GRU with 5 units and a convolution: thousands of operations, not millions.
    assert 10_000 < emitted.board.instructions < 400_000
    # Beside the nodes: row, answer, 64 times of alerts, and a kilobyte of the C library's.
    assert (
        emitted.code.arena < emitted.sized.static < emitted.code.arena + 2048 and 5_000 < emitted.sized.flash < 40_000
    )


@needs_compiler
def test_bytes_go_in_as_bytes(tmp_path):
    graph = small_artifacts.linear(tmp_path, (3, 4), 3, "uint8", rows=1)
    reading = {"kind": "class", "names": ["a b", "int", "*/"]}
    path = small_artifacts.made(tmp_path, graph=graph, row=(3, 4), dtype="uint8", batch=1, reading=reading)
    found = firmware(path, tmp_path / "out", name="9 bytes")
    assert found.name == "student_9_bytes" and not found.real and found.host.same
    golden = array(load(path).manifest.golden.inputs, unsealed(path))
    assert found.host.answers == pytest.approx(load(path).outputs(golden), rel=1e-5)
    header = (found.folder / "student_9_bytes.h").read_text()
    assert "typedef uint8_t student_9_bytes_input;" in header and "STUDENT_9_BYTES_CLASS_A_B 0" in header


def test_attributes_that_say_their_default_are_dropped_and_shapes_are_numbers(tmp_path):
    """The translator takes a direction that is said for an unknown one, and knows no shape that is computed."""
    model = prepared(mixed(tmp_path))
    [gru] = [node for node in model.graph.node if node.op_type == "GRU"]
    assert {each.name for each in gru.attribute} == {"hidden_size", "linear_before_reset"}
    shapes = [value.type.tensor_type.shape.dim for value in (*model.graph.value_info, *model.graph.output)]
    assert all(size.dim_value > 0 for shape in shapes for size in shape)


def test_a_node_without_a_c_counterpart_is_named(tmp_path):
    path = sealed(tmp_path, mixed(tmp_path, direction="bidirectional"))
    with pytest.raises(ModelError, match=r"GRU .*direction"):
        firmware(path, tmp_path / "out")
    assert not (tmp_path / "out").exists() and [each.name for each in tmp_path.iterdir()] == ["mixed.onnx", path.name]


def test_several_rows_at_a_time_are_refused(tmp_path):
    graph = small_artifacts.linear(tmp_path, rows=4)
    path = small_artifacts.made(tmp_path, graph=graph, batch=4)
    with pytest.raises(ModelError, match="4 rows at a time"):
        firmware(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [(rows()[:0], "0 rows"), (np.zeros((65, *ROW), "f4"), "65 rows"), (np.zeros((2, 3), "f4"), "none of this student")],
)
def test_rows_that_are_none_are_refused(artifact, tmp_path, wrong, words):
    with pytest.raises(RecipeError, match=words):
        firmware(artifact, tmp_path / "out", rows=wrong)


def test_literals_are_read_back_bit_for_bit():
    for number in np.array([0.1, -0.0, 3.4e38, 1e-45, 1.0], np.float32):
        assert np.float32(float.fromhex(literal(number)[:-1])).tobytes() == number.tobytes()
    assert literal(np.float64(0.1)) == (0.1).hex()
    assert [literal(np.int64(n)) for n in (5, -(2**31) - 1, -(2**63))] == ["5", "INT64_C(-2147483649)", "INT64_MIN"]


def test_names_are_no_words_of_the_language():
    given = {
        "Heart beat": "heart_beat",
        "int": "student_int",
        "3d": "student_3d",
        "é!": "student",
        "golden": "student_golden",
    }
    assert {name: identifier(name) for name in given} == given


def said(capsys, *words):
    with pytest.raises(SystemExit) as left:
        main(list(map(str, words)))
    return left.value.code, capsys.readouterr()


def test_bad_input_on_the_command_line(artifact, tmp_path, capsys):
    code, out = said(capsys, "export", artifact, "--target", "c")
    assert code == 2 and "--to FOLDER" in out.err
    code, out = said(capsys, "export", artifact, "--target", "cc", "--to", tmp_path / "out")
    assert code == 2 and "no target 'cc'" in out.err
    code, out = said(capsys, "export", artifact, "--target", "c", "--to", tmp_path)
    assert code == 2 and "is there already" in out.err
    code, out = said(capsys, "export", artifact, "--target", "c", "--batch", 2, "--to", tmp_path / "out")
    assert code == 2 and "one row" in out.err
    damaged = tmp_path / "damaged.limbeck"
    damaged.write_bytes(artifact.read_bytes()[:-200] + b"x" + artifact.read_bytes()[-199:])
    code, out = said(capsys, "export", damaged, "--target", "c", "--to", tmp_path / "out")
    assert code == 4 and "damaged" in out.err and not (tmp_path / "out").exists()


@needs_compiler
def test_too_small_a_budget_is_said(artifact, tmp_path, capsys):
    code, out = said(
        capsys, "export", artifact, "--target", "c", "--to", tmp_path / "out", "--flash", 2, "--name", "tiny", "--json"
    )
    answer = json.loads(out.out)
    assert code == 0 and answer["name"] == "tiny" and answer["sizes"]["host_difference"] < 1e-5
    if answer["sizes"]["fits"] is None:
        pytest.skip(f"needs {emulation.missing()}")
    assert answer["sizes"]["fits"] is False and "BEYOND THE BUDGET of 2048 bytes" in " ".join(answer["notes"])
