"""Reasoning: a teacher's solutions are sampled, verified, selected and learnt, and what failed is sampled for again.

Distilling step-by-step (Hsieh et al., 2023, https://arxiv.org/abs/2305.02301) on solutions that were verified before
they are learnt (rejection sampling: Yuan et al., 2023, https://arxiv.org/abs/2308.01825). Both read: memory.

Everything a round does lies in files of JSON lines and in run folders, and each of them is gone on with:

    round-1/samples.jsonl          what the teacher said, and in samples.cut.jsonl what was cut at its longest
    round-1/verdicts.jsonl         what the verifier found of each
    round-1/steps, round-1/answers the documents that are learnt
    round-1/student, round-1/alone the run that learns steps and answers, and the same student with answers alone
    exams/                         what students and teacher answer to held-out problems
    reasoning.json, reasoning.md   what was found
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck.catalog.objectives import objective
from limbeck.catalog.verifiers import verifier as find_verifier
from limbeck.catalog.writers import writer
from limbeck.corpus import write
from limbeck.distillation import RESUME, run_recipe
from limbeck.errors import DataError, RecipeError, RunError
from limbeck.languages.writing import LocalWriter, Writer
from limbeck.progress import Progress, RowsDone, Silent
from limbeck.recipe import Reasoning, Recipe
from limbeck.recipe.reasoning import PLACE
from limbeck.run import Run
from limbeck.runfolder import held, refuse_existing
from limbeck.solutions import exams, judging, lessons, problems, selection
from limbeck.solutions.accounts import accounts, page
from limbeck.solutions.judging import Sample
from limbeck.solutions.lessons import Pupil
from limbeck.solutions.problems import Problems
from limbeck.storage import write_text
from limbeck.training.engine import main_process
from limbeck.verification import Problem, Verifier
from limbeck.workshop import Given, Workshop

RESULTS, PAGE, BEGUN = "reasoning.json", "reasoning.md", "reason.yaml"
_OBJECTIVE = "labels(of='answer') + labels(of='rationale')"
_TRIED = 64
_RUNS: dict[Pupil, str] = {"steps": "student", "answers": "alone"}


@dataclass(frozen=True)
class Reasoned:
    """What came of it: the folder, what is written in `reasoning.json`, its page, and the last round's runs."""

    folder: Path
    results: dict[str, Any]
    page: Path
    student: Run
    alone: Run | None


def reason(
    recipe: Recipe | str | Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    resume_command: str = RESUME,
) -> Reasoned:
    """Teaches a student to reason from solutions of a teacher that were verified.

    Beside it the same student is trained on the answers of the same problems alone, for as many steps (`control`).

    Args:
        recipe: One with the key `reason`, or its file. Its teacher writes the solutions; without one, those that the
            data brings are taken. An `objective` that asks a teacher is given this one, and `auto` is the answer's
            loss and the rationale's, with equal weights.
        resume: Goes on with what was begun in the same folder; nothing that was sampled or verified is asked for again.
        progress: Is told how it goes.
        resume_command: What a person shall do to go on after an interruption.

    Raises:
        RecipeError: When the recipe has no key `reason`, or a verifier is unknown.
        DataError: When problems cannot be read, or no sampled solution of any was right.
        LimbeckError: When student, objective or tokens do not fit, before anything is sampled.
        RunError: When the folder holds something else, or was begun with another recipe.
        FolderInUse: When another process is writing to the folder.
        Interrupted: After Ctrl-C, with everything saved.
    """
    if not isinstance(recipe, Recipe):
        recipe = Recipe.read(recipe)
    if recipe.reason is None:
        raise RecipeError("the recipe does not reason", expected="the key reason", remedy="limbeck distill")
    with held(recipe.folder, writes=main_process()):
        if not resume:
            refuse_existing(recipe.folder)
        _begin(recipe)
        verifier = find_verifier(recipe.reason.verifier)
        found = problems.read(recipe.data, recipe.reason, verifier)
        return _Plan(recipe, recipe.reason, found, verifier, progress or Silent(), resume_command).run()


def _begin(recipe: Recipe) -> None:
    """Notes with which recipe a folder was begun, or makes sure that it was this one."""
    place = recipe.folder / BEGUN
    text = recipe.replace(device="auto", to=None).yaml()
    if not place.is_file():
        write_text(place, text)
    elif place.read_text(encoding="utf-8") != text:
        before, now = (Recipe.parse(each).model_dump(mode="json") for each in (place.read_text("utf-8"), text))
        other = ", ".join(key for key in now if now[key] != before[key])
        raise RunError(
            f"{recipe.folder} was begun with another recipe: {other} differs",
            expected=f"the recipe in {place}",
            remedy=f"take the change back, or another folder: --to {recipe.folder}-2",
        )


@dataclass
class _Plan:
    recipe: Recipe
    said: Reasoning
    problems: Problems
    verifier: Verifier
    watcher: Progress
    resume_command: str
    pool: list[Sample] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.recipe.folder

    def run(self) -> Reasoned:
        """All rounds, and what came of them."""
        teacher = writer(self.recipe.teacher[0].model) if self.recipe.teacher else None
        self._tried()
        asked: Sequence[Problem] = (*self.problems.train, *self.problems.valid)
        rounds: list[dict[str, Any]] = []
        runs: dict[Pupil, Run] = {}
        for number in range(1, self.said.rounds + 1):
            place = self.folder / f"round-{number}"
            samples = self._sampled(teacher, asked, number, place)
            chosen = self._selected()
            runs = self._taught(chosen, place)
            rounds.append(accounts(number, samples, chosen.facts, runs, teacher))
            asked = self._failed(chosen, runs["steps"], place) if number < self.said.rounds else ()
            if number < self.said.rounds and not asked:
                self.watcher.say("nothing failed: no further round")
                break
        found: dict[str, Any] = {
            "problems": self.problems.facts(),
            "verifier": self.said.verifier,
            "rounds": rounds,
            "exam": {name: self._examined(runs[who], who, name) for who, name in _RUNS.items() if who in runs},
        }
        if isinstance(teacher, LocalWriter):
            found["exam"]["teacher"] = [self._teacher(teacher)]
        write_text(self.folder / RESULTS, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        write_text(self.folder / PAGE, page(self.recipe.name or self.folder.name, found, self.recipe))
        return Reasoned(self.folder, found, self.folder / PAGE, runs["steps"], runs.get("answers"))

    def _tried(self) -> None:
        """Tries student, objective and tokens on a few problems, before anybody is asked or trained."""
        objective(self._objective)
        few = self.problems.train[:_TRIED]
        known = {
            each.number: (Sample(each.number, 0, 0, each.known.get("solution") or each.question, True, 0, 0),)
            for each in (*few, *self.problems.valid[:_TRIED])
        }
        place = self.folder / "tried"
        lessons.write(
            place,
            Problems(few, self.problems.valid[:_TRIED], self.problems.test[:_TRIED], 0, 0),
            known,
            self.said,
            self.verifier,
            "steps",
        )
        recipe = self._lesson("steps", place, place)
        Workshop.open(recipe, Given(), place, Silent(), self.resume_command).case()

    def _sampled(self, teacher: Writer | None, asked: Sequence[Problem], number: int, place: Path) -> list[Sample]:
        """The samples of a round with their verdicts; they join those of earlier rounds."""
        if teacher is None:
            samples = judging.written(asked)
        else:
            text = self.said.ask or self.said.prompt
            corpus = write(
                teacher,
                [text.replace(PLACE, each.question) for each in asked],
                place / "samples.jsonl",
                length=self.said.length,
                temperature=self.said.temperature + (number - 1) * self.said.warmer,
                nucleus=self.said.nucleus,
                samples=self.said.samples,
                seed=self.recipe.seed + number - 1,
                chat=self.said.chat,
                progress=self._told(f"round {number}: {teacher.name} writes"),
            )
            samples = judging.sampled(corpus.path, corpus.cut_path, asked, number)
        known = {each.number: each for each in asked}
        told = self._told(f"round {number}: verifying")
        found = judging.judged(samples, known, self.verifier, place / "verdicts.jsonl", told)
        self.pool += found
        return found

    def _selected(self) -> selection.Selection:
        chosen = selection.selected(self.pool, self.verifier, keep=self.said.keep, prefer=self.said.prefer)
        for name, split in (("training", self.problems.train), ("validation", self.problems.valid)):
            if any(each.number in chosen.kept for each in split):
                continue
            reasons = [each.verdict.why for each in self.pool if each.verdict and each.verdict.why][:3]
            raise DataError(
                f"no solution of any {name} problem is right, of {len(self.pool):,} samples: {'; '.join(reasons)}",
                expected="a teacher that solves some of the problems, in the form that the verifier reads",
                remedy=f"read {self.folder}/round-1/samples.jsonl; reason.ask with examples of the form, more samples, "
                "a longer reason.length, or another verifier",
            )
        facts = chosen.facts
        self.watcher.say(
            f"{facts['sound']:,} of {facts['samples']:,} samples are sound; {facts['kept']:,} are kept, of "
            f"{facts['problems'] - facts['never']:,} of {facts['problems']:,} problems"
        )
        return chosen

    def _taught(self, chosen: selection.Selection, place: Path) -> dict[Pupil, Run]:
        runs: dict[Pupil, Run] = {}
        for pupil, name in _RUNS.items():
            if pupil == "answers" and not self.recipe.control:
                continue
            lessons.write(place / pupil, self.problems, chosen.kept, self.said, self.verifier, pupil)
            recipe = self._lesson(pupil, place / pupil, place / name)
            runs[pupil] = run_recipe(recipe, resume=True, progress=self.watcher, resume_command=self.resume_command)
        return runs

    @property
    def _objective(self) -> str:
        return _OBJECTIVE if self.recipe.objective == "auto" else self.recipe.objective

    def _lesson(self, pupil: Pupil, documents: Path, to: Path) -> Recipe:
        """The recipe by which a student learns from documents."""
        said = self.recipe
        learns = self._objective if pupil == "steps" else "labels"
        changes: dict[str, Any] = {} if objective(learns).needs().teacher else {"teacher": None, "record": None}
        data = said.data.model_dump(mode="json") | {
            "source": str(documents),
            "columns": lessons.COLUMNS,
            "valid": None,
            "test": None,
        }
        if "teacher" in changes and said.keep != "dense":
            changes["keep"] = "dense"
        return said.replace(reason=None, data=data, objective=learns, control=False, to=str(to), name=None, **changes)

    def _failed(self, chosen: selection.Selection, run: Run, place: Path) -> list[Problem]:
        """The training problems that nobody solved, and those of the first ones that the student fails."""
        few = self.problems.train[: self.said.probe]
        wrong: set[int] = set()
        if few:
            lines = self._asked(
                run, run.student(), "steps", few, place / "probe.jsonl", "asking about training problems"
            )
            wrong = {line["problem"] for line in lines if not line["right"]}
        return [each for each in self.problems.train if each.number in wrong or each.number not in chosen.kept]

    def _examined(self, run: Run, pupil: Pupil, name: str) -> list[dict[str, Any]]:
        """The figures of each seed on held-out problems."""
        found = []
        for seed in self.recipe.all_seeds():
            to = self.folder / "exams" / f"{name}-{seed}.jsonl"
            lines = self._asked(
                run, run.student(seed=seed), pupil, self.problems.test, to, f"exam of {name}, seed {seed}"
            )
            found.append({"seed": seed, **exams.figures(lines)})
        return found

    def _asked(
        self, run: Run, student: Any, pupil: Pupil, some: Sequence[Problem], to: Path, what: str
    ) -> list[dict[str, Any]]:
        prompts = [lessons.prompt(each, self.said, pupil) for each in some]
        return exams.examined(run, student, prompts, some, self.verifier, self.said.length, to, self._told(what))

    def _teacher(self, teacher: Writer) -> dict[str, Any]:
        """The figures of a teacher on this machine, asked greedily as it is asked for solutions."""
        test, text = self.problems.test, self.said.ask or self.said.prompt
        corpus = write(
            teacher,
            [text.replace(PLACE, each.question) for each in test],
            self.folder / "exams" / "teacher.jsonl",
            length=self.said.length,
            chat=self.said.chat,
            progress=self._told("exam of the teacher"),
        )
        samples = judging.sampled(corpus.path, corpus.cut_path, test, 0)
        known = {each.number: each for each in test}
        found = judging.judged(samples, known, self.verifier, self.folder / "exams" / "teacher.verdicts.jsonl")
        return exams.figures(
            [
                {**vars(each.verdict), "sound": each.verdict.sound, "ended": each.finished, "tokens": each.tokens}
                for each in found
                if each.verdict is not None
            ]
        )

    def _told(self, who: str) -> Callable[[int, int], None]:
        return RowsDone(self.watcher, who)
