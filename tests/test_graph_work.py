"""Parameters and multiply-accumulates of ONNX graphs, held to sums by hand and to torch's own count."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_files
import pytest

from limbeck.errors import ModelError
from limbeck.measures.graphs import Work, work

onnx = pytest.importorskip("onnx")


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def counted(folder: Path, nodes: Any, **words: Any) -> Work:
    return work(onnx_files.made(folder / "graph.onnx", nodes, **words).read_bytes())


def test_products(tmp_path: Path) -> None:
    found = counted(
        tmp_path,
        [("MatMul", ["x", "w"], ["h"], {}), ("Gemm", ["h", "v", "b"], ["y"], {"transB": 1})],
        row=(8,),
        outputs={"y": ["rows", 3]},
        weights={"w": floats(8, 5), "v": floats(3, 5), "b": floats(3)},
    )
    assert found == Work(8 * 5 + 3 * 5 + 3, 8 * 5 + 5 * 3)


def test_convolutions_count_the_channels_of_their_group_at_each_place(tmp_path: Path) -> None:
    found = counted(
        tmp_path,
        [
            ("Conv", ["x", "w"], ["h"], {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
            ("Conv", ["h", "v"], ["y"], {"group": 4}),
        ],
        row=(3, 8, 8),
        outputs={"y": ["rows", 4, 4, 4]},
        weights={"w": floats(4, 3, 3, 3), "v": floats(4, 1, 1, 1)},
    )
    assert found == Work(4 * 27 + 4, 4 * 4 * 4 * 27 + 4 * 4 * 4)


def test_attention_is_two_products_of_what_the_row_itself_says(tmp_path: Path) -> None:
    nodes = [
        ("Transpose", ["x"], ["t"], {"perm": [0, 2, 1]}),
        ("MatMul", ["x", "t"], ["scores"], {}),
        ("MatMul", ["scores", "x"], ["y"], {}),
    ]
    found = counted(tmp_path, nodes, row=(6, 5), outputs={"y": ["rows", 6, 5]})
    assert found == Work(0, 6 * 6 * 5 + 6 * 5 * 6)


def test_a_recurrence_counts_at_each_step(tmp_path: Path) -> None:
    nodes = [
        ("Transpose", ["x"], ["steps"], {"perm": [1, 0, 2]}),
        ("GRU", ["steps", "w", "r"], ["every", "last"], {"hidden_size": 4}),
        ("Squeeze", ["last", "axes"], ["y"], {}),
    ]
    found = counted(
        tmp_path,
        nodes,
        row=(7, 2),
        outputs={"y": ["rows", 4]},
        weights={"w": floats(1, 12, 2), "r": floats(1, 12, 4), "axes": np.array([0])},
    )
    assert found == Work(24 + 48, 7 * (24 + 48))


def test_scales_of_int8_are_no_parameters(tmp_path: Path) -> None:
    nodes = [
        ("DequantizeLinear", ["w", "s", "z"], ["d"], {"axis": 1}),
        ("MatMul", ["x", "d"], ["y"], {}),
    ]
    weights = {"w": np.ones((8, 3), np.int8), "s": floats(3), "z": np.zeros(3, np.int8)}
    found = counted(tmp_path, nodes, row=(8,), outputs={"y": ["rows", 3]}, weights=weights)
    assert found == Work(24, 24)


def test_what_is_not_counted_is_named(tmp_path: Path) -> None:
    nodes = [("Einsum", ["x", "w"], ["y"], {"equation": "bi,io->bo"})]
    found = counted(tmp_path, nodes, row=(8,), outputs={"y": ["rows", 3]}, weights={"w": floats(8, 3)})
    assert found == Work(24, 0, ("Einsum",))


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        work(b"no graph at all")
