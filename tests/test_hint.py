"""Hints between sequences: of a real student and teacher of different lengths, by position, and what is refused.

Values and gradients of every shape are held to `reference/hint.py` in `test_objectives.py`.
"""

from dataclasses import replace

import pytest
import torch
from method_cases import same
from reference import Said, hint
from torch import nn

from limbeck.errors import ObjectiveError
from limbeck.model import Model
from limbeck.objectives.hint import Hint
from limbeck.signals import Batch, Signals
from limbeck.students import gru, tcn, transformer
from limbeck.taps import listen
from limbeck.tasks.classification import Classification


def batch_of(rows: torch.Tensor) -> Batch:
    return Batch.of(rows, torch.zeros(len(rows), dtype=torch.long), Classification())


def said(student: tuple[int, ...], teacher: tuple[int, ...], seed: int = 0) -> tuple[Signals, Signals, Batch]:
    """One layer each, called `s` and `t`, of two rows."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(2, *shape, generator=generator, dtype=torch.float64) for shape in (student, teacher))
    logits = torch.zeros(2, 3, dtype=torch.float64)
    return Signals.dense(logits, {"s": first}), Signals.dense(logits, {"t": second}), batch_of(torch.zeros(2, 1))


def answered(objective: Hint, student: Signals, teacher: Signals, batch: Batch) -> torch.Tensor:
    objective.setup(student, teacher, batch)
    return objective(student, teacher, batch)


@pytest.mark.parametrize("family", [tcn, gru])
def test_a_student_of_128_steps_is_hinted_by_a_transformer_of_16_tokens(family: object) -> None:
    torch.manual_seed(0)
    rows = torch.randn(3, 2, 128, dtype=torch.float64)
    small = family.build((2, 128), 5, size=4, depth=3).double().train()  # type: ignore[attr-defined]
    large = transformer.build((2, 128), 5, size=8, heads=2).double().eval()
    student = listen(Model(small, nn.Identity()), rows, ["layer3"])
    with torch.no_grad():
        teacher = listen(Model(large, nn.Identity()), rows, ["layer2"])
    assert student.features["layer3"].shape == (3, 128, 4)
    assert teacher.features["layer2"].shape == (3, 16, 8)
    objective, batch = Hint("layer3", "layer2"), batch_of(rows)
    value = answered(objective, student, teacher, batch)
    weights = {name: tensor.tolist() for name, tensor in objective.state_dict().items()}
    names = {"student_layer": "layer3", "teacher_layer": "layer2"}
    expected = hint.value(Said.of(student), Said.of(teacher), batch, weights, **names)
    same(value, torch.tensor(expected, dtype=torch.float64), 1e-10)
    (gradient,) = torch.autograd.grad(value.sum(), student.features["layer3"])
    assert (gradient.abs().sum((0, 2)) > 0).all(), "some step is not hinted at"


def test_a_layout_is_only_another_way_to_say_the_same() -> None:
    student, teacher, batch = said((6, 3), (2, 4))
    turned = Signals.dense(student.logits, {"s": student.features["s"].transpose(1, 2)})
    turned_teacher = Signals.dense(teacher.logits, {"t": teacher.features["t"].transpose(1, 2)})
    value = answered(Hint("s", "t"), student, teacher, batch)
    same(answered(Hint("s", "t", student_layout="channels"), turned, teacher, batch), value)
    same(answered(Hint("s", "t", teacher_layout="channels"), student, turned_teacher, batch), value)


def test_a_class_token_has_no_say() -> None:
    student, teacher, batch = said((6, 3), (4, 4))
    value = answered(Hint("s", "t", teacher_prefix=1), student, teacher, batch)
    moved = teacher.features["t"].clone()
    moved[:, 0] = 1e6
    same(answered(Hint("s", "t", teacher_prefix=1), student, Signals.dense(teacher.logits, {"t": moved}), batch), value)
    alone = Signals.dense(teacher.logits, {"t": teacher.features["t"][:, 1:]})
    same(answered(Hint("s", "t"), student, alone, batch), value)


def test_pooling_agrees_with_torch() -> None:
    """The projector is linear, so that a projector of the pooled sequence is what it says of the pooled one."""
    for steps, tokens in ((128, 16), (7, 3), (16, 5), (3, 3), (5, 1)):
        student, teacher, batch = said((steps, 3), (tokens, 4), seed=steps)
        shorter = nn.functional.adaptive_avg_pool1d(student.features["s"].transpose(1, 2), tokens).transpose(1, 2)
        objective = Hint("s", "t")
        value = answered(objective, student, teacher, batch)
        same(objective(Signals.dense(student.logits, {"s": shorter}), teacher, batch), value)


@pytest.mark.parametrize("layout", ["tokens", "channels"])
def test_where_the_mask_counts_positions_there_is_a_value_for_each(layout: str) -> None:
    """And it is the value of that position alone."""
    student, teacher, batch = said((4, 3), (5, 2))
    if layout == "channels":
        student = Signals.dense(student.logits, {"s": student.features["s"].transpose(1, 2)})
    positions = replace(
        batch, mask=torch.ones(2, 4, dtype=torch.bool), labels=None, known=torch.zeros(2, 4, dtype=torch.bool)
    )
    objective = Hint("s", "t", student_layout=layout, teacher_prefix=1)  # type: ignore[arg-type]
    value = answered(objective, student, teacher, positions)
    assert value.shape == (2, 4)
    same(value.sum(1), objective(student, teacher, batch))
    assert objective.loss(student, teacher, positions).total.item() == pytest.approx(value.mean().item())


@pytest.mark.parametrize(
    ("student", "teacher", "arguments", "told"),
    [
        ((3,), (4, 2), {}, "same kind"),
        ((3,), (4,), {"student_layout": "channels"}, "leave its layout and its prefix out"),
        ((3,), (4,), {"teacher_prefix": 1}, "which has no steps"),
        ((2, 4, 4), (2, 4, 4), {"teacher_layout": "channels"}, "which has no steps"),
        ((4, 3), (1, 3), {"teacher_prefix": 1}, "no step is left"),
        ((4, 3), (4, 3), {"student_layout": "channels", "student_prefix": 3}, "no step is left"),
    ],
)
def test_what_has_no_steps_is_refused(
    student: tuple[int, ...], teacher: tuple[int, ...], arguments: dict[str, object], told: str
) -> None:
    with pytest.raises(ObjectiveError, match=told):
        Hint("s", "t", **arguments).setup(*said(student, teacher))  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps", "tokens", "positions"), [(4, 2, 4), (4, 4, 3), (2, 4, 4)])
def test_positions_need_a_step_each(steps: int, tokens: int, positions: int) -> None:
    student, teacher, batch = said((steps, 3), (tokens, 3))
    mask = torch.ones(2, positions, dtype=torch.bool)
    with pytest.raises(ObjectiveError, match="the same number of steps"):
        Hint("s", "t").setup(student, teacher, replace(batch, mask=mask, labels=None, known=~mask))


def test_a_layout_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="'tokens' or 'channels'"):
        Hint("s", "t", student_layout="steps")  # type: ignore[arg-type]
