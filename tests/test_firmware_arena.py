"""Memory between nodes, executed: what a node wrote is what its readers find, in any graph of steps."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.firmware.arena import BYTES, Call, Plan, Steps, Temporary, declarations, plan, read

KINDS = ("float", "int8_t", "uint8_t", "int64_t", "int32_t")


@st.composite
def programs(draw):
    """Steps that each write an array and read earlier ones, weights or the row; some only reshape."""
    arrays, calls = {}, []
    for number in range(draw(st.integers(1, 24))):
        earlier = list(arrays)
        shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
        taken = draw(st.lists(st.sampled_from([*earlier, "row", f"weight{number}_w"]), min_size=1, max_size=3))
        node, kind = f"node{number}", draw(st.sampled_from(KINDS))
        if taken[0] in arrays and draw(st.booleans()):
            node, kind, shape = f"reshape{number}", arrays[taken[0]][0], arrays[taken[0]][1][::-1]
            taken = taken[:1]
        name = f"tmp{number}_x"
        arrays[name] = (kind, shape)
        calls.append((node, (*taken, name)))
    last = draw(st.sampled_from(list(arrays)))
    return arrays, [*calls, ("node_last", (last, "answer"))]


def executed(steps: Steps, calls, found: Plan | None):
    """What the last step reads, as an expression; with a plan, through its bytes."""
    memory: dict[object, object] = {}

    def cells(name):
        if found is None:
            return [name]
        kind, place = steps.temporaries[name].kind, found.places[name]
        size = steps.temporaries[name].bytes
        group = "float" if kind in ("float", "int8_t", "uint8_t") else kind
        assert place.offset % BYTES[group] == 0 and place.offset + size <= found.bytes[group]
        return [(group, place.offset + byte) for byte in range(size)]

    def value(name):
        if name not in steps.temporaries:
            return name
        held = {memory[cell] for cell in cells(name)}
        assert len(held) == 1, f"{name} was overwritten"
        return held.pop()

    for call in calls:
        *taken, to = call.arguments
        said = value(taken[0]) if call.node.startswith("reshape") else (call.node, *map(value, taken))
        if to == "answer":
            return said
        for cell in cells(to):
            memory[cell] = said
    raise AssertionError("no answer")


@settings(max_examples=100, deadline=None)
@given(programs())
def test_a_planned_program_says_what_it_said_with_an_array_for_each_node(drawn):
    arrays = {name: Temporary(name, *each) for name, each in drawn[0].items()}
    steps = Steps(arrays, tuple(Call(*each) for each in drawn[1]))
    reshaping = [call.node for call in steps.calls if call.node.startswith("reshape")]
    found = plan(steps, reshaping)
    assert executed(steps, found.calls, found) == executed(steps, steps.calls, None)
    assert found.least <= found.total <= sum(-(-each.bytes // 4) * 4 for each in steps.temporaries.values())
    assert not {call.node for call in found.calls} & set(reshaping)


def chain(sizes) -> Steps:
    arrays = {f"tmp{place}_x": Temporary(f"tmp{place}_x", "float", (size,)) for place, size in enumerate(sizes)}
    calls = [
        Call(f"node{place}", ("row" if not place else f"tmp{place - 1}_x", name)) for place, name in enumerate(arrays)
    ]
    return Steps(arrays, tuple(calls))


def test_a_chain_needs_its_two_largest_neighbours_and_no_more():
    found = plan(chain([10, 300, 200, 10, 260, 50]))
    assert found.total == found.least == 4 * 500
    assert found.apart == 4 * 830


def test_what_only_changes_its_shape_is_not_copied():
    body = "    float tmp0_a[1][6];\n    float tmp1_b[2][3];\n    node0(row, tmp0_a);\n    node1(tmp0_a, tmp1_b);\n"
    steps = read(body + "    node2(tmp1_b, answer);")
    assert steps is not None
    found = plan(steps, ["node1"])
    assert [call.node for call in found.calls] == ["node0", "node2"] and found.total == 24
    arrays, pointers = declarations(found, steps, "net")
    assert arrays == "static float net_float_arena[6];"
    assert "float (*const tmp1_b)[3] = (float (*)[3])(net_float_arena + 0);" in pointers


def test_weights_are_unpacked_where_they_are_read():
    """Else all of them would lie in memory from the beginning."""
    arrays = {f"tmp{place}_x": Temporary(f"tmp{place}_x", "float", (100,)) for place in range(6)}
    unpacked = [Call(f"unpack{place}", (f"weight{place}_w", f"tmp{place}_x")) for place in range(3)]
    used = [Call(f"node{place}", (f"tmp{place - 1}_x" if place > 3 else "row", f"tmp{place - 3}_x", f"tmp{place}_x"))
            for place in range(3, 6)]  # fmt: skip
    found = plan(Steps(arrays, (*unpacked, *used)))
    assert [call.node for call in found.calls] == ["unpack0", "node3", "unpack1", "node4", "unpack2", "node5"]
    assert found.total == found.least == 1200


def test_types_that_may_not_share_memory_do_not():
    body = "    int64_t tmp0_a[3];\n    int8_t tmp1_b[3];\n    float tmp2_c[5];\n"
    steps = read(body + "    node0(row, tmp0_a);\n    node1(tmp0_a, tmp1_b);\n    node2(tmp1_b, tmp2_c);")
    assert steps is not None
    found = plan(steps)
    assert found.bytes == {"int64_t": 24, "float": 24} and found.places["tmp2_c"].offset % 4 == 0
    assert math.prod(steps.temporaries["tmp2_c"].shape) == 5


def test_a_body_with_anything_else_is_left_as_it_is():
    assert read("    float tmp0_a[3];\n    if (n) return;") is None
    assert read("    complex tmp0_a[3];") is None
