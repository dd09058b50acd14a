"""Wang et al., 2020 (MiniLM), equations 5 to 10: KL of attention and of value relations over heads and tokens."""

from lists_of_tokens import divergence_at, gathered, parts, seen, standing

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

PROMISES = Promises()


def cases() -> list[Case]:
    three, fused = {"student_layers": ("q", "k", "v"), "teacher_layers": ("Q", "K", "V")}, ("qkv",)
    prefixes = {"student_prefix": 1, "teacher_prefix": 1}
    return [
        case(
            three | {"heads": 2},
            student={"q": (3, 2), "k": (3, 2), "v": (3, 2)},
            teacher={"Q": (3, 4), "K": (3, 4), "V": (3, 6)},
            seed=1,
        ),
        case(
            {"student_layers": fused, "teacher_layers": ("QKV",), "heads": 1, **prefixes, "causal": True},
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
    student_prefix: int = 0,
    teacher_prefix: int = 0,
    causal: bool = False,
) -> Numbers:
    rows = []
    for row in range(len(batch)):
        q, k, v = parts(student, student_layers, row, student_prefix)
        their_q, their_k, their_v = parts(teacher, teacher_layers, row, teacher_prefix)
        places = standing(batch, row, len(q))
        values = {}
        for i in places:
            around = seen(i, places, causal)
            values[i] = divergence_at(i, around, heads, (their_q, their_k), (q, k))
            values[i] += divergence_at(i, around, heads, (their_v, their_v), (v, v))
        rows.append(gathered(values, batch, len(q)))
    return rows
