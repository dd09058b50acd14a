"""Every method with the cases of its reference, and how tests ask it for its loss and gradients."""

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from numpy.testing import assert_allclose
from reference import Case
from torch import Tensor

import limbeck.objectives
from limbeck.catalog.objectives import method
from limbeck.objective import Objective
from limbeck.signals import Batch, Signals

METHODS = sorted(path.stem for path in Path(limbeck.objectives.__path__[0]).glob("*.py") if path.stem != "__init__")
REFERENCES = sorted(path.stem for path in (Path(__file__).parent / "reference").glob("*.py") if path.stem != "__init__")
MASK = torch.tensor([True, False, True, True, False, True])


def reference_of(name: str) -> ModuleType:
    return importlib.import_module(f"reference.{name}")


# A bug that is planted in one method is looked for in that method's cases alone: see `mutations.py`.
ONLY = set(os.environ.get("LIMBECK_METHODS", "").split()) & set(METHODS) or set(METHODS)
CASES = [
    pytest.param(name, case, id=f"{name} {case}".strip())
    for name in METHODS
    if name in ONLY.intersection(REFERENCES)
    for case in reference_of(name).cases()
]
every_case = pytest.mark.parametrize(("name", "case"), CASES)


def cases_where(holds: Callable[[str, Case], bool]) -> pytest.MarkDecorator:
    """The cases for which a law is promised."""
    return pytest.mark.parametrize(("name", "case"), [each for each in CASES if holds(*each.values)])


def only_rows(case: Case) -> bool:
    """Whether everything that was said has one vector for each row."""
    return all(tensor.ndim == 2 for said in (case.student, case.teacher) for tensor in tensors_of(said).values())


def built(name: str, case: Case) -> Objective:
    made = method(name)(**case.arguments)
    made.setup(case.student, case.teacher, case.batch)
    return made


def changed(signals: Signals, change: Callable[[Tensor], Tensor]) -> Signals:
    """The same change to everything a network said."""
    assert signals.logits is not None
    features = {name: change(tensor) for name, tensor in signals.features.items()}
    said = Signals.dense(change(signals.logits), features)
    return replace(said, members=tuple(changed(member, change) for member in signals.members))


def leaves(signals: Signals) -> Signals:
    """A copy whose numbers can be asked for their gradient."""
    return changed(signals, lambda tensor: tensor.detach().clone().requires_grad_())


def tensors_of(signals: Signals) -> dict[str, Tensor]:
    assert signals.logits is not None
    return {"logits": signals.logits, **signals.features}


def gradients(made: Objective, signals: Signals) -> dict[str, Tensor]:
    """Gradients after `backward`: zero where none arrived; the method's own parameters among them."""
    wanted = tensors_of(signals) | dict(made.named_parameters())
    return {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in wanted.items()}


def loss_and_gradients(
    made: Objective, student: Signals, teacher: Signals, batch: Batch, counts: Mapping[str, float] | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    made.zero_grad()
    student = leaves(student)
    total = made.loss(student, teacher, batch, counts=counts).total
    if total.requires_grad:
        total.backward()
    return total.detach(), {name: gradient.clone() for name, gradient in gradients(made, student).items()}


def same(found: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    # numpy's, because torch.testing takes seconds to import.
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=tolerance, atol=tolerance)
