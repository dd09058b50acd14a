"""Reasoning from problems to a student: read, sampled, verified, selected, learnt, examined, and gone on with."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_server import serving
from small_solvers import PROBLEMS, SOURCE, Solver, characters, solved

from limbeck.arithmetic import equations
from limbeck.catalog.verifiers import verifier
from limbeck.cli import main
from limbeck.data.problems.arithmetic import Arithmetic
from limbeck.errors import DataError, RecipeError, RunError
from limbeck.plans.reasoning import Reasoned, reason
from limbeck.recipe import DataSpec, Reasoning, Recipe, Tokens
from limbeck.solutions import exams, judging, lessons, selection
from limbeck.solutions.judging import Sample
from limbeck.solutions.problems import Problems, read
from limbeck.verification import Problem, Verdict

NUMBERS = verifier("numbers")
TRAINING = {"batch": 4, "lr": 0.01, "threads": 1, "precision": "float32", "compile": False}


def said(place: Path, **changes: Any) -> dict[str, Any]:
    """A recipe of tiny sizes on the written solutions of made-up problems."""
    reads = place / "reads"
    tokens = {"tokenizer": f"hf:{reads}" if reads.is_dir() else characters(reads), "length": 96}
    recipe = {
        "name": "small",
        "task": "language",
        "to": str(place / "run"),
        "data": {"source": SOURCE, "valid": 6, "test": 10, "tokens": tokens},
        "reason": {"solution": "solution", "length": 24},
        "student": "causal(depth=1, size=16, heads=2)",
        "budget": "3 steps",
        "training": TRAINING,
        "generations": 0,
        "seeds": 2,
    }
    for key, value in changes.items():
        before = recipe.get(key)
        recipe[key] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return recipe


def recipe(place: Path, **changes: Any) -> Recipe:
    return Recipe.parse(yaml.safe_dump(said(place, **changes)))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def solver() -> Iterator[Solver]:
    with serving(Solver()) as found:
        yield found


# The stages, one by one.


def test_made_up_problems_are_solved_by_their_own_steps() -> None:
    rows = list(Arithmetic(200, 2, 5, 50, seed=3).rows())
    assert rows == list(Arithmetic(200, 2, 5, 50, seed=3).rows()) != list(Arithmetic(200, 2, 5, 50, seed=4).rows())
    assert len({row["question"] for row in rows}) == 200
    for place, row in enumerate(rows):
        steps, result = solved(row["question"])
        assert row["solution"] == "\n".join([*steps, f"#### {result}"]) and row["answer"] == str(result)
        assert 2 <= len(steps) <= 5 and all(each.right for each in equations(row["solution"]))
        assert NUMBERS.verify(row["solution"], Problem(place, row["question"], row)).sound
        numbers = [int(step.partition("=")[2]) for step in steps]
        assert all(0 <= each <= 50 for each in numbers)
    for wrong in ({"fewest": 0}, {"most": 2}, {"largest": 8}, {"problems": 0}, {"seed": -1}):
        with pytest.raises(RecipeError, match=f"arithmetic has {next(iter(wrong))}"):
            Arithmetic(**wrong)
    with pytest.raises(RecipeError, match="hardly 500 different"):
        list(Arithmetic(500, 1, 1, 9).rows())


def test_questions_are_divided_by_what_they_say(tmp_path: Path) -> None:
    rows = [{"q": f"What is {n} + 1?", "a": str(n + 1)} for n in range(50)]
    doubles = [{"q": "what is  3 + 1?", "a": "4"}, {"q": "What is 4 + 1?", "a": "5"}]
    spec = DataSpec(source=str(tmp_path / "p.jsonl"), valid=0.1, test=5)
    how = Reasoning(question="q", answer="a")

    def of(some: list[dict[str, str]]) -> Problems:
        (tmp_path / "p.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in some))
        return read(spec, how, NUMBERS)

    found, turned = of([*rows, *doubles]), of([*doubles, *rows][::-1])
    assert found.facts() == {"train": 40, "valid": 5, "test": 5, "doubles": 2, "lost": 0}
    questions = {name: {each.question.lower() for each in getattr(found, name)} for name in ("train", "valid", "test")}
    assert not questions["train"] & questions["test"] and not questions["valid"] & questions["test"]
    # Which split a question falls into hangs on no order.
    assert {" ".join(each.question.lower().split()) for each in turned.test} == {
        " ".join(each.question.lower().split()) for each in found.test
    }
    with pytest.raises(DataError, match="1 of 51 problems"):
        of([*rows, {"q": "How many?", "a": "some"}])
    with pytest.raises(DataError, match="there is no column 'q'"):
        of([{"question": "a", "a": "1"}] * 9)
    with pytest.raises(DataError, match="column 'q' is empty"):
        of([*rows, {"q": " ", "a": "1"}])
    with pytest.raises(DataError, match="of 6 problems"):
        of(rows[:6])


SOLUTIONS = {
    "2+3=5\n#### 5": (True, True, 1, 1),
    "2+3=5\nThe answer is 5.": (True, True, 1, 1),
    "2+3=5": (True, True, 1, 1),
    "#### 5.0": (True, True, 0, 0),
    "It is\n#### 10/2": (True, True, 0, 0),
    "2+3=6\n6-1=5\n#### 5": (True, False, 2, 1),
    "2+3=5\n#### 6": (False, False, 1, 1),
    "#### 5\nno, #### 4": (False, False, 0, 0),
    "5 ####": (False, False, 0, 0),
    "I do not know.": (False, False, 0, 0),
    "": (False, False, 0, 0),
    "#### 5 km": (True, True, 0, 0),
}


@pytest.mark.parametrize("text", SOLUTIONS)
def test_solutions_are_verified_by_answer_and_steps(text: str) -> None:
    found = NUMBERS.verify(text, Problem(0, "What is 2 + 3?", {"answer": "the steps\n#### 5"}))
    assert (found.right, found.sound, found.steps, found.steps_right) == SOLUTIONS[text]
    assert bool(found.why) == (not found.sound)


def test_units_of_measure_of_an_answer_are_compared() -> None:
    problem = Problem(0, "How far?", {"answer": "#### 5 km"})
    assert NUMBERS.verify("#### 5 km", problem).right and NUMBERS.verify("#### 5", problem).right
    assert not NUMBERS.verify("#### 5 miles", problem).right


def test_a_solution_is_parted_into_steps_and_answer() -> None:
    assert NUMBERS.parted("2+3=5\n#### 5") == ("2+3=5\n", "#### 5")
    assert NUMBERS.parted("2+3=5. The answer is 5.") == ("2+3=5. The answer is 5.\n", "#### 5")
    assert NUMBERS.parted("#### 1,200") == ("", "#### 1200")
    assert NUMBERS.known(Problem(0, "", {"answer": "x\n#### 7"})) == "#### 7"
    assert NUMBERS.digest("So 2 + 3 = 5.\n#### 5") == NUMBERS.digest("2+3=5") != NUMBERS.digest("3+2=5")
    assert NUMBERS.digest("Five.") == NUMBERS.digest("five.\n#### 5")


def sample(problem: int, number: int, text: str, right: bool = True) -> Sample:
    return Sample(problem, number, 1, text, True, 9, 9, Verdict(right, why="" if right else "no"))


def test_selection_by_correctness_difficulty_length_and_likeness() -> None:
    ways = ["1+1=2\n2+1=3\n#### 3", "2+1=3\n#### 3", "1+2=3\n3+0=3\n3-0=3\n#### 3", "0+3=3\n3+0=3\n#### 3"]
    pool = [sample(0, n, text) for n, text in enumerate(ways)]
    pool += [
        sample(1, 0, ways[0]),
        sample(1, 1, ways[0].replace("+", " + ")),
        *(sample(1, n, "no", False) for n in (2, 3)),
    ]
    pool += [sample(2, n, "no", False) for n in range(4)]
    pool += [sample(3, n, ways[n], n < 3) for n in range(4)]
    found = selection.selected(pool, NUMBERS, keep=4, prefer="shortest")
    assert found.facts == {
        "problems": 4,
        "never": 1,
        "sometimes": 2,
        "always": 1,
        "samples": 16,
        "right": 9,
        "sound": 9,
        "same": 1,
        "kept": 3,
    }
    # Always solved: one, the shortest. Half solved: two, which go the same way. Never solved: none.
    assert [each.text for each in found.kept[0]] == [ways[1]]
    assert [each.sample for each in found.kept[1]] == [0] and 2 not in found.kept
    assert [each.text for each in found.kept[3]] == [ways[1]]
    middle = selection.selected(pool, NUMBERS, keep=4, prefer="median")
    assert [each.text for each in middle.kept[0]] == [ways[0]]


def test_a_wrong_step_is_not_learnt_from() -> None:
    problem = Problem(0, "What is 2 + 3?", {"answer": "5"})
    right_by_chance = Sample(0, 0, 1, "2+3=6\n#### 5", True, 9, 9, NUMBERS.verify("2+3=6\n#### 5", problem))
    found = selection.selected([right_by_chance], NUMBERS, keep=2, prefer="median")
    assert not found.kept and (found.facts["right"], found.facts["sound"], found.facts["never"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("rate", "keep", "kept"),
    [(1, 4, 1), (0.75, 4, 1), (0.5, 4, 2), (0.25, 4, 3), (0.01, 4, 4), (0.5, 1, 1), (0.9, 9, 1)],
)
def test_hard_problems_have_more_solutions(rate: float, keep: int, kept: int) -> None:
    assert selection.allowance(rate, keep) == kept


def test_lessons_of_every_form(tmp_path: Path) -> None:
    known = {"answer": "5", "solution": "2+3=5\n#### 5"}
    problems = Problems(
        (Problem(0, "Q0", known), Problem(1, "Q1", known)),
        (Problem(2, "Q2", known),),
        (Problem(3, "Q3", known), Problem(4, "Q4", {"answer": "6"})),
        0,
        0,
    )
    kept = {0: (sample(0, 0, "1+4=5\n#### 5"), sample(0, 1, "2+3=5\n#### 5")), 2: (sample(2, 0, "#### 5"),)}
    how = Reasoning(prompt="Q: {question}\n")

    def of(form: str, pupil: Any) -> dict[str, list[dict[str, Any]]]:
        counts = lessons.write(tmp_path, problems, kept, how.model_copy(update={"form": form}), NUMBERS, pupil)
        found = {name: lines(tmp_path / f"{name}.jsonl") for name in ("train", "valid", "test")}
        assert counts == {name: len(rows) for name, rows in found.items()}
        return found

    steps = of("steps", "steps")
    assert steps["train"] == [
        {"prompt": "Q: Q0\n", "rationale": "1+4=5\n", "completion": "#### 5"},
        {"prompt": "Q: Q0\n", "rationale": "2+3=5\n", "completion": "#### 5"},
    ]
    assert steps["test"][1] == {"prompt": "Q: Q4\n", "rationale": "", "completion": "#### 6"}
    assert of("steps", "answers")["train"] == [{"prompt": "Q: Q0\n", "rationale": "", "completion": "#### 5"}]
    tasks = of("tasks", "steps")
    assert tasks["train"][:2] == [
        {"prompt": "[answer] Q: Q0\n", "rationale": "", "completion": "#### 5"},
        {"prompt": "[steps] Q: Q0\n", "rationale": "1+4=5", "completion": ""},
    ]
    assert len(tasks["valid"]) == 1  # no steps, and so no task of them
    assert lessons.prompt(problems.test[0], how.model_copy(update={"form": "tasks"}), "steps") == "[answer] Q: Q3\n"
    assert lessons.prompt(problems.test[0], how, "answers") == "Q: Q3\n"


def test_verdicts_are_made_once(tmp_path: Path) -> None:
    problems = {n: Problem(n, "", {"answer": "5"}) for n in range(3)}
    samples = [Sample(n, 0, 1, f"#### {4 + n}", n < 2, 7, 7) for n in range(3)]
    to = tmp_path / "new" / "v.jsonl"
    found = judging.judged(samples, problems, NUMBERS, to)
    assert [each.verdict.right for each in found if each.verdict] == [False, True, False]
    assert found[2].verdict is not None and found[2].verdict.why == "cut at 7 tokens"
    content = to.read_bytes()
    to.write_bytes(content.splitlines(keepends=True)[0].replace(b"the answer is 5", b"kept") + b'{"problem": 1')
    again = judging.judged(samples, problems, NUMBERS, to)
    assert again[0].verdict is not None and again[0].verdict.why.startswith("kept")
    assert to.read_bytes().replace(b"kept", b"the answer is 5") == content
    assert judging.judged(samples, problems, NUMBERS, to) == again


def test_figures_of_an_exam_by_hand() -> None:
    def line(right: bool, steps: int, good: int, ended: bool, tokens: int) -> dict[str, Any]:
        return {
            "right": right,
            "sound": right and steps == good,
            "steps": steps,
            "steps_right": good,
            "ended": ended,
            "tokens": tokens,
        }

    found = exams.figures([line(True, 2, 2, True, 10), line(True, 2, 1, True, 20), line(False, 0, 0, False, 30)])
    assert found == {"exact": 2 / 3, "sound": 1 / 3, "ended": 2 / 3, "tokens": 20.0, "steps": 4 / 3, "arithmetic": 0.75}
    assert "arithmetic" not in exams.figures([line(False, 0, 0, False, 30)])


# The whole.


@pytest.mark.slow
def test_a_teacher_on_a_server_from_problems_to_a_page(tmp_path: Path, solver: Solver) -> None:
    solver.hopeless = frozenset(row["question"] for row in PROBLEMS[:5])
    book = tmp_path / "book.jsonl"
    teacher = f"openai:{solver.url}#small(prices=(1, 10), ledger={str(book)!r})"
    asked = {"samples": 3, "temperature": 0.5, "rounds": 2, "probe": 8, "keep": 3}
    made = recipe(tmp_path, teacher=teacher, reason=asked, seeds=1)
    found = reason(made)
    first, second = found.results["rounds"]
    spent = lines(tmp_path / "run" / "round-1" / "verdicts.jsonl")
    assert first["sampled"]["samples"] == len(spent) == 50 * 3
    assert first["sampled"]["right"] == sum(line["right"] for line in spent)
    assert first["sampled"]["cut"] > 0 and 0 < first["sampled"]["sound"] < first["sampled"]["right"] < 150
    # What cannot be verified from the answers alone was found by calculation.
    texts = lines(tmp_path / "run" / "round-1" / "samples.jsonl")
    told = {(line["number"], line["sample"]): line for line in texts}
    held = [*read(made.data, made.reason, NUMBERS).train, *read(made.data, made.reason, NUMBERS).valid]  # type: ignore
    for line in spent:
        place = next(n for n, each in enumerate(held) if each.number == line["problem"])
        text = told.get((place, line["sample"]))
        steps, result = solved(held[place].question)
        right = text is not None and text["completion"].endswith(f"#### {result}")
        assert line["right"] == right
        assert line["sound"] == (
            right and text is not None and text["completion"].startswith("\n".join([*steps, "####"]))
        )
    # The second round asks for what nobody solved and what the student fails, of the training problems alone, warmer.
    failed = {line["problem"] for line in lines(tmp_path / "run" / "round-1" / "probe.jsonl") if not line["right"]}
    never = {each.number for each in held} - {line["problem"] for line in spent if line["sound"]}
    train = {each.number for each in held[:-6]}
    again = {line["problem"] for line in lines(tmp_path / "run" / "round-2" / "verdicts.jsonl")}
    assert again == (failed | never) & train and failed
    assert {body["temperature"] for body in solver.asked} == {0.5, 0.7}
    tests = {each.question for each in read(made.data, made.reason, NUMBERS).test}  # type: ignore[arg-type]
    assert not any(body["prompt"].strip() in tests for body in solver.asked)
    # Every request is in the ledger, once, and at its price.
    count = first["sampled"]["samples"] + second["sampled"]["samples"]
    assert len(solver.asked) == count == len(book.read_text().splitlines())
    for each in (first["sampled"], second["sampled"]):
        assert each["cost"] == pytest.approx((each["asked"] + 10 * each["tokens"]) / 1e6) and each["tokens"] > 0
    # Nothing unsound is learnt, and nothing of a problem that is held out.
    learnt = lines(tmp_path / "run" / "round-2" / "steps" / "train.jsonl")
    for row in learnt:
        steps, result = solved(row["prompt"].strip())
        assert row == {**row, "rationale": "".join(f"{step}\n" for step in steps), "completion": f"#### {result}"}
        assert row["prompt"].strip() not in tests
    kept = Counter(row["prompt"] for row in learnt)
    assert max(kept.values()) == 1  # other words, but the same way
    page = found.page.read_text()
    assert "| steps and answers | 0.0 |" in page and "| answers alone | 0.0 |" in page
    assert set(found.results["exam"]) == {"student", "alone"}
    asked_before = len(solver.asked)
    assert reason(made, resume=True).results == found.results and len(solver.asked) == asked_before


@pytest.mark.slow
def test_killed_at_any_stage_it_goes_on_and_asks_nobody_twice(tmp_path: Path, solver: Solver) -> None:
    asked = {"samples": 2, "temperature": 0.5, "rounds": 2, "probe": 4}
    teacher = f"openai:{solver.url}#small(ledger='{{}}')"
    made = {
        name: said(tmp_path, teacher=teacher.format(tmp_path / f"{name}.book"), reason=asked, seeds=1)
        for name in ("whole", "parts")
    }
    reason(Recipe.parse(yaml.safe_dump(made["whole"])).replace(to=str(tmp_path / "whole")))
    count = len(solver.asked)
    (tmp_path / "parts.yaml").write_text(yaml.safe_dump(made["parts"]))
    script = [sys.executable, str(Path(__file__).with_name("killed_reasoner.py"))]
    done = subprocess.run(
        [*script, str(tmp_path / "parts.yaml"), str(tmp_path / "parts")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["kills"] >= 4
    assert len(solver.asked) == 2 * count
    stages = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.jsonl"))
    ours = [path for path in stages if path.name != "metrics.jsonl"]
    assert len(ours) > 15
    for path in ours:
        one, other = ((tmp_path / name / path).read_bytes() for name in ("whole", "parts"))
        assert sorted(one.splitlines()) == sorted(other.splitlines()), path
    one, other = (json.loads((tmp_path / name / "reasoning.json").read_text()) for name in ("whole", "parts"))
    assert one == other


def test_written_solutions_teach_without_a_teacher(tmp_path: Path) -> None:
    made = recipe(tmp_path, seeds=1, control=False, data={"source": SOURCE.replace("60", "30"), "valid": 3, "test": 4})
    found = reason(made)
    (only,) = found.results["rounds"]
    assert only["sampled"] == {**only["sampled"], "samples": 26, "sound": 26, "teacher": "written solutions"}
    assert found.alone is None and list(found.results["exam"]) == ["student"]
    assert found.student.recipe().objective == "labels(of='answer') + labels(of='rationale')"
    learnt = only["learnt"]["steps"]
    record = found.student.record
    assert (learnt["documents"], learnt["steps"]) == (23, 3)
    assert learnt["read"] > learnt["learnt"] > 0 and record.data["columns"]["rationale"] == "rationale"
    other = {**said(tmp_path, seeds=1, control=False), "budget": "4 steps"}
    with pytest.raises(RunError, match="another recipe: data, budget differs"):
        reason(Recipe.parse(yaml.safe_dump(other)), resume=True)
    with pytest.raises(RunError, match="exists already"):
        reason(made)


@pytest.mark.slow
def test_steps_and_answers_as_tasks_of_their_own(tmp_path: Path) -> None:
    found = reason(
        recipe(tmp_path, reason={"form": "tasks"}, seeds=1, objective="labels(of='answer')+0.5*labels(of='rationale')")
    )
    rows = lines(tmp_path / "run" / "round-1" / "steps" / "train.jsonl")
    assert Counter(row["prompt"][:8] for row in rows) == {"[answer]": 44, "[steps] ": 44}
    assert isinstance(found, Reasoned) and found.results["rounds"][0]["learnt"]["steps"]["documents"] == 88


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "no samples": ({"reason": {"samples": 0}}, 2, "samples"),
    "samples that are all the same": ({"reason": {"samples": 2, "temperature": 0}}, 2, "are all the same"),
    "a verifier misspelt": ({"reason": {"verifier": "nmubers"}}, 2, "did you mean 'numbers'?"),
    "an argument misspelt": ({"reason": {"verifier": "python(second=1)"}}, 2, "no argument 'second'"),
    "a key misspelt": ({"reason": {"verifer": "numbers"}}, 2, "verifier"),
    "a prompt without a place": ({"reason": {"prompt": "Solve it."}}, 2, "{question}"),
    "a column that is not there": ({"reason": {"question": "problem"}}, 3, "there is no column 'problem'"),
    "answers that are no numbers": (
        {"reason": {"answer": "question"}, "data": {"source": "words.jsonl"}},
        3,
        "no number",
    ),
    "no file": ({"data": {"source": "nothing.jsonl"}}, 3, "there are no problems"),
    "an empty file": ({"data": {"source": "empty.jsonl"}}, 3, "test"),
    "nobody to say solutions": ({"reason": {"solution": None}}, 2, "nobody says solutions"),
    "rounds of what is written": ({"reason": {"rounds": 2}}, 2, "written solutions are there once"),
    "columns": ({"data": {"columns": {"inputs": "question"}}}, 2, "data.columns is said"),
    "another task": ({"task": "classification"}, 2, "solutions are texts"),
    "a chain": ({"chain": [{"name": "a"}]}, 2, "plan of its own"),
    "a method misspelt": ({"objective": "labels(of='answers')"}, 5, "labels"),
    "a student misspelt": ({"student": "casual(depth=1)"}, 4, "causal"),
    "problems misspelt": ({"data": {"source": "arithmetic(problem=3)"}}, 2, "no argument 'problem'"),
    "nothing but held-out problems": ({"data": {"test": 60}}, 3, "take 66 of 60"),
    "a teacher that is none": ({"teacher": "nobody"}, 4, "writes no texts"),
    "nothing that is right": (
        {"reason": {"solution": "wrong"}, "data": {"source": "wrong.jsonl"}},
        3,
        "no solution of any training problem is right",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_stops_before_training(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, code, words = BAD[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "words.jsonl").write_text('{"question": "Who are you?", "solution": "I"}\n' * 30)
    wrong = [{"question": f"Start with {n}, add 1.", "answer": n + 1, "wrong": f"#### {n}"} for n in range(40)]
    (tmp_path / "wrong.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in wrong))
    made = said(tmp_path, **changes)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(made))
    with pytest.raises(SystemExit) as left:
        main(["reason", "r.yaml"])
    told = capsys.readouterr().err
    assert left.value.code == code, told
    assert words in told
    assert not list((tmp_path / "run").rglob("*.safetensors")) if (tmp_path / "run").exists() else True


def test_other_verbs_send_a_recipe_that_reasons_to_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(said(tmp_path)))
    with pytest.raises(SystemExit) as left:
        main(["distill", str(tmp_path / "r.yaml")])
    assert left.value.code == 2 and "limbeck reason" in capsys.readouterr().err
    plain = {key: value for key, value in said(tmp_path).items() if key != "reason"}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(plain))
    with pytest.raises(SystemExit) as left:
        main(["reason", str(tmp_path / "p.yaml")])
    assert left.value.code == 2 and "does not reason" in capsys.readouterr().err


def test_a_recipe_that_reasons_reads_back_as_it_was_written(tmp_path: Path) -> None:
    made = recipe(tmp_path, reason={"keep": 3, "form": "tasks"})
    assert Recipe.parse(made.yaml()) == made and made.reason is not None and made.reason.keep == 3
    assert Tokens.model_validate(made.data.tokens) == made.data.tokens
