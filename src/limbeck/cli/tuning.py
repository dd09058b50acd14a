"""The verb that chooses thresholds: tune."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from limbeck.cli.options import Changes, Debug, Json, Quiet
from limbeck.cli.screen import Screen
from limbeck.errors import RecipeError

if TYPE_CHECKING:
    from limbeck.metrics.episodes import Counted
    from limbeck.tuning.escalation import Escalated
    from limbeck_runtime.scores import Watch

_ALERTS, _EPISODES, _LARGER = "Alerts", "What an episode is", "Leaving answers to a larger artifact"


def _span(name: str, words: str, panel: str) -> Any:
    return typer.Option(f"--{name}", help=words, rich_help_panel=panel, show_default=False)


def tune(
    context: typer.Context,
    artifact: Annotated[Path, typer.Argument(help="NAME.limbeck", show_default=False)],
    data: Annotated[
        Path, typer.Option("--data", help="The run it was exported from, or a recipe.", show_default=False)
    ],
    false_alarms: Annotated[
        str, typer.Option("--false-alarms", help="Such as 1/day, 0.5/hour, 2/week.", rich_help_panel=_ALERTS)
    ] = "1/day",
    watch: Annotated[
        str | None,
        _span("watch", "event, classes:V,F, number:NAME or reading:CHANNEL; by default what the task says.", _ALERTS),
    ] = None,
    hold: Annotated[str | None, _span("hold", "An alert lasts at least so long, such as 15m.", _ALERTS)] = None,
    refractory: Annotated[str | None, _span("refractory", "After an alert none begins for so long.", _ALERTS)] = None,
    stale: Annotated[str | None, _span("stale", "After so long without an answer there is no data.", _ALERTS)] = None,
    budget: Annotated[int | None, _span("budget", "At most so many alerts in 24 hours.", _ALERTS)] = None,
    calm: Annotated[int | None, _span("calm", "So many answers in a row must be low to end an alert.", _ALERTS)] = None,
    event: Annotated[str | None, _span("event", "Rows of these classes, such as V,F.", _EPISODES)] = None,
    below: Annotated[float | None, _span("below", "Readings under this number.", _EPISODES)] = None,
    above: Annotated[float | None, _span("above", "Readings over this number.", _EPISODES)] = None,
    lasting: Annotated[str | None, _span("lasting", "An episode lasts at least so long.", _EPISODES)] = None,
    apart: Annotated[str | None, _span("apart", "Two episodes closer than this are one.", _EPISODES)] = None,
    ahead: Annotated[str | None, _span("ahead", "So long before an episode an alarm is right.", _EPISODES)] = None,
    late: Annotated[str | None, _span("late", "So long after its end it still is.", _EPISODES)] = None,
    within: Annotated[str | None, _span("within", "So long after it began an alarm is in time.", _EPISODES)] = None,
    escalate_to: Annotated[Path | None, _span("escalate-to", "A larger artifact, asked when unsure.", _LARGER)] = None,
    risk: Annotated[
        float, typer.Option(help="Share of answers that may be another than the larger's.", rich_help_panel=_LARGER)
    ] = 0.02,
    confidence: Annotated[float, typer.Option(help="Of that bound.", rich_help_panel=_LARGER)] = 0.95,
    split: Annotated[str, typer.Option(help="Only valid: nothing is chosen on other rows.")] = "valid",
    test: Annotated[bool, typer.Option("--test", help="Then count on the test rows, which is noted in it.")] = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="Another NAME.limbeck; else it is replaced.", show_default=False)
    ] = None,
    changes: Changes = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Choose when an artifact alarms, or leaves an answer to a larger one, on validation rows; write that into it."""
    from limbeck.tuning.happenings import duration

    screen = Screen.of(context)
    shared: dict[str, Any] = {"to": to, "split": split, "test": test, "overrides": changes or ()}
    if escalate_to is not None:
        _escalate(screen, artifact, escalate_to, data, risk, confidence, shared)
        return
    what = {"below": below, "above": above, "classes": _names(event)}
    what |= {
        name: duration(text, name)
        for name, text in (("lasting", lasting), ("apart", apart), ("ahead", ahead), ("late", late), ("within", within))
    }
    spans = {"hold": hold, "refractory": refractory, "stale": stale}
    times: dict[str, Any] = {f"{name}_seconds": duration(text, name) for name, text in spans.items()}
    times |= {"budget": budget, "calm": calm}
    _tune(screen, artifact, data, false_alarms, watch, what, times, shared)


def _tune(
    screen: Screen,
    artifact: Path,
    data: Path,
    false_alarms: str,
    watch: str | None,
    what: dict[str, Any],
    times: dict[str, Any],
    shared: dict[str, Any],
) -> None:
    from limbeck.tuning.thresholds import tune as tuned

    progress = screen.progress()
    found = tuned(
        artifact,
        data,
        false_alarms=false_alarms,
        watch=None if watch is None else _watch(watch),
        what=what,
        times={name: value for name, value in times.items() if value is not None},
        progress=progress,
        **shared,
    )
    progress.done()
    rule, spelled = found.rule, found.rule.watch.spelled
    side, end = ("or more", "below") if rule.direction == "above" else ("or less", "above")
    screen.show(
        f"an episode: {rule.measured['episode']}",
        f"an alert begins at {spelled(rule.enter)} {side} in {rule.needed} of {rule.of} answers and ends {end} "
        f"{spelled(rule.leave)}; {found.tried} rules were tried",
        _counts({"validation": found.valid} | ({} if found.test is None else {"test": found.test})),
        f"artifact: {found.path}",
    )
    screen.answer({"artifact": found.path, "rule": rule, "valid": found.valid.facts(), "measured": rule.measured})


def _counts(columns: "dict[str, Counted]") -> Table:
    table = Table(title="once for each episode", title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    said = [counted.facts() for counted in columns.values()]
    table.add_row("episodes", *(str(each["episodes"]) for each in said))
    table.add_row("caught in time", *(f"{each['caught']} ({each['noticed']} noticed at all)" for each in said))
    table.add_row("false alarms a day", *(_with_range(each) for each in said))
    table.add_row("right alarms of all", *(f"{each['right']} of {each['alarms']}" for each in said))
    table.add_row(
        "lead time, min: quartiles", *(", ".join(f"{q:g}" for q in each["lead_minutes_quartiles"]) for each in said)
    )
    table.add_row("days watched", *(f"{each['days']:.3g}" for each in said))
    return table


def _with_range(said: dict[str, Any]) -> str:
    low, high = said["false_alarms_a_day_95"]
    return f"{said['false_alarms_a_day']:.3g} (95 %: {low:.3g} to {high:.3g})"


def _escalate(
    screen: Screen, artifact: Path, larger: Path, data: Path, risk: float, confidence: float, shared: dict[str, Any]
) -> None:
    from limbeck.tuning.escalation import escalate

    progress = screen.progress()
    found = escalate(artifact, larger, data, risk=risk, confidence=confidence, progress=progress, **shared)
    progress.done()
    screen.show(_shares(found), f"artifact: {found.path}")
    screen.answer({"artifact": found.path, "escalation": found.escalation})


def _shares(found: "Escalated") -> Table:
    title = f"left to the larger one below a confidence of {found.escalation['threshold']:.4g}"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    splits = [name for name in ("valid", "test") if name in found.escalation["measured"]]
    for name in splits:
        table.add_column(name, justify="right")
    said = [found.escalation["measured"][name] for name in splits]
    table.add_row("answered by the small one", *(f"{each['coverage']:.1%}" for each in said))
    table.add_row("other answers than the larger one's", *(f"{each['disagreement']:.2%}" for each in said))
    table.add_row("at most, by the bound", *(f"{each['bound']:.2%}" if "bound" in each else "" for each in said))
    table.add_row("metrics: small", *(_metrics(each["small"]) for each in said))
    table.add_row("metrics: cascade", *(_metrics(each["cascade"]) for each in said))
    table.add_row("metrics: large", *(_metrics(each["large"]) for each in said))
    return table


def _metrics(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in list(values.items())[:2])


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _watch(text: str) -> "Watch":
    from limbeck_runtime.errors import ArtifactError
    from limbeck_runtime.scores import Watch

    kind, _, names = text.partition(":")
    try:
        return Watch(kind, _names(names))
    except ArtifactError as fault:
        raise RecipeError(f"--watch {text!r}", expected="event, classes:V,F, number:NAME or reading:CHANNEL") from fault
