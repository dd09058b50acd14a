"""Teachers that call the data's classes otherwise, or know finer ones."""

import pytest
import torch
from small_runs import SETTLED, small
from torch import nn

from limbeck import distill
from limbeck.catalog.models import Shape
from limbeck.catalog.teachers import teacher
from limbeck.data.source import load
from limbeck.errors import TeacherError
from limbeck.evaluation import teacher_answers
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.recipe import Recipe
from limbeck.run import evaluate_run
from limbeck.tasks.classification import Classification
from limbeck.teachers.protocol import Teacher
from limbeck.teachers.renamed import RenamedTeacher, merged

THEIRS = ("tabby", "beagle", "car", "pug")
OURS = ("cat", "dog", "car")
SHAPE = Shape((6,), 3, OURS, torch.zeros(6), torch.ones(6))
NAMES = {"cat": "tabby", "dog": ["beagle", "pug"]}


def network() -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Model(nn.Sequential(nn.Flatten(), nn.Linear(6, 4)), classes=THEIRS)


def data():
    inputs = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    return load({"train": (inputs, torch.arange(30) % 3), "classes": OURS})


def test_probabilities_of_finer_classes_are_summed_and_names_follow_the_data():
    found = teacher({"model": network(), "classes": NAMES}, SHAPE)
    assert isinstance(found, Teacher)
    found.prepare(Needs(), OURS)
    rows = data().train
    said = teacher_answers(found, rows, Classification()).outputs.softmax(dim=1)
    whole = network().eval()(rows.inputs).double().softmax(dim=1)
    wanted = torch.stack([whole[:, 0], whole[:, 1] + whole[:, 3], whole[:, 2]], dim=1)
    assert torch.allclose(said.double(), wanted, atol=1e-6)


def test_merging_is_stable_and_keeps_single_classes_bit_for_bit():
    logits = torch.tensor([[1000.0, 1000.0, -1000.0], [0.1, 0.2, 0.3]])
    found = merged(logits, [2, 1])
    assert torch.isfinite(found).all()
    assert torch.equal(found[:, 1], logits[:, 2])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"cat": "tabbi", "dog": "pug"}, "did you mean 'tabby'"),
        ({"cta": "tabby"}, "did you mean 'cat'"),
        ({"cat": "tabby", "dog": "tabby"}, "'tabby' of the teacher .* is asked for twice"),
        ({"cat": "tabby"}, "knows no class 'dog'"),
        ({"cat": [], "dog": "pug"}, "stands for no class"),
    ],
)
def test_names_that_do_not_fit_are_refused(names, message):
    with pytest.raises(TeacherError, match=message):
        RenamedTeacher(teacher(network(), SHAPE), names).prepare(Needs(), OURS)
    with pytest.raises(TeacherError, match="the key 'clases'"):
        teacher({"model": network(), "clases": names}, SHAPE)
    with pytest.raises(TeacherError, match="no model"):
        teacher({"classes": names}, SHAPE)


def test_another_map_is_another_teacher():
    prints = {RenamedTeacher(teacher(network(), SHAPE), names).fingerprint for names in (NAMES, {"cat": "pug"}, {})}
    assert len(prints) == 3


def test_a_recipe_says_the_names_and_the_run_keeps_them(tmp_path):
    digits = load("digits", valid=0.1, test=0.2)
    small(None, tmp_path / "teacher", data=digits)
    halves = {name: part.labels // 5 for name, part in digits.splits().items()}
    coarse = load(
        {**{name: (part.inputs, halves[name]) for name, part in digits.splits().items()}, "classes": ("low", "high")}
    )
    names = {"low": ["0", "1", "2", "3", "4"], "high": ["5", "6", "7", "8", "9"]}
    member = {"model": str(tmp_path / "teacher"), "classes": names}
    recipe = Recipe.make(data="digits", student="mlp", teacher=member)
    assert Recipe.parse(recipe.yaml()) == recipe
    assert recipe.teacher_text() == {**member, "classes": {name: tuple(theirs) for name, theirs in names.items()}}
    run = distill(member, "mlp(size=8)", coarse, to=tmp_path / "run", budget="1 epochs", training=SETTLED, device="cpu")
    assert run.record.teacher.metrics["accuracy"] > 0.7
    again = evaluate_run(run, data=coarse)
    assert again["teacher"].metrics["accuracy"] == run.record.teacher.metrics["accuracy"]
