"""From a graph to C functions, by emx-onnx-cgen, with one entry, no allocator, and memory that is planned."""

import re
from dataclasses import dataclass
from typing import Any

from limbeck.errors import ModelError
from limbeck.firmware import arena
from limbeck.firmware.graph import spelled

_OPERATOR = re.compile(r" \* OpType: (\S+)\n.*?\*/\nEMX_NODE_FN void (\w+)\(", re.DOTALL)

# GCC 12.2 at -O2 gets a chain of such functions wrong once their arrays are known parts of one array: the heartbeat
# student in int8 answered 0.55 away, and is right at -O1, with -fno-ipa-cp, under clang, and here, where no function is
# looked into from another. Sanitisers find nothing in the sources.
_APART = """#if defined(__GNUC__) && !defined(__clang__)
#define EMX_NODE_FN static __attribute__((noipa))
#else
#define EMX_NODE_FN static
#endif

"""
_LOADER = re.compile(r"_Bool \w+_load\(const char \*path\) \{\n.*?\n\}\n\n?", re.DOTALL)
_WEIGHT = re.compile(r"\bweight(\d+)_(\w+)\b")


@dataclass(frozen=True)
class Translated:
    """A graph in C.

    Args:
        code: Functions of its nodes and the static entry `NAME_graph(input, output)`.
        weights: Arrays of constants.
        arena: Bytes of memory between nodes, static.
        least: Bytes below which no plan of that memory can go.
        apart: Bytes it would take if nothing were shared.
        nodes: How many steps there are.
        on_stack: Whether that memory lies on the stack, because the entry could not be planned.
    """

    code: str
    weights: str
    arena: int
    least: int
    apart: int
    nodes: int
    on_stack: bool


def translated(model: Any, name: str) -> Translated:
    """The C code of a prepared graph.

    Args:
        model: From `limbeck.firmware.graph.prepared`.
        name: Begins every name in it that other files see.

    Raises:
        ModelError: When the translator is not installed, or knows no C for a node, which is named.
    """
    code, weights = _compiled(model, f"{name}_graph")
    code = _LOADER.sub("", code)
    code, plan = _planned(code, f"{name}_graph")
    code = _APART + code + _entry(code, name)
    code, weights = (_WEIGHT.sub(rf"{name}_weight\1_\2", text) for text in (code, weights))
    if plan is None:
        return Translated(code, weights, 0, 0, 0, len(model.graph.node), True)
    return Translated(code, weights, plan.total, plan.least, plan.apart, len(plan.calls), False)


def _entry(code: str, name: str) -> str:
    """The function for others, which takes flat rows."""
    array = r"(const \w+|float) \w+\[restrict \d+\]((?:\[\d+\])*)"
    found = re.search(rf"void {name}_graph\({array}, {array}\) {{", code)
    assert found, f"{name}_graph takes no row and gives no answer"
    given, inner, said, outer = found.groups()
    row = f"({given} (*){inner})row" if inner else "row"
    answer = f"({said} (*){outer})answer" if outer else "answer"
    upper = name.upper()
    return (
        f"\nvoid {name}(const {name}_input row[{upper}_INPUTS], float answer[{upper}_OUTPUTS]) {{\n"
        f"    {name}_graph({row}, {answer});\n}}\n"
    )


def version() -> str:
    """Of the translator."""
    from importlib.metadata import version as installed

    return installed("emx-onnx-cgen")


def _compiled(model: Any, entry: str) -> tuple[str, str]:
    try:
        from emx_onnx_cgen import Compiler
        from emx_onnx_cgen.compiler import CompilerOptions
    except ImportError as error:
        raise ModelError(
            f"the package {error.name} is not installed",
            expected="the extra micro",
            remedy='pip install "limbeck[micro]"',
        ) from error
    # 0: no temporary comes from malloc, and no weight from a file.
    options = CompilerOptions(model_name=entry, large_temp_threshold_bytes=0, large_weight_threshold=0)
    try:
        code, weights = Compiler(options).compile_with_data_file(model)
    except Exception as error:  # the translator raises what its lowerings raise
        raise _untranslated(error, model) from error
    return str(code), str(weights)


def _untranslated(error: BaseException, model: Any) -> ModelError:
    said = " ".join(str(error).split())
    place = re.search(r"node_index=(\d+)", said)
    where = ""
    if place and int(place[1]) < len(model.graph.node):
        where = f": {spelled(model.graph.node[int(place[1])])}"
    else:
        named = [node for node in model.graph.node if re.search(rf"\b{re.escape(node.op_type)}\b", said)]
        where = f": {spelled(named[0])}" if named else ""
    reason = said.split(" (while lowering")[0][:300]
    return ModelError(
        f"the graph has a node that does not translate to C{where}: {reason}",
        expected="operators that emx-onnx-cgen knows in this form",
        remedy="another layer in the student's place, or a student of limbeck's own",
    )


def _planned(code: str, entry: str) -> tuple[str, arena.Plan | None]:
    """The code with its entry's arrays in shared memory; as it was where the entry is not plain."""
    pattern = rf"^void {entry}\((.*?)\) \{{\n(.*?)\n\}}$"
    found = re.search(pattern, code, re.DOTALL | re.MULTILINE)
    assert found, f"no {entry} in the translator's output"
    steps = arena.read(found[2])
    if steps is None:
        return f"{code[: found.start()]}static {code[found.start() :]}", None
    reshaping = [node for operator, node in _OPERATOR.findall(code) if operator in arena.RESHAPES]
    plan = arena.plan(steps, reshaping)
    for node in {call.node for call in steps.calls} - {call.node for call in plan.calls}:
        code = re.sub(rf"/\*\n(?: \*[^\n]*\n)+EMX_NODE_FN void {node}\(.*?\n\}}\n\n", "", code, flags=re.DOTALL)
    found = re.search(pattern, code, re.DOTALL | re.MULTILINE)
    assert found
    arrays, pointers = arena.declarations(plan, steps, entry)
    calls = "\n".join(f"    {call.node}({', '.join(call.arguments)});" for call in plan.calls)
    body = "\n".join(part for part in (pointers, calls) if part)
    start = f"{arrays}\n\n" if arrays else ""
    return f"{code[: found.start()]}{start}static void {entry}({found[1]}) {{\n{body}\n}}{code[found.end() :]}", plan
