"""Methods that compare layers: a convolution with a vision transformer, masks that can be drawn again, and refusals.

Values, gradients and the laws of all methods are in `test_objectives.py`.
"""

from dataclasses import replace

import pytest
import torch
from method_cases import same

from limbeck.catalog.objectives import method, objective
from limbeck.errors import ObjectiveError
from limbeck.objective import Objective
from limbeck.schedules import Moment
from limbeck.signals import Batch, Signals
from limbeck.tasks.classification import Classification

TWO_SIDED = ["attention", "cosine", "cwd", "hint", "mgd", "pkd", "simkd", "vid"]


def said(**layers: tuple[int, ...]) -> Signals:
    generator = torch.Generator().manual_seed(0)
    features = {
        name: torch.randn(4, *shape, generator=generator, dtype=torch.float64) for name, shape in layers.items()
    }
    return Signals.dense(torch.zeros(4, 3, dtype=torch.float64), features)


BATCH = Batch.of(torch.zeros(4, 1), torch.zeros(4, dtype=torch.long), Classification())


def answered(made: Objective, student: Signals, teacher: Signals, batch: Batch = BATCH) -> torch.Tensor:
    made.setup(student, teacher, batch)
    return made(student, teacher, batch)


@pytest.mark.parametrize("name", TWO_SIDED)
def test_patches_are_compared_with_a_convolution_as_the_image_they_are(name: str) -> None:
    student, teacher = said(it=(3, 4, 4)), said(it=(17, 5))
    picture = Signals.dense(torch.zeros(4, 3), {"it": teacher.features["it"][:, 1:].mT.unflatten(2, (4, 4))})
    patches = answered(method(name)("it", "it", teacher_prefix=1), student, teacher)
    same(patches, answered(method(name)("it", "it"), student, picture))


def test_a_review_of_patches_is_a_review_of_the_images_they_are() -> None:
    student, teacher = said(a=(3, 4, 4), b=(2, 2, 2)), said(a=(17, 5), b=(5, 6))
    pictures = {
        layer: features[:, 1:].mT.unflatten(2, (side, side))
        for side, (layer, features) in zip((4, 2), teacher.features.items(), strict=True)
    }
    review = method("review")
    patches = answered(review(("a", "b"), ("a", "b"), teacher_prefix=1), student, teacher)
    images = Signals.dense(torch.zeros(4, 3), pictures)
    same(patches, answered(review(("a", "b"), ("a", "b")), student, images))


def test_a_mask_belongs_to_a_row_a_view_and_a_step() -> None:
    student, teacher = said(it=(2, 5, 5)), said(it=(2, 5, 5))
    made = objective("mgd('it', 'it', masked=0.5)")
    value = answered(made, student, teacher)
    alike = replace(student, features={"it": student.features["it"][:1].expand(4, -1, -1, -1)})
    one = replace(teacher, features={"it": teacher.features["it"][:1].expand(4, -1, -1, -1)})
    assert len(set(made(alike, one, BATCH).tolist())) == 4, "rows share a mask"
    again = replace(BATCH, ids=torch.tensor([3, 3, 3, 3]))
    assert len(set(made(alike, one, again).tolist())) == 1, "a row's mask is not its own"
    seen = replace(again, views=torch.arange(4))
    assert len(set(made(alike, one, seen).tolist())) == 4, "views share a mask"
    made.advance(Moment(1, 10, 5))
    assert (made(student, teacher, BATCH) != value).all(), "steps share a mask"
    made.advance(Moment(0, 10, 5))
    same(made(student, teacher, BATCH), value, 0)


def test_a_method_with_a_schedule_hears_of_the_step_itself() -> None:
    student, teacher = said(it=(2, 5, 5)), said(it=(2, 5, 5))
    made = objective("mgd('it', 'it', masked=linear(0.5, 0.4, over='5 steps'))")
    made.setup(student, teacher, BATCH)
    made.advance(Moment(5, 10, 5))
    plain = objective("mgd('it', 'it', masked=0.4)")
    value = answered(plain, student, teacher)
    assert (made(student, teacher, BATCH) != value).all(), "the masks are those of the first step"
    plain.advance(Moment(5, 10, 5))
    same(made(student, teacher, BATCH), plain(student, teacher, BATCH), 0)


def test_a_mask_takes_its_share() -> None:
    """All of what is kept is one, so that what is generated tells how many places there were."""
    made = objective("mgd('it', 'it', masked=0.3)")
    ones = Signals.dense(torch.zeros(4, 3), {"it": torch.ones(4, 1, 60, 60)})
    made.setup(ones, ones, BATCH)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.zero_()
            if name.endswith("weight"):
                weight[0, 0, 1, 1] = 1
    zeros = Signals.dense(torch.zeros(4, 3), {"it": torch.zeros(4, 1, 60, 60)})
    kept = made(ones, zeros, BATCH) / 3600
    assert (kept - 0.7).abs().max() < 0.03


def test_pearson_is_what_torch_says() -> None:
    student, teacher = said(it=(2, 3, 3)), said(none=(1,), other=(2, 3, 3))
    value = answered(method("pkd")("it", "other"), student, teacher)
    channels = zip(
        *(each.transpose(0, 1).flatten(1) for each in (student.features["it"], teacher.features["other"])), strict=True
    )
    correlations = [torch.corrcoef(torch.stack(both))[0, 1] for both in channels]
    same(value, 1 - torch.stack(correlations).mean(), 1e-5)


@pytest.mark.parametrize("name", ["attention", "cwd", "mgd"])
def test_where_there_are_no_places_none_are_compared(name: str) -> None:
    with pytest.raises(ObjectiveError, match="these layers have none"):
        method(name)("it", "it").setup(said(it=(3,)), said(it=(3,)), BATCH)
    mask = torch.ones(4, 5, dtype=torch.bool)
    positions = replace(BATCH, mask=mask, labels=None, known=~mask)
    with pytest.raises(ObjectiveError, match="position by position"):
        method(name)("it", "it").setup(said(it=(5, 3)), said(it=(5, 3)), positions)


@pytest.mark.parametrize("name", ["cosine", "pkd", "simkd", "vid", "cka"])
def test_positions_count_one_by_one(name: str) -> None:
    """A position that does not count may hold anything."""
    student, teacher = said(it=(3, 2)), said(it=(3, 4))
    mask = torch.tensor([[True, True, False]]).expand(4, 3)
    positions = replace(BATCH, mask=mask, labels=None, known=torch.zeros_like(mask))
    made = method(name)("it", "it")
    made.setup(student, teacher, positions)
    total = made.loss(student, teacher, positions).total
    spoilt = torch.where(mask[..., None], student.features["it"], 1e20)
    same(made.loss(replace(student, features={"it": spoilt}), teacher, positions).total, total)


@pytest.mark.parametrize(
    ("text", "student", "told"),
    [
        ("review(('it', 'it'), ('it',))", (2, 2, 2), "2 layers of the student and 1 of the teacher"),
        ("review(('it',), ('it',))", (5, 2), "student_prefix=1 would leave 2 x 2 patches"),
        ("review(('it',), ('it',))", (2, 2, 2, 2), "an image"),
    ],
)
def test_what_cannot_be_reviewed_is_refused(text: str, student: tuple[int, ...], told: str) -> None:
    with pytest.raises(ObjectiveError, match=told):
        objective(text).setup(said(it=student), said(it=(2, 2, 2)), BATCH)


def test_a_layer_without_a_vector_for_each_position_has_no_alignment() -> None:
    mask = torch.ones(4, 5, dtype=torch.bool)
    positions = replace(BATCH, mask=mask, labels=None, known=~mask)
    with pytest.raises(ObjectiveError, match="one vector for each position"):
        objective("cka('it', 'it')").setup(said(it=(3,)), said(it=(5, 3)), positions)
