"""Learning from the student's own text: which batches, what stands in them, what they cost, and resuming."""

import json
import math
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import same_bits, weights
from small_speakers import causal, folder, row
from torch import Tensor, nn

from limbeck.catalog.objectives import objective
from limbeck.catalog.tasks import task
from limbeck.distillation import distill
from limbeck.errors import DataError, Interrupted, ModelError, ObjectiveError, RecipeError, TeacherError
from limbeck.languages.generation import Sampling
from limbeck.languages.network import LanguageNetwork
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.progress import Silent
from limbeck.recipe import Recipe
from limbeck.run import Run
from limbeck.signals import Batch
from limbeck.taps import listen
from limbeck.teachers.module import ModuleTeacher
from limbeck.training.own_text import OwnText

LENGTH = 20
# Prompts, and what the data goes on with.
DOCUMENTS = [([7, 30, 8], [9, 11]), ([40], [41, 42, 43]), ([12, 13, 90, 15], [16]), ([60, 61], [62, 63, 64])]


def speaker(seed: int, **changed: Any) -> Model:
    return Model(LanguageNetwork(causal("llama", seed=seed, attention="sdpa", **changed)))


def drawn(*rows: list[tuple[list[int], list[int]]]) -> Batch:
    """A batch of rows, each of some documents whose completions alone are learnt."""
    inputs = torch.stack([row(*(prompt + rest for prompt, rest in line), length=LENGTH) for line in rows])
    labels = torch.full((len(rows), LENGTH), -1)
    for number, line in enumerate(rows):
        place = 0
        for prompt, rest in line:
            labels[number, place + len(prompt) - 1 : place + len(prompt) - 1 + len(rest)] = torch.tensor(rest)
            place += len(prompt) + len(rest)
    return Batch.of(inputs, labels, task("language"), ids=torch.arange(50, 50 + len(rows)))


PACKED = drawn(DOCUMENTS[:2], DOCUMENTS[2:])


def documents(batch: Batch) -> list[tuple[list[int], list[bool], list[int]]]:
    """The tokens of each document in a batch, where they count and their labels, from all rows."""
    found = []
    for number, (tokens, numbers) in enumerate(batch.inputs.tolist()):
        for document in range(1, max(numbers) + 1):
            at = [place for place, each in enumerate(numbers) if each == document]
            assert at == list(range(at[0], at[-1] + 1))
            assert batch.labels is not None
            labels = batch.labels[number, at].tolist()
            found.append(([tokens[place] for place in at], batch.mask[number, at].tolist(), labels))
    return found


def test_rows_are_the_prompts_with_what_the_student_goes_on_with_and_only_that_counts() -> None:
    student = speaker(0, pad_token_id=2, eos_token_id=2)
    network = student.network
    assert isinstance(network, LanguageNetwork)
    whole = network.generate([prompt for prompt, _ in DOCUMENTS], Sampling(6))
    # What ends a text is the padding token too, and the student says it.
    end = whole[0][3]
    network.config.pad_token_id = network.config.eos_token_id = end
    practice = OwnText(1.0, 0.0, 6, (end,))
    own = practice.batch(PACKED, student.train(), 0, 0)
    assert student.training and network.body.training
    expected = []
    for (prompt, _), said in zip(DOCUMENTS, whole, strict=True):
        rest = said[: said.index(end) + 1] if end in said else said
        expected.append((prompt + rest, len(prompt), len(rest)))
    found = sorted(documents(own))
    for (tokens, counted, labels), (text, asked, said_tokens) in zip(found, sorted(expected), strict=True):
        assert tokens == text
        assert counted == [False] * (asked - 1) + [True] * said_tokens + [False]
        assert labels == [-1] * (asked - 1) + text[asked:] + [-1]
    assert not bool(own.known.any()) and bool(own.mask[own.labels == end].all())
    assert int((own.inputs[:, 0] == end)[own.inputs[:, 1] > 0].sum()) >= 1
    # Scored where it was drawn: greedily, the student's likeliest token is the next one at every position.
    with torch.no_grad():
        assert own.labels is not None
        assert torch.equal(student.eval()(own.inputs).argmax(-1)[own.mask], own.labels[own.mask])
    assert own.ids.tolist() == [50, 51][: len(own)] and own.inputs.shape[2] <= LENGTH


def test_a_batch_of_one_document_a_row_stays_one_and_a_row_that_is_full_cuts_the_answer() -> None:
    student, practice = speaker(1), OwnText(1.0, 1.0, 50, ())
    alone = practice.batch(drawn(DOCUMENTS[:1], DOCUMENTS[1:2]), student, 0, 0)
    assert int(alone.inputs[:, 1].max()) == 1 and len(alone) == 2 and alone.inputs.shape[2] == LENGTH
    assert alone.mask.sum(dim=1).tolist() == [LENGTH - 3, LENGTH - 1]
    packed = practice.batch(PACKED, student, 0, 0)
    assert len(packed) == 4 and packed.ids.tolist() == [50, 50, 51, 51]
    silent = Batch.of(PACKED.inputs, torch.full((2, LENGTH), -1), task("language"))
    assert practice.batch(silent, student, 0, 0) is silent


def test_draws_depend_on_seed_and_step_alone_and_leave_the_callers_alone() -> None:
    student, practice = speaker(2), OwnText(1.0, 1.5, 8, ())
    before = torch.get_rng_state()
    first, again = (practice.batch(PACKED, student, 3, 7) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.inputs, again.inputs)
    for seed, step in ((3, 8), (4, 7)):
        assert not torch.equal(practice.batch(PACKED, student, seed, step).inputs, first.inputs)
    some = OwnText(0.3, 1.0, 8, ())
    steps = 2000
    own = sum(some.own(5, step) for step in range(steps))
    assert abs(own - 0.3 * steps) < 4 * math.sqrt(0.3 * 0.7 * steps)
    drawn_again = next(step for step in range(steps) if not some.own(5, step))
    assert some.batch(PACKED, student, 5, drawn_again) is PACKED


def divergence(theirs: Tensor, ours: Tensor, temperature: float) -> Tensor:
    """T² · KL(teacher || student) at a temperature, symbol by symbol."""
    p, q = ((logits / temperature).softmax(-1) for logits in (theirs, ours))
    return temperature**2 * sum((p[each] * (p[each].log() - q[each].log()) for each in range(len(p))), torch.zeros(()))


@pytest.mark.parametrize("sampling", [0.0, 0.7])
def test_the_loss_is_the_teachers_divergence_on_the_students_tokens_at_the_losses_own_temperature(
    sampling: float,
) -> None:
    """In float64; the gradient is that of the same texts given as data, so nothing flows through the drawing."""
    student, teacher = speaker(3), speaker(4)
    own = OwnText(1.0, sampling, 5, (2,)).batch(PACKED, student, 1, 2)
    master = ModuleTeacher(speaker(4), "teacher")
    master.prepare(Needs(), ())
    learnt = objective("0.9 * kd(temperature=2) + 0.1 * labels")
    loss = learnt.loss(listen(student, own.inputs), master.signals(own), own)
    loss.total.backward()
    found = [parameter.grad.clone() for parameter in student.parameters() if parameter.grad is not None]
    student.zero_grad()
    values = []
    for tokens, counted, _ in documents(own):
        alone = torch.tensor([[tokens, [1] * len(tokens)]])
        ours, theirs = student(alone)[0], teacher(alone)[0].detach()
        values += [divergence(theirs[place], ours[place], 2.0) for place, counts in enumerate(counted) if counts]
    expected = 0.9 * torch.stack(values).mean()
    expected.backward()
    assert float(loss.total.detach()) == pytest.approx(float(expected.detach()), rel=1e-7)
    assert float(loss.terms["labels"]) == 0
    slopes = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
    assert len(found) == len(slopes) > 10
    for one, other in zip(found, slopes, strict=True):
        assert other is not None and torch.allclose(one, other, rtol=1e-5, atol=1e-9)


SCHOOL = {"batch": 4, "lr": 0.02, "precision": "float32", "channels_last": False, "compile": False, "threads": 1}


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prompts and completions, plain texts, and a model of transformers that nobody trained."""
    place = tmp_path_factory.mktemp("school")
    lines = [
        {"prompt": f"w{number % 23} w{number % 7}", "completion": f" w{number % 5} w{number % 11} w{number % 3}"}
        for number in range(60)
    ]
    (place / "talks.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    plain = [{"text": line["prompt"] + line["completion"]} for line in lines]
    (place / "plain.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in plain))
    folder(place / "speaker")
    return place


class Stopping(Silent):
    """Sends the process a signal when the student has made so many steps."""

    def __init__(self, step: int) -> None:
        self.at, self.now = step, ""

    def start(self, who: str, steps: int, unit: str = "steps") -> None:
        self.now = who

    def step(self, step: int, loss: float, shares: Mapping[str, float], rows_per_second: float, left: float) -> None:
        if self.now == "student" and step == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def taught(school: Path, to: Path, own: Mapping[str, Any] | None, **said: Any) -> Run:
    training = {**SCHOOL, **({} if own is None else {"own_text": dict(own)})}
    keywords = {"source": "talks.jsonl", "pack": True, **said}
    return distill(
        f"hf:{school / 'speaker'}",
        "causal(depth=1, size=16, heads=2)",
        school / keywords.pop("source"),
        task="language",
        tokens={"tokenizer": f"hf:{school / 'speaker'}", "length": LENGTH, "pack": keywords.pop("pack")},
        generations=0,
        to=to,
        **{
            "objective": "0.5 * kd(temperature=1) + 0.5 * labels",
            "budget": "12 steps",
            "training": training,
            **keywords,
        },
    )


OWN = {"share": 0.5, "temperature": 1.0, "length": 6}


def test_without_a_share_nothing_changes_and_with_one_the_control_stays_as_it_is(school: Path, tmp_path: Path) -> None:
    plain = taught(school, tmp_path / "plain", None)
    none = taught(school, tmp_path / "none", {**OWN, "share": 0.0})
    whole = taught(school, tmp_path / "whole", {**OWN, "share": 1.0})
    assert same_bits(weights(plain), weights(none))
    assert not same_bits(weights(plain), weights(whole))
    for run in (none, whole):
        assert same_bits(weights(plain, "control"), weights(run, "control"))
    assert whole.recipe().training.own_text is not None
    # No batch of its own has labels to learn from.
    lines = [json.loads(line) for line in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    seen = [line["terms"]["labels"] for line in lines if line["who"] == "student" and "terms" in line]
    assert seen and set(seen) == {0.0}


def test_stopped_and_resumed_is_uninterrupted(school: Path, tmp_path: Path) -> None:
    whole = taught(school, tmp_path / "whole", OWN)
    recipe = whole.recipe()
    assert recipe.training.own_text is not None
    (validated, *_) = [
        line["step"]
        for line in map(json.loads, (whole.folder / "metrics.jsonl").read_text().splitlines())
        if line["who"] == "student" and line["step"] < 12
    ]
    practice = OwnText(0.5, 1.0, 6, ())
    later = [practice.own(0, step) for step in range(validated, 12)]
    assert any(later) and not all(later)
    with pytest.raises(Interrupted):
        taught(school, tmp_path / "run", OWN, progress=Stopping(validated))
    resumed = taught(school, tmp_path / "run", OWN, resume=True)
    for who in ("student", "control"):
        assert same_bits(weights(whole, who), weights(resumed, who))


@pytest.mark.parametrize(
    ("own", "said", "error", "message"),
    [
        (OWN, {"record": 1}, RecipeError, "a recording cannot answer texts it never saw"),
        (OWN, {"budget": "5m"}, RecipeError, "a budget in time"),
        ({**OWN, "share": 2}, {}, RecipeError, "share is 2"),
        ({**OWN, "temperature": -1}, {}, RecipeError, "temperature is -1"),
        (OWN, {"source": "plain.jsonl"}, DataError, "go on with prompts, and the data has none"),
        (OWN, {"objective": "labels"}, ObjectiveError, "labels asks no teacher"),
    ],
)
def test_what_cannot_be_learnt_from_own_text_is_refused(
    school: Path, tmp_path: Path, own: dict[str, Any], said: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        taught(school, tmp_path / "run", own, **said)
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_a_recording_or_a_student_that_does_not_speak_cannot_be_asked(school: Path) -> None:
    practice, learnt = OwnText(**OWN, end=()), objective("kd(temperature=1)")

    class Recorded(ModuleTeacher):
        """A teacher that was asked before."""

        def __init__(self) -> None:
            super().__init__(speaker(4), "folder")
            self.views = 1

    with pytest.raises(TeacherError, match="is a recording"):
        practice.check(speaker(1), Recorded(), learnt)
    with pytest.raises(ModelError, match="cannot go on with a text"):
        practice.check(Model(nn.Linear(2, 2)), ModuleTeacher(speaker(4), "teacher"), learnt)
    practice.check(speaker(1), ModuleTeacher(speaker(4), "teacher"), learnt)


def test_the_first_link_of_a_chain_has_nobody_to_judge_its_text() -> None:
    recipe = Recipe.parse(
        "data: x\nstudent: mlp\ntraining: {own_text: {share: 0.5}}\n"
        "chain: [{name: big, budget: 1 steps}, {name: small, budget: 1 steps}]"
    )
    first, second = (link.training.own_text for link in recipe.links())
    assert first is None and second is not None
    with pytest.raises(RecipeError, match="no teacher to judge"):
        Recipe.parse("data: x\nstudent: mlp\ntraining: {own_text: {share: 0.5}}")
