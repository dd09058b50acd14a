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

from limbeck.catalog.verifiers import verifier
from limbeck.cli import main
from limbeck.errors import RunError
from limbeck.plans.reasoning import Reasoned, reason
from limbeck.recipe import Recipe, Tokens
from limbeck.solutions.problems import read

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
