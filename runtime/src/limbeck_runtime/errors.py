"""What can go wrong on a device, each with what was expected and what to try."""


class RuntimeFault(Exception):
    """What happened, what was expected instead, and what to try; all of it is in the message.

    Args:
        problem: What happened, in one clause.
        expected: What would have been right; empty when the problem says it.
        remedy: What a person can do; empty when there is nothing but to know.
    """

    def __init__(self, problem: str, *, expected: str = "", remedy: str = "") -> None:
        self.problem, self.expected, self.remedy = problem, expected, remedy
        parts = [problem, expected and f"expected: {expected}", remedy and f"try: {remedy}"]
        super().__init__("; ".join(part for part in parts if part))


class ArtifactError(RuntimeFault):
    """A file that is damaged, is no artifact, or was written by a newer Limbeck."""


class InputError(RuntimeFault):
    """Inputs that the artifact does not take: another shape or type, numbers that are not finite, a wrong rate."""


class BrainError(RuntimeFault):
    """Another process of a cascade is gone or said what cannot be read."""
