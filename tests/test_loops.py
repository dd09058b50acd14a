"""Every objective works outside Limbeck: in a loop of five lines, and in Hugging Face's Trainer."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_speakers import SYMBOLS, causal, folder
from torch import nn

from limbeck.catalog.languages import language, tokenizer
from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task
from limbeck.languages.network import LanguageNetwork
from limbeck.languages.vocabulary import vocabulary
from limbeck.model import Model
from limbeck.signals import Batch
from limbeck.taps import listen
from limbeck.tasks.classification import Classification

OBJECTIVES = [
    "labels",
    "0.9 * kd(temperature=4) + 0.1 * labels",
    "logit_mse",
    "kd(temperature=2) + 0.5 * rkd",
    "0.1 * hint('0', '0') + kd",
]


def network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 4))


def rows(seed: int, count: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs, and labels that the first four features decide."""
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :4].argmax(dim=1)


@pytest.mark.parametrize("text", OBJECTIVES)
def test_in_a_loop_of_your_own(text: str) -> None:
    torch.manual_seed(0)
    inputs, labels = rows(0)
    teacher, student, wanted = Model(network(32)).eval(), Model(network(8)), objective(text)
    layers = wanted.needs()
    batch = Batch.of(inputs, labels, Classification())
    with torch.no_grad():
        heard = listen(teacher, inputs, layers.teacher_layers)
        wanted.setup(listen(student, inputs, layers.student_layers), heard, batch)
    optimizer = torch.optim.AdamW([*student.parameters(), *wanted.parameters()], lr=0.02)
    losses = []
    for _ in range(30):
        loss = wanted.loss(listen(student, inputs, layers.student_layers), heard, batch)
        loss.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.total.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert set(loss.terms) == {name for name, _, _ in wanted.named_terms()}


def test_in_hugging_faces_trainer(tmp_path: Path) -> None:
    """The loss of a step is Limbeck's, and training with it brings the student's answers to the teacher's."""
    from transformers import Trainer, TrainingArguments

    torch.manual_seed(0)
    inputs, labels = rows(1)
    teacher, wanted = Model(network(32)).eval(), objective("0.9 * kd(temperature=2) + 0.1 * labels")

    class Distilling(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            said = listen(model, inputs["x"])
            with torch.no_grad():
                heard = listen(teacher, inputs["x"])
            loss = wanted.loss(said, heard, Batch.of(inputs["x"], inputs["labels"], Classification())).total
            return (loss, {"logits": said.logits}) if return_outputs else loss

    student = Model(network(8))
    settings = TrainingArguments(
        str(tmp_path), num_train_epochs=20, per_device_train_batch_size=32, learning_rate=0.02, use_cpu=True,
        report_to=[], save_strategy="no", logging_strategy="no", remove_unused_columns=False, disable_tqdm=True,
    )  # fmt: skip
    data: Any = [{"x": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]

    def divergence() -> float:
        with torch.no_grad():
            heard = listen(teacher, inputs)
            assert heard.targets is not None
            said = listen(student, inputs).logits
            assert said is not None
            return float(
                objective("kd(temperature=2)")
                .loss(listen(student, inputs), heard, Batch.of(inputs, labels, Classification()))
                .total
            )

    before = divergence()
    Distilling(student, settings, train_dataset=data).train()
    assert divergence() < 0.3 * before


def test_a_language_student_in_hugging_faces_trainer_with_a_padded_teacher(tmp_path: Path) -> None:
    """The teacher's head has rows for no token; student and teacher meet in the tokenizer's, prompts left out."""
    from transformers import Trainer, TrainingArguments

    folder(tmp_path / "teacher")
    teacher, names = language(f"hf:{tmp_path / 'teacher'}"), vocabulary(tokenizer(f"hf:{tmp_path / 'teacher'}"))
    assert teacher.network.size == SYMBOLS > len(names)
    teacher.align(names).eval().requires_grad_(False)
    with torch.no_grad():
        teacher.network.head.weight.mul_(20)  # new weights say nothing at all
    student = Model(LanguageNetwork(causal("llama", seed=1, vocab_size=len(names), double=False)), classes=names)
    tokens = torch.randint(4, len(names), (32, 12), generator=torch.Generator().manual_seed(0))
    labels = nn.functional.pad(tokens[:, 1:], (0, 1), value=-1)
    labels[:, :3] = -1
    inputs = torch.stack([tokens, torch.ones_like(tokens)], dim=1)
    wanted, judge = objective("kd(temperature=1)"), task("language")

    def loss_of(model: Any, given: dict[str, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            heard = listen(teacher, given["x"])
        return wanted.loss(listen(model, given["x"]), heard, Batch.of(given["x"], given["labels"], judge)).total

    class Distilling(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
            return loss_of(model, inputs)

    def divergence() -> float:
        known = labels >= 0
        with torch.no_grad():
            one, other = (model(inputs)[known].double().log_softmax(-1) for model in (teacher, student))
        return float((one.exp() * (one - other)).sum(-1).mean())

    before = divergence()
    assert float(loss_of(student, {"x": inputs, "labels": labels}).detach()) == pytest.approx(before, rel=1e-5)
    settings = TrainingArguments(
        str(tmp_path / "trained"), num_train_epochs=8, per_device_train_batch_size=8, learning_rate=0.01, use_cpu=True,
        report_to=[], save_strategy="no", logging_strategy="no", remove_unused_columns=False, disable_tqdm=True,
    )  # fmt: skip
    data: Any = [{"x": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]
    Distilling(student, settings, train_dataset=data).train()
    assert divergence() < 0.8 * before
