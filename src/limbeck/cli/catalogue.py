"""The verbs that look things up: methods, models, version."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from platform import python_version
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

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
    table = Table()
    for heading in ("method", "family", "factor", "what it asks of the student"):
        table.add_column(heading)
    for card in cards:
        table.add_row(*(Text(cell) for cell in (card.name, card.family, card.factor, card.summary)))
    screen.show(table, "limbeck methods NAME says more: formula, arguments, paper.")
    screen.answer({"methods": cards})


def models(context: typer.Context, json: Json = False, debug: Debug = False) -> None:
    """List what a recipe's teacher or student can be."""
    from limbeck.catalog import models as catalog

    screen = Screen.of(context)
    found = catalog.models()
    table = Table()
    for heading in ("model", "kind", "what it is"):
        table.add_column(heading)
    for row in found:
        table.add_row(*(Text(cell) for cell in row))
    screen.show(table)
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


def _show_card(card: "MethodCard", screen: Screen) -> None:
    facts = Table.grid(padding=(0, 2))
    facts.add_row("family", Text(card.family))
    facts.add_row("formula", Text(card.formula))
    facts.add_row("factor", Text(card.factor))
    facts.add_row("each row", Text("alone: one value a row" if card.per_row else "with its batch: a batch relation"))
    facts.add_row("needs", Text(", ".join(card.needs)))
    for number, argument in enumerate(card.arguments or ("none",)):
        facts.add_row("" if number else "arguments", Text(str(argument)))
    screen.show(Text(card.name, style="bold"), Padding(facts, (0, 2)), "", Text(card.paper))
    if card.details and card.details not in card.paper:
        screen.show("", Text(card.details))
