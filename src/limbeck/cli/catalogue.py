"""The verbs that look things up: methods, models, version."""

from collections.abc import Iterable, Sequence
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
    from limbeck.catalog.objectives import MethodCard


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
    rows = [(card.name, card.family, card.factor, card.summary) for card in cards]
    screen.show(
        _listed(("method", "family", "factor", "what it asks of the student"), rows),
        "An objective is a weighted sum of them: 0.9 * kd(temperature=4) + 0.1 * labels",
        "`limbeck methods NAME` says more: formula, arguments, paper.",
    )
    screen.answer({"methods": cards})


def models(context: typer.Context, json: Json = False, debug: Debug = False) -> None:
    """List what a recipe's teacher or student can be."""
    from limbeck.catalog import models as catalog

    screen = Screen.of(context)
    found = catalog.models()
    screen.show(
        _listed(("model", "kind", "what it is"), found),
        "A student is sized by its arguments, such as cnn(size=16, depth=1).",
    )
    screen.answer({"models": [dict(zip(("name", "kind", "summary"), row, strict=True)) for row in found]})


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


def _show_card(card: "MethodCard", screen: Screen) -> None:
    details, told = prose.split(card.details)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("family", Text(card.family))
    facts.add_row("formula", Text(card.formula))
    facts.add_row("factor", Text(card.factor))
    facts.add_row("each row", Text("alone: one value a row" if card.per_row else "with its batch: a batch relation"))
    facts.add_row("needs", Text(", ".join(card.needs)))
    facts.add_row("arguments", Text("" if card.arguments else "none"))
    arguments = Table.grid(padding=(0, 0))
    for argument in card.arguments:
        arguments.add_row(Text(str(argument), style="bold"))
        arguments.add_row(Padding(Text(told.get(argument.name, "")), (0, 0, 0, 4)))
    screen.show(Text(card.name, style="bold"), Padding(facts, (0, 2)))
    if card.arguments:
        screen.show(Padding(arguments, (0, 0, 0, 4)))
    screen.show("", *prose.paragraphs(card.paper))
    if details and details not in card.paper:
        screen.show("", *prose.paragraphs(details))
