"""Networks that teach each other: the student family `peers`, and real runs of `mutual` on it."""

from pathlib import Path

import pytest
import torch
from method_cases import reference_of, same
from reference import Case
from small_runs import small

from limbeck.catalog.data import data_of
from limbeck.catalog.objectives import objective
from limbeck.errors import LimbeckError, ModelError, ObjectiveError
from limbeck.evaluation import evaluate
from limbeck.measures.complexity import parameters
from limbeck.model import Model
from limbeck.run import Run
from limbeck.signals import Signals
from limbeck.students import mlp, peers
from limbeck.taps import taps
from limbeck.tasks.classification import Classification

CASE: Case = reference_of("mutual").cases()[0]
TWO = "peers(network='mlp(size=16)', count=2)"


def built(count: int = 2, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return peers.build((64,), 5, network="mlp(size=8)", count=count)


def bare(run: Run, number: int) -> Model:
    """One peer alone, as the docstring of `peers` makes it."""
    model = run.student()
    (family,) = model.network.children()
    assert isinstance(family, torch.nn.ModuleList)
    return Model(family[number], model.transform, restore=model.restore)


def accuracies(run: Run, *models: Model) -> list[float]:
    data = data_of(run.recipe().data, None, labels="single")
    return [evaluate(model, data.test, Classification(), data.classes).metrics["accuracy"] for model in models]


# The family


def test_peers_have_names_and_the_first_one_answers() -> None:
    network, rows = built(3).eval(), torch.randn(4, 64)
    assert [name for name, _ in network.named_modules() if name.count(".") == 1] == ["peers.0", "peers.1", "peers.2"]
    with taps(network, ["peers.0", "peers.1", "peers.2", "peers.1.layer2"]) as caught:
        said = network(rows)
    assert torch.equal(said, caught["peers.0"])
    assert all(torch.equal(caught[f"peers.{i}"], network.get_submodule(f"peers.{i}")(rows)) for i in range(3))
    assert caught["peers.1.layer2"].shape == (4, 8)


def test_peers_differ_and_the_first_is_the_bare_network() -> None:
    network, alone = built(), (torch.manual_seed(0), mlp.build((64,), 5, size=8))[1]
    first, second = (network.get_submodule(f"peers.{i}").state_dict() for i in range(2))
    assert all(torch.equal(tensor, first[name]) for name, tensor in alone.state_dict().items())
    assert not any(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert parameters(built(3)) == 3 * parameters(alone)


@pytest.mark.parametrize(
    ("network", "count", "said"),
    [
        ("mlp(size=8)", 1, "count=1"),
        ("mpl(size=8)", 2, r"cannot be made of 'mpl'[\s\S]*mlp"),
        ("peers", 2, "cannot be made of 'peers'"),
        ("mlp(sise=8)", 2, r"no argument 'sise'[\s\S]*size"),
        ("mlp(8)", 2, "without a name"),
        ("mlp(size=0)", 2, "size=0"),
        ("mlp(size=", 2, "cannot be read"),
    ],
)
def test_peers_that_cannot_be(network: str, count: int, said: str) -> None:
    with pytest.raises(LimbeckError, match=said):
        peers.build((64,), 5, network=network, count=count)
    with pytest.raises(ModelError, match="channels, height, width"):
        peers.build((64,), 5)


# The method


def test_each_peer_gets_the_gradient_of_its_own_loss() -> None:
    """What the other pays for listening to a peer moves that peer by nothing."""
    made, logits = objective("mutual"), CASE.student.features
    assert CASE.batch.labels is not None
    leaf = logits["peers.0"].clone().requires_grad_()
    made(Signals.dense(leaf, {**logits, "peers.0": leaf}), Signals(), CASE.batch)[0].backward()
    own, other = logits["peers.0"][0].softmax(0), logits["peers.1"][0].softmax(0)
    truth = torch.nn.functional.one_hot(CASE.batch.labels[0], 4)
    assert leaf.grad is not None
    same(leaf.grad[0], (own - truth) + (own - other), 1e-12)


def test_rows_without_a_label_learn_from_the_peers() -> None:
    value = objective("mutual")(CASE.student, Signals(), CASE.batch)
    first, second = (CASE.student.features[f"peers.{i}"][2].log_softmax(0) for i in range(2))
    assert not CASE.batch.known[2]
    same(value[2], ((first.exp() - second.exp()) * (first - second)).sum(), 1e-12)


def test_what_is_no_peer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match="names a peer twice"):
        objective("mutual(layers=('peers.0', 'peers.0'))")
    with pytest.raises(ObjectiveError, match="layers"):
        objective("mutual(layers=('peers.0',))")
    with pytest.raises(ObjectiveError, match=r"takes what the layer peers\.1\.layer1 says for a peer's logits"):
        small(None, tmp_path / "a", student=TWO, objective="mutual(layers=('peers.0', 'peers.1.layer1'))")
    with pytest.raises(ModelError, match=r"no layer 'peers\.0'"):
        small(None, tmp_path / "b", objective="mutual")


# Runs


def test_two_peers_learn_together_without_a_teacher(tmp_path: Path) -> None:
    run = small(None, tmp_path / "run", student=TWO, objective="mutual", budget="6 epochs")
    (result,) = run.record.results
    first, second = accuracies(run, bare(run, 0), bare(run, 1))
    assert result.control is None
    assert first == result.student.metrics["accuracy"], "the report's scores are the first peer's"
    assert min(first, second) > 0.8
    assert result.student.cost["parameters"] == 2 * parameters(bare(run, 1).network)


@pytest.mark.slow
def test_alone_only_the_first_peer_learns(tmp_path: Path) -> None:
    """The control of a run with a teacher, which is what `mutual` is to be compared with."""
    teacher = str(small(None, tmp_path / "teacher", student="mlp(size=32)", budget="4 epochs").folder)
    run = small(teacher, tmp_path / "run", student=TWO, objective="0.5 * kd + 0.5 * mutual", budget="4 epochs")
    alone = run.control()
    first, second = (Model(alone.network.get_submodule(f"peers.{i}"), alone.transform) for i in range(2))
    found = accuracies(run, bare(run, 0), bare(run, 1), first, second)
    assert min(found[:3]) > 0.7
    assert found[3] < 0.3, "nobody taught the second peer of the control"
