"""Functions as teachers: rows they fail on are counted, left out of what needs the teacher, and survive a kill."""

import functools
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import refusing
import torch
from small_runs import same_bits, small, weights

from limbeck.catalog.models import Shape
from limbeck.catalog.teachers import teacher as find
from limbeck.cli import main
from limbeck.data.rows import TensorRows
from limbeck.errors import LimbeckError, TeacherError, TeacherStopped
from limbeck.objective import Needs
from limbeck.recordings.store import Recording
from limbeck.signals import Batch, Signals
from limbeck.tasks.classification import Classification
from limbeck.tasks.forecasting import Forecasting
from limbeck.teachers.function import FunctionTeacher
from limbeck.teachers.protocol import Forgiven, Teacher

TASK = Classification()
CLASSES = refusing.CLASSES
LOGITS = Needs(logits=True)
SHAPE = Shape((1, 8, 8), 10, CLASSES, torch.zeros(1), torch.ones(1))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows() -> TensorRows:
    return refusing.rows()


@pytest.fixture
def batch(rows: TensorRows) -> Batch:
    return Batch.of(rows.inputs[:60], rows.labels[:60], TASK, ids=rows.ids[:60])


@pytest.fixture
def refused(batch: Batch) -> torch.Tensor:
    found = torch.from_numpy(refusing.first_pixels(batch.inputs.numpy()))
    assert 1 < int(found.sum()) < 12
    return found


def prepared(function: Callable[[Any], Any], **arguments: Any) -> FunctionTeacher:
    teacher = FunctionTeacher(function, **{"failures": 0.5, **arguments})
    teacher.prepare(LOGITS, CLASSES)
    return teacher


def quietly(teacher: Any, batch: Batch) -> Signals:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*said nothing about")
        return teacher.signals(batch)


def test_it_keeps_the_protocol_and_says_what_the_function_says(batch: Batch) -> None:
    teacher = prepared(refusing.linear)
    assert isinstance(teacher, Teacher) and isinstance(teacher, Forgiven)
    assert teacher.views is None and teacher.to(torch.device("cpu")) is teacher and teacher.name == "linear"
    said = teacher.signals(batch)
    assert torch.equal(said.logits, torch.from_numpy(refusing.linear(batch.inputs.numpy())).float())
    assert bool(said.said.all()) and len(said.said) == 60


ANSWERS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda table: table,
    "float32": lambda table: table.astype(np.float32),
    "float16": lambda table: table.astype(np.float16),
    "whole numbers": lambda table: np.round(table).astype(np.int16),
    "torch": lambda table: torch.from_numpy(table),
    "bfloat16": lambda table: torch.from_numpy(table).bfloat16(),
    "with a gradient": lambda table: torch.from_numpy(table).requires_grad_(),
    "lists": lambda table: table.tolist(),
    "a list of mixed rows": lambda table: [
        row.tolist() if place % 3 == 0 else torch.from_numpy(row) if place % 3 == 1 else row.astype(np.float32)
        for place, row in enumerate(table)
    ],
}


@pytest.mark.parametrize("form", ANSWERS)
def test_answers_may_come_in_any_form_and_type(batch: Batch, form: str) -> None:
    said = prepared(lambda rows: ANSWERS[form](refusing.linear(rows))).signals(batch).logits
    exact = refusing.linear(batch.inputs.numpy())
    expected = np.round(exact) if form == "whole numbers" else exact
    assert said.dtype == torch.float32 and not said.requires_grad
    bound = {"float16": 2e-3, "bfloat16": 2e-2}.get(form, 1e-6)
    torch.testing.assert_close(said.double(), torch.from_numpy(expected), atol=bound, rtol=bound)


def test_types_that_change_from_batch_to_batch_are_one_type_in_a_recording(tmp_path: Path) -> None:
    calls: list[int] = []

    def moody(rows: np.ndarray) -> Any:
        calls.append(len(rows))
        table = np.round(refusing.linear(rows))
        return table.astype(np.float64 if len(calls) % 2 else np.int32)

    recording = Recording(refusing.recorded(tmp_path / "r", teacher=FunctionTeacher(moody)))
    assert recording.manifest.columns["logits"].dtype == "float32"
    assert recording.silent == {}


def test_a_function_cannot_change_what_the_student_sees_nor_its_random_numbers(batch: Batch) -> None:
    def rude(rows: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(99)
        torch.rand(5)
        answer = torch.from_numpy(refusing.linear(rows.numpy()))
        rows.zero_()
        return answer

    before, state = batch.inputs.clone(), torch.get_rng_state()
    prepared(rude, takes="torch").signals(batch)
    assert torch.equal(batch.inputs, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_one_row_at_a_time(batch: Batch, refused: torch.Tensor) -> None:
    def planner(row: np.ndarray) -> Any:
        assert row.shape == (1, 8, 8)
        return None if refusing.first_pixels(row[None])[0] else refusing.linear(row[None])[0].tolist()

    teacher = prepared(planner, each=True)
    said = quietly(teacher, batch)
    assert torch.equal(said.said, ~refused)
    assert set(teacher.failed.values()) == {"it answered None"}
    whole = prepared(refusing.linear).signals(batch).logits
    torch.testing.assert_close(said.logits[~refused], whole[~refused], atol=1e-6, rtol=0)


def test_rows_on_which_it_raises_are_counted_and_the_others_answered(batch: Batch, refused: torch.Tensor) -> None:
    teacher = prepared(refusing.refusing)
    with pytest.warns(
        UserWarning, match=rf"refusing said nothing about {int(refused.sum())} rows so far \(row \d+: Va"
    ):
        said = teacher.signals(batch)
    assert torch.equal(said.said, ~refused)
    assert not said.logits[refused].any()
    assert {number for number, _ in teacher.failed} == set(batch.ids[refused].tolist())
    assert set(teacher.failed.values()) == {"ValueError: this one I cannot"}
    whole = prepared(refusing.linear).signals(batch).logits
    torch.testing.assert_close(said.logits[~refused], whole[~refused], atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_failures_of_their_rows(batch: Batch, refused: torch.Tensor, value: float) -> None:
    def broken(rows: np.ndarray) -> np.ndarray:
        table = refusing.linear(rows)
        table[refusing.first_pixels(rows), 3] = value
        return table

    teacher = prepared(broken)
    said = quietly(teacher, batch)
    assert torch.equal(said.said, ~refused) and bool(said.logits.isfinite().all())
    assert set(teacher.failed.values()) == {"a number in its answer is not finite"}


def test_probabilities_and_rows_that_are_none(batch: Batch, refused: torch.Tensor) -> None:
    def voting(rows: np.ndarray) -> np.ndarray:
        table = np.zeros((len(rows), 10))
        table[np.arange(len(rows)), refusing.linear(rows).argmax(1)] = 1
        table[refusing.first_pixels(rows)] *= 2
        return table

    teacher = prepared(voting, outputs="probabilities", floor=1e-3)
    said = quietly(teacher, batch)
    assert torch.equal(said.said, ~refused)
    reason = "its answer is no distribution: from 0 to 2, with the sum 2"
    assert set(teacher.failed.values()) == {reason}
    truth = torch.from_numpy(voting(batch.inputs.numpy()))[~refused]
    assert float((said.logits[~refused].double().softmax(-1) - truth).abs().max()) <= 10 * 1e-3
    with pytest.raises(TeacherError, match="the answers of voting look like probabilities"):
        prepared(lambda rows: voting(rows) / voting(rows).sum(1, keepdims=True), name="voting").signals(batch)


def test_values_may_come_as_one_number_a_row_and_stay_as_they_are(batch: Batch) -> None:
    teacher = FunctionTeacher(lambda rows: rows.reshape(len(rows), -1).mean(axis=1), outputs="values")
    teacher.prepare(LOGITS, ("sugar",))
    said = teacher.signals(Batch.of(batch.inputs, None, Forecasting(horizon=1, scale=1.0, centre=0.0)))
    torch.testing.assert_close(said.logits, batch.inputs.double().flatten(1).mean(1, keepdim=True).float())


def test_a_function_that_always_fails_stops_at_once(batch: Batch) -> None:
    calls: list[int] = []

    def broken(rows: np.ndarray) -> np.ndarray:
        calls.append(len(rows))
        raise TypeError("no such thing")

    with pytest.raises(TeacherStopped, match=r"broken failed on 8 rows of 8 \(row \d+: TypeError: no such thing; "):
        prepared(broken).signals(batch)
    assert calls == [60, *[1] * 8]


def test_answers_of_the_wrong_shape_are_no_failures_of_rows(batch: Batch) -> None:
    cases: list[tuple[Callable[[Any], Any], str]] = [
        (lambda rows: refusing.linear(rows)[:-1], "answered 59 for 60 rows"),
        (lambda rows: refusing.linear(rows)[:, :9], r"answers with the shape \(rows, 9\)"),
        (lambda rows: refusing.linear(rows)[:, 0], r"answers with the shape \(rows, 1\)"),
        (lambda rows: [[1.0] * 9] * 60, r"answers with the shape \(rows, 9\)"),
        (lambda rows: 3.0, "answered one number for 60 rows"),
        (lambda rows: {"a": 1}, "answered with a dict"),
    ]
    for function, message in cases:
        with pytest.raises(TeacherError, match=message):
            prepared(function, name="f").signals(batch)
    with pytest.raises(TeacherError, match="was asked before it was prepared"):
        FunctionTeacher(refusing.linear).signals(batch)
    with pytest.raises(TeacherError, match="has no layers"):
        FunctionTeacher(refusing.linear).prepare(Needs(teacher_layers=frozenset({"a"})), CLASSES)
    for words, message in (
        ({"failures": 1.0}, "failures=1.0"),
        ({"outputs": "odds"}, "outputs='odds'"),
        ({"takes": "jax"}, "takes="),
    ):
        with pytest.raises(TeacherError, match=message):
            FunctionTeacher(refusing.linear, **words)


class Planner:
    def __init__(self, depth: int) -> None:
        self.depth = depth

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return refusing.linear(rows) * self.depth

    def act(self, rows: np.ndarray) -> np.ndarray:
        return refusing.linear(rows) + self.depth


def test_the_fingerprint_sees_code_arguments_and_what_is_closed_over(tmp_path: Path, monkeypatch: Any) -> None:
    def by(factor: float) -> Callable[[Any], Any]:
        return lambda rows: refusing.linear(rows) * factor

    def scaled(rows: Any, factor: float = 1.0) -> Any:
        return refusing.linear(rows) * factor

    functions: list[Any] = [refusing.linear, refusing.refusing, by(1.0), by(2.0), scaled]
    functions += [functools.partial(scaled, factor=factor) for factor in (1.0, 2.0)]
    functions += [Planner(1), Planner(2), Planner(1).act, Planner(2).act]
    found = [FunctionTeacher(function).fingerprint for function in functions]
    found += [
        FunctionTeacher(refusing.linear, **words).fingerprint for words in ({"version": "2"}, {"outputs": "values"})
    ]
    assert len(set(found)) == len(found)
    assert FunctionTeacher(by(2.0)).fingerprint == found[3]
    assert FunctionTeacher(Planner(1)).fingerprint == found[7]
    assert FunctionTeacher(refusing.linear, failures=0.3, name="other").fingerprint == found[0]
    known = [FunctionTeacher(Planner(depth), version="3").fingerprint for depth in (1, 2)]
    assert known[0] == known[1]
    code = "import refusing, limbeck.teachers.function as f; print(f.FunctionTeacher(refusing.linear).fingerprint)"
    place = str(Path(refusing.__file__).parent)
    said = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == found[0]
    # The same function in a module whose other lines were changed may answer otherwise.
    module = tmp_path / "changing.py"
    monkeypatch.syspath_prepend(tmp_path)
    prints = []
    for constant in (1, 2):
        module.write_text(f"SCALE = {constant}\n\ndef answer(rows):\n    return rows * SCALE\n")
        prints.append(FunctionTeacher(find("call:changing:answer", SHAPE).function).fingerprint)
        sys.modules.pop("changing")
    assert prints[0] != prints[1]


def test_functions_and_what_they_build_are_told_apart_by_their_text(
    batch: Batch, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "builders.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    direct = find("call:builders:answer", SHAPE)
    assert isinstance(direct, FunctionTeacher) and direct.name == "call:builders:answer"
    built = find("builders:build(factor=2)", SHAPE)
    assert isinstance(built, FunctionTeacher)
    for teacher in (direct, built):
        teacher.prepare(LOGITS, CLASSES)
    assert torch.equal(2 * direct.signals(batch).logits, built.signals(batch).logits)
    assert type(find("builders:network", SHAPE)).__name__ == "ModuleTeacher"
    assert type(find("builders:forest", SHAPE)).__name__ == "EstimatorTeacher"
    several = find(["builders:forest", (2, "call:builders:answer")], SHAPE)
    several.prepare(LOGITS, CLASSES)
    assert several.signals(batch).logits.shape == (60, 10)
    assert isinstance(find(refusing.linear, SHAPE), FunctionTeacher)
    sys.modules.pop("builders")


OWN = """
import numpy as np
from torch import nn

WEIGHT = np.random.default_rng(0).standard_normal((64, 10)) / 40

def answer(rows):
    return rows.reshape(len(rows), -1) @ WEIGHT

def some(rows):
    if len(rows) > 1 or rows.sum() % 30 == 7:
        raise ValueError("this one I cannot")
    return answer(rows)

def broken(rows):
    raise TypeError("no such thing")

def build(factor=1):
    return lambda rows: factor * answer(rows)

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def forest():
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    return RandomForestClassifier(5, random_state=0).fit(*load_digits(return_X_y=True))

def text():
    return "call:own:answer"

number = 3
"""


@pytest.mark.slow
def test_a_function_with_gaps_teaches_live_and_recorded(tmp_path: Path, monkeypatch: Any) -> None:
    """About one row of thirty has no answer; a run from a recording is the same again."""
    (tmp_path / "gaps.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    text = "call:gaps:some(failures=0.2)"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*said nothing about")
        live = small(text, tmp_path / "live", budget="30 steps")
        once = small(text, tmp_path / "once", budget="30 steps", record=1)
        again = small(text, tmp_path / "again", budget="30 steps", record=1)
    assert same_bits(weights(once), weights(again))
    assert live.record.teacher.rows < live.record.results[0].student.rows
    assert 0 < live.record.results[0].student.metrics["agreement"] <= 1
    folder = next((once.folder / "recording").iterdir())
    assert sum(map(len, Recording(folder).silent.values())) > 10
    sys.modules.pop("gaps")


RECIPE = "data: {{source: digits, valid: 0.1, test: 0.2}}\nteacher: '{}'\nstudent: mlp(size=8)\nbudget: 1 epochs\n"


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine_own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    said = {
        "call:mine_own:broken": "call:mine_own:broken failed on 8 rows of 8",
        "call:mine_own:anser": "mine_own has no 'anser'",
        "call:nowhere:answer": "the module 'nowhere' of 'call:nowhere:answer' cannot be imported",
        "call:mine_own": "'call:mine_own' names no function",
        "call:mine_own:number": "call:mine_own:number is no function",
        "call:mine_own:answer(failure=0.1)": "has no argument 'failure'",
        "mine_own:text": "mine_own:text returned a text",
        "mine_own:answer": "answer cannot be built",
    }
    for text, message in said.items():
        Path("mine.yaml").write_text(RECIPE.format(text))
        with pytest.raises(SystemExit) as left:
            main(["distill", "mine.yaml", "--to", "run", "--quiet"])
        assert left.value.code == 4
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["models"])
    listed = capsys.readouterr().out
    for name in ("onnx:PATH", "sklearn:PATH", "call:package.module:function"):
        assert name in listed
    with pytest.raises(LimbeckError, match="can teach, and cannot learn"):
        small(None, tmp_path / "r", student="call:mine_own:answer")
    sys.modules.pop("mine_own")
