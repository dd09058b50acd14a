"""Estimators from skops files: they say what they said, and no file runs code or reads outside of its trees."""

import io
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import small

from limbeck.catalog.models import Shape
from limbeck.catalog.teachers import teacher as find
from limbeck.cli import main
from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.errors import ModelError, TeacherError
from limbeck.objective import Needs
from limbeck.signals import Batch
from limbeck.tasks.classification import Classification
from limbeck.teachers.estimator import EstimatorTeacher
from limbeck.teachers.skops import open_skops

TASK = Classification()
CLASSES = tuple("0123456789")
LOGITS = Needs(logits=True)
SHAPE = Shape((1, 8, 8), 10, CLASSES, torch.zeros(1), torch.ones(1))

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows() -> TensorRows:
    return load("digits", valid=0.1, test=0.2).train


def table(rows: TensorRows) -> np.ndarray:
    return rows.inputs.flatten(1).double().numpy()


def forest_of(rows: TensorRows, **changes: Any) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(**{"n_estimators": 20, "random_state": 0, **changes}).fit(table(rows), rows.labels)


@pytest.fixture(scope="module")
def forest(rows: TensorRows) -> Any:
    return forest_of(rows)


@pytest.fixture(scope="module")
def boosted(rows: TensorRows) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # on a busy machine its threads wait for each other for minutes
        return HistGradientBoostingClassifier(max_iter=8, random_state=0).fit(table(rows), rows.labels)


@pytest.fixture
def batch(rows: TensorRows) -> Batch:
    return Batch.of(rows.inputs[:32], rows.labels[:32], TASK, ids=rows.ids[:32])


def prepared(estimator: Any, classes: tuple[str, ...] = CLASSES, **arguments: Any) -> EstimatorTeacher:
    teacher = EstimatorTeacher(estimator, **arguments)
    teacher.prepare(LOGITS, classes)
    return teacher


@pytest.fixture
def saved(forest: Any, boosted: Any, tmp_path: Path) -> dict[str, Path]:
    skops = pytest.importorskip("skops.io")
    paths = {name: tmp_path / f"{name}.skops" for name in ("forest", "boosted")}
    skops.dump(forest, paths["forest"])
    skops.dump(boosted, paths["boosted"])
    return paths


def test_a_skops_file_says_what_its_estimator_says(
    forest: Any, boosted: Any, saved: dict[str, Path], batch: Batch
) -> None:
    for name, estimator in (("forest", forest), ("boosted", boosted)):
        teacher = find(f"sklearn:{saved[name]}", SHAPE)
        teacher.prepare(LOGITS, CLASSES)
        assert torch.equal(teacher.signals(batch).logits, prepared(estimator).signals(batch).logits)
        assert teacher.name == f"sklearn:{saved[name]}"
        assert teacher.fingerprint == open_skops(saved[name]).fingerprint
        assert teacher.fingerprint != find(f"sklearn:{saved[name]}(floor=0.001)", SHAPE).fingerprint


def test_a_skops_file_that_would_run_code_or_is_damaged_is_refused(saved: dict[str, Path], tmp_path: Path) -> None:
    from sklearn.preprocessing import FunctionTransformer
    from skops import io as skops

    skops.dump(FunctionTransformer(func=subprocess.run), tmp_path / "evil.skops")
    with pytest.raises(TeacherError, match=r"holds types that are not trusted: .*subprocess\.run"):
        open_skops(tmp_path / "evil.skops")
    saved["forest"].write_bytes(saved["forest"].read_bytes()[:-100])
    with pytest.raises(TeacherError, match=r"forest\.skops cannot be read: BadZipFile"):
        open_skops(saved["forest"])
    with pytest.raises(TeacherError, match="there is no file") as caught:
        find(f"sklearn:{tmp_path / 'forrest.skops'}", SHAPE)
    assert "did you mean 'forest.skops'?" in caught.value.remedy


@pytest.mark.parametrize("name", ["forest", "boosted"])
def test_a_tree_whose_nodes_point_out_of_it_is_refused(saved: dict[str, Path], tmp_path: Path, name: str) -> None:
    """The nodes are rewritten inside the file, as somebody who means harm would."""
    wild = tmp_path / "wild.skops"
    done = 0
    with zipfile.ZipFile(saved[name]) as source, zipfile.ZipFile(wild, "w") as target:
        for member in source.infolist():
            content = source.read(member)
            if member.filename.endswith(".npy") and not done:
                array = np.load(io.BytesIO(content), allow_pickle=False)
                if array.dtype.names and "left" in "".join(array.dtype.names):
                    array[next(word for word in array.dtype.names if word.startswith("left"))][0] = 1_000_000
                    buffer = io.BytesIO()
                    np.save(buffer, array, allow_pickle=False)
                    content, done = buffer.getvalue(), 1
            target.writestr(member, content)
    assert done
    with pytest.raises(TeacherError, match="points out of itself"):
        open_skops(wild)


RECIPE = "data: {{source: digits, valid: 0.1, test: 0.2}}\nteacher: '{}'\nstudent: mlp(size=8)\nbudget: 1 epochs\n"


def test_the_command_line_says_what_is_wrong(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = {
        "sklearn:none.skops": "there is no file none.skops",
        "sklearn:forest.skops(flor=0.1)": "has no argument 'flor'",
        "sklearn:forest.skops(floor=2)": "floor=2 of sklearn:forest.skops is out of range",
    }
    for text, message in said.items():
        Path("mine.yaml").write_text(RECIPE.format(text))
        with pytest.raises(SystemExit) as left:
            main(["distill", "mine.yaml", "--to", "run", "--quiet"])
        assert left.value.code == 4
        assert message in capsys.readouterr().err
    with pytest.raises(ModelError, match="can teach, and cannot learn"):
        small(None, tmp_path / "r", student=f"sklearn:{saved['forest']}")
