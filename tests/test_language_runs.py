"""A language model from text to a run: a teacher, its recording, a smaller student, and the student opened again."""

import math
import shutil
from pathlib import Path

import pytest
import torch
from small_languages import SENTENCES, folder
from tokenizers.normalizers import Lowercase

from limbeck.catalog.data import data_of
from limbeck.catalog.languages import tokenizer
from limbeck.catalog.models import of_run
from limbeck.catalog.tasks import task
from limbeck.consultation import doctor
from limbeck.distillation import distill
from limbeck.evaluation import answers
from limbeck.languages.network import LanguageNetwork
from limbeck.recipe import Recipe
from limbeck.run import Run
from limbeck.teachers.recording import RecordedTeacher

TOKENS = {"length": 24, "documents": "paragraph"}
SCHOOL = {"batch": 8, "lr": 0.01, "precision": "float32", "channels_last": False, "compile": False, "threads": 1}


def spoken(place: Path) -> Path:
    """A text in which what comes next can be learnt."""
    words = "cat dog house river stone letter brother north mat door".split()
    lines = []
    for number in range(160):
        one, two, three = (words[(number * step + shift) % len(words)] for step, shift in ((1, 0), (3, 1), (7, 2)))
        lines.append(f"The {one} sat by the {two}, and the {three} sat by the {one}. {SENTENCES[number % 4]}")
    place.write_text("\n\n".join(lines))
    return place


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, a tokenizer and the run of a teacher."""
    place = tmp_path_factory.mktemp("school")
    reads = folder(place / "reads")
    spoken(place / "text.txt")
    distill(
        None,
        "causal(depth=2, size=48, heads=2)",
        place / "text.txt",
        task="language",
        tokens={**TOKENS, "tokenizer": reads},
        budget="60 steps",
        training=SCHOOL,
        to=place / "teacher",
    )
    return place


def taught(school: Path, to: str, temperature: float, steps: int, **said: object) -> Run:
    return distill(
        str(school / "teacher"),
        "causal(depth=1, size=24, heads=2)",
        school / "text.txt",
        task="language",
        tokens={**TOKENS, "tokenizer": f"hf:{school / 'reads'}"},
        objective=f"0.9 * kd(temperature={temperature}) + 0.1 * labels",
        budget=f"{steps} steps",
        training=SCHOOL,
        to=school / to,
        **said,
    )


def test_a_teacher_has_learnt_the_text_and_says_what_its_numbers_mean(school: Path) -> None:
    metrics = Run.open(school / "teacher").record.results[0].student.metrics
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["nll"]))
    # Knowing nothing costs log 360 = 5.9 nats a token.
    assert metrics["nll"] < 2.0


def test_a_recorded_teacher_teaches_what_a_live_one_does(school: Path) -> None:
    live = taught(school, "live", 2, 20, control=False)
    recorded = taught(school, "recorded", 2, 20, record=1, keep="topk(k=360, precision='float32')", control=False)
    found = list((school / "recorded" / "recording").iterdir())
    assert "topk(k=360" in repr(RecordedTeacher(found[0]).recording.keep)
    ours, theirs = (run.record.results[0].student.metrics for run in (live, recorded))
    for name in ("nll", "kl", "agreement"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name


@pytest.mark.slow
def test_a_student_is_closer_to_its_teacher_than_the_same_one_alone(school: Path) -> None:
    run = taught(school, "student", 1, 100, record=1, keep="topk(k=32)")
    result = run.record.results[0]
    assert result.control is not None
    assert result.student.metrics["kl"] < 0.8 * result.control.metrics["kl"]
    assert (run.folder / "report.html").is_file()
    assert [panel.name for panel in run.record.panels if panel.name == "teacher_saw"]


def test_a_run_speaks_again_where_teacher_and_tokenizer_are_gone(school: Path, tmp_path: Path) -> None:
    place = tmp_path / "moved"
    shutil.copytree(school / "teacher", place)
    network = of_run(place).network
    assert isinstance(network, LanguageNetwork)
    assert torch.equal(of_run(place)(ROW), Run.open(school / "teacher").student()(ROW))
    reads = tokenizer(str(place))
    assert reads.get_vocab() == tokenizer(f"hf:{school / 'reads'}").get_vocab()


def test_a_teacher_that_cuts_texts_apart_otherwise_is_found(school: Path, tmp_path: Path) -> None:
    data = {"source": str(school / "text.txt"), "tokens": {**TOKENS, "tokenizer": f"hf:{school / 'reads'}"}}
    said = {"task": "language", "student": "causal(depth=1, size=24, heads=2)", "training": SCHOOL}
    recipe = Recipe.make(data=data, teacher=str(school / "teacher"), **said)
    alike = [finding.subject for finding in doctor(recipe, probe=0)]
    assert "teacher and data cut texts apart otherwise" not in alike
    moved = tmp_path / "teacher"
    shutil.copytree(school / "teacher", moved)
    # The same tokens, but the text is made lower case first.
    reads = tokenizer(str(moved))
    reads.backend_tokenizer.normalizer = Lowercase()
    reads.save_pretrained(str(moved / "tokenizer"))
    (found,) = [
        finding
        for finding in doctor(recipe.replace(teacher=str(moved)), probe=0)
        if finding.subject == "teacher and data cut texts apart otherwise"
    ]
    assert found.severity == "warning"
    assert "of 360 tokens" in found.evidence and "knows 360, 360 under the same number" in found.evidence


ROW = torch.tensor([[[10, 20, 30, 40, 50], [1, 1, 1, 2, 2]]])


def test_the_scores_of_a_run_are_those_of_its_student_on_the_test_rows(school: Path) -> None:
    run = Run.open(school / "teacher")
    data = data_of(run.recipe().data, labels="tokens")
    judge = task("language")
    said = answers(run.student(), data.test, judge)
    nll = judge.metrics(said.outputs, said.labels, said.known)["nll"]
    assert nll == pytest.approx(run.record.results[0].student.metrics["nll"], rel=1e-5)
