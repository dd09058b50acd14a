"""Memory between the nodes of a graph: one array, in which those share a place that are never needed at once.

The translator gives each node's output an array of its own on the stack. Here the steps of its entry function are read
back, each array gets the span of steps from its first writer to its last reader, and then one after another the lowest
place that is free over its span. The order decides; four are tried, among them "greedy by size" and "greedy by breadth"
of Pisarchyk and Lee, 2020, https://arxiv.org/abs/2001.03288, section 5. Read: memory. Arrays that only change their
shape share the place of what they are made of, and what a node makes of weights alone is made where it is first read.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

BYTES = {"float": 4, "int8_t": 1, "uint8_t": 1, "_Bool": 1, "int16_t": 2, "uint16_t": 2}
BYTES |= {"int32_t": 4, "uint32_t": 4, "int64_t": 8, "uint64_t": 8, "double": 8}

# C lets characters share memory with any type, and every other type with itself only (C99, 6.5, 7): they live among
# the floats, whatever else there is in an array of its own.
_WITH_FLOATS = ("float", "int8_t", "uint8_t")
_STEP = 4
"""Bytes to which an offset is rounded up where characters and floats share an array."""

RESHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
_TEMPORARY = re.compile(r"    (\w+) (tmp\w*)((?:\[\d+\])+);")
_CALL = re.compile(r"    (\w+)\(([\w, ]*)\);")


@dataclass(frozen=True)
class Temporary:
    """An array between two nodes.

    Args:
        name: Its name in C.
        kind: Its type in C.
        shape: Sizes.
    """

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Of its numbers."""
        return math.prod(self.shape) * BYTES[self.kind]


@dataclass(frozen=True)
class Call:
    """One step of the entry function.

    Args:
        node: The function's name.
        arguments: Arrays; what is written stands last.
    """

    node: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Steps:
    """What the entry function does.

    Args:
        temporaries: By name.
        calls: In order.
    """

    temporaries: Mapping[str, Temporary]
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Place:
    """Where an array lies.

    Args:
        offset: In bytes, within the array of its type.
        size: In bytes.
        first: The step that writes it.
        last: The step that reads it last.
    """

    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Plan:
    """Places of all temporaries.

    Args:
        places: By name.
        bytes: Of each array that is shared, by type.
        least: What no plan can go below: the most bytes that are needed at one step.
        apart: What the temporaries take without sharing.
        calls: The steps that remain, in order.
    """

    places: Mapping[str, Place]
    bytes: Mapping[str, int]
    least: int
    apart: int
    calls: tuple[Call, ...]

    @property
    def total(self) -> int:
        """Bytes of all shared arrays."""
        return sum(self.bytes.values())


def read(body: str) -> Steps | None:
    """The steps of an entry function; None where it holds anything but declarations and calls."""
    temporaries: dict[str, Temporary] = {}
    calls: list[Call] = []
    for line in filter(None, body.split("\n")):
        if found := _TEMPORARY.fullmatch(line):
            kind, name, sizes = found.groups()
            if kind not in BYTES:
                return None
            temporaries[name] = Temporary(name, kind, tuple(map(int, re.findall(r"\d+", sizes))))
        elif found := _CALL.fullmatch(line):
            calls.append(Call(found[1], tuple(found[2].split(", "))))
        else:
            return None
    return Steps(temporaries, tuple(calls))


def plan(steps: Steps, reshaping: Sequence[str] = ()) -> Plan:
    """Gives every temporary its place.

    Args:
        steps: Of an entry function.
        reshaping: Functions that copy their first argument as it lies in memory; their calls are left out.
    """
    aliases = _aliases(steps, reshaping)
    kept = [call for call in steps.calls if call.arguments[-1] not in aliases]
    calls = _late([_renamed(call, aliases) for call in kept], steps)
    spans = _spans(calls, steps)
    groups: dict[str, list[str]] = {}
    for name in spans:
        groups.setdefault(_group(steps.temporaries[name].kind), []).append(name)
    places: dict[str, Place] = {}
    sizes: dict[str, int] = {}
    for group, names in groups.items():
        found = _placed(names, spans, steps)
        places |= found
        sizes[group] = max(place.offset + place.size for place in found.values())
    named = {name: places[_root(name, aliases)] for name in steps.temporaries if _root(name, aliases) in places}
    live = [sum(p.size for p in places.values() if p.first <= step <= p.last) for step in range(len(calls))]
    apart = sum(each.bytes for each in steps.temporaries.values())
    # Back to the names that the translator gave, whose types have the shapes that the functions expect.
    return Plan(named, sizes, max(live, default=0), apart, tuple(_originals(calls, kept, aliases)))


def declarations(found: Plan, steps: Steps, prefix: str) -> tuple[str, str]:
    """The shared arrays, and for each temporary a pointer into them, as C.

    Args:
        found: Where everything lies.
        steps: Of the same function.
        prefix: Begins the names of the arrays.
    """
    arrays = "\n".join(
        f"static {group} {prefix}_{group}_arena[{-(-size // BYTES[group])}];" for group, size in found.bytes.items()
    )
    used = {name for call in found.calls for name in call.arguments}
    pointers = []
    for name, place in found.places.items():
        if name not in used:
            continue
        kind, shape = steps.temporaries[name].kind, steps.temporaries[name].shape
        group, inner = _group(kind), "".join(f"[{size}]" for size in shape[1:])
        start = f"{prefix}_{group}_arena + {place.offset // BYTES[group]}"
        cast = f"({kind} (*){inner})" if inner else f"({kind} *)"
        left = f"{kind} (*const {name}){inner}" if inner else f"{kind} *const {name}"
        pointers.append(f"    {left} = {cast}({start});")
    return arrays, "\n".join(pointers)


def _group(kind: str) -> str:
    return "float" if kind in _WITH_FLOATS else kind


def _aliases(steps: Steps, reshaping: Sequence[str]) -> dict[str, str]:
    """For what is only another shape of a temporary: that temporary."""
    made = {
        call.arguments[-1]: call.arguments[0]
        for call in steps.calls
        if call.node in reshaping and {call.arguments[0], call.arguments[-1]} <= steps.temporaries.keys()
    }
    return made


def _root(name: str, aliases: Mapping[str, str]) -> str:
    while name in aliases:
        name = aliases[name]
    return name


def _renamed(call: Call, aliases: Mapping[str, str]) -> Call:
    return replace(call, arguments=tuple(_root(name, aliases) for name in call.arguments))


def _late(calls: list[Call], steps: Steps) -> list[Call]:
    """The same steps, those that read no temporary moved down to where their output is first read."""
    early = [
        call for call in calls if call.arguments[-1] in steps.temporaries and not _read(call) & steps.temporaries.keys()
    ]
    waiting = {call.arguments[-1]: call for call in early if not _of_row(call, steps)}
    ordered: list[Call] = []
    for call in calls:
        if waiting.get(call.arguments[-1]) is call:
            continue
        ordered += [waiting.pop(name) for name in call.arguments[:-1] if name in waiting]
        ordered.append(call)
    return ordered


def _read(call: Call) -> set[str]:
    return set(call.arguments[:-1])


def _of_row(call: Call, steps: Steps) -> bool:
    """Whether a step reads the row itself, which is where the work begins."""
    return any(not name.startswith("weight") and name not in steps.temporaries for name in call.arguments[:-1])


def _spans(calls: Sequence[Call], steps: Steps) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for step, call in enumerate(calls):
        for name in call.arguments:
            if name in steps.temporaries:
                spans[name] = (spans.get(name, (step, step))[0], step)
    return spans


def _placed(names: Sequence[str], spans: Mapping[str, tuple[int, int]], steps: Steps) -> dict[str, Place]:
    """Places of the arrays of one group, by whichever order takes least."""
    sizes = {name: -(-steps.temporaries[name].bytes // _STEP) * _STEP for name in names}
    found = [_in_order(order, spans, sizes) for order in _orders(names, spans, sizes)]
    return min(found, key=lambda places: max(place.offset + place.size for place in places.values()))


def _orders(
    names: Sequence[str], spans: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]
) -> Iterator[list[str]]:
    """By size; by size and how long it is needed; as they are written; and step by step, the fullest first."""
    yield sorted(names, key=lambda name: (-sizes[name], spans[name], name))
    yield sorted(names, key=lambda name: (-sizes[name] * (1 + spans[name][1] - spans[name][0]), spans[name], name))
    yield sorted(names, key=lambda name: (spans[name], -sizes[name], name))
    live = [
        [name for name in names if spans[name][0] <= step <= spans[name][1]]
        for step in range(1 + max(last for _, last in spans.values()))
    ]
    fullest = sorted(live, key=lambda there: -sum(sizes[name] for name in there))
    yield list(dict.fromkeys(name for there in fullest for name in sorted(there, key=lambda name: -sizes[name])))


def _in_order(order: Sequence[str], spans: Mapping[str, tuple[int, int]], sizes: Mapping[str, int]) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for name in order:
        (first, last), size, offset = spans[name], sizes[name], 0
        for other in sorted(found.values(), key=lambda place: place.offset):
            if other.first <= last and first <= other.last and other.offset < offset + size:
                offset = max(offset, other.offset + other.size)
        found[name] = Place(offset, size, first, last)
    return found


def _originals(calls: Sequence[Call], kept: Sequence[Call], aliases: Mapping[str, str]) -> list[Call]:
    by_output = {_renamed(call, aliases).arguments[-1]: call for call in kept}
    return [by_output[call.arguments[-1]] for call in calls]
