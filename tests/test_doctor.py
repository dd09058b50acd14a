"""Mistakes that cost people days, planted one by one on digits: each is found, and its remedy makes it go away."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from examinations import bad, bare, examined, the
from small_runs import SETTLED, small
from torch import Tensor, nn

import limbeck
from limbeck.data.source import Data, load
from limbeck.data.standardise import Standardise
from limbeck.errors import TeacherError
from limbeck.examination.capacity import capacity
from limbeck.examination.classes import class_order
from limbeck.examination.steadiness import strangers
from limbeck.examination.temperature import entropy_share, middle_temperature
from limbeck.model import Model
from limbeck.recipe import Recipe
from limbeck.run import Run
from limbeck.teachers.module import ModuleTeacher
from limbeck.transforms import AsFloat


@pytest.fixture
def teacher(good_run: Run) -> Model:
    return good_run.student()


@pytest.fixture(scope="module")
def rows() -> Data:
    """Split as the teacher's own."""
    return load("digits", valid=0.1, test=0.2)


def test_a_healthy_recipe_has_no_warning(teacher: Model, rows: Data) -> None:
    found = examined(teacher, rows, claims=0.95, probe=2.0, record=1)
    assert bad(found) == []
    assert found[0].subject == "the teacher's accuracy"
    subjects = {finding.subject for finding in found}
    assert {"the softness of the targets", "the expected time", "the expected memory", "the capacity probe"} <= subjects


def test_doctor_is_a_function_and_leaves_everything_as_it_was(teacher: Model, rows: Data) -> None:
    assert callable(limbeck.doctor)
    before, state = teacher.fingerprint(), torch.get_rng_state()
    examined(teacher, rows)
    assert teacher.fingerprint() == before
    assert torch.equal(torch.get_rng_state(), state)


# 1. The teacher's classes stand in another order.


def test_permuted_classes(teacher: Model, rows: Data) -> None:
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))

    class Permuted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(teacher.network)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)[:, order]

    transform = copy.deepcopy(teacher.transform)
    found = the(examined(Model(Permuted(), transform), rows, claims=0.95), "the teacher's class order", "error")
    # The remedy is Python: Model(network, transform, classes=(...)).
    names = tuple(found.remedy.partition("classes=(")[2].rstrip(")").replace("'", "").split(", "))
    assert names == tuple(str(int(place)) for place in order)
    assert bad(examined(Model(Permuted(), transform, classes=names), rows, claims=0.95)) == []


def test_two_swapped_classes_are_found_and_random_answers_are_not_mended(teacher: Model, rows: Data) -> None:
    truth = rows.valid.labels
    assert truth is not None
    with torch.no_grad():
        logits = teacher(rows.valid.take(torch.arange(len(rows.valid))).inputs)
    assert class_order(logits, truth, rows.classes) == []
    swapped = logits[:, [0, 1, 2, 8, 4, 5, 6, 7, 3, 9]]
    (found,) = class_order(swapped, truth, rows.classes)
    assert "output 3 says '8', output 8 says '3'" in found.evidence
    noise = torch.randn(len(truth), 10, generator=torch.Generator().manual_seed(0))
    assert class_order(noise, truth, rows.classes) == []


# 2. The teacher gets inputs at the wrong scale.


def test_inputs_scaled_by_255_for_the_teacher(teacher: Model, rows: Data) -> None:
    small_numbers = nn.Sequential(
        Standardise(torch.zeros(1), torch.full((1,), 255.0)), copy.deepcopy(teacher.transform)
    )
    found = the(examined(bare(teacher, small_numbers), rows, claims=0.95), "the teacher's inputs", "error")
    assert "multiplied by 255" in found.evidence
    assert "Standardise(torch.tensor([0.0]), torch.tensor([0.00392157]))" in found.remedy
    mended = nn.Sequential(Standardise(torch.tensor([0.0]), torch.tensor([0.00392157])), small_numbers)
    assert bad(examined(bare(teacher, mended), rows, claims=0.95)) == []


def test_a_bare_network_that_was_trained_on_standardised_pixels(teacher: Model, rows: Data) -> None:
    found = examined(bare(teacher, AsFloat()), rows, claims=0.95)
    if bad(found):  # some networks bear it
        assert "standardised with the training rows' mean" in the(found, "the teacher's inputs", "error").evidence


def test_pictures_lying_on_their_side(teacher: Model, rows: Data) -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.float().transpose(2, 3)

    sideways = nn.Sequential(Turned(), copy.deepcopy(teacher.transform))
    found = the(examined(bare(teacher, sideways), rows, claims=0.95), "the teacher's inputs", "error")
    assert "with rows and columns swapped" in found.evidence


def test_a_teacher_that_asserts_the_shape_of_its_pictures_is_not_asked_in_another(teacher: Model, rows: Data) -> None:
    class Asserting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1:] == (1, 8, 8), "as timm's vision transformers do"
            return 1 - x.float() / 16

    found = examined(bare(teacher, Asserting()), rows, claims=0.95)
    assert "the teacher's inputs" in bad(found) or "the teacher's accuracy" in bad(found)


# 3. The teacher was left in train mode.


def answers_of(module: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """A network behind a function: limbeck does not see that there is one to put in eval mode."""

    def answer(inputs: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(inputs)).numpy()

    return answer


def test_a_teacher_in_train_mode(teacher: Model, rows: Data) -> None:
    dropping = nn.Sequential(copy.deepcopy(teacher.transform), nn.Dropout(0.5), copy.deepcopy(teacher.network))
    found = examined(answers_of(dropping.train()), rows)
    assert "train mode" in the(found, "the teacher answers differently each time", "error").remedy
    assert "the teacher answers differently each time" not in bad(examined(answers_of(dropping.eval()), rows))


def test_batch_normalisation_in_train_mode_answers_otherwise_among_other_rows(teacher: Model, rows: Data) -> None:
    norm = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), copy.deepcopy(teacher.network))
    norm[1].load_state_dict(_moments(rows), strict=False)
    learning = nn.Sequential(AsFloat(), norm)
    found = the(examined(answers_of(learning.train()), rows), "the teacher answers differently each time", "error")
    assert "among others" in found.evidence
    settled = examined(answers_of(learning.eval()), rows)
    assert "the teacher answers differently each time" not in bad(settled)


def _moments(rows: Data) -> dict[str, Tensor]:
    pixels = rows.train.take(torch.arange(len(rows.train))).inputs.float().flatten(1)
    return {"running_mean": pixels.mean(dim=0), "running_var": pixels.var(dim=0)}


# 4. The teacher was trained on the rows that judge it.


def test_a_teacher_trained_on_the_test_rows(good_run: Run, rows: Data) -> None:
    other = {"data": {"source": "digits", "valid": 0.1, "test": 0.2, "seed": 1}, "teacher": str(good_run.folder)}
    recipe = Recipe.make(student="mlp(size=16)", training=SETTLED, device="cpu", **other)
    found = the(limbeck.doctor(recipe, probe=0), "the teacher was trained on test rows", "error")
    assert "of the 359 test rows" in found.evidence
    same = recipe.replace(data={**other["data"], "seed": 0})  # type: ignore[dict-item]
    assert bad(limbeck.doctor(same, probe=0)) == []


# 8 and 9. The temperature.


def test_a_temperature_at_which_targets_are_flat(teacher: Model, rows: Data) -> None:
    found = the(examined(teacher, rows, objective="kd(temperature=100)"), "the targets are nearly flat", "warning")
    value = found.remedy.partition("temperature=")[2].partition(" ")[0]
    assert bad(examined(teacher, rows, objective=f"kd(temperature={value})")) == []


def test_a_one_hot_teacher_at_temperature_one(teacher: Model, rows: Data) -> None:
    class Sure(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(teacher.network)

        def forward(self, x: Tensor) -> Tensor:
            return 20 * self.inner(x)

    sure = Model(Sure(), copy.deepcopy(teacher.transform))
    found = the(examined(sure, rows, objective="kd(temperature=1)"), "the targets are nearly one-hot", "warning")
    value = float(found.remedy.partition("temperature=")[2].partition(" ")[0])
    assert value > 20
    assert bad(examined(sure, rows, objective=f"kd(temperature={value})")) == []


def test_the_middle_temperature_is_where_the_entropy_is_half() -> None:
    logits = 8 * torch.randn(200, 7, generator=torch.Generator().manual_seed(0))
    found = middle_temperature(logits)
    assert found is not None
    assert entropy_share(logits, found) == pytest.approx(0.5, abs=2e-3)
    assert middle_temperature(torch.zeros(5, 3)) is None


# 11. A student without room.


def test_a_student_that_is_far_too_small(teacher: Model, rows: Data) -> None:
    torch.manual_seed(0)
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.Tanh(), nn.Linear(1, 10))
    found = examined(teacher, rows, Model(narrow, copy.deepcopy(teacher.transform)), probe=6.0)
    assert "stopped gaining" in the(found, "the student is too small for its teacher", "warning").evidence
    assert "the student is too small for its teacher" not in bad(examined(teacher, rows, "mlp(size=32)", probe=6.0))


def test_a_wide_gap_is_said(teacher: Model, rows: Data) -> None:
    assert capacity({"parameters": 10, "macs": 10}, {"parameters": 1001, "macs": 1001})[0].severity == "warning"
    assert capacity({"parameters": 10, "macs": 10}, {"parameters": 1001, "macs": 900})[0].severity == "note"


# 12. One term drowns the other.


def test_weights_of_a_thousand_to_one(teacher: Model, rows: Data) -> None:
    found = examined(teacher, rows, objective="1000 * kd(temperature=4) + labels")
    drowned = the(found, "kd(temperature=4) drowns labels", "warning")
    weight = drowned.remedy.partition("weight of about ")[2].partition(" ")[0]
    assert bad(examined(teacher, rows, objective=f"1000 * kd(temperature=4) + {weight} * labels")) == []


def test_a_batch_that_is_small_for_relations(teacher: Model, rows: Data) -> None:
    found = examined(teacher, rows, objective="rkd + labels", training={"batch": 4})
    assert "6 pairs" in the(found, "the batch is small for rkd(distance=25, angle=50, student_layer=None, "
                            "teacher_layer=None)", "warning").evidence  # fmt: skip


# 13. A budget that does not fit.


def test_a_budget_that_holds_no_step(teacher: Model, rows: Data) -> None:
    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = copy.deepcopy(teacher.network)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) == SETTLED["batch"]:
                torch.linalg.inv(torch.rand(900, 900))
            return self.inner(x)

    slow = Model(Slow(), copy.deepcopy(teacher.transform))
    found = the(examined(slow, rows, budget="0.02s"), "the budget is too short", "error")
    wanted = found.remedy.partition("budget: ")[2].partition(" ")[0]
    assert "the budget is too short" not in bad(examined(slow, rows, budget=wanted))


# 14. A teacher that is worse than knowing nothing.


def test_a_teacher_worse_than_the_majority(rows: Data, tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs, labels = rows.train.inputs, rows.train.labels
    assert isinstance(inputs, Tensor) and labels is not None
    common = torch.cat([(labels == 1).nonzero().flatten().repeat(5), torch.arange(len(labels))])
    rare = load((inputs[common] + torch.rand(len(common), 1, 8, 8), labels[common]), valid=0.2, test=0.2)
    untrained = Model(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), AsFloat())
    untrained.network[1].bias.data[1] = -1e4  # type: ignore[union-attr]
    found = examined(untrained, rare)
    the(found, "the teacher is no better than the most frequent class", "error")
    with pytest.raises(TeacherError, match="most frequent class"):
        small(untrained, tmp_path / "run", data=rare)
    meant = examined(untrained, rare, claims=0.0)
    the(meant, "the teacher is no better than the most frequent class", "warning")


def test_a_teacher_worse_than_claimed(good_run: Run, teacher: Model, rows: Data) -> None:
    broken = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in broken.network.parameters():
            parameter.add_(0.25 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    found = the(examined(broken, rows, claims=0.99), "the teacher is worse than claimed", "error")
    assert "the recipe claims 0.99" in found.evidence
    assert "the teacher is worse than claimed" not in bad(examined(teacher, rows, claims=0.95))
    own = limbeck.doctor(str(good_run.folder), "mlp(size=16)", "digits", valid=0.1, test=0.2, device="cpu", probe=0)
    assert "its own run" in own[0].evidence


# 16. Weights in common.


def test_student_and_teacher_share_weights(teacher: Model, rows: Data) -> None:
    theirs = ModuleTeacher(teacher, "theirs")
    (found,) = strangers(Model(teacher.network), theirs)
    assert found.severity == "error"
    assert strangers(Model(copy.deepcopy(teacher.network)), theirs) == []
