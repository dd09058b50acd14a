"""Jiao et al., 2019, equations 7 to 9: mean squared errors of scores, and of hidden states and embeddings times W."""

from lists_of_tokens import gathered, parts, related, seen, standing

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal models do not give zero: the matrices start from random weights.
PROMISES = Promises(zero_when_equal=False)


def cases() -> list[Case]:
    hidden = {"student_hidden": ("a", "b"), "teacher_hidden": ("A", "B")}
    embedding = {"student_embedding": "e", "teacher_embedding": "E", "teacher_prefix": 1}
    attention = {"student_attention": (("q", "k"), ("qkv",)), "teacher_attention": (("QKV",), ("Q", "K")), "heads": 2}
    states = {"a": (3, 2), "b": (3, 2)}, {"A": (3, 3), "B": (3, 3)}
    return [
        case(hidden, student=states[0], teacher=states[1], seed=1),
        case(embedding, student={"e": (2, 3)}, teacher={"E": (3, 2)}, seed=2),
        case(
            attention | {"causal": True, "student_hidden": ("h",), "teacher_hidden": ("H",)},
            student={"q": (3, 2), "k": (3, 2), "qkv": (3, 6), "h": (3, 1)},
            teacher={"QKV": (3, 12), "Q": (3, 4), "K": (3, 4), "H": (3, 2)},
            seed=3,
        ),
    ]


def state_error(matrix: list[list[float]], own: list[float], their: list[float]) -> float:
    guessed = [sum(weight * number for weight, number in zip(line, own, strict=True)) for line in matrix]
    return sum((a - b) ** 2 for a, b in zip(guessed, their, strict=True)) / len(their)


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_hidden: tuple[str, ...] = (),
    teacher_hidden: tuple[str, ...] = (),
    student_attention: tuple[tuple[str, ...], ...] = (),
    teacher_attention: tuple[tuple[str, ...], ...] = (),
    heads: int = 0,
    student_embedding: str | None = None,
    teacher_embedding: str | None = None,
    student_prefix: int = 0,
    teacher_prefix: int = 0,
    causal: bool = False,
) -> Numbers:
    pairs = [("hidden", *pair) for pair in zip(student_hidden, teacher_hidden, strict=True)]
    if student_embedding is not None and teacher_embedding is not None:
        pairs.append(("embedding", student_embedding, teacher_embedding))
    first = next(iter(student.features.values()))[0]
    count = len(first) - student_prefix
    rows = []
    for row in range(len(batch)):
        places = standing(batch, row, count)
        found = dict.fromkeys(places, 0.0)
        for i in places:
            for part, ours, theirs in pairs:
                own = student.features[ours][row][student_prefix + i]
                their = teacher.features[theirs][row][teacher_prefix + i]
                found[i] += state_error(weights[f"{part}_projector.weight"], own, their)
            for our_layers, their_layers in zip(student_attention, teacher_attention, strict=True):
                own_q, own_k = parts(student, our_layers, row, student_prefix)[:2]
                their_q, their_k = parts(teacher, their_layers, row, teacher_prefix)[:2]
                errors = [
                    (related(own_q, own_k, heads, head, i, j) - related(their_q, their_k, heads, head, i, j)) ** 2
                    for head in range(heads)
                    for j in seen(i, places, causal)
                ]
                found[i] += sum(errors) / len(errors)
        rows.append(gathered(found, batch, count))
    return rows
