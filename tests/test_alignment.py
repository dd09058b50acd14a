"""How two layers are brought side by side: patches of a picture beside an image, widths, and numbers drawn for them.

Sequences, layouts and pooling are tested in `test_hint.py`, and against `reference/hint.py`.
"""

import pytest
import torch
from method_cases import same
from torch import nn

from limbeck.alignment import arranged, as_image, by_position, matched, projector, seeded
from limbeck.errors import ObjectiveError
from limbeck.objectives.hint import Hint
from limbeck.signals import Batch, Signals
from limbeck.tasks.classification import Classification


def said(**layers: tuple[int, ...]) -> Signals:
    generator = torch.Generator().manual_seed(0)
    features = {name: torch.randn(2, *shape, generator=generator).double() for name, shape in layers.items()}
    return Signals.dense(torch.zeros(2, 3, dtype=torch.float64), features)


BATCH = Batch.of(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), Classification())


def test_patches_are_laid_out_row_by_row() -> None:
    tokens = torch.arange(2.0 * 5 * 3).view(2, 5, 3)
    image = as_image(arranged(tokens, "tokens", 1))
    assert image.shape == (2, 3, 2, 2)
    for row in range(2):
        for patch in range(4):
            assert image[row, :, patch // 2, patch % 2].tolist() == tokens[row, 1 + patch].tolist()
    assert torch.equal(by_position(image), tokens[:, 1:])


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_vision_transformer_and_a_convolution_are_compared_as_two_images(side: str) -> None:
    tokens, image = said(it=(17, 3)), said(it=(5, 2, 2))
    student, teacher = (tokens, image) if side == "student" else (image, tokens)
    objective = Hint("it", "it", **{f"{side}_prefix": 1})
    objective.setup(student, teacher, BATCH)
    value = objective(student, teacher, BATCH)
    picture = Signals.dense(torch.zeros(2, 3), {"it": tokens.features["it"][:, 1:].mT.unflatten(2, (4, 4))})
    student, teacher = (picture, image) if side == "student" else (image, picture)
    plain = Hint("it", "it")
    plain.setup(student, teacher, BATCH)
    same(value, plain(student, teacher, BATCH))


@pytest.mark.parametrize(
    ("tokens", "arguments", "told"),
    [
        ((17, 3), {}, "teacher_prefix=1 would leave 4 x 4 patches"),
        ((20, 3), {"teacher_prefix": 1}, "teacher_prefix=4 would leave 4 x 4 patches"),
        ((3, 16), {}, "or say teacher_layout"),
    ],
)
def test_what_is_no_square_of_patches_is_refused(tokens: tuple[int, ...], arguments: dict[str, int], told: str) -> None:
    with pytest.raises(ObjectiveError, match=told):
        Hint("it", "it", **arguments).setup(said(it=(5, 4, 4)), said(it=tokens), BATCH)


def test_what_is_drawn_for_a_name_is_its_own() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    drawn = []
    for names in (("hint", "a"), ("hint", "b"), ("hint", "a")):
        with seeded(*names):
            drawn.append(torch.rand(4).tolist())
    assert drawn[0] == drawn[2] != drawn[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_projector_stands_where_widths_differ() -> None:
    flat, image = torch.zeros(2, 3), torch.zeros(2, 3, 4, 4)
    assert isinstance(matched(flat, torch.zeros(2, 3), "it"), nn.Identity)
    assert isinstance(matched(flat, torch.zeros(2, 5), "it"), nn.Linear)
    assert isinstance(matched(image, torch.zeros(2, 5, 1, 1), "it"), nn.Conv2d)
    assert {weight.dtype for weight in projector(flat.bfloat16(), flat, "it").parameters()} == {torch.float32}
