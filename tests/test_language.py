"""The language task: digests of positions say what all logits would have said."""

import math
from collections.abc import Sequence

import pytest
import torch
from method_cases import same
from torch import Tensor, nn

from limbeck.catalog.tasks import task
from limbeck.data.augment import Augmentation
from limbeck.data.rows import Rows, TensorRows
from limbeck.divergences import kl
from limbeck.evaluation import answers, evaluate, teacher_answers
from limbeck.examination.steadiness import steadiness
from limbeck.model import HeadedNetwork, Model
from limbeck.objective import Needs
from limbeck.signals import Batch, Signals
from limbeck.taps import listen
from limbeck.targets.topk import TopKTargets
from limbeck.task import Digests
from limbeck.tasks.language import readable

TOKENS, ROWS, LENGTH = 97, 5, 33


class Small(HeadedNetwork):
    """A network that says hidden states: what a token and the one before it were."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(TOKENS, 12, generator=self.generator))
        self.head = nn.Linear(12, TOKENS)
        for parameter in self.head.parameters():
            parameter.data = torch.randn(parameter.shape, generator=self.generator)

    def hidden(self, inputs: Tensor) -> Tensor:
        said = self.table[inputs[:, 0].long()]
        return torch.cat([said[:, :1], said[:, 1:] + 0.5 * said[:, :-1]], dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.hidden(inputs))


class AllAtOnce(nn.Module):
    """The same network without a head to stop before."""

    def __init__(self, network: Small) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network(inputs)


def texts() -> TensorRows:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(TOKENS, (ROWS, LENGTH), generator=generator)
    known = torch.rand(ROWS, LENGTH, generator=generator) > 0.4
    known[2] = False
    labels = torch.where(known, tokens.roll(-1, 1), -1)
    return TensorRows(torch.stack([tokens, known.long()], dim=1), labels, known, torch.arange(ROWS))


CLASSES = tuple(f"t{number}" for number in range(TOKENS))


def test_scores_from_digests_are_those_of_all_logits() -> None:
    rows, judge = texts(), task("language")
    student, teacher = (Model(Small(seed)) for seed in (1, 2))
    with torch.no_grad():
        ours, theirs = (model(rows.inputs)[rows.known].double() for model in (student, teacher))
    assert rows.labels is not None
    truth = rows.labels[rows.known]
    found = evaluate(student, rows, judge, CLASSES, teacher=teacher).metrics
    said = ours.log_softmax(-1)
    nll = -said.gather(-1, truth[:, None]).mean()
    right = said.argmax(-1) == truth
    expected = {
        "nll": float(nll),
        "perplexity": math.exp(nll),
        "accuracy": float(right.double().mean()),
        "entropy": float(-(said.exp() * said).sum(-1).mean()),
        "agreement": float((said.argmax(-1) == theirs.argmax(-1)).double().mean()),
        "kl": float(TopKTargets.of(theirs, 64).divergence(kl, ours, 1.0).mean()),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5), name
    sure = said.exp().amax(-1)
    bins = torch.bucketize(sure, torch.linspace(0, 1, 16, dtype=torch.float64)[1:-1])
    gaps = [float((sure[bins == each] - right[bins == each].double()).sum().abs()) for each in range(15)]
    assert found["ece"] == pytest.approx(sum(gaps) / len(sure), rel=1e-4)
    # A lower bound of what all symbols would say, and close to it where 64 of 97 are kept.
    whole = float(kl(theirs.log_softmax(-1), said).mean())
    assert 0.9 * whole < found["kl"] < whole


def test_a_network_with_a_head_is_scored_as_the_same_without_one_and_in_slices_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, judge, network = texts(), task("language"), Small(1)
    whole = answers(AllAtOnce(network), rows, judge)
    for positions, slices in ((LENGTH, 7), (2 * LENGTH, 1), (8192, 256)):
        monkeypatch.setattr("limbeck.data.loader.POSITIONS", positions)
        monkeypatch.setattr("limbeck.evaluation.SLICE", slices)
        found = answers(Model(network), rows, judge)
        same(found.outputs, whole.outputs, 1e-5)
        assert torch.equal(found.known, rows.known)
        assert not bool(found.outputs[~rows.known].any())


class NamedAlike(nn.Module):
    """A plain network, two of whose parts are called as those of a language model, with a ReLU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.hidden(inputs).relu())


def test_a_network_with_parts_called_hidden_and_head_is_heard_as_a_whole() -> None:
    model, inputs = Model(NamedAlike()), torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    said = listen(model, inputs).logits
    assert said is not None and torch.equal(said, model(inputs))


def test_a_padded_vocabulary_is_cut_by_name_wherever_its_names_stand() -> None:
    network, inputs = Small(1), texts().inputs
    model = Model(network, classes=CLASSES)
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(5))[:40]
    model.align([CLASSES[place] for place in order.tolist()])
    hidden, weight, bias = model.before_head(inputs)
    same(nn.functional.linear(hidden, weight, bias), network(inputs)[..., order], 1e-5)
    same(model(inputs), network(inputs)[..., order], 1e-5)


def test_a_vocabulary_below_what_is_kept_and_a_teacher_that_is_equal() -> None:
    judge = task("language")
    assert isinstance(judge, Digests)
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    logits[:, 2] = -torch.inf  # a padded symbol
    labels = torch.tensor([0, 1, 3, 4, 0, 1])
    places = torch.arange(6)
    theirs = judge.digest(logits, labels, places, None)
    ours = judge.digest(logits, labels, places, theirs)
    assert bool(torch.isfinite(ours[:, :7]).all())
    same(ours[:, 5], torch.zeros(6), 1e-6)
    assert ours[:, 6].tolist() == [1] * 6 and theirs[:, 6].tolist() == [-1] * 6
    assert judge.likeness(ours[None], theirs[None])["agreement"] == 1


def packed() -> TensorRows:
    """Rows of several documents, of which the first tokens are prompts, with padding between and after them."""
    rows = texts()
    generator = torch.Generator().manual_seed(7)
    numbers = torch.zeros(ROWS, LENGTH, dtype=torch.int64)
    for row in range(ROWS):
        place, number = row % 3, 1
        while place < LENGTH:
            size = int(torch.randint(1, 24, (1,), generator=generator))
            numbers[row, place : place + size] = number
            place, number = place + size + number % 2, number + 1
    known = rows.known & (numbers > 0)
    assert rows.labels is not None
    inputs = torch.stack([rows.inputs[:, 0], numbers], dim=1)
    return TensorRows(inputs, torch.where(known, rows.labels, -1), known, rows.ids)


def test_cost_and_likeness_are_shown_by_the_position_in_the_document_not_in_the_row() -> None:
    rows, judge = packed(), task("language")
    student, teacher = (Model(Small(seed)) for seed in (1, 2))
    with torch.no_grad():
        ours, theirs = (model(rows.inputs).double() for model in (student, teacher))
    expected: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
    for row, numbers in enumerate(rows.inputs[:, 1].tolist()):
        for place, number in enumerate(numbers):
            if rows.known[row, place]:
                said, truth = ours[row, place].log_softmax(-1), int(rows.labels[row, place])
                gap = float(TopKTargets.of(theirs[row, place, None], 64).divergence(kl, ours[row, place, None], 1.0))
                same_token = float(ours[row, place].argmax() == theirs[row, place].argmax())
                expected[numbers[:place].count(number) < 16].append((-float(said[truth]), gap, same_token))
    panel = evaluate(student, rows, judge, CLASSES, teacher=teacher).panels[1]
    assert panel.data["columns"] == ["position", "nll", "kl", "agreement", "tokens"]
    for (where, *numbers), early in zip(panel.data["rows"], (True, False), strict=True):
        means = [sum(column) / len(expected[early]) for column in zip(*expected[early], strict=True)]
        assert numbers == pytest.approx([*means, len(expected[early])], rel=1e-5), where
    assert panel.data["rows"][0][0] == "1 to 16"
    alone = evaluate(student, rows, judge, CLASSES).panels[1].data
    assert alone["columns"] == ["position", "nll", "tokens"]
    assert [line[1] for line in alone["rows"]] == [line[1] for line in panel.data["rows"]]


def test_the_places_where_the_teacher_wavered_are_shown_with_their_text() -> None:
    rows, judge = texts(), task("language")
    said = answers(Model(Small(2)), rows, judge)
    panel = judge.teacher_saw(rows.inputs, said.outputs, said.labels, said.known, CLASSES, 1.0)
    assert len(panel.data["rows"]) == ROWS - 1  # of one row nothing is known
    entropy = torch.where(said.known, said.outputs[..., 3], -1.0)
    row, place = divmod(int(entropy.argmax()), LENGTH)
    text, following, likely = panel.data["rows"][0]
    assert text.endswith(f"t{int(rows.inputs[row, 0, place])}")
    assert following == f"t{int(said.labels[row, place])}"
    best = int(said.outputs[row, place, 1])
    assert likely.startswith(f"'t{best}' {float(said.outputs[row, place, 2]):.0%}")


class Restless:
    """A teacher whose answers move a little each time it is asked."""

    name, fingerprint, views = "restless", "0", None

    def __init__(self, by: float) -> None:
        self.network, self.by, self.generator = Small(2), by, torch.Generator().manual_seed(0)

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        """It is ready."""

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        """It answers any rows."""

    def to(self, device: torch.device) -> "Restless":
        return self

    def signals(self, batch: Batch) -> Signals:
        logits = self.network(batch.inputs).detach()
        return Signals.dense(logits + self.by * torch.randn(logits.shape, generator=self.generator))


def test_a_teacher_is_steady_whose_likeliest_tokens_stay_whatever_becomes_of_the_unlikely_ones() -> None:
    rows, judge, cpu = texts(), task("language"), torch.device("cpu")
    rows = rows.select(torch.tensor([0, 1, 3, 4, 0, 1, 3, 4]))
    first, again = (teacher_answers(Restless(by), rows, judge) for by in (0.0, 1e-3))
    assert not torch.equal(first.outputs[..., 7:71], again.outputs[..., 7:71])  # which 64 are kept has changed
    assert steadiness(Restless(1e-4), rows, judge, cpu) == []
    (found,) = steadiness(Restless(1.0), rows, judge, cpu)
    assert found.severity == "error" and "the greatest output changed in" in found.evidence


def test_marks_of_vocabularies_are_read() -> None:
    assert [readable(token) for token in ("Ġthe", "Ċ", "▁a", "b")] == [" the", "\n", " a", "b"]
