"""The graph of an artifact as C needs it: one row at a time, no shape computed while it runs, nothing said twice."""

import tempfile
from pathlib import Path
from typing import Any

from limbeck.errors import ModelError


def prepared(content: bytes) -> Any:
    """An ONNX model of one row, in which every shape is a number.

    ONNX Runtime's basic optimiser folds what follows from that one row, such as the shapes by which a graph for any
    number of rows reshapes; it keeps to standard operators, and
    int8 weights stay int8. Attributes that only repeat their default are dropped: the
    translator reads `direction=forward` of a GRU as an unknown direction.

    Args:
        content: An ONNX file with one input and one output, whose first dimension counts rows.

    Raises:
        ModelError: When the graph takes several rows and no other number, or a shape depends on the row's values.
    """
    import onnx

    model = onnx.load_from_string(content)
    for value in (*model.graph.input, *model.graph.output):
        rows = value.type.tensor_type.shape.dim[0]
        if rows.HasField("dim_value") and rows.dim_value != 1:
            raise ModelError(
                f"the graph takes {rows.dim_value} rows at a time",
                expected="one row, or any number",
                remedy="export the run with --batch 1",
            )
        rows.Clear()
        rows.dim_value = 1
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(_folded(model), data_prop=True)
    for node in model.graph.node:
        _drop_defaults(node)
    _check_shapes(model)
    return model


def _folded(model: Any) -> Any:
    import onnx

    from limbeck_runtime.onnx_runtime import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = 1
    # It warns of initialisers that it removes, in which there is nothing for a person to do.
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        options.optimized_model_filepath = str(file)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(file)


def _drop_defaults(node: Any) -> None:
    import onnx

    try:
        known = onnx.defs.get_schema(node.op_type, domain=node.domain).attributes
    except onnx.defs.SchemaError:
        return
    for said in list(node.attribute):
        default = known[said.name].default_value if said.name in known else None
        # A default of type 0 is none.
        if default is not None and default.type and _value(default) == _value(said):
            node.attribute.remove(said)


def _value(attribute: Any) -> Any:
    import onnx

    return onnx.helper.get_attribute_value(attribute)


def _check_shapes(model: Any) -> None:
    known = {value.name: value for value in model.graph.value_info}
    for node in model.graph.node:
        for name in node.output:
            shape = known[name].type.tensor_type.shape.dim if name in known else ()
            if any(not size.HasField("dim_value") for size in shape):
                raise ModelError(
                    f"the shape of what {spelled(node)} says depends on the row",
                    expected="shapes that follow from the row's shape, as C needs to reserve their memory",
                )


def spelled(node: Any) -> str:
    """A node for people: its operator, its name, and the weight by which a person finds its module."""
    weights = [name for name in node.input if "." in name]
    path = weights[0].removeprefix("model.").removeprefix("network.").rpartition(".")[0] if weights else ""
    return f"{node.op_type} {node.name!r}" + (f" (module {path})" if path else "")
