"""An ONNX file as a teacher: a network of any framework, answered by ONNX Runtime on the CPU."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows
from limbeck.errors import TeacherError, did_you_mean
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals
from limbeck.teachers.answers import (
    FLOOR,
    distributions,
    existing,
    fitting,
    log_probabilities,
    placed,
    refuse_layers,
    refuse_likely_probabilities,
    refuse_outside,
    refuse_unknown,
    refuse_width,
)

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")


class OnnxTeacher:
    """A network in an ONNX file.

    The file must have one input that is not filled from the file itself, whose first dimension counts rows. Rows are
    given as the data holds them, in the input's type: nothing is scaled, resized or normalised unless `divide` or
    `transform` say so, and a conversion that would change a number is refused (rounding a wider float to a narrower one
    is not). Rows are flattened where the network reads flat rows of as many numbers. Where the file fixes how many rows
    it reads at once, batches are split and the last one filled up with copies of its first row, which are dropped.

    The runtime uses as many threads as torch does when `prepare` is called, so that a settled run gives the same bits
    again. It makes no connection, and loads no file but this one and the weights beside it that it names.

    The fingerprint is a SHA-256 over the bytes of the file and of those weights, and the arguments.

    Args:
        path: The file.
        outputs: What the answers are: `logits`, `probabilities` (their logarithms become the logits; see
            `log_probabilities`) or `values`. When left out, what the file's metadata says under the key "outputs", else
            logits; answers that are probabilities by their looks are then refused.
        tensor: The name of the output to read; when left out, the only one of float type with two or more dimensions.
        divide: Divides the rows before they are given, for example 255 for a network that was trained on 0..1.
        floor: The least probability; see `log_probabilities`.
        transform: A module from raw rows to what the file reads, in place of `divide`.
        name: What reports call it; `onnx:PATH` when left out.

    Raises:
        TeacherError: When the file is missing, damaged, names files outside of its folder, or has inputs or outputs
            that cannot be used, or an argument is out of its range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        outputs: str | None = None,
        tensor: str | None = None,
        divide: float | None = None,
        floor: float = FLOOR,
        transform: nn.Module | None = None,
        name: str | None = None,
    ) -> None:
        self.path, self.name = existing(Path(path), "an ONNX file"), name or f"onnx:{path}"
        refuse_unknown(outputs, self.name)
        refuse_outside("floor", floor, self.name)
        if divide is not None and (isinstance(divide, bool) or not isinstance(divide, int | float) or not divide > 0):
            raise TeacherError(f"divide={divide!r} of {self.name} is out of range", expected="a number above 0")
        self.divide, self.floor, self.transform = divide, float(floor), transform
        self.views: int | None = None
        self._content, weights = self.path.read_bytes(), _weights(self.path, self.name)
        facts = repr((outputs, tensor, divide, floor))
        self.fingerprint = _hash(
            self._content, *(place.read_bytes() for place in weights), facts.encode(), _told(transform)
        )
        # With weights beside it the runtime must find them; without, it gets the very bytes that were hashed.
        self._source: Any = str(self.path) if weights else self._content
        self._threads, self._session = 0, self._opened()
        self._input, self._output = self._only_input(), self._chosen_output(tensor)
        said = self._session.get_modelmeta().custom_metadata_map
        self.outputs = outputs or said.get("outputs")
        refuse_unknown(self.outputs, self.name)
        self.classes = _classes(said, self.name)
        self._ready, self._warned, self._wanted = False, False, tuple[str, ...]()
        self._order: list[int] | None = None

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """Maps its classes, where the metadata names them (key "classes", a JSON list), to the data's by name.

        Without names its outputs are taken to be in the data's order. Classes the data does not have are left out.

        Raises:
            TeacherError: When features are asked for, or a class of the data is unknown to the file.
        """
        refuse_layers(needs, self.name)
        self._order = fitting(self.classes, classes, f"the teacher {self.name}", more=True) if self.classes else None
        self._ready, self._wanted = True, tuple(classes)
        if self._threads != torch.get_num_threads():
            self._session = self._opened()

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """A network answers any rows in any view."""

    def signals(self, batch: Batch) -> Signals:
        """Logits (or values) in float32, in the data's class order.

        Raises:
            TeacherError: When it was not prepared, cannot read the rows, or answers with what it should not.
        """
        if not self._ready:
            raise TeacherError(f"{self.name} was asked before it was prepared", remedy="call prepare first")
        numbers = torch.from_numpy(self._asked(self._rows(batch.inputs)))
        if not bool(numbers.isfinite().all()) and self.outputs == "probabilities":
            raise TeacherError(f"an answer of {self.name} is not finite", expected="finite numbers")
        width = len(self.classes) if self.classes else batch.task.output_size(self._wanted)
        refuse_width(numbers, width, self.name)
        if self.outputs is None:
            refuse_likely_probabilities(numbers, self.name, 'outputs="probabilities"')
        if self.outputs == "probabilities":
            if not bool(distributions(numbers).all()):
                raise TeacherError(f"answers of {self.name} are no probabilities", remedy='outputs="logits"')
            numbers = log_probabilities(numbers, self.floor)
        return Signals.dense(placed(numbers.float(), self._order).to(batch.inputs.device))

    def to(self, device: torch.device) -> "OnnxTeacher":
        """Itself: the runtime answers on the CPU, and its answers go where the batch is."""
        return self

    def _opened(self) -> Any:
        try:
            from limbeck_runtime.onnx_runtime import onnxruntime
        except ModuleNotFoundError as error:
            raise _missing("onnxruntime") from error
        self._threads = torch.get_num_threads()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.use_deterministic_compute, options.log_severity_level = True, 4
        try:
            return onnxruntime.InferenceSession(self._source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has no error of its own for a bad file
            raise TeacherError(
                f"{self.path} cannot be opened: {error}",
                expected="a network ONNX Runtime can run, without own operators",
            ) from error

    def _only_input(self) -> Any:
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs) or "none"
            raise TeacherError(
                f"{self.path} has {len(inputs)} inputs: {names}",
                expected="one input, the rows",
                remedy="export the network with one input, the others fixed",
            )
        if inputs[0].type not in _TYPES or not inputs[0].shape:
            raise TeacherError(
                f"the input {inputs[0].name} of {self.path} is {inputs[0].type} {inputs[0].shape}",
                expected=f"numbers for rows: {', '.join(_TYPES)}",
            )
        return inputs[0]

    def _chosen_output(self, tensor: str | None) -> str:
        found = {one.name: one for one in self._session.get_outputs()}
        listed = ", ".join(f"{one.name} {one.type} {one.shape}" for one in found.values())
        if tensor is not None:
            if tensor not in found:
                raise TeacherError(f"{self.path} has no output {tensor!r}", remedy=did_you_mean(tensor, found))
            fit = [tensor] if found[tensor].type in _FLOATS else []
        else:
            fit = [name for name, one in found.items() if one.type in _FLOATS and len(one.shape) >= 2]
        if len(fit) == 1:
            return fit[0]
        if not fit and any(one.type.startswith(("seq", "map")) for one in found.values()):
            raise TeacherError(
                f"{self.path} answers with a list of mappings, not a table: {listed}",
                expected="an output of the shape (rows, classes)",
                remedy='convert the estimator again without it: to_onnx(..., options={"zipmap": False})',
            )
        if not fit:
            raise TeacherError(
                f"{self.path} has no output of numbers a row: {listed}", expected="floats (rows, classes)"
            )
        raise TeacherError(
            f"{self.path} has {len(fit)} outputs that may be meant: {listed}",
            expected="the name of one",
            remedy=f"{self.name}(tensor={fit[0]!r})",
        )

    def _rows(self, inputs: Shaped[Tensor, "rows ..."]) -> Shaped[np.ndarray, "rows ..."]:
        """Rows in the shape and type of the network's input."""
        with torch.no_grad():
            rows = inputs.detach().cpu()
            if self.transform is not None:
                rows = self.transform.eval().cpu()(rows)
            elif self.divide is not None:
                rows = (rows if rows.is_floating_point() else rows.float()) / self.divide
            elif rows.dtype == torch.uint8 and self._input.type in _FLOATS and not self._warned:
                self._warned = True
                warnings.warn(
                    f"bytes (0..255) are given to {self.name} as they are, as {self._input.type}; divide=255 if it was "
                    "trained on 0..1, divide=1 if this is right",
                    stacklevel=4,
                )
            if rows.dtype == torch.bfloat16:
                rows = rows.float()
        wanted = self._input.shape[1:]
        whole = [size for size in wanted if isinstance(size, int)]
        if len(wanted) == 1 and rows.ndim > 2 and (not whole or rows[0].numel() == whole[0]):
            rows = rows.flatten(1)
        given = tuple(rows.shape[1:])
        if len(given) != len(wanted) or any(
            isinstance(size, int) and size != have for size, have in zip(wanted, given, strict=True)
        ):
            raise TeacherError(
                f"a row of the data has the shape {given}",
                expected=f"{tuple(wanted)}, the input {self._input.name} of {self.path}",
                remedy="images have their channels first here; give a transform that brings the rows into shape",
            )
        return _converted(rows.numpy(), np.dtype(_TYPES[self._input.type]), self._input.name)

    def _asked(self, rows: Shaped[np.ndarray, "rows ..."]) -> Float[np.ndarray, "rows ..."]:
        fixed = self._input.shape[0]
        size = fixed if isinstance(fixed, int) and fixed > 0 else len(rows)
        answers = []
        for start in range(0, len(rows), size):
            piece = rows[start : start + size]
            filled = np.concatenate([piece, np.repeat(piece[:1], size - len(piece), axis=0)])
            try:
                said = self._session.run([self._output], {self._input.name: filled})[0]
            except Exception as error:  # the runtime has no error of its own for this
                raise TeacherError(
                    f"{self.name} cannot answer these rows: {error}", expected="rows as the network was exported for"
                ) from error
            if len(said) != size:
                raise TeacherError(f"{self.name} answers {len(said)} rows where {size} were asked")
            answers.append(np.asarray(said, dtype=np.float32)[: len(piece)])
        return np.concatenate(answers)


def _converted(rows: np.ndarray, wanted: np.dtype, name: str) -> np.ndarray:
    """Rows in another type.

    Raises:
        TeacherError: When a number would become another one (more than by rounding one float type to another).
    """
    if rows.dtype == wanted:
        return rows
    with np.errstate(over="ignore", invalid="ignore"):
        changed = rows.astype(wanted)
        if rows.dtype.kind == "f" and wanted.kind == "f":
            same = np.isfinite(changed) | ~np.isfinite(rows)
        else:
            same = changed.astype(rows.dtype) == rows
    if not same.all():
        value = rows[~same].flat[0]
        raise TeacherError(
            f"the rows hold {value}, and the input {name} is of type {wanted}",
            expected=f"numbers that {wanted} holds",
            remedy="divide=255 for bytes into a network of 0..1, or a transform that brings them into its range",
        )
    return changed


def _weights(path: Path, name: str) -> list[Path]:
    """The files beside a network that hold its weights, in the order of their names.

    Raises:
        TeacherError: When the file is no ONNX file, or one of these is missing or outside of its folder.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise _missing("onnx") from error
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own errors
        raise TeacherError(f"{path} is no ONNX file: {error}", expected="a network exported to ONNX") from error
    graphs = [model.graph, *model.functions]
    names = {
        entry.value
        for graph in graphs
        for tensor in _tensors(graph)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    folder, found = path.resolve().parent, []
    for location in sorted(names):
        place = (folder / location).resolve()
        if not place.is_relative_to(folder):
            raise TeacherError(
                f"{path} names weights outside of its folder: {location!r}",
                expected="files beside it",
                remedy="do not use this file unless you know who made it",
            )
        found.append(existing(place, f"the weights that {path.name} names"))
    return found


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor a graph or function holds, those of graphs inside of it included."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _classes(said: dict[str, str], name: str) -> tuple[str, ...]:
    if "classes" not in said:
        return ()
    try:
        names = json.loads(said["classes"])
    except ValueError:
        names = None
    if not isinstance(names, list) or not names:
        raise TeacherError(
            f'the metadata of {name} hold "classes": {said["classes"][:60]!r}', expected='a JSON list: ["cat", "dog"]'
        )
    return tuple(str(one) for one in names)


def _told(transform: nn.Module | None) -> bytes:
    from limbeck.model import Model

    return b"" if transform is None else Model(nn.Identity(), transform).fingerprint().encode()


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:32]


def _missing(package: str) -> TeacherError:
    return TeacherError(f"{package} is not installed", remedy="pip install 'limbeck[onnx]'")
