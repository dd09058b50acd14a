"""From a file to answers: loads an artifact, sees whether it says what it said when it was exported, and asks it."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from limbeck_runtime.container import unsealed
from limbeck_runtime.decoding import Answer, Floats, decoder
from limbeck_runtime.errors import ArtifactError, InputError
from limbeck_runtime.manifest import Array, Manifest, read
from limbeck_runtime.onnx_bytes import refuse_external_data
from limbeck_runtime.onnx_runtime import onnxruntime

_FATAL = 4
"""ONNX Runtime's log level: what is less than fatal is raised here, and need not stand on stderr too."""

_BUFFERED = 4
"""For so many numbers of rows buffers are kept; a device asks for one, or for one and a batch."""


@runtime_checkable
class Predictor(Protocol):
    """Arrays in, answers out. A cascade of predictors is a predictor."""

    def outputs(self, rows: npt.ArrayLike) -> Floats:
        """Numbers of shape (rows, ...), as the artifact's task means them, from raw rows."""
        ...

    def __call__(self, rows: npt.ArrayLike) -> list[Answer]:
        """A mapping a person can read for each row."""
        ...


class OnnxPredictor:
    """The graph of one artifact on this machine's processor.

    Args:
        manifest: Of the artifact.
        graph: Its ONNX bytes.
        threads: Of the processor; one is steadiest, and the fastest for small students.

    Raises:
        ArtifactError: When ONNX Runtime refuses the graph, or it takes or gives other numbers than the manifest says.
    """

    def __init__(self, manifest: Manifest, graph: bytes, *, threads: int = 1) -> None:
        if threads < 1:
            raise InputError(f"threads={threads}", expected="1 or more")
        self.manifest = manifest
        self._decode = decoder(manifest.output.reading, manifest.output.shape)
        self._session = _session(graph, threads)
        self._check_signature()
        self._bound: dict[int, _Bound] = {}

    def outputs(self, rows: npt.ArrayLike) -> Floats:
        """Numbers of shape (rows, *manifest.output.shape) from raw rows.

        Args:
            rows: Of shape (rows, *manifest.input.shape), or one row without its first dimension. Numbers that the
                manifest's type cannot hold are refused, never wrapped.

        Raises:
            InputError: When rows have another shape or type, or are not finite.
        """
        found = self.rows(rows)
        size = self.manifest.graph.batch
        if size is None or len(found) == size:
            return self._asked(found)
        return np.concatenate([self._asked(_filled(found[at : at + size], size)) for at in range(0, len(found), size)])[
            : len(found)
        ]

    def __call__(self, rows: npt.ArrayLike) -> list[Answer]:
        """A mapping a person can read for each row; as `outputs` otherwise."""
        return self._decode(self.outputs(rows))

    def decode(self, outputs: Floats) -> list[Answer]:
        """What outputs of shape (rows, *manifest.output.shape) mean."""
        return self._decode(outputs)

    def rows(self, rows: npt.ArrayLike) -> npt.NDArray[Any]:
        """Raw rows as the graph takes them; as `outputs` refuses them."""
        wanted = self.manifest.input
        found = np.asarray(rows)
        if found.shape == wanted.shape:
            found = found[None]
        if found.shape[1:] != wanted.shape or found.ndim != len(wanted.shape) + 1:
            shape = ", ".join(map(str, wanted.shape))
            raise InputError(f"rows of shape {found.shape}", expected=f"({shape}) or (rows, {shape})")
        if not len(found):
            raise InputError("no rows", expected="one row or more")
        return _typed(found, np.dtype(wanted.dtype))

    def warm_up(self, rows: int = 1, calls: int = 3) -> None:
        """Lays out the memory for so many rows at a time, so that the first real call takes as long as the next."""
        shape = (rows, *self.manifest.input.shape)
        for _ in range(calls):
            self.outputs(np.zeros(shape, self.manifest.input.dtype))

    def _asked(self, rows: npt.NDArray[Any]) -> Floats:
        if (bound := self._bound.get(len(rows))) is None:
            bound = _Bound(self._session, self.manifest, len(rows))
            if len(self._bound) < _BUFFERED:
                self._bound[len(rows)] = bound
        return bound.asked(rows)

    def _check_signature(self) -> None:
        graph, row, answer = self.manifest.graph, self.manifest.input, self.manifest.output
        ins, outs = self._session.get_inputs(), self._session.get_outputs()
        found = [(each.name, each.type, _sizes(each.shape)) for each in (*ins, *outs)]
        kinds = (_KINDS[np.dtype(row.dtype)], _KINDS[np.dtype("float32")])
        wanted = [
            (graph.input, kinds[0], (graph.batch, *row.shape)),
            (graph.output, kinds[1], (graph.batch, *answer.shape)),
        ]
        if len(ins) != 1 or len(outs) != 1 or found != wanted:
            raise ArtifactError(
                f"the graph takes and gives {found}", expected=f"{wanted}", remedy="export the run again"
            )


class _Bound:
    """Memory for one number of rows, given to ONNX Runtime once: a call copies the rows in and the outputs out."""

    def __init__(self, session: Any, manifest: Manifest, rows: int) -> None:
        self._session, graph = session, manifest.graph
        self._input = np.empty((rows, *manifest.input.shape), manifest.input.dtype)
        self._output = np.empty((rows, *manifest.output.shape), np.float32)
        self._binding = session.io_binding()
        for bind, name, array in (
            (self._binding.bind_input, graph.input, self._input),
            (self._binding.bind_output, graph.output, self._output),
        ):
            bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def asked(self, rows: npt.NDArray[Any]) -> Floats:
        np.copyto(self._input, rows)
        try:
            self._session.run_with_iobinding(self._binding)
        except _REFUSALS as error:
            raise ArtifactError(f"the graph could not be run: {error}", remedy="export the run again") from error
        if not np.isfinite(self._output).all():
            raise ArtifactError("the graph says NaN or infinity", expected="finite numbers", remedy="other inputs")
        return self._output.copy()


def load(path: str | os.PathLike[str], *, threads: int = 1, check: bool = True) -> OnnxPredictor:
    """Opens an artifact.

    Args:
        path: A file that `limbeck export` wrote.
        threads: Of the processor.
        check: Whether the golden rows are asked for, which takes the time of a few answers.

    Raises:
        ArtifactError: When the file is damaged, newer than this runtime, reads other files, or does not give on this
            machine what it gave when it was exported.
    """
    files = unsealed(Path(path))
    manifest = read(files)
    graph = files[manifest.graph.file]
    refuse_external_data(graph)
    predictor = OnnxPredictor(manifest, graph, threads=threads)
    if check:
        _check_golden(predictor, files)
    return predictor


def array(said: Array, files: Mapping[str, bytes]) -> npt.NDArray[Any]:
    """The numbers that a file of an artifact holds.

    Raises:
        ArtifactError: When it holds more or fewer than its shape says.
    """
    kind = np.dtype(said.dtype).newbyteorder("<")
    content = files[said.file]
    if len(content) != kind.itemsize * int(np.prod(said.shape)):
        raise ArtifactError(f"{said.file} does not hold {said.shape} numbers of {said.dtype}", remedy="export again")
    return np.frombuffer(content, kind).reshape(said.shape).astype(said.dtype)


def _check_golden(predictor: OnnxPredictor, files: Mapping[str, bytes]) -> None:
    golden = predictor.manifest.golden
    if golden.tolerance < 0:
        raise ArtifactError(f"the golden rows have a tolerance of {golden.tolerance}", expected="0 or more")
    said, known = predictor.outputs(array(golden.inputs, files)), array(golden.outputs, files)
    if not _alike(predictor.decode(known), golden.answers):
        raise ArtifactError(
            "the golden rows' answers are read otherwise than when the artifact was exported",
            remedy="export the run again",
        )
    off = float(np.abs(said - known).max())
    if not off <= golden.tolerance:
        raise ArtifactError(
            f"the graph answers {off:g} away from what it answered when it was exported",
            expected=f"at most {golden.tolerance:g} on the golden rows",
            remedy="another version of onnxruntime, or export the run again on this machine",
        )


def _alike(said: Any, known: Any) -> bool:
    """Whether two answers are one: the same names in the same order, and numbers that differ by rounding alone."""
    if isinstance(known, Mapping):
        return isinstance(said, Mapping) and [*said] == [*known] and all(_alike(said[k], known[k]) for k in known)
    if isinstance(known, list | tuple):
        return len(said) == len(known) and all(map(_alike, said, known))
    if isinstance(known, float) and isinstance(said, float):
        return math.isclose(said, known, rel_tol=1e-4, abs_tol=1e-6)
    return bool(said == known)


def _session(graph: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL
    try:
        # Without the fallback, which prints, and tries the same once more.
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except _REFUSALS as error:
        raise ArtifactError(f"ONNX Runtime refuses the graph: {error}", remedy="export the run again") from error


# ONNX Runtime's own errors share no class of their own but Exception.
_REFUSALS: tuple[type[Exception], ...] = (
    *(
        each
        for each in vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
        if isinstance(each, type) and issubclass(each, Exception)
    ),
    MemoryError,
    RuntimeError,
    ValueError,
)

_KINDS = {
    np.dtype("uint8"): "tensor(uint8)",
    np.dtype("int8"): "tensor(int8)",
    np.dtype("int16"): "tensor(int16)",
    np.dtype("int32"): "tensor(int32)",
    np.dtype("int64"): "tensor(int64)",
    np.dtype("float32"): "tensor(float)",
    np.dtype("float64"): "tensor(double)",
}


def _sizes(shape: list[Any]) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) else None for size in shape)


def _filled(rows: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """So many rows, the last one again where they are fewer: zeros are no reading."""
    if len(rows) == size:
        return rows
    return np.concatenate([rows, np.repeat(rows[-1:], size - len(rows), axis=0)])


def _typed(rows: npt.NDArray[Any], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    if rows.dtype.kind not in "biuf":
        raise InputError(f"rows of type {rows.dtype}", expected=f"numbers that {kind} holds")
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise InputError("the rows hold NaN or infinity", expected="finite numbers", remedy="a missing reading is no 0")
    if kind.kind in "iu":
        if rows.dtype.kind == "f" and (rows != np.floor(rows)).any():
            raise InputError(f"rows of type {rows.dtype} between whole numbers", expected=f"{kind}")
        bounds = np.iinfo(kind)
        if rows.min() < bounds.min or rows.max() > bounds.max:
            raise InputError(f"numbers from {rows.min()} to {rows.max()}", expected=f"{bounds.min} to {bounds.max}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused for that
        found = rows.astype(kind, copy=False)
    if kind.kind == "f" and not np.isfinite(found).all():
        raise InputError(f"numbers that {kind} cannot hold", expected="finite numbers")
    return found
