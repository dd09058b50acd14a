"""A finished (or unfinished) run on disk: its record, its models, and what may be asked of them."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import nn

from limbeck.catalog.data import data_of
from limbeck.catalog.languages import tokenizer
from limbeck.catalog.models import model, of_run, saved_shape, with_weights
from limbeck.catalog.tasks import task
from limbeck.catalog.teachers import teacher
from limbeck.data.arrays import as_rows
from limbeck.data.forms import traces
from limbeck.data.questions import asked
from limbeck.data.source import Data
from limbeck.errors import DataError, RecipeError, did_you_mean
from limbeck.evaluation import baseline_scores, evaluate, score, teacher_answers
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.recipe import DataSpec, Recipe
from limbeck.records import RunRecord, Scores, read_record
from limbeck.teachers.protocol import judged

_ROWS_AT_ONCE = 512
_PROMPTS_AT_ONCE = 32


@dataclass(frozen=True)
class Run:
    """A run folder: `recipe.yaml`, `run.json`, `metrics.jsonl`, `student.safetensors`, `control.safetensors`."""

    folder: Path
    record: RunRecord

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Opens a run folder, finished or not.

        Raises:
            RunError: When the folder is no run.
        """
        return cls(Path(folder), read_record(Path(folder)))

    def student(self, network: nn.Module | None = None, *, seed: int | None = None) -> Model:
        """The trained student in eval mode.

        Args:
            network: The bare module, for a run whose student was given as an object; it receives the weights.
            seed: Of several seeds, this one; by default the one that did best on validation data.
        """
        return self._model("student", network, seed)

    def control(self, network: nn.Module | None = None, *, seed: int | None = None) -> Model:
        """The same student trained alone, with the same steps, data order and initial weights."""
        return self._model("control", network, seed)

    def recipe(self) -> Recipe:
        """The resolved recipe; running it again reproduces the run."""
        return Recipe.read(self.folder / "recipe.yaml")

    def _model(self, who: str, network: nn.Module | None, seed: int | None) -> Model:
        if network is None:
            return of_run(self.folder, who=who, seed=seed)
        built = model(network, saved_shape(self.folder, self.record.data, self.record.classes))
        return with_weights(built, self.folder, who=who, seed=seed)


def evaluate_run(
    run: Run, *, split: str = "test", overrides: Sequence[str] = (), data: Data | None = None
) -> dict[str, Scores]:
    """Scores a run's student, control and teacher on a split again, from the files.

    Args:
        run: A finished run.
        split: `train`, `valid` or `test`.
        overrides: Changes to the recipe, such as `data.path=elsewhere`.
        data: The data itself, for a run whose data was given as an object.
    """
    recipe = Recipe.read(run.folder / "recipe.yaml", overrides=list(overrides))
    judge = task(run.record.task)
    loaded = data or data_of(recipe.data, labels=judge.labels)
    if split not in ("train", "valid", "test"):
        raise RecipeError(f"there is no split {split!r}", remedy=did_you_mean(split, ("train", "valid", "test")))
    rows = getattr(loaded, split)
    student = run.student()
    found: dict[str, Scores] = {}
    if (what := recipe.teacher_text()) is not None:
        shape = saved_shape(run.folder, run.record.data, loaded.classes)
        master = teacher(what, shape)
        if judged(master):  # a recording answers the rows it recorded, and no others
            master.prepare(Needs(), loaded.classes)
            if split == "train":  # a teacher may answer what it taught otherwise than other rows
                master.fits(rows, None)
            found["teacher"] = score(teacher_answers(master, rows, judge), judge, loaded.classes)
    found["student"] = evaluate(student, rows, judge, loaded.classes)
    if (run.folder / "control.safetensors").is_file():
        found["control"] = evaluate(run.control(), rows, judge, loaded.classes)
    if (baseline := baseline_scores(rows, judge, loaded.classes)) is not None:
        found["baseline"] = baseline
    return found


def student_row(run: Run) -> tuple[int, ...]:
    """The shape of one raw row that the run's student reads."""
    return tuple(run.record.data["row"])


def predict_run(
    run: Run, inputs: Shaped[np.ndarray, "rows ..."] | str | Path | Mapping[str, Any]
) -> list[Mapping[str, object]]:
    """The student's answers, readable, one for each row.

    A series is cut as the run's data was: the same windows, stride, grid of time, gaps and bridged holes. Each window
    is answered, also the last ones, after which nothing was read yet, and its answer says the `group` and the `time`
    of its last reading.

    Args:
        run: A finished run.
        inputs: Raw rows as the data held them; a single row may come without its first dimension, and rows of one
            channel without it or flat. Or, for a run on windows, a series with the columns that the run's data had: a
            file (.csv, .tsv, .parquet, .jsonl), or arrays by column name.

    Raises:
        DataError: When the rows have another shape than the training data's, or are not finite; when a series has no
            such columns, or is shorter than a window.
    """
    if isinstance(inputs, str | Path | Mapping):
        return _predict_trace(run, Path(inputs) if isinstance(inputs, str) else inputs)
    row = student_row(run)
    found = as_rows(np.asarray(inputs), row)
    if found is None:
        raise DataError(f"the rows have shape {tuple(inputs.shape)}", expected=f"(rows, {', '.join(map(str, row))})")
    rows = torch.from_numpy(np.ascontiguousarray(found))
    if rows.is_floating_point() and not bool(torch.isfinite(rows).all()):
        raise DataError("the rows hold NaN or infinity", expected="finite numbers")
    with torch.inference_mode():
        outputs = run.student()(rows)
    return task(run.record.task).decode(outputs, run.record.classes)


def generate_run(
    run: Run,
    prompts: Sequence[str | list[dict[str, Any]]],
    *,
    length: int = 128,
    temperature: float = 0.0,
    nucleus: float = 1.0,
    seed: int = 0,
    student: Model | None = None,
) -> list[Mapping[str, object]]:
    """What the student of a run on text goes on with, up to the token with which its documents end.

    Args:
        run: A finished run whose data was text.
        prompts: Texts, or conversations: lists of {"role": ..., "content": ...}, written by the tokenizer's template.
        length: Tokens of an answer at most.
        temperature: Of the draws; 0 takes the likeliest token each time.
        nucleus: Only the likeliest tokens that together have this share of the probability are drawn from.
        seed: Of the draws; the same seed, prompts and machine give the same texts.
        student: Another of the run's models, such as `run.student(seed=1)`; None takes the one that did best.

    Raises:
        DataError: When the run's data was no text, or a prompt cannot be read.
        ModelError: When a number is out of range, or a prompt leaves too little of the context.

    Returns:
        For each prompt `text`, how many `tokens` it has, and whether it `ended` by itself.
    """
    said, network = run.recipe().data.tokens, (student or run.student()).network
    if said is None or not isinstance(network, LanguageNetwork):
        raise DataError(
            f"the student of {run.folder} does not speak: its data was no text",
            expected="a run whose recipe says data.tokens",
            remedy="predict_run asks others about rows",
        )
    reads = tokenizer(str(run.folder))
    asked_for, turns = asked(reads, said, prompts)
    known = reads.get_vocab()
    end = {known[name] for name in run.record.data.get("tokens", {}).get("ends", ())} | turns
    how = Sampling(length, tuple(sorted(end)), temperature, nucleus, seed)
    found: list[Mapping[str, object]] = []
    for first in range(0, len(asked_for), _PROMPTS_AT_ONCE):
        for tokens in network.generate(asked_for[first : first + _PROMPTS_AT_ONCE], how):
            ended = bool(tokens) and tokens[-1] in end
            text = tokens[:-1] if ended else tokens
            found.append({"text": reads.decode(text), "tokens": len(text), "ended": ended})
    return found


def _predict_trace(run: Run, source: Path | Mapping[str, Any]) -> list[Mapping[str, object]]:
    trace = traces.read(source, _trace_spec(run))
    if trace.unread:
        warnings.warn(f"{trace.unread} lines of {source} cannot be read and are left out", stacklevel=3)
    student, judge = run.student(), task(run.record.task)
    answers: list[Mapping[str, object]] = []
    with torch.inference_mode():
        for first in range(0, len(trace.places), _ROWS_AT_ONCE):
            places = trace.places[first : first + _ROWS_AT_ONCE]
            outputs = student(trace.inputs.take(torch.arange(first, first + len(places))))
            said = judge.decode(outputs, run.record.classes)
            answers += [{**place, **answer} for place, answer in zip(places, said, strict=True)]
    return answers


def _trace_spec(run: Run) -> DataSpec:
    """How the run's data was read and cut, with what was found out then: which channels, and how far apart in time."""
    spec, facts = run.recipe().data, run.record.data.get("windows")
    if spec.windows is None or facts is None:
        raise DataError(
            f"a series was given, and {run.folder} was not trained on windows of one",
            expected=f"rows of shape {student_row(run)} as an array, or in a .npy or .npz file",
        )
    apart = facts["every_seconds"]
    every = None if apart is None else f"{np.format_float_positional(apart, trim='-')}s"
    columns = spec.columns.model_copy(update={"inputs": tuple(facts["channels"]), "label": ()})
    windows = spec.windows.model_copy(update={"every": every})
    return spec.model_copy(update={"columns": columns, "windows": windows})
