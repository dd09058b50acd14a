"""The verbs that look things up: methods, models, version."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from platform import python_version
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from limbeck.cli import prose
from limbeck.cli.options import Debug, Json
from limbeck.cli.screen import Screen

if TYPE_CHECKING:
    from limbeck.catalog.objectives import Argument, MethodCard
    from limbeck.catalog.students import StudentCard


def methods(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="A method, such as kd, or package.module.Class.", show_default=False)
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the methods an objective can name, or describe one: formula, arguments, paper, factor."""
    from limbeck.catalog import objectives

    screen = Screen.of(context)
    if name is not None:
        card = objectives.card(objectives.method(name))
        _show_card(card, screen)
        screen.answer({"method": card})
        return
    cards = objectives.methods()
    screen.show(
        _by_family(cards),
        "An objective is a weighted sum of them: 0.9 * kd(temperature=4) + 0.1 * labels",
        "`limbeck methods NAME` says more: formula, arguments, paper.",
    )
    screen.answer({"methods": cards})


def models(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="A student, such as cnn, to describe.", show_default=False)] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List what a recipe's teacher or student can be, or describe one student: shapes, size, arguments, paper."""
    from limbeck.catalog import models as catalog
    from limbeck.catalog import students

    screen = Screen.of(context)
    if name is not None:
        card = students.card(name)
        _show_student(card, screen)
        screen.answer({"student": card})
        return
    calls = {card.name: card for card in students.cards()}
    found = catalog.models()
    rows = [(*row, calls[row[0]].call) if row[0] in calls else row for row in found]
    screen.show(
        _listed(("model", "kind", "what it is"), [(*row[:2], "\n".join(row[2:])) for row in rows]),
        "A student is sized by its arguments, such as cnn(size=16, depth=1).",
        "`limbeck models NAME` says more of a student: arguments, layers, size, paper.",
    )
    listed = [dict(zip(("name", "kind", "summary"), row, strict=True)) for row in found]
    screen.answer({"models": [each | {"arguments": _arguments_of(calls.get(each["name"]))} for each in listed]})


def version(context: typer.Context, json: Json = False, debug: Debug = False) -> None:
    """Say which versions are at work."""
    screen = Screen.of(context)
    versions = {"limbeck": _installed("limbeck"), "python": python_version(), "torch": _installed("torch")}
    screen.show(*(f"{name} {number}" for name, number in versions.items()))
    screen.answer(versions)


def _installed(name: str) -> str:
    try:
        return installed(name)
    except PackageNotFoundError:
        return "not installed"


def _listed(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in headings:
        # Names are typed again, so they stay whole; the last column takes what is left.
        table.add_column(heading, no_wrap=heading != headings[-1])
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _by_family(cards: "Sequence[MethodCard]") -> Table:
    """A line for each method, family by family: what stands before the colon of its summary."""
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    table.add_column("method", no_wrap=True, min_width=2 + max(len(card.name) for card in cards))
    table.add_column("what it is")
    for family in sorted({card.family for card in cards}):
        table.add_row(Text(f"\n{family}", style="bold"))
        for card in cards:
            if card.family == family:
                table.add_row(Text(f"  {card.name}"), Text(card.summary.partition(":")[0]))
    return table


def _show_card(card: "MethodCard", screen: Screen) -> None:
    details, told = prose.split(card.details)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("family", Text(card.family))
    facts.add_row("formula", Text(card.formula))
    facts.add_row("factor", Text(card.factor))
    facts.add_row("each row", Text("alone: one value a row" if card.per_row else "with its batch: a batch relation"))
    facts.add_row("needs", Text(", ".join(card.needs)))
    facts.add_row("served by", Text(card.served_by))
    facts.add_row("arguments", Text("" if card.arguments else "none"))
    screen.show(Text(card.name, style="bold"), Padding(facts, (0, 2)))
    if card.arguments:
        screen.show(_described(card.arguments, told))
    screen.show("", *prose.paragraphs(card.paper))
    if details and details not in card.paper:
        screen.show("", *prose.paragraphs(details))


def _show_student(card: "StudentCard", screen: Screen) -> None:
    details, told = prose.split(card.details)
    screen.show(Text(card.name, style="bold"), Padding(Text(card.summary), (0, 2)), Padding(Text("arguments"), (0, 2)))
    screen.show(_described(card.arguments, told), "", *prose.paragraphs(details))


def _described(arguments: Iterable["Argument"], told: Mapping[str, str]) -> Padding:
    """Each argument with its kind, range and default, and below it what its docstring tells of it."""
    grid = Table.grid(padding=(0, 0))
    for argument in arguments:
        grid.add_row(Text(str(argument), style="bold"))
        grid.add_row(Padding(Text(told.get(argument.name, "")), (0, 0, 0, 4)))
    return Padding(grid, (0, 0, 0, 4))


def _arguments_of(card: "StudentCard | None") -> dict[str, str | None]:
    """Names of arguments and their defaults as the grammar writes them; none for what is no student of ours."""
    return {} if card is None else {argument.name: argument.default for argument in card.arguments}
