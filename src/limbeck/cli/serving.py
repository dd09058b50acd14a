"""The verb that opens an artifact's page: serve."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from limbeck.cli.options import ArtifactFile, Debug, Json, Quiet
from limbeck.cli.screen import Screen


def serve(
    context: typer.Context,
    file: ArtifactFile,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="Folder with onnxruntime-web's files; by default where `make page` puts them.", show_default=False
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Open a page on this machine where a person draws, or drops a picture or a CSV; the model runs in the browser.

    What is drawn or dropped stays in the browser: not even this process receives it. Ctrl-C ends it.
    """
    from limbeck.page.server import RUNTIME, complete, page

    screen = Screen.of(context)
    folder = RUNTIME if runtime is None else runtime
    server = page(file, port=port, runtime=folder)
    screen.show(Text(f"{server.address}\nOn this machine alone; the model runs in the browser. Ctrl-C ends it."))
    screen.answer({"address": server.address, "runtime": complete(folder)})
    if not complete(folder):
        screen.warn(
            "onnxruntime-web is not here, so the page can show the artifact but not ask it\n"
            "  try: make page (in a clone; it needs npm), or --runtime with the folder dist of npm's onnxruntime-web"
        )
    if open_browser and not json:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        screen.show("closed")
    finally:
        server.server_close()
