"""The stages of reasoning, one by one: problems, verdicts, selection, lessons, figures of an exam."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_solvers import solved

from limbeck.arithmetic import equations
from limbeck.catalog.verifiers import verifier
from limbeck.data.problems.arithmetic import Arithmetic
from limbeck.errors import DataError, RecipeError
from limbeck.recipe import DataSpec, Reasoning
from limbeck.solutions import exams, judging, lessons, selection
from limbeck.solutions.judging import Sample
from limbeck.solutions.problems import Problems, read
from limbeck.verification import Problem, Verdict

NUMBERS = verifier("numbers")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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
