"""The recipe: one call of `distill`, `chain` or `compare`, checked so far as that goes without data or models.

    data: {source: fashion-mnist, valid: 5000}
    chain:
      - {name: big, student: cnn(size=32), budget: 20 epochs}
      - {name: small, student: separable_cnn(size=16), objective: 0.9 * kd(temperature=4) + 0.1 * labels}

Relative paths in a recipe (`data.path`, a teacher's run folder, `to`) are taken from the current directory.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from limbeck.budget import Budget
from limbeck.recipe import spellings
from limbeck.recipe.comparing import Comparison
from limbeck.recipe.data import Columns, DataSpec, Strict, Tokens, Windows
from limbeck.recipe.document import Document, Place, explain
from limbeck.recipe.reasoning import Reasoning
from limbeck.recipe.speaking import Generations, OwnText, Shown
from limbeck.recipe.training import TrainingSpec


class Member(Strict):
    """One teacher and its weight among several.

    Attributes:
        model: What the catalog can find: a run folder, `timm:NAME`, `package.module:function`, ...
        weight: Share of this teacher's probabilities, above 0; weights are divided by their sum.
        claims: What it should score in the task's chosen metric (0.93 for 93 % accuracy), checked before training; None
            takes what a run recorded of itself, if it is one.
        classes: What the teacher calls classes that it does not call as the data does: {cat: tabby}, or several for
            one, whose probabilities are summed: {dog: [beagle, pug]}.
    """

    model: str = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)
    claims: float | None = None
    classes: dict[str, Annotated[tuple[str, ...], BeforeValidator(spellings.names)]] = Field(default_factory=dict)

    def named(self) -> str | dict[str, Any]:
        """What the catalog takes: the model's text, with the names of its classes where any are said."""
        return {"model": self.model, "classes": self.classes} if self.classes else self.model


class Link(Strict):
    """One link of a chain: the keys it says replace those of the recipe around it; `data` and `training` key by key.

    A key that is left out is inherited; a key that is null is taken back (`augment: null` for no augmentation).

    Attributes:
        name: Folder of this link inside the chain's, and what later links may call it as their teacher; the default is
            its position from 0 and its student's name, such as "1-mlp".
    """

    name: spellings.RunName | None = None
    data: Annotated[dict[str, Any], BeforeValidator(spellings.data)] = Field(default_factory=dict)
    augment: spellings.AugmentText | None = None
    teacher: Annotated[tuple[Member, ...], BeforeValidator(spellings.members)] = ()
    record: spellings.Views = None
    keep: spellings.KeepText | None = None
    student: spellings.StudentText | None = None
    objective: spellings.ObjectiveText | None = None
    budget: spellings.BudgetText | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    control: bool | None = None
    seed: int | None = Field(default=None, ge=0)
    seeds: int | None = Field(default=None, ge=1)
    trackers: spellings.Trackers = ()
    device: Literal["auto", "cpu", "cuda"] | None = None

    def changes(self) -> dict[str, Any]:
        """The keys that were said, as plain values."""
        return self.model_dump(mode="json", exclude_unset=True)


class Recipe(Strict):
    """What `limbeck distill` or, with links, `limbeck chain` shall do.

    Attributes:
        name: Name of the run; a recipe read from a file is called as the file unless it says its own.
        to: Folder of the run, relative to the current directory; None is `runs/NAME` (see `folder`).
        task: A file of `tasks/` with its arguments, such as "classification" or "forecasting(horizon=6, below=70)".
        data: A name or path, or the keys of `DataSpec`.
        augment: Sum of augmentations, such as "crop(padding=2) + flip"; None for none.
        teacher: A text, a list of texts, or a list of {model: TEXT, weight: NUMBER}, which answer as a weighted
            ensemble; kept as members, none for plain training.
        record: Views of each row for which the teacher's answers are recorded first, 1 or more; "auto" takes one for
            each epoch, or as many as fit on the disk; None asks it live.
        keep: How recorded answers are kept, such as "dense", "topk(k=64)", "dense + features(precision='float16')".
        student: A name of `students/` with its arguments, `timm:NAME`, `torchvision:NAME`, `package.module:function`.
        objective: Weighted sum of methods; "auto" takes what the task learns by from a teacher (for classes
            `0.9 * kd(temperature=4) + 0.1 * labels`), and labels alone without one.
        budget: "20 epochs", "5000 steps", "10m".
        training: The keys of `TrainingSpec`.
        control: Whether the same student is also trained alone on the labels; without a teacher there is nothing to
            control and this is not read.
        seed: First seed of weights, data order and augmentation, 0 or more.
        seeds: How many seeds to run, 1 or more: seed, seed + 1, ...; None is one.
        generations: How many held-out prompts teacher, student and control of a text go on with when the run ends, or
            the keys of `Generations`; 0 for none; None is 8 where the task has texts.
        trackers: Which trackers follow the run, through accelerate: `tensorboard`, `wandb`, `mlflow`. Their files lie
            in the run's folder, unless MLFLOW_TRACKING_URI names another place; wandb goes to its account unless
            WANDB_MODE=offline.
        device: Where to train; "auto" takes the accelerator where there is one.
        chain: Links, each the next one's teacher.
        compare: Methods that `limbeck compare` holds against each other; the last link of a chain is their teacher.
        reason: How `limbeck reason` samples, verifies and selects solutions of the teacher; `data` holds problems then.
    """

    name: spellings.RunName | None = None
    to: Path | None = None
    task: spellings.TaskText = "classification"
    data: Annotated[DataSpec, BeforeValidator(spellings.data)]
    augment: spellings.AugmentText | None = None
    teacher: Annotated[tuple[Member, ...], BeforeValidator(spellings.members)] = ()
    record: spellings.Views = None
    keep: spellings.KeepText = "dense"
    student: spellings.StudentText = ""
    objective: spellings.ObjectiveText = "auto"
    budget: spellings.BudgetText = "20 epochs"
    training: TrainingSpec = TrainingSpec()
    control: bool = True
    seed: int = Field(default=0, ge=0)
    seeds: int | None = Field(default=None, ge=1)
    generations: Shown = None
    trackers: spellings.Trackers = ()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    chain: tuple[Link, ...] = ()
    compare: Comparison | None = None
    reason: Reasoning | None = None

    @field_validator("objective", mode="before")
    @classmethod
    def _no_null_objective(cls, value: object) -> object:
        return value or "auto"

    @field_validator("chain", mode="before")
    @classmethod
    def _no_null_chain(cls, value: object) -> object:
        return () if value is None else value

    @model_validator(mode="after")
    def _check_whole(self) -> "Recipe":
        if not self.student and not (self.chain and self.compare is None):
            raise spellings.wrong("student is missing", "such as student: cnn(size=16)", "`limbeck models` lists them")
        if not self.chain and self.record is not None and not self.teacher:
            raise spellings.wrong("there is no teacher to record", "", "set teacher, or delete record", key="record")
        if not self.chain and self.compare is None and self.record is None and self.keep != "dense":
            raise spellings.wrong(
                "keep says how recorded answers are kept, and nothing is recorded", "", "record: auto", key="keep"
            )
        self._check_own_text()
        if self.reason is not None:
            self.reason.check_beside(self.task, self.data, len(self.teacher), bool(self.chain or self.compare))
        names = [link_name(link, index, self.student) for index, link in enumerate(self.chain)]
        if doubles := sorted({name for name in names if names.count(name) > 1}):
            raise spellings.wrong(
                f"two links of the chain are called {doubles[0]!r}", "a name of its own for each", key="chain"
            )
        return self

    def _check_own_text(self) -> None:
        """Own text is judged while it is said, and how long that takes nobody measured beforehand."""
        timed, alone = Budget.parse(self.budget).unit == "seconds", not self.chain
        for wrong, happened, remedy in (
            (self.compare is not None, "methods are compared on one recording", "delete own_text"),
            (alone and not self.teacher, "there is no teacher to judge the student's text", "set teacher"),
            (alone and self.record is not None, "a recording cannot answer texts it never saw", "delete record"),
            (alone and timed, "a budget in time is measured on the data's texts", "budget: 500 steps"),
        ):
            if wrong and self.training.own_text is not None:
                raise spellings.wrong(f"training.own_text: {happened}", "", remedy, key="training")

    @classmethod
    def make(cls, **values: Any) -> "Recipe":
        """A recipe from keywords, such as `Recipe.make(data="digits", student="mlp")`; None is as if it were not said.

        Raises:
            RecipeError: When a key is unknown or a value is out of its range.
        """
        said = {key: value for key, value in values.items() if value is not None}
        return _build(Document("the recipe", said))

    @classmethod
    def parse(cls, text: str, *, source: str = "the recipe", overrides: Sequence[str] = ()) -> "Recipe":
        """A recipe from YAML text; see `read`."""
        document = Document.parse(text, source)
        for override in overrides:
            document.override(override)
        return _build(document)

    @classmethod
    def read(cls, path: str | Path, overrides: Sequence[str] = ()) -> "Recipe":
        """Reads a recipe file.

        Args:
            path: A YAML file.
            overrides: Changes such as "training.lr=0.003", "seeds=5" or "chain.big.budget=2 epochs", each value read
                as YAML; links of a chain are found by name or by position from 0.

        Raises:
            RecipeError: When the file cannot be read, a key is unknown, or a value is out of its range; the message
                begins with FILE:LINE.
        """
        document = Document.read(Path(path))
        for override in overrides:
            document.override(override)
        document.values.setdefault("name", _file_name(Path(path)))
        return _build(document)

    @property
    def folder(self) -> Path:
        """Where the run goes: `to`, or else runs/NAME."""
        return self.to if self.to is not None else Path("runs") / (self.name or "run")

    def teacher_text(self) -> str | dict[str, Any] | list[tuple[float, str | dict[str, Any]]] | None:
        """The teacher as the catalog takes it: a text, (weight, text) for each of several, or None.

        In place of a text stands {"model": text, "classes": names} where the teacher's classes have other names.
        """
        members = [(member.weight, member.named()) for member in self.teacher]
        return members if len(members) > 1 else members[0][1] if members else None

    def epochs(self, steps_per_epoch: int) -> int | None:
        """How many epochs the budget begins; None where it is in time and no speed has been measured."""
        budget = Budget.parse(self.budget)
        return None if budget.unit == "seconds" else max(1, math.ceil(budget.steps(steps_per_epoch) / steps_per_epoch))

    def all_seeds(self) -> range:
        """The seeds of this run: `seed`, `seed + 1`, ..."""
        return range(self.seed, self.seed + (self.seeds or 1))

    def replace(self, **changes: Any) -> "Recipe":
        """The same recipe with other values, checked again.

        Raises:
            RecipeError: When a key is unknown or a value is out of its range.
        """
        return _build(Document("the recipe", {**_plain(self), **changes}))

    def yaml(self) -> str:
        """The recipe as YAML: keys in one order, defaults written out, what is empty left out."""
        plain = _plain(self)
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)
        # Some characters, such as U+0085, end a line in YAML; those must be escaped, and then all are.
        return text if yaml.safe_load(text) == plain else yaml.safe_dump(plain, sort_keys=False, width=110)

    def links(self) -> list["Recipe"]:
        """One full recipe for each link of a chain, in order; none without a chain.

        A link's teacher is what the link says: the name of an earlier link, or any teacher. A link that says none has
        the link before it, and the first link has what the recipe says. A link left without teacher trains on labels
        unless it says its own objective.

        Raises:
            RecipeError: When a link's values are out of range.
        """
        return [_build(Document("the recipe", values)) for values in _link_values(self)]


def link_name(link: Link, index: int, student: str = "") -> str:
    """The name of a link: its own, or its position and its student's name, such as "0-cnn"."""
    if link.name:
        return link.name
    text = (link.student or student).partition("(")[0]
    return f"{index}-{re.sub(r'[^0-9A-Za-z_.]+', '-', text).strip('-') or 'student'}"


def _file_name(path: Path) -> str:
    # The recipe of a run folder is called as the folder.
    word = path.absolute().parent.name if path.stem == "recipe" else path.stem
    return re.sub(r"[^\w.+-]+", "-", word).strip("-.+")[:100] or "run"


def _plain(recipe: Recipe) -> dict[str, Any]:
    values = recipe.model_dump(mode="json", exclude={"chain"})
    plain = {key: value for key, value in values.items() if not _empty(value)}
    for plan in ("compare", "reason"):
        if plan in plain:
            plain[plan] = _said(values[plan])
    plain["data"] = _said(values["data"])
    # That gradients are not clipped must be said: clipping is the default.
    plain["training"] = {key: value for key, value in values["training"].items() if key == "clip" or value is not None}
    if recipe.teacher:
        plain["teacher"] = _plain_teacher(recipe.teacher)
    if recipe.chain:
        plain["chain"] = [_plain_link(link) for link in recipe.chain]
    return plain


def _said(section: dict[str, Any]) -> dict[str, Any]:
    """A section without what is empty, in the sections inside it too."""
    inner = {key: _said(value) if isinstance(value, dict) else value for key, value in section.items()}
    return {key: value for key, value in inner.items() if not _empty(value)}


def _empty(value: object) -> bool:
    return value is None or value == [] or value == "" or value == {}


def _plain_teacher(members: tuple[Member, ...]) -> object:
    if any(member.claims is not None or member.classes for member in members):
        return [_said(member.model_dump(mode="json")) for member in members]
    if len(members) == 1 and members[0].weight == 1:
        return members[0].model
    if all(member.weight == 1 for member in members):
        return [member.model for member in members]
    return [member.model_dump(exclude_none=True) for member in members]


def _plain_link(link: Link) -> dict[str, Any]:
    return {**link.changes(), **({"teacher": _plain_teacher(link.teacher)} if link.teacher else {})}


def _link_values(recipe: Recipe) -> list[dict[str, Any]]:
    """The merged values of each link, not yet checked."""
    base = _plain(recipe)
    for plan in ("chain", "compare"):
        base.pop(plan, None)
    merged: list[dict[str, Any]] = []
    folders: dict[str, str] = {}
    for index, link in enumerate(recipe.chain):
        changes = _plain_link(link)
        name = link_name(link, index, recipe.student)
        values = {**base, **changes, "name": name, "to": str(recipe.folder / name)}
        for part in ("data", "training"):
            values[part] = {**base[part], **(changes.get(part) or {})}
        if index and "teacher" not in changes:
            values["teacher"] = list(folders.values())[-1]
        members = spellings.members(values.get("teacher"))
        assert isinstance(members, list)
        values["teacher"] = [{**member, "model": folders.get(member["model"], member["model"])} for member in members]
        if not members:
            for key in {"record", "keep", "objective"} - changes.keys():
                values.pop(key, None)
            if "own_text" not in (changes.get("training") or {}):
                values["training"].pop("own_text", None)
        folders[name] = values["to"]
        merged.append({key: value for key, value in values.items() if value is not None})
    return merged


def _build(document: Document) -> Recipe:
    try:
        recipe = Recipe.model_validate(document.values)
    except ValidationError as error:
        raise explain(error, document, _keys) from error
    for index, values in enumerate(_link_values(recipe) if recipe.chain else []):
        try:
            Recipe.model_validate(values)
        except ValidationError as error:
            raise explain(error, document, _keys, link=index) from error
    return recipe


_SECTIONS: dict[str, type[Strict]] = {
    "data": DataSpec,
    "columns": Columns,
    "windows": Windows,
    "tokens": Tokens,
    "training": TrainingSpec,
    "own_text": OwnText,
    "generations": Generations,
    "teacher": Member,
    "chain": Link,
    "compare": Comparison,
    "reason": Reasoning,
}


def _keys(section: Place) -> dict[str, list[str]]:
    """The keys a section of a recipe may have, under "", and those of the sections that may be meant instead."""
    name = next((step for step in reversed(section) if isinstance(step, str)), "")
    own = _SECTIONS.get(name, Recipe)
    others = {key: list(_SECTIONS[key].model_fields) for key in ("data", "training") if key != name}
    return {"": list(own.model_fields), **others}
