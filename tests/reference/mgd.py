"""Yang et al., 2022, equations 2 to 6: sum_kij (T − W2(ReLU(W1(f(S) · M))))², M_ij = 0 where R_ij < lambda, else 1.

R comes from SplitMix64 (Steele, Lea, Flood, 2014), mixed from seed, view, id, the layers' names and the place, whose 53
highest bits are a share of 1.
"""

import hashlib
from typing import Any

from limbeck.signals import Batch
from reference import Case, Numbers, Promises, Said, Weights, case

# Equal layers do not give zero: what generates starts from random weights.
PROMISES = Promises(zero_when_equal=False)

Image = dict[tuple[int, int], list[float]]


def layers(student: tuple[int, ...], teacher: tuple[int, ...], **arguments: Any) -> Case:
    names = {"student_layer": "neck", "teacher_layer": "neck.1"}
    return case(names | arguments, student={"neck": student}, teacher={"neck.1": teacher}, seed=len(student))


def cases() -> list[Case]:
    return [
        layers((1, 2, 2), (1, 2, 2)),
        layers((3, 2), (3, 1), masked=0.4, seed=7),
        layers((5, 2), (1, 2, 2), masked=0.3, student_prefix=1),
    ]


def image(said: Numbers, prefix: int, size: int) -> Image:
    """The vectors of channels at (line, place); steps stand in one line, patches in lines of a size."""
    if isinstance(said[0][0], list):
        return {
            (y, x): [channel[y][x] for channel in said] for y in range(len(said[0])) for x in range(len(said[0][0]))
        }
    return {(number // size, number % size): step for number, step in enumerate(said[prefix:])}


def mixed(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
    return word ^ (word >> 31)


def drawn(place: int, name: str, row: int, view: int, seed: int) -> float:
    golden = 0x9E3779B97F4A7C15
    key = mixed((mixed((seed + 1) * golden % 2**64) + (view + 1) * golden) % 2**64)
    purpose = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    word = mixed((row * golden + key) % 2**64) + mixed((purpose + (place + 1) * golden) % 2**64)
    return (mixed(word % 2**64) >> 11) / 2**53


def masked_image(found: Image, share: float, name: str, row: int, view: int, seed: int) -> Image:
    kept = {}
    for number, (place, vector) in enumerate(sorted(found.items())):
        kept[place] = [0.0 if drawn(number, name, row, view, seed) < share else part for part in vector]
    return kept


def convolved(found: Image, weight: Numbers, bias: list[float]) -> Image:
    """A kernel of three by three, or of three along a line."""
    made = {}
    for y, x in found:
        sums = list(bias)
        for channel, kernels in enumerate(weight):
            for part, kernel in enumerate(kernels):
                lines = kernel if isinstance(kernel[0], list) else [[0.0] * 3, kernel, [0.0] * 3]
                for v in (-1, 0, 1):
                    for u in (-1, 0, 1):
                        if (y + v, x + u) in found:
                            sums[channel] += lines[v + 1][u + 1] * found[y + v, x + u][part]
        made[y, x] = sums
    return made


def projected(vector: list[float], weights: Weights) -> list[float]:
    if "projector.weight" not in weights:
        return vector
    made = []
    for kernels, bias in zip(weights["projector.weight"], weights["projector.bias"], strict=True):
        flat = [kernel[0][0] if isinstance(kernel, list) else kernel for kernel in kernels]
        made.append(bias + sum(weight * part for weight, part in zip(flat, vector, strict=True)))
    return made


def value(
    student: Said,
    teacher: Said,
    batch: Batch,
    weights: Weights,
    *,
    student_layer: str,
    teacher_layer: str,
    masked: float = 0.65,
    seed: int = 0,
    student_prefix: int = 0,
) -> Numbers:
    values = []
    both = zip(student.features[student_layer], teacher.features[teacher_layer], strict=True)
    for (said, told), row, view in zip(both, batch.ids.tolist(), batch.views.tolist(), strict=True):
        size = len(told[0]) if isinstance(told[0][0], list) else len(told)
        ours = {place: projected(vector, weights) for place, vector in image(said, student_prefix, size).items()}
        ours = masked_image(ours, masked, f"mgd {student_layer} {teacher_layer}", row, view, seed)
        ours = convolved(ours, weights["generator.0.weight"], weights["generator.0.bias"])
        ours = {place: [max(part, 0.0) for part in vector] for place, vector in ours.items()}
        ours = convolved(ours, weights["generator.2.weight"], weights["generator.2.bias"])
        values.append(
            sum(
                (target - part) ** 2
                for place, theirs in image(told, 0, size).items()
                for part, target in zip(ours[place], theirs, strict=True)
            )
        )
    return values
