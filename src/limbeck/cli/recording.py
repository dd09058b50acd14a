"""The verbs about recordings: record, merge, verify."""

from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.options import Changes, Debug, Json, Quiet, RecipeFile
from limbeck.cli.screen import Screen

if TYPE_CHECKING:
    from limbeck.recordings.manifest import Manifest
    from limbeck.recordings.writer import Share

Target = Annotated[Path, typer.Option("--to", help="The recording's folder; one begun there is gone on with.")]
Parts = Annotated[list[Path], typer.Argument(help="Folders with shares of one recording.", show_default=False)]
ShareText = Annotated[
    str | None,
    typer.Option("--share", metavar="NUMBER/OF", help="Make only this share of it, such as 2/3.", show_default=False),
]

Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Have Ray's workers record: local starts Ray here; auto or HOST:PORT is a cluster that runs, whose "
        "machines all see the folder.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Ray's workers; as many as it has room for when left out.", show_default=False
    ),
]


def record(
    context: typer.Context,
    recipe: RecipeFile,
    to: Target,
    changes: Changes = None,
    share: ShareText = None,
    ray: Ray = None,
    workers: Workers = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Record a recipe's teacher: what it says about every row, once, for any number of students.

    Several machines may each make a share of it (--share 1/2 here, --share 2/2 there); `limbeck merge` joins them. Or
    Ray's workers make it (--ray local).
    """
    from limbeck.cli.training import stoppable
    from limbeck.dictation import dictated
    from limbeck.recipe import Recipe

    screen = Screen.of(context)
    said = "".join(f" --set {quote(change)}" for change in changes or [])
    options = {"share": share, "ray": ray, "workers": workers}
    part = "".join(f" --{name} {quote(str(value))}" for name, value in options.items() if value is not None)
    again = f"limbeck record {quote(str(recipe))} --to {quote(str(to))}{said}{part}"
    if workers is not None and ray is None:
        raise typer.BadParameter("--workers are Ray's; say --ray too")
    with stoppable(screen, again) as progress:
        manifest, there = dictated(
            Recipe.read(recipe, changes or []),
            to,
            share=_share(share),
            ray=ray,
            workers=workers,
            progress=progress,
            resume_command=again,
        )
    _end(manifest, there, to, screen)


def merge(
    context: typer.Context,
    parts: Parts,
    to: Target,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Join shares of one recording that were made in folders of their own."""
    from limbeck.recordings.integrity import finished
    from limbeck.recordings.merging import merge as merged

    manifest = merged(parts, to)
    _end(manifest, len(finished(to, manifest)), to, Screen.of(context))


def verify(
    context: typer.Context,
    recording: Annotated[
        Path, typer.Argument(help="A recording's folder, or a file that limbeck write made.", show_default=False)
    ],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare every finished shard of a recording, or a teacher's texts, with the hash they were written with.

    Leaves with 6 where shards are damaged or missing, naming each and what to do. Not being finished is no damage: what
    is finished is compared and named.
    """
    from limbeck.recordings.store import Recording
    from limbeck.recordings.store import verify as compared

    screen = Screen.of(context)
    if recording.is_file() or recording.suffix == ".jsonl":
        _verify_texts(recording, screen)
        return
    manifest = compared(recording, unfinished=True)
    # A manifest that was edited describes other columns than the shards hold; that shows when they are opened.
    complete = Recording(recording, verify=False, unfinished=True).manifest.complete
    identity, good, whole = manifest.identity, sorted(manifest.shards), len(manifest.places())
    screen.show(
        f"recording: {recording} ({'finished' if complete else 'not finished'})",
        f"teacher:   {manifest.teacher_name}",
        f"rows:      {identity.rows:,} in {identity.views} view{'s' * (identity.views > 1)}",
        f"kept as:   {identity.keep}{', layers ' + ', '.join(identity.layers) if identity.layers else ''}",
        f"size:      {manifest.bytes:,} bytes",
        *_far(manifest),
        f"shards:    {len(good)} of {whole} compared, each as it was written",
    )
    if not complete:
        screen.show(f"good:      {', '.join(good) or 'none yet'}")
        screen.warn(f"{recording} is not finished: record again into the same folder, and it goes on where it stopped")
    screen.answer(
        {
            "folder": recording,
            "teacher": manifest.teacher_name,
            "complete": complete,
            "shards": len(good),
            "of": whole,
            "good": good,
            "rows": identity.rows,
            "views": identity.views,
            "keep": identity.keep,
            "layers": list(identity.layers),
            "bytes": manifest.bytes,
            "fidelity": None if manifest.fidelity is None else asdict(manifest.fidelity),
        }
    )


def _verify_texts(file: Path, screen: Screen) -> None:
    from limbeck.corpus import verify

    found, said = verify(file)
    complete = said["finished"] is not None
    state = "as they were written" if complete else "not finished: nothing says yet what they should be"
    screen.show(
        f"texts:     {file} ({found.texts:,}; {found.cut:,} more were cut; {state})",
        f"teacher:   {said['teacher']} (fingerprint {said['fingerprint']})",
        f"prompts:   {said['prompts']:,}, {said['samples']} text{'s' * (said['samples'] > 1)} each",
    )
    if not complete:
        screen.warn(f"{file} is not finished: write again into the same file, and it goes on where it stopped")
    screen.answer({"file": file, "texts": found.texts, "cut": found.cut, "complete": complete, "written": said})


def _share(text: str | None) -> "Share | None":
    from limbeck.recordings.writer import Share

    if text is None:
        return None
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise typer.BadParameter(f"--share {text} cannot be read; write it as 2/3, the second of three")
    return Share(int(number) - 1, int(of))


def _far(manifest: "Manifest") -> list[str]:
    """Lines about how far what is kept is from all logits; none where nothing is lost or it was not measured."""
    if manifest.fidelity is None:
        return []
    return [
        f"loses:     {sentence} ({manifest.fidelity.positions} answers, a student a nat of noise away)"
        for sentence in manifest.fidelity.sentences()
    ]


def _end(manifest: "Manifest", there: int, folder: Path, screen: Screen) -> None:
    from limbeck.training.engine import main_process

    if not main_process():
        return
    identity, whole = manifest.identity, len(manifest.places())
    size = manifest.bytes if manifest.complete else manifest.row_bytes * identity.rows * identity.views
    state = "finished" if manifest.complete else f"{there} of {whole} shards are finished"
    screen.show(
        f"recording: {folder} ({state})",
        f"teacher:   {manifest.teacher_name}",
        f"rows:      {identity.rows:,} in {identity.views} view{'s' * (identity.views > 1)}",
        f"kept as:   {identity.keep}{', layers ' + ', '.join(identity.layers) if identity.layers else ''}",
        f"size:      {size / 1e6:.1f} MB{'' if manifest.complete else ' when it is finished, about'}",
        *_far(manifest),
        *(["to train:  teacher: " + str(folder)] if manifest.complete else []),
    )
    screen.answer(
        {
            "folder": folder,
            "complete": manifest.complete,
            "shards": there,
            "of": whole,
            "rows": identity.rows,
            "views": identity.views,
            "keep": identity.keep,
            "layers": list(identity.layers),
            "bytes": size,
            "fidelity": None if manifest.fidelity is None else asdict(manifest.fidelity),
        }
    )
