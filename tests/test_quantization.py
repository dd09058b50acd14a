"""int8 graphs: their arithmetic by hand, their scales, what is left out, and the calibration rows they refuse."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from limbeck.errors import DataError
from limbeck.quantization.calibration import METHODS, ranges
from limbeck.quantization.dynamic import dynamic
from limbeck.quantization.graphs import asked, operations, prepared, slim, slimmed
from limbeck.quantization.mixed import damage, worst
from limbeck.quantization.static import static
from limbeck.quantization.weights import packed, weights

onnx = pytest.importorskip("onnx")

DRAW = np.random.default_rng(7)
ROWS = DRAW.standard_normal((96, 64)).astype(np.float32)
# Columns of very different sizes: one scale for all of them cannot serve the small ones.
WEIGHT = (DRAW.standard_normal((64, 10)) * np.logspace(-3, 0, 10)).astype(np.float32)


def linear(folder: Path, rows: Any = "rows") -> bytes:
    return onnx_files.linear(
        folder / "linear.onnx", weights={"w": WEIGHT}, rows=rows, outputs={"y": [rows, 10]}
    ).read_bytes()


def layers(folder: Path) -> bytes:
    """Three layers, the second of which has one weight so large that 8 bits leave nothing of the others."""
    sizes = [(64, 32), (32, 32), (32, 10)]
    held = {f"w{at}": (DRAW.standard_normal(size) / 6).astype(np.float32) for at, size in enumerate(sizes)}
    held["w1"][0, :] = 300.0
    held["w0"][:, 0] = 0.0  # and what it is multiplied by is 0, so that float32 does not see it
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("MatMul", ["x", "w0"], ["a"], {}),
        ("Tanh", ["a"], ["b"], {}),
        ("MatMul", ["b", "w1"], ["c"], {}),
        ("Tanh", ["c"], ["d"], {}),
        ("MatMul", ["d", "w2"], ["y"], {}),
    ]
    return onnx_files.made(folder / "layers.onnx", nodes, outputs={"y": ["rows", 10]}, weights=held).read_bytes()


def steps(low: float, high: float) -> tuple[np.float32, int]:
    """Scale and zero of unsigned 8-bit numbers that reach from low to high, and to 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    return scale, round(-low / float(scale))


def to_eight_bits(array: np.ndarray, scale: np.float32, zero: int) -> np.ndarray:
    return np.clip(np.rint(array / scale) + zero, 0, 255)


def test_static_arithmetic_by_hand(tmp_path: Path) -> None:
    graph = prepared(linear(tmp_path))
    said = asked(slim(static(graph, ranges(graph, ROWS, "minmax"))), ROWS)
    known = ROWS @ WEIGHT
    (scale, zero), (to, centre) = steps(ROWS.min(), ROWS.max()), steps(known.min(), known.max())
    own = np.abs(WEIGHT).max(axis=0) / 127
    sums = (to_eight_bits(ROWS, scale, zero) - zero) @ np.rint(WEIGHT / own)
    expected = (to_eight_bits(sums * scale * own, to, centre) - centre) * to
    steps_off = np.abs(said - expected) / to
    assert steps_off.max() < 1.01 and (steps_off > 0.01).mean() < 0.01  # a tie is rounded either way
    assert np.abs(said - known).max() > 0.1 * to  # and it is not float32 that answers


def test_dynamic_arithmetic_by_hand(tmp_path: Path) -> None:
    said = asked(slim(dynamic(prepared(linear(tmp_path)))), ROWS)
    scale = np.abs(WEIGHT).max() / 127
    for row, answer in zip(ROWS, said, strict=True):
        step, zero = steps(row.min(), row.max())
        sums = (to_eight_bits(row, step, zero) - zero) @ np.rint(WEIGHT / scale)
        np.testing.assert_allclose(answer, sums * step * scale, rtol=1e-3, atol=2 * step * scale)


def test_a_dynamic_graph_answers_one_row_at_a_time(tmp_path: Path) -> None:
    graph = onnx.load_from_string(slim(dynamic(prepared(linear(tmp_path)))))
    assert [end.type.tensor_type.shape.dim[0].dim_value for end in (*graph.graph.input, *graph.graph.output)] == [1, 1]


def test_a_scale_for_each_output_serves_small_ones(tmp_path: Path) -> None:
    graph, known = prepared(linear(tmp_path)), ROWS @ WEIGHT
    off = {}
    for per_channel in (True, False):
        said = asked(slim(weights(graph, per_channel=per_channel)), ROWS)
        off[per_channel] = np.sqrt(((said - known) ** 2).mean(axis=0)) / known.std(axis=0)
    assert off[True].max() < 0.01  # half a step of 127, in the mean over 64 products
    assert off[False][0] > 0.3 and off[False][-1] < 0.01


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32))
)
@settings(max_examples=50, deadline=None)
def test_packed_numbers_are_within_half_a_step(array: np.ndarray) -> None:
    for axis in (None, 0, 1, -1):
        whole, scale = packed(array, axis)
        assert whole.dtype == np.int8 and scale.size == (1 if axis is None else array.shape[axis])
        assert (np.abs(whole * scale - array) <= scale * 0.5 * (1 + 1e-5)).all()


def test_restored_weights_are_the_packed_ones(tmp_path: Path) -> None:
    graph = slim(weights(prepared(linear(tmp_path))))
    whole, scale = packed(WEIGHT, 1)
    np.testing.assert_allclose(asked(graph, ROWS), ROWS @ (whole * scale), rtol=1e-4, atol=1e-5)
    stored = [
        each for each in onnx.load_from_string(graph).graph.initializer if each.data_type == onnx.TensorProto.INT8
    ]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored[0]), whole)


def test_ranges_are_those_of_the_rows(tmp_path: Path) -> None:
    graph, rows = prepared(linear(tmp_path)), np.concatenate([ROWS, -ROWS])
    rows[5, 5] = 40.0
    found = {method: ranges(graph, rows, method)["x"].range_value for method in METHODS}
    np.testing.assert_array_equal(np.ravel(found["minmax"]), [rows.min(), 40.0])
    for method in ("percentile", "entropy"):
        assert np.ravel(found[method])[1] < 20.0  # one number in twelve thousand is not worth a step ten times as wide
    answers = rows @ WEIGHT
    np.testing.assert_allclose(
        np.ravel(ranges(graph, rows, "minmax")["y"].range_value), [answers.min(), answers.max()], rtol=1e-5
    )


def test_a_graph_for_four_rows_is_calibrated_on_all(tmp_path: Path) -> None:
    rows = ROWS[:7].copy()
    rows[6, 0] = 50.0  # in a batch that is not full
    found = ranges(prepared(linear(tmp_path, rows=4)), rows, "minmax")["x"].range_value
    np.testing.assert_array_equal(np.ravel(found), [rows.min(), 50.0])


def test_the_node_that_hurts_comes_first_and_leaving_it_helps(tmp_path: Path) -> None:
    graph = prepared(layers(tmp_path))
    scaled = ranges(graph, ROWS, "minmax")
    hurt = damage(graph, scaled, ROWS)
    products = [node.name for node in graph.graph.node if node.op_type == "MatMul"]
    assert worst(hurt, 1) == (products[1],) and list(hurt.values()) == sorted(hurt.values(), reverse=True)
    known = asked(graph.SerializeToString(), ROWS)
    off = {
        leaving: np.abs(asked(slim(static(graph, scaled, per_channel=False, leaving=leaving)), ROWS) - known).max()
        for leaving in ((), worst(hurt, 1), tuple(products))
    }
    assert off[worst(hurt, 1)] < 0.2 * off[()]
    assert off[tuple(products)] < 1e-5


def test_products_only_leaves_the_rest_in_float32(tmp_path: Path) -> None:
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = [
        ("MatMul", ["x", "w"], ["a"], {}),
        ("Softmax", ["a"], ["y"], {"axis": -1}),
    ]
    made = onnx_files.made(tmp_path / "m.onnx", nodes, outputs={"y": ["rows", 10]}, weights={"w": WEIGHT})
    graph = prepared(made.read_bytes())
    scaled = ranges(graph, ROWS, "minmax")
    said = asked(slim(static(graph, scaled, products_only=True)), ROWS)
    np.testing.assert_allclose(said.sum(axis=1), 1.0, atol=1e-6)
    everything = asked(slim(static(graph, scaled)), ROWS)
    assert np.unique(everything).size <= 256 < np.unique(said).size


def test_quantised_graphs_keep_their_input_and_output(tmp_path: Path) -> None:
    graph = prepared(linear(tmp_path))
    before = graph.SerializeToString()
    scaled = ranges(graph, ROWS, "minmax")
    for made in (static(graph, scaled), static(graph, scaled, activation="s8"), dynamic(graph), weights(graph)):
        found = onnx.load_from_string(slim(made)).graph
        assert [each.name for each in (*found.input, *found.output)] == ["x", "y"]
        assert all(len(tensor.name) < 5 for tensor in found.initializer) and not found.value_info
        assert any(tensor.data_type == onnx.TensorProto.INT8 for tensor in found.initializer)
    assert graph.SerializeToString() == before
    assert {"QuantizeLinear", "DequantizeLinear"} <= operations(static(graph, scaled))


def test_a_slim_graph_says_the_same_in_fewer_bytes(tmp_path: Path) -> None:
    graph = prepared(layers(tmp_path)).SerializeToString()
    small = slimmed(graph)
    np.testing.assert_array_equal(asked(small, ROWS), asked(graph, ROWS))
    assert len(small) < len(graph) and slimmed(small) == small
    assert [each.domain for each in onnx.load_from_string(small).opset_import] == [""]


def test_a_graph_within_a_graph_stays_as_it_is() -> None:
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, number, [1]) for name in ("x", "y")]
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "branch", [], [helper.make_tensor_value_info("z", number, [1])]
    )
    always = onnx.numpy_helper.from_array(np.array(True), "always")
    node = helper.make_node("If", ["always"], ["y"], then_branch=branch, else_branch=branch)
    graph = helper.make_model(helper.make_graph([node], "whole", ends[:1], ends[1:], [always])).SerializeToString()
    assert slimmed(graph) == graph


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (ROWS[:, :63], r"shape \(96, 63\).*\n.*shape \(64,\)"),
        (ROWS[:0], r"shape \(0, 64\)"),
        (ROWS.astype(np.float64), "float64"),
        (np.where(ROWS > 2, np.nan, ROWS), "NaN"),
    ],
)
def test_rows_that_are_none_of_the_graphs(tmp_path: Path, rows: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        ranges(prepared(linear(tmp_path)), rows, "minmax")


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    graph = linear(tmp_path)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    model = prepared(graph)
    for method in METHODS:
        slim(static(model, ranges(model, ROWS, method)))
    slim(dynamic(model))
    assert not list(folder.iterdir())
    assert capfd.readouterr().out == ""
