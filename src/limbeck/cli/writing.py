"""The verb by which a teacher writes texts: write."""

from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limbeck.cli.options import Debug, Json, Quiet
from limbeck.cli.screen import Screen

if TYPE_CHECKING:
    from limbeck.corpus import Corpus

Teacher = Annotated[
    str, typer.Argument(help="hf:PATH, gguf:PATH, smollm2, a run folder, or openai:URL#MODEL.", show_default=False)
]
Prompts = Annotated[
    Path, typer.Argument(help="A table or text file of prompts, or a folder of them.", show_default=False)
]
Target = Annotated[Path, typer.Option("--to", help="The file of texts, .jsonl; one begun there is gone on with.")]


def write(
    context: typer.Context,
    teacher: Teacher,
    prompts: Prompts,
    to: Target,
    length: Annotated[int, typer.Option(help="Tokens of a text at most.")] = 512,
    temperature: Annotated[float, typer.Option(help="Of the draws; 0: the likeliest token each time.")] = 0.0,
    nucleus: Annotated[float, typer.Option(help="Draw from the likeliest tokens with this share alone.")] = 1.0,
    samples: Annotated[int, typer.Option(help="Texts a prompt.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    column: Annotated[str, typer.Option(help="The column of prompts in a table.", show_default=False)] = "",
    system: Annotated[str, typer.Option(help="A system message before each conversation.", show_default=False)] = "",
    chat: Annotated[bool, typer.Option("--chat", help="A text is what a user asks, not one that goes on.")] = False,
    limit: Annotated[int, typer.Option(help="So many of the first prompts; 0: all.")] = 0,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Let a teacher write texts for prompts: data for a student, where no distribution can be had, or none is wanted.

    The file is one that data.source can name, with data.tokens beside it.
    """
    from limbeck.cli.training import stoppable
    from limbeck.corpus import write as written
    from limbeck.progress import RowsDone

    screen = Screen.of(context)
    said: dict[str, Any] = {
        "length": length,
        "temperature": temperature,
        "nucleus": nucleus,
        "samples": samples,
        "seed": seed,
        "column": column,
        "system": system,
        "limit": limit,
    }
    options = [f"--{name}={value}" for name, value in said.items() if value != ""]
    again = join(["limbeck", "write", teacher, str(prompts), "--to", str(to), *options, *(["--chat"] if chat else [])])
    with stoppable(screen, again) as progress:
        found = written(
            teacher,
            prompts,
            to,
            chat=chat,
            progress=RowsDone(progress, f"{teacher} writes"),
            **said,
        )
    _end(found, length, screen)


def _end(found: "Corpus", length: int, screen: Screen) -> None:
    lines = [f"texts:  {found.path} ({found.texts:,})"]
    if found.cut:
        lines.append(f"cut:    {found.cut_path} ({found.cut:,} at {length} tokens, left out of the texts)")
    if found.spent is not None:
        spent = found.spent
        price = f", at a price of {found.cost:.4f}" if found.cost else ""
        lines.append(f"asked:  {spent.requests:,} times, {spent.asked:,} tokens read and {spent.said:,} written{price}")
    screen.show(*lines)
    screen.answer(
        {
            "file": found.path,
            "texts": found.texts,
            "cut": found.cut,
            "spent": None if found.spent is None else vars(found.spent),
            "cost": found.cost,
        }
    )
