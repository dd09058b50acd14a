"""How much smaller the student is than its teacher."""

from limbeck.records import Finding

# Mirzadeh et al., 2020, https://arxiv.org/abs/1902.03393, section 3, find that a teacher far larger than its student
# can teach it worse than a smaller one does, and Cho and Hariharan, 2019, https://arxiv.org/abs/1910.01348, that larger
# teachers need not be better ones (both read: memory). Neither gives a number. 100 is above the gap at which our own
# trial of an assistant (docs/log.md, a 60th of the parameters) found that it cost accuracy.
WIDE = 100.0


def capacity(student: dict[str, float], teacher: dict[str, float]) -> list[Finding]:
    """Ratios of parameters and of multiply-accumulates: a note; a warning for a teacher of more than 100 times both.

    Args:
        student: `parameters` and `macs`, as `measures.complexity.cost` counts them.
        teacher: The same; entries may be missing.
    """
    ratios = {
        name: teacher[name] / student[name]
        for name in ("parameters", "macs")
        if teacher.get(name) and student.get(name)
    }
    if not ratios:
        return []
    said = " and ".join(
        f"{teacher[name] / student[name]:.3g} times the {'work' if name == 'macs' else name} "
        f"({teacher[name]:,.0f} against {student[name]:,.0f})"
        for name in ratios
    )
    wide = all(ratio > WIDE for ratio in ratios.values())
    larger = all(ratio < 1 for ratio in ratios.values())
    remedy = "the probe below shows whether the student can follow it"
    if wide:
        remedy = "a larger student, or a chain with one in between; `limbeck doctor` trains it for a minute to see"
    if larger:
        remedy = "nothing, if it is to have another shape; it will not be cheaper than its teacher"
    return [Finding("warning" if wide else "note", "the gap between the models", f"the teacher has {said}", remedy)]
