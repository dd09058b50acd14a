"""Measures what an artifact costs on this machine, in turns with what it is compared with."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from limbeck.artifact.reading import Opened, opened
from limbeck.errors import DataError, ModelError
from limbeck.expenditure.amortisation import BreakEven, Teacher
from limbeck.expenditure.money import Bill, Prices
from limbeck.measures import energy
from limbeck.measures.energy import EnergyReading
from limbeck.measures.environment import processor
from limbeck.measures.graphs import Work, work
from limbeck.measures.latency import Latency, taken
from limbeck.measures.memory import Memory, peak
from limbeck.progress import Progress, Silent
from limbeck.run import Run
from limbeck_runtime.predictor import array

BATCH = 64
MILLION = 1e6
_CPU_SECONDS = 0.3
"""So long, at least, the processor time of answers is added up: clocks of processes are coarse."""

Source = Literal["auto", "rapl", "nvml", "none"]


@dataclass(frozen=True)
class Power:
    """What a person says of energy; nothing is filled in where nothing was said.

    Args:
        source: Which counter: `auto` takes RAPL where it can be read.
        board: Watts of a board at work.
        tdp: Thermal design power of the processor, in watts.
        external: Joules of an answer by a meter of the person's own.
        grid: Grams of CO2 equivalent for a kilowatt-hour.
    """

    source: Source = "auto"
    board: float | None = None
    tdp: float | None = None
    external: float | None = None
    grid: float | None = None


@dataclass(frozen=True)
class Speed:
    """How fast something answers here.

    Args:
        latency: Of one row at a time.
        throughput: Rows a second, in batches of `BATCH`.
        cpu_seconds: Processor seconds of one answer, of all threads.
    """

    latency: Latency
    throughput: float
    cpu_seconds: float


@dataclass(frozen=True)
class Expenditure:
    """What an artifact costs, and how each number is known.

    Args:
        file: The artifact.
        name: Of its student.
        precision: Of its graph.
        bytes: Of the file.
        graph_bytes: Of the graph in it.
        work: Parameters and multiply-accumulates of a row; None where they could not be counted.
        work_method: Who counted, or why nobody did.
        memory: Of a process that answers.
        speed: One thread.
        energy: Of one answer.
        carbon: Grams of CO2 equivalent for a million answers; None without energy or a grid.
        bill: A million answers in money; None where no price was named.
        conditions: Machine, load, rounds.
        against: What it was timed in turns with, by name.
        against_bytes: The size of that, where it is a file.
        break_even: When it has paid back what its training took.
        missing: What was asked for and could not be said, and why.
        candidates: Of the export, as its record has them.
    """

    file: Path
    name: str
    precision: str
    bytes: int
    graph_bytes: int
    work: Work | None
    work_method: str
    memory: Memory
    speed: Speed
    energy: EnergyReading
    carbon: float | None
    bill: Bill | None
    conditions: Mapping[str, Any]
    against: Mapping[str, Speed] = field(default_factory=dict)
    against_bytes: Mapping[str, int] = field(default_factory=dict)
    break_even: tuple[BreakEven, ...] = ()
    missing: tuple[str, ...] = ()
    candidates: tuple[Mapping[str, Any], ...] = ()

    def value(self, name: str) -> float | None:
        """A number that a budget may bound, in seconds, bytes, joules or plain; None where it is not known."""
        latency = self.speed.latency
        found: Mapping[str, float | None] = {
            "size": self.bytes,
            "parameters": None if self.work is None else self.work.parameters,
            "macs": None if self.work is None or self.work.uncounted else self.work.macs,
            "memory": self.memory.artifact,
            "latency": latency.p50 / 1e3,
            "latency.min": latency.least / 1e3,
            "latency.p90": latency.p90 / 1e3,
            "latency.p99": latency.p99 / 1e3,
            "cpu": self.speed.cpu_seconds,
            "throughput": self.speed.throughput,
            "energy": self.energy.joules,
        }
        return found[name]


def bench(
    file: str | Path,
    *,
    against: str | Path | None = None,
    power: Power | None = None,
    prices: Prices | None = None,
    rounds: int = 60,
    progress: Progress | None = None,
) -> Expenditure:
    """What an artifact costs on this machine: one row at a time on one thread, and in batches.

    Args:
        file: An artifact.
        against: Another one, timed in turns with it; or a run, of which the student is timed in torch, and with whose
            teacher and training the break-even is worked out.
        power: What is known of energy.
        prices: What is known of money.
        rounds: How many times all that is timed is visited.
        progress: Is told what is being done.

    Raises:
        ModelError: When an artifact does not open.
        RunError: When `against` is a folder that is no run.
        DataError: When both read other rows.
    """
    power, prices, watcher = power or Power(), prices or Prices(), progress or Silent()
    artifact = opened(file)
    rows = _rows(artifact)
    answers: dict[str, Callable[[Any], object]] = {str(file): artifact.predictor.outputs}
    rival, teacher = _rival(against, artifact)
    answers |= rival
    before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    watcher.say(f"timing {' and '.join(answers)} in turns")
    seconds, speeds = _timed(answers, rows, rounds)
    watcher.say("measuring energy and memory")
    speed = speeds.pop(str(file))
    joules, missing = _energy(power, lambda: artifact.predictor.outputs(rows[:1]), seconds, speed)
    counted, method = _work(artifact)
    bill = prices.bill(speed.latency.p50 / 1e3, joules.joules)
    evens, unknown = _break_even(teacher, speed, joules, power, prices, bill)
    return Expenditure(
        file=Path(file),
        name=artifact.manifest.name,
        precision=artifact.manifest.graph.precision,
        bytes=Path(file).stat().st_size,
        graph_bytes=len(artifact.files[artifact.manifest.graph.file]),
        work=counted,
        work_method=method,
        memory=peak(file, batch=BATCH),
        speed=speed,
        energy=joules,
        carbon=None if power.grid is None or joules.joules is None else joules.joules * MILLION / 3.6e6 * power.grid,
        bill=bill,
        conditions=_conditions(before, rounds),
        against=speeds,
        against_bytes={name: Path(name).stat().st_size for name in speeds if Path(name).is_file()},
        break_even=evens,
        missing=(*missing, *unknown),
        candidates=tuple(artifact.manifest.verification.get("candidates", ())),
    )


def _rows(artifact: Opened) -> np.ndarray:
    """A batch of rows: the golden ones over and over, which nobody's data is in."""
    golden = array(artifact.manifest.golden.inputs, artifact.files)
    return np.ascontiguousarray(np.resize(golden, (BATCH, *golden.shape[1:])))


def _rival(against: str | Path | None, artifact: Opened) -> tuple[dict[str, Callable[[Any], object]], Teacher | None]:
    """What is timed beside an artifact, and what its run says of the teacher, where it is a run."""
    if against is None:
        return {}, None
    row = artifact.manifest.input.shape
    if Path(against).is_file():
        other = opened(against)
        shape, answer = other.manifest.input.shape, other.predictor.outputs
        found: dict[str, Callable[[Any], object]] = {str(against): answer}
        teacher = None
    else:
        run = Run.open(against)
        shape, found = tuple(run.record.data.get("row", ())), {f"{against} in torch": _in_torch(run)}
        teacher = Teacher.of(run.record)
    if shape != row:
        raise DataError(f"{against} reads rows of shape {shape}", expected=f"{row}, as {artifact.path} does")
    return found, teacher


def _in_torch(run: Run) -> Callable[[np.ndarray], object]:
    import torch

    student = run.student().eval()

    def answer(rows: np.ndarray) -> object:
        with torch.inference_mode():
            return student(torch.from_numpy(rows))

    return answer


def _timed(
    answers: Mapping[str, Callable[[Any], object]], rows: np.ndarray, rounds: int
) -> tuple[list[float], dict[str, Speed]]:
    """The seconds of each call of the first, and how fast all are; torch, where it takes part, has one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        single = taken({name: _asking(answer, rows[:1]) for name, answer in answers.items()}, rounds=rounds)
        many = taken({name: _asking(answer, rows) for name, answer in answers.items()}, rounds=rounds, calls=2)
        busy = {name: _cpu(_asking(answer, rows[:1])) for name, answer in answers.items()}
    finally:
        torch.set_num_threads(threads)
    found = {
        name: Speed(Latency.of(single[name]), BATCH / float(np.median(many[name])), busy[name]) for name in answers
    }
    return next(iter(single.values())), found


def _asking(answer: Callable[[Any], object], rows: np.ndarray) -> Callable[[], object]:
    return lambda: answer(rows)


def _cpu(answer: Callable[[], object]) -> float:
    """Processor seconds of one answer, in this process, all threads together."""
    calls, start = 0, time.process_time()
    while (spent := time.process_time() - start) < _CPU_SECONDS:
        answer()
        calls += 1
    return spent / calls


def _energy(
    power: Power, answer: Callable[[], object], seconds: Sequence[float], speed: Speed
) -> tuple[EnergyReading, tuple[str, ...]]:
    """The best that is known: the person's meter, a counter, then what the person says of the power."""
    if power.external is not None:
        return energy.by_meter(power.external), ()
    reason = "no counter was asked for"
    if power.source != "none":
        try:
            counter = energy.Nvml() if power.source == "nvml" else energy.Rapl()
            return energy.measured(counter, answer), ()
        except OSError as error:
            reason = f"{'NVML' if power.source == 'nvml' else 'RAPL'} cannot be read: {error}"
    missing = (f"energy by {power.source}: {reason}",) if power.source in ("rapl", "nvml") else ()
    if power.board is not None:
        return energy.of_board(power.board, seconds), missing
    if power.tdp is not None:
        return energy.of_tdp(power.tdp, speed.cpu_seconds), missing
    return energy.unavailable(
        f"{reason}; --board or --tdp gives an estimate, --external your own meter's number"
    ), missing


def _work(artifact: Opened) -> tuple[Work | None, str]:
    """Parameters and multiply-accumulates: as the exporter counted them in torch, or counted here in the graph."""
    said = artifact.manifest.provenance.get("student", {})
    if isinstance(said.get("parameters"), int | float) and isinstance(said.get("macs"), int | float):
        return Work(int(said["parameters"]), int(said["macs"])), "counted by torch when it was exported"
    try:
        return work(artifact.files[artifact.manifest.graph.file]), "counted in the ONNX graph"
    except ModelError as error:
        return None, f"not counted: {error.happened}"


def _break_even(
    teacher: Teacher | None, speed: Speed, joules: EnergyReading, power: Power, prices: Prices, bill: Bill | None
) -> tuple[tuple[BreakEven, ...], tuple[str, ...]]:
    """In time, and in energy and money so far as the person named powers and prices; and what could not be said."""
    if teacher is None:
        return (), ()
    if teacher.seconds is None:
        return (), ("break-even: the run has no latency of a teacher",)
    student = speed.latency.p50 / 1e3
    measured = f"the teacher's median measured in torch on {teacher.machine}, the student's now on {processor()}"
    found = [BreakEven("time", "s", teacher.training, teacher.seconds, student, measured)]
    missing: list[str] = []
    if power.tdp is None or joules.joules is None:
        missing.append("break-even in energy: --tdp names the power of the machine that trains and asks the teacher")
    else:
        basis = f"training and teacher estimated: {power.tdp:g} W times their time; the student {joules.method}"
        invested, called = power.tdp * teacher.training, power.tdp * teacher.seconds
        found.append(BreakEven("energy", "J", invested, called, joules.joules, basis))
    if prices.teacher is None or prices.training is None or bill is None:
        missing.append("break-even in money: it needs --teacher-price, --training-price and --price")
    else:
        basis = "prices as given, times measured seconds"
        invested = prices.training.amount * teacher.training / 3600
        called = prices.of_teacher(teacher.seconds)
        found.append(BreakEven("price", bill.currency, invested, called, bill.million / MILLION, basis))
    return tuple(found), tuple(missing)


def _conditions(before: float | None, rounds: int) -> dict[str, Any]:
    from limbeck_runtime.onnx_runtime import onnxruntime

    return {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": 1,
        "onnxruntime": onnxruntime.__version__,
        "rounds": rounds,
        "load": [before, os.getloadavg()[0] if hasattr(os, "getloadavg") else None],
        "latency": "wall clock, one row, one thread, interleaved",
        "throughput": f"median of batches of {BATCH}, one thread, interleaved",
    }
