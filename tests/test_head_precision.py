"""A step in bfloat16 goes through the head of a language model as autocast goes through every linear layer."""

import torch
from small_speakers import causal
from torch.nn import functional

from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task
from limbeck.languages.network import LanguageNetwork
from limbeck.model import Model
from limbeck.signals import Batch, Signals
from limbeck.targets.hidden import HiddenTargets
from limbeck.training.step import Step


def test_a_step_takes_the_head_in_the_precision_of_the_plan() -> None:
    model = Model(LanguageNetwork(causal("llama", double=False)))
    tokens = torch.randint(0, 97, (2, 16), generator=torch.Generator().manual_seed(0))
    labels = functional.pad(tokens[:, 1:], (0, 1), value=-1)
    batch = Batch.of(torch.stack([tokens, torch.ones_like(tokens)], 1), labels, task("language"))
    step = Step(model, objective("labels"), (), "bfloat16")
    said = step.student(batch).targets
    assert isinstance(said, HiddenTargets) and said.hidden.dtype == torch.bfloat16
    total, _ = step(batch, Signals(), None)
    total.backward()
    ours = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(batch.inputs)
    assert logits.dtype == torch.bfloat16
    loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())
    loss.backward()
    assert abs(float(total.detach()) - float(loss.detach())) < 1e-4
    theirs = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert list(ours) == list(theirs)
    for name, slope in theirs.items():
        assert float((ours[name] - slope).norm() / slope.norm()) < 0.02, name
