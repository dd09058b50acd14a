"""Sequence-level distillation: a teacher writes texts, of which a student learns as of any others.

Kim and Rush, 2016, Sequence-Level Knowledge Distillation, https://arxiv.org/abs/1606.07947, section 3.2: the teacher's
own likeliest text in the place of its distribution over all texts. Read: memory. Deviations: the likeliest text is that
of greedy choice (temperature 0), not of a beam; at other temperatures several texts a prompt are draws from the
distribution itself.

The texts lie in a file of JSON lines that `data.tokens` reads as it is: prompt and completion, or messages. A text that
was cut at its longest lies in a file beside it, because a student would learn to end where it was cut.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from limbeck.catalog.writers import writer
from limbeck.data.prompts import prompts as prompts_of
from limbeck.errors import RecordingError, TeacherError
from limbeck.languages.generation import Sampling
from limbeck.languages.writing import Prompt, Writer, Written
from limbeck.servers.correspondence import Spent
from limbeck.servers.writer import ServerWriter
from limbeck.storage import append_lines, sole_writer, whole_lines, write_text

# Prompts between two looks at the disk.
_AT_ONCE = 64


@dataclass(frozen=True)
class Corpus:
    """The texts that a teacher wrote.

    Args:
        path: The file of finished texts.
        texts: How many there are.
        cut: How many were cut at their longest; they are in the file `cut_path`.
        spent: What a server's answers took in this sitting; None for a model here.
        cost: Their price, where prices were said.
    """

    path: Path
    texts: int
    cut: int
    spent: Spent | None = None
    cost: float = 0.0

    @property
    def cut_path(self) -> Path:
        """The file of texts that were cut."""
        return _beside(self.path, "cut.jsonl")


def write(
    teacher: Any,
    prompts: Any,
    to: Path | str,
    *,
    length: int = 512,
    temperature: float = 0.0,
    nucleus: float = 1.0,
    samples: int = 1,
    seed: int = 0,
    column: str = "",
    system: str = "",
    chat: bool = False,
    limit: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Lets a teacher write texts for prompts, into a file that a recipe can name as `data.source`.

    Killed at any instant and called again it goes on; finished, it is left as it is. Beside the file lie the texts that
    were cut, and who wrote them how (NAME.provenance.json).

    Args:
        teacher: A `Writer`, or the text of a language model, a run's folder, or a server, such as `hf:PATH`.
        prompts: As `limbeck.data.prompts.prompts` takes them.
        to: The file, .jsonl.
        length: Tokens of a text at most.
        temperature: Of the draws; 0 for the likeliest token each time.
        nucleus: Only the likeliest tokens that together have this share of the probability are drawn from.
        samples: Texts a prompt.
        seed: Of the draws.
        column: The column of a table.
        system: A message of the system, for conversations that begin with none.
        chat: Whether a text is what a user asks, rather than one that goes on.
        limit: So many of the first prompts; 0 for all.
        progress: Called with the prompts that are done and all of them.

    Raises:
        DataError: When there are no prompts.
        ModelError, TeacherError: When the teacher cannot be opened, or cannot write for a prompt.
        RecordingError: When the file holds texts of another teacher, of other prompts, or otherwise drawn.
        FolderInUse: When another process writes to the file.
        StorageError: When the disk is full; what was written is kept.
    """
    if samples > 1 and not temperature:
        raise TeacherError(
            f"{samples} texts a prompt at temperature 0 are all the same", expected="temperature above 0, or one text"
        )
    how = Sampling(length=length, temperature=temperature, nucleus=nucleus, seed=seed)
    asked = prompts_of(prompts, column=column, system=system, chat=chat, limit=limit)
    found, path = writer(teacher), Path(to)
    with sole_writer(path.parent, f"{path.name}.lock", f"the file {path}"):
        _begin(path, _provenance(found, asked, how, samples))
        work = _Work(found, asked, how, samples, path)
        work.run(progress or (lambda done, total: None))
        _conclude(path, work.wrote)
    spent, cost = None, 0.0
    if isinstance(found, ServerWriter):
        spent, cost = found.client.ledger.new, found.client.ledger.new.cost(found.client.server.prices)
    return Corpus(path, work.finished, work.cut, spent, cost)


@dataclass
class _Work:
    """The texts of some prompts, as many as are still to be written."""

    writer: Writer
    prompts: Sequence[Prompt]
    how: Sampling
    samples: int
    path: Path
    finished: int = 0
    cut: int = 0
    wrote: bool = False

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Writes what is missing."""
        cut = _beside(self.path, "cut.jsonl")
        there = _kept(self.path)
        beside = _kept(cut)
        self.finished, self.cut = len(there), len(beside)
        done = {*there, *beside}
        missing = [
            place
            for place in range(len(self.prompts))
            if any((place, number) not in done for number in range(self.samples))
        ]
        whole = len(self.prompts)
        progress(whole - len(missing), whole)
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            texts = self.writer.write([self.prompts[place] for place in some], self.how, self.samples)
            lines: dict[bool, list[str]] = {True: [], False: []}
            for place, written in zip(some, texts, strict=True):
                for number, text in enumerate(written):
                    if (place, number) not in done:
                        lines[text.finished].append(_line(self.prompts[place], text, place, number))
            append_lines(cut, lines[False])
            append_lines(self.path, lines[True])
            self.wrote = True
            self.finished += len(lines[True])
            self.cut += len(lines[False])
            progress(whole - len(missing) + start + len(some), whole)


def verify(path: Path | str) -> tuple[Corpus, dict[str, Any]]:
    """Compares a corpus with what was noted when it was finished.

    Args:
        path: The file of texts.

    Returns:
        The corpus, and who wrote it how (`finished` in it is None for a corpus that is still being written: its lines
        were read, and nothing says yet what they should be).

    Raises:
        RecordingError: When nothing says who wrote the file, or a file of it is damaged or missing: which one.
    """
    path = Path(path)
    place = _beside(path, "provenance.json")
    if not place.is_file():
        raise RecordingError(
            f"{path} is no corpus: it has no {place.name} beside it",
            expected="a file that limbeck write made",
            remedy="name the .jsonl file itself, where it lies beside that one",
        )
    try:
        said = json.loads(place.read_text(encoding="utf-8"))
        noted = said.setdefault("finished", None)
        files = {} if noted is None else {str(name): str(sha256) for name, sha256 in noted.items()}
    except (ValueError, AttributeError) as error:
        raise RecordingError(f"{place} is damaged: {error}", remedy="restore it from a copy") from error
    for name, sha256 in files.items():
        file = path.with_name(name)
        if not file.is_file() or _sha256(file) != sha256:
            raise RecordingError(
                f"{file} {'was changed since it was written' if file.is_file() else 'is missing'}",
                expected=f"SHA-256 {sha256}",
                remedy="restore it from a copy, or write the texts again into another file",
            )
    return Corpus(path, len(_numbers(path)), len(_numbers(_beside(path, "cut.jsonl")))), said


def _conclude(path: Path, wrote: bool) -> None:
    """Notes the hashes of the finished files; anew where some texts of them have just been written."""
    place = _beside(path, "provenance.json")
    said = json.loads(place.read_text(encoding="utf-8"))
    if wrote or "finished" not in said:
        files = [file for file in (path, _beside(path, "cut.jsonl")) if file.is_file()]
        said["finished"] = {file.name: _sha256(file) for file in files}
        write_text(place, json.dumps(said, indent=1, ensure_ascii=False) + "\n")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(prompt: Prompt, text: Written, place: int, number: int) -> str:
    """One text as `data.tokens` reads it, with the numbers of its prompt and sample."""
    said: dict[str, Any]
    if isinstance(prompt, str):
        said = {"prompt": prompt, "completion": text.text}
    else:
        said = {"messages": [*map(dict, prompt), {"role": "assistant", "content": text.text}]}
    return json.dumps(
        {**said, "number": place, "sample": number, "tokens": text.tokens, "asked": text.asked}, ensure_ascii=False
    )


def _kept(path: Path) -> set[tuple[int, int]]:
    """The (prompt, sample) of each line of a file; a torn last line is cut off."""
    whole_lines(path)
    return _numbers(path)


def _numbers(path: Path) -> set[tuple[int, int]]:
    """The (prompt, sample) of each line of a file, a torn last one left out; none where there is no file.

    Raises:
        RecordingError: Which line is none that Limbeck wrote.
    """
    found: set[tuple[int, int]] = set()
    content = path.read_bytes() if path.is_file() else b""
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            each = json.loads(line)
            found.add((each["number"], each["sample"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RecordingError(
                f"line {number} of {path} is damaged ({type(error).__name__}: {error})",
                expected="a text as limbeck write wrote it",
                remedy="delete that line, and write again into the file: only what is missing is written",
            ) from error
    return found


def _begin(path: Path, provenance: dict[str, Any]) -> None:
    """Notes who writes how, or makes sure that what was begun here is the same."""
    place = _beside(path, "provenance.json")
    if not place.is_file():
        if path.exists():
            raise RecordingError(
                f"{path} is there already, and nothing says who wrote it", expected="a new file", remedy="another name"
            )
        write_text(place, json.dumps(provenance, indent=1, ensure_ascii=False) + "\n")
        return
    before = json.loads(place.read_text(encoding="utf-8"))
    other = [key for key in provenance if before.get(key) != provenance[key]]
    if other:
        raise RecordingError(
            f"{path} holds texts with another {other[0]}: {before.get(other[0])}",
            expected=f"{other[0]}: {provenance[other[0]]}",
            remedy="write into another file",
        )


def _provenance(found: Writer, asked: Sequence[Prompt], how: Sampling, samples: int) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps(list(asked), ensure_ascii=False, sort_keys=True).encode()).hexdigest()
    return {
        "teacher": found.name,
        "fingerprint": found.fingerprint,
        "template": found.template,
        "sampling": asdict(how) | {"end": list(how.end)},
        "samples": samples,
        "prompts": len(asked),
        "digest": digest,
    }


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name.removesuffix('.jsonl')}.{name}")
