"""The verbs that ask finished runs: evaluate, predict, report."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from limbeck.cli.options import Changes, Debug, Json, Quiet, RunFolder
from limbeck.cli.screen import Screen, plain
from limbeck.errors import DataError

if TYPE_CHECKING:
    from limbeck.records import Scores
    from limbeck.run import Run


class Split(StrEnum):
    """Which rows of the data."""

    train = "train"
    valid = "valid"
    test = "test"


def evaluate(
    context: typer.Context,
    run: RunFolder,
    split: Annotated[Split, typer.Option(help="Rows to score.")] = Split.test,
    changes: Changes = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Score teacher, student and control of a run again, on this machine."""
    from limbeck.run import Run, evaluate_run

    screen = Screen.of(context)
    scores = evaluate_run(Run.open(run), split=split.value, overrides=changes or [])
    screen.show(_scores_table(scores, f"{run}, {split.value} rows"))
    screen.answer({"run": run, "split": split.value, "scores": scores})


def predict(
    context: typer.Context,
    run: RunFolder,
    inputs: Annotated[
        str,
        typer.Argument(
            help="A .npy or .npz file of rows, an image, for a run on windows a .csv or .parquet series; for a run on "
            "text a prompt, a file of them (.txt, .jsonl), or - for the standard input.",
            show_default=False,
        ),
    ],
    temperature: Annotated[
        float | None, typer.Option(help="Of draws from the student's text; 0, the default, takes the likeliest.")
    ] = None,
    nucleus: Annotated[
        float | None, typer.Option(help="Draw from the likeliest tokens that have this share; 1 by default.")
    ] = None,
    length: Annotated[int | None, typer.Option(help="Tokens of a text at most; 128 by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of draws; 0 by default.")] = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask the student of a run about rows or a series of your own, or let it go on with a text.

    A series has the columns of the run's data and is cut into the same windows; each is answered with its group and the
    time of its last reading, also the last one, after which nothing was read yet.

    Prompts stand one a line: in a .txt file as they are, in a .jsonl file as {"prompt": TEXT} or {"messages": [{"role":
    "user", "content": TEXT}]}, which the tokenizer's chat template writes down.
    """
    from limbeck.run import Run, predict_run

    screen = Screen.of(context)
    opened = Run.open(run)
    said = {"temperature": temperature, "nucleus": nucleus, "length": length, "seed": seed}
    how = {name: value for name, value in said.items() if value is not None}
    if opened.record.data.get("tokens") and Path(inputs).suffix.lower() not in (".npy", ".npz"):
        answers = _texts(opened, inputs, how)
    elif how:
        raise DataError(f"--{next(iter(how))} is for texts, and {inputs} asks {run} about rows", remedy="leave it out")
    else:
        from limbeck.cli.inputs import read

        rows = read(Path(inputs), tuple(opened.record.data.get("row", ())), screen.warn)
        answers = predict_run(opened, rows)
    screen.show(_answers_table(answers))
    screen.answer({"run": run, "inputs": inputs, "predictions": answers})


def _texts(run: "Run", inputs: str, how: Mapping[str, Any]) -> list[Mapping[str, object]]:
    """What the student goes on with after each prompt, beside the prompt."""
    from limbeck.cli.prompts import read
    from limbeck.run import generate_run

    prompts = read(inputs)
    answers = generate_run(run, prompts, **how)
    return [{"prompt": prompt, **answer} for prompt, answer in zip(prompts, answers, strict=True)]


def report(
    context: typer.Context,
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are compared.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option("--to", help="The HTML file; by default report.html in the first folder.")
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write one self-contained HTML page about one or more runs."""
    from limbeck.reporting.html import report as write
    from limbeck.reporting.table import headline_table
    from limbeck.run import Run

    screen = Screen.of(context)
    records = [Run.open(folder).record for folder in runs]
    page = write(*runs, to=to or runs[0] / "report.html")
    screen.show(*(headline_table(record) for record in records), f"report: {page}")
    screen.answer({"report": page, "runs": runs})


def _scores_table(scores: "Mapping[str, Scores]", title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for who in scores:
        table.add_column(who, justify="right")
    metrics = dict.fromkeys(name for one in scores.values() for name in one.metrics)
    costs = dict.fromkeys(name for one in scores.values() for name in one.cost)
    for name in metrics:
        table.add_row(name, *(_number(one.metrics.get(name)) for one in scores.values()))
    table.add_section()
    for name in costs:
        table.add_row(name, *(_number(one.cost.get(name)) for one in scores.values()))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.4g}"


def _answers_table(answers: Sequence[Mapping[str, Any]]) -> Table:
    table = Table()
    table.add_column("row", justify="right")
    columns = list(answers[0]) if answers else []
    for column in columns:
        table.add_column(column)
    for number, answer in enumerate(answers):
        table.add_row(str(number), *(Text(_shown(plain(answer.get(column)))) for column in columns))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_shown(inner) for inner in value)
    return str(value)
