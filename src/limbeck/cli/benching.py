"""The verb that measures an artifact: bench."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from limbeck.cli.options import ArtifactFile, Debug, Json, Quiet
from limbeck.cli.screen import Screen

if TYPE_CHECKING:
    from limbeck.expenditure.limits import Candidate, Limit, Verdict
    from limbeck.expenditure.measurement import Expenditure

OUTSIDE = 11


class Counter(StrEnum):
    """Which counter of energy is read."""

    auto = "auto"
    rapl = "rapl"
    nvml = "nvml"
    none = "none"


Against = Annotated[
    Path | None,
    typer.Option(help="Another artifact, or a run: its student in torch, its teacher's cost.", show_default=False),
]
Budget = Annotated[
    str | None, typer.Option(help='What must hold, such as "latency<5ms,size<500kB".', show_default=False)
]
Board = Annotated[
    str | None, typer.Option(help="Power of a board at work, such as 0.07W: modelled.", show_default=False)
]
Tdp = Annotated[str | None, typer.Option(help="Thermal design power, such as 15W: an estimate.", show_default=False)]
External = Annotated[
    str | None, typer.Option(help="Energy of an answer by your own meter, such as 3.2mJ.", show_default=False)
]
Grid = Annotated[str | None, typer.Option(help='Carbon of your electricity, such as "445 g/kWh".', show_default=False)]
DevicePrice = Annotated[
    list[str] | None,
    typer.Option(help='Of the device: "0.05 EUR/h"; of energy: "0.30 EUR/kWh".', show_default=False),
]
TeacherPrice = Annotated[str | None, typer.Option(help='"2 EUR/million", or by answer, or by h.', show_default=False)]
TrainingPrice = Annotated[
    str | None, typer.Option(help='Of the machine that trains: "0.50 EUR/h".', show_default=False)
]


def bench(
    context: typer.Context,
    file: ArtifactFile,
    against: Against = None,
    budget: Budget = None,
    energy: Annotated[Counter, typer.Option(help="Which counter is read.")] = Counter.auto,
    board: Board = None,
    tdp: Tdp = None,
    external: External = None,
    grid: Grid = None,
    price: DevicePrice = None,
    teacher_price: TeacherPrice = None,
    training_price: TrainingPrice = None,
    rounds: Annotated[int, typer.Option(min=3, help="How many times all that is timed is visited.")] = 60,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure what an artifact costs here: size, work, memory, time, energy with its method, money at your prices.

    With --budget it leaves with 11 where a bound is broken or could not be measured.
    """
    from limbeck.expenditure.limits import limits
    from limbeck.expenditure.measurement import Power
    from limbeck.expenditure.measurement import bench as measure
    from limbeck.expenditure.money import Prices
    from limbeck.expenditure.quantities import quantity

    screen = Screen.of(context)
    asked = () if budget is None else limits(budget)
    said = {"board": (board, "power"), "tdp": (tdp, "power"), "external": (external, "energy")}
    known = {name: None if text is None else quantity(text, kind) for name, (text, kind) in said.items()}
    carbon = None if grid is None else quantity(grid, "carbon intensity")
    power = Power(source=energy.value, grid=carbon, **known)
    prices = Prices.read(price or [], training_price, teacher_price)
    progress = screen.progress()
    found = measure(file, against=against, power=power, prices=prices, rounds=rounds, progress=progress)
    progress.done()
    _answer(screen, found, asked)


def _answer(screen: Screen, found: "Expenditure", asked: "Sequence[Limit]") -> None:
    """Shows what was measured, holds it against the budget, and leaves where that is broken."""
    from limbeck.expenditure.limits import Verdict, closest

    verdicts = tuple(Verdict(limit, found.value(limit.name)) for limit in asked)
    broken = any(not verdict.kept for verdict in verdicts)
    near = closest(asked, found.candidates, found.bytes - found.graph_bytes) if broken else None
    _show(screen, found, verdicts, near)
    code = OUTSIDE if broken else 0
    screen.answer(
        {
            "expenditure": found,
            "break_even_answers": {each.what: each.answers for each in found.break_even},
            "budget": [{"bound": each.limit.text, "value": each.value, "kept": each.kept} for each in verdicts],
            "closest": near,
            "exit_code": code,
        }
    )
    if code:
        sys.exit(code)


def _show(screen: Screen, found: "Expenditure", verdicts: "Sequence[Verdict]", near: "Candidate | None") -> None:
    load = " to ".join("unknown" if each is None else f"{each:.2f}" for each in found.conditions["load"])
    screen.show(
        _speeds(found),
        _costs(found),
        Text(
            f"{found.conditions['processor']}, {found.conditions['cores']} cores, load {load}, one thread, "
            "interleaved; on a machine that does other work the least is what the code itself takes",
            style="dim",
        ),
    )
    for even in found.break_even:
        after = "never: it saves nothing" if even.answers is None else f"after {even.answers:,.0f} answers"
        screen.show(
            f"break-even in {even.what}: {after} = {even.invested:.4g} {even.unit} invested / ({even.teacher:.4g} - "
            f"{even.student:.4g}) {even.unit} an answer; with a million answers {even.amortised(1e6):.4g} {even.unit} "
            "each, training included",
            Text(f"  {even.basis}", style="dim"),
        )
    screen.show(*(Text(f"not known: {each}", style="yellow") for each in found.missing))
    _show_budget(screen, verdicts, near)


def _show_budget(screen: Screen, verdicts: "Sequence[Verdict]", near: "Candidate | None") -> None:
    from limbeck.expenditure.limits import written

    for verdict in verdicts:
        value = "not measured" if verdict.value is None else written(verdict.limit, verdict.value)
        style = "green" if verdict.kept else "bold red"
        screen.show(Text(f"{'kept' if verdict.kept else 'broken'}: {verdict.limit.text} ({value})", style=style))
    if near is not None:
        facts = ", ".join(_plain(key, value) for key, value in near.facts.items() if key != "recipe")
        left = f"breaks {', '.join(near.broken)}" if near.broken else "breaks none of what its record knows"
        screen.show(f"closest candidate of the export: {near.recipe} ({facts}): {left}")
    elif any(not verdict.kept for verdict in verdicts):
        screen.show("closest candidate: the artifact records none; limbeck export --precision auto looks for some")


def _plain(name: str, value: object) -> str:
    """A fact of a candidate's record in words; its bytes are those of its graph."""
    if isinstance(value, dict):
        return ", ".join(_plain(key, inner) for key, inner in value.items()) or f"{name} none"
    said = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{said} bytes of graph" if name == "bytes" else f"{name} {said}"


def _speeds(found: "Expenditure") -> Table:
    table = Table(box=SIMPLE, title=f"{found.name}, {found.precision}", title_justify="left")
    table.add_column("")
    everyone = {str(found.file): found.speed, **found.against}
    for name in everyone:
        table.add_column(name, justify="right")
    for words, place in (("least", "least"), ("median", "p50"), ("90th percentile", "p90"), ("99th percentile", "p99")):
        table.add_row(f"latency, {words}", *(f"{getattr(each.latency, place):.4g} ms" for each in everyone.values()))
    table.add_row("calls timed", *(f"{each.latency.calls:,}" for each in everyone.values()))
    table.add_row("throughput, 64 rows", *(f"{each.throughput:,.0f} /s" for each in everyone.values()))
    table.add_row("processor time", *(f"{each.cpu_seconds * 1e3:.4g} ms" for each in everyone.values()))
    sizes = {str(found.file): found.bytes, **found.against_bytes}
    table.add_row("size", *(f"{sizes[name] / 1e3:,.1f} kB" if name in sizes else "-" for name in everyone))
    return table


def _costs(found: "Expenditure") -> Table:
    table = Table(box=SIMPLE, show_header=False)
    for _ in range(3):
        table.add_column()
    if found.work is not None:
        table.add_row("parameters", f"{found.work.parameters:,}", found.work_method)
        more = f"; not counted: {', '.join(found.work.uncounted)}" if found.work.uncounted else ""
        table.add_row("multiply-accumulates", f"{found.work.macs:,}", found.work_method + more)
    else:
        table.add_row("parameters", "-", found.work_method)
    held = found.memory
    table.add_row("memory, peak", "-" if held.artifact is None else f"{held.artifact / 1e6:.1f} MB", held.method)
    if held.process is not None:
        table.add_row(
            "  of the whole process", f"{held.process / 1e6:.1f} MB", "Python, numpy and ONNX Runtime with it"
        )
    reading = found.energy
    value = "-" if reading.joules is None else f"{reading.joules * 1e3:.4g} mJ"
    if reading.uncertainty is not None:
        value += f" ± {reading.uncertainty * 1e3:.2g}"
    table.add_row("energy of an answer", value, f"{reading.method}: {reading.scope}")
    if reading.reason:
        table.add_row("", "", f"uncertainty: {reading.reason}")
    if found.carbon is not None:
        table.add_row(
            "carbon, a million answers", f"{found.carbon:.4g} g", f"the grid as given; energy {reading.method}"
        )
    if found.bill is not None:
        table.add_row("a million answers", f"{found.bill.million:.4g} {found.bill.currency}", found.bill.basis)
    return table
