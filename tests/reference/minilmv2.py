"""Wang et al., 2020 (MiniLMv2), section 3.1: KL of relations of queries, of keys and of values, over relation heads."""

from lists_of_tokens import divergence_at, gathered, parts, seen, standing

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    three = {"student_layers": ("q", "k", "v"), "teacher_layers": ("Q", "K", "V")}
    prefixes = {"student_prefix": 1, "teacher_prefix": 1}
    return [
        case(
            three | {"heads": 2, "queries": 0.5, "values": 2.0},
            student={"q": (3, 2), "k": (3, 2), "v": (3, 2)},
            teacher={"Q": (3, 6), "K": (3, 4), "V": (3, 2)},
            seed=1,
        ),
        case(
            {"student_layers": ("qkv",), "teacher_layers": ("QKV",), "heads": 1, **prefixes, "causal": True},
            student={"qkv": (4, 6)},
            teacher={"QKV": (4, 6)},
            seed=2,
        ),
    ]


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layers: tuple[str, ...],
    teacher_layers: tuple[str, ...],
    heads: int,
    queries: float = 1.0,
    keys: float = 1.0,
    values: float = 1.0,
    student_prefix: int = 0,
    teacher_prefix: int = 0,
    causal: bool = False,
) -> Numbers:
    rows = []
    for row in range(len(batch)):
        ours = parts(student, student_layers, row, student_prefix)
        theirs = parts(teacher, teacher_layers, row, teacher_prefix)
        places = standing(batch, row, len(ours[0]))
        found = {
            i: sum(
                weight * divergence_at(i, seen(i, places, causal), heads, (their, their), (own, own))
                for weight, own, their in zip((queries, keys, values), ours, theirs, strict=True)
            )
            for i in places
        }
        rows.append(gathered(found, batch, len(ours[0])))
    return rows
