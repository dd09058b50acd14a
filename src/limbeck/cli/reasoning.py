"""The verb by which a student learns from verified solutions: reason."""

from shlex import quote

import typer

from limbeck.cli.options import Changes, Debug, Json, Quiet, RecipeFile, Resume, To
from limbeck.cli.screen import Screen


def reason(
    context: typer.Context,
    recipe: RecipeFile,
    changes: Changes = None,
    to: To = None,
    resume: Resume = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Let a teacher solve problems, verify and select its solutions, and teach a student the steps and the answers."""
    from limbeck.cli.training import command_of, recipe_of, stoppable
    from limbeck.plans.reasoning import reason as reasoned

    screen = Screen.of(context)
    command = command_of(f"reason {quote(str(recipe))}", to, changes)
    with stoppable(screen, command) as progress:
        found = reasoned(recipe_of(recipe, changes, to), resume=resume, progress=progress, resume_command=command)
    screen.show(found.page.read_text(encoding="utf-8"), f"page: {found.page}")
    screen.answer({"folder": found.folder, "page": found.page, **found.results})
