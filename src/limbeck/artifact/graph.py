"""From a trained model to ONNX: one graph from raw rows to outputs in the labels' unit, by torch's own exporter."""

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limbeck.errors import ModelError
from limbeck.model import Model

INPUT, OUTPUT = "inputs", "outputs"
OPSET = 18
"""The newest that microcontroller compilers and ONNX Runtime's quantiser both read."""


class _Answering(nn.Module):
    """A model whose answers are float32 whatever it was trained in."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Shaped[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        return self.model(inputs).float()


def onnx_bytes(model: Model, rows: Shaped[Tensor, "2 ..."], *, batch: int | None = None) -> bytes:
    """The ONNX file of a model, its input transform and the mapping to the data's classes and units included.

    Args:
        model: Trained; it is copied, not changed.
        rows: Two raw rows or more, as the data holds them, by which the model is traced.
        batch: How many rows the graph takes at a time; None: any number.

    Raises:
        ModelError: When a part of the model cannot be traced or has no ONNX operation; it is named.
    """
    _require()
    alone = _Answering(copy.deepcopy(model).to("cpu").float()).eval()
    shown = rows[:2] if batch is None else rows[:1].expand(batch, *rows.shape[1:]).contiguous()
    dynamic = None if batch is not None else ({0: torch.export.Dim("rows", min=1)},)
    with _quiet():
        try:
            program = torch.export.export(alone, (shown,), dynamic_shapes=dynamic, strict=False)
        except Exception as error:  # what tracing somebody's network raises is anything
            raise _untraceable(error, alone, shown) from error
        try:
            made = torch.onnx.export(
                program,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter wraps what each of its passes raises
            raise _untranslatable(error, program) from error
    assert made is not None
    return _plain(made.model_proto)


def _plain(proto: Any) -> bytes:
    """The graph without what only the exporter needs: its metadata, which names files of this machine."""
    import onnx

    proto.producer_name, proto.producer_version, proto.doc_string = "limbeck", "", ""
    del proto.metadata_props[:]
    for part in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    del proto.graph.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def _untraceable(error: BaseException, model: nn.Module, rows: Shaped[Tensor, "rows ..."]) -> ModelError:
    said = " ".join(str(error).split())
    place = _stopped_in(model, rows)
    where = f" in {place}" if place else ""
    return ModelError(
        f"the student cannot be traced{where}: {type(error).__name__}: {said[:300]}",
        expected="a network whose path does not depend on its inputs' values",
        remedy="torch.where in the place of if, shapes that follow from the row's shape",
    )


def _untranslatable(error: BaseException, program: Any) -> ModelError:
    said: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        said.append(" ".join(str(cause).split()))
        cause = cause.__cause__
    found = re.search(r"(aten|torchvision|prims|quantized)[.:]+(\w+)", " ".join(said))
    name = found[2] if found else ""
    # The exporter names the part it took an operation apart into: prims.bessel_i0e of aten.special_i0e.
    keys = dict.fromkeys((name, name.rpartition("_")[2])) if name else ()
    nodes = [node for key in keys for node in program.graph.nodes if key in str(node.target)]
    places = [place for node in nodes for place in _place(node)]
    where = f" in {places[0]}" if places else ""
    return ModelError(
        f"the operation {found[0] if found else 'of unknown name'}{where} has no ONNX counterpart: {said[-1][:300]}",
        expected="operations that torch.onnx exports",
        remedy="another layer in the student's place, or a student of limbeck's own",
    )


def _stopped_in(model: nn.Module, rows: Shaped[Tensor, "rows ..."]) -> str:
    """The path of the innermost module whose forward was running when tracing stopped; it is traced again."""
    running: list[str] = []
    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, path=path: running.append(path)))
        handles.append(module.register_forward_hook(lambda *_: running.pop() and None))
    with suppress(Exception):  # as it did before
        torch.export.export(model, (rows,), strict=False)
        running.clear()
    for handle in handles:
        handle.remove()
    return running[-1].removeprefix("model.") if running else ""


def _place(node: Any) -> list[str]:
    """The path of the module whose code made a node of the traced program, as `named_modules` writes it."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [path.removeprefix("L['self'].").removeprefix("model.") for path, _ in stack.values()]
    return [path for path in paths[-1:] if path]


def _require() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401

        from limbeck_runtime.onnx_runtime import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"the package {error.name} is not installed",
            expected="the extra onnx",
            remedy='pip install "limbeck[onnx]"',
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports its own passes as warnings and log lines, in which there is nothing for a person to do."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
