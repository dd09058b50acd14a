"""After how many answers a student has paid back what its training took, in time, energy and money."""

from dataclasses import dataclass

from limbeck.records import RunRecord


@dataclass(frozen=True)
class Teacher:
    """What a run says of its teacher and of itself.

    Args:
        seconds: Of one answer of the teacher, as the run measured it.
        training: Seconds that the run took: its recording, and every seed's student and control.
        machine: The processor both were measured on.
    """

    seconds: float | None
    training: float
    machine: str

    @classmethod
    def of(cls, record: RunRecord) -> "Teacher":
        """From a run's record."""
        latency = None if record.teacher is None else record.teacher.cost.get("latency_ms")
        trained = sum(result.seconds + (result.control_seconds or 0.0) for result in record.results)
        machine = str(record.environment.get("processor", "unknown"))
        return cls(None if latency is None else latency / 1e3, sum(record.seconds.values()) + trained, machine)


@dataclass(frozen=True)
class BreakEven:
    """When a student has paid back: `invested / (teacher - student)` answers.

    Args:
        what: `time`, `energy` or `price`.
        unit: Of all three numbers.
        invested: What the training took.
        teacher: What an answer of the teacher takes.
        student: What an answer of the student takes.
        basis: How the three are known.
    """

    what: str
    unit: str
    invested: float
    teacher: float
    student: float
    basis: str

    @property
    def answers(self) -> float | None:
        """So many answers; None where the student saves nothing and never pays back."""
        saved = self.teacher - self.student
        return self.invested / saved if saved > 0 else None

    def amortised(self, answers: float) -> float:
        """What an answer of the student takes when the training is shared out over so many answers."""
        return self.student + self.invested / answers
