"""The student `reused`: its last layers are its teacher's, and stay so in training, on disk and without the teacher."""

from pathlib import Path

import pytest
import torch
from method_cases import same
from small_runs import small, weights
from torch import nn

from limbeck.checkpoint import under
from limbeck.errors import LimbeckError, ModelError, ObjectiveError
from limbeck.measures.complexity import parameters
from limbeck.objectives.simkd import SimKD
from limbeck.run import Run
from limbeck.signals import Batch, Signals
from limbeck.students import cnn, mlp, reused
from limbeck.taps import listen, taps
from limbeck.tasks.classification import Classification

NARROW, WIDE = "cnn(size=4, depth=1)", "cnn(size=8, depth=1, dropout=0.5)"
PAPER = "simkd('projector', 'layer2', projected=True)"


def built(network: str = NARROW, layer: str = "layer3", of: str = WIDE, of_layer: str = "layer3") -> nn.Module:
    torch.manual_seed(0)
    return reused.build((1, 8, 8), 5, network=network, layer=layer, teacher="none", of=of, of_layer=of_layer)


def student_of(run: Run, **changes: str) -> str:
    said = {"network": "mlp(size=16)", "layer": "layer2", "teacher": str(run.folder), "of": "mlp(size=64)"}
    return (
        f"reused({', '.join(f'{key}={value!r}' for key, value in (said | {'of_layer': 'layer2'} | changes).items())})"
    )


# The network


def test_it_is_the_body_of_the_one_a_projector_and_the_head_of_the_other() -> None:
    network, rows = built().double().eval(), torch.randn(3, 1, 8, 8, dtype=torch.float64)
    with taps(network, ["body", "projector", "body.layer3", "head"]) as caught:
        said = network(rows)
    assert caught["projector"].shape[1] == 32
    assert torch.equal(caught["body"], caught["body.layer3"])
    assert torch.equal(said, caught["head"])
    bare = (torch.manual_seed(0), cnn.build((1, 8, 8), 5, size=4, depth=1))[1].double().eval()
    same(caught["body"], bare.get_submodule("layer3")(bare[:3](rows)))
    pooled = caught["projector"].mean(dim=(2, 3))
    weight, bias = (getattr(network.get_submodule("head.head.3"), part) for part in ("weight", "bias"))
    same(said, pooled @ weight.T + bias)


def test_its_parameters_are_those_of_its_three_parts() -> None:
    body = parameters(cnn.build((1, 8, 8), 5, size=4, depth=1)) - (16 + 1) * 5
    projector = (16 + 1) * 16 + (9 * 16 + 1) * 16 + (16 + 1) * 32
    network = built()
    assert parameters(network) == body + projector + (32 + 1) * 5
    learning = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    assert learning == body + projector


def test_its_head_never_trains() -> None:
    network = built().train()
    assert network.get_submodule("body").training
    assert not any(part.training for part in network.get_submodule("head").modules())
    rows = torch.randn(3, 32, 2, 2)
    head = network.get_submodule("head")
    assert torch.equal(head(rows), head(rows)), "dropout"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"of_layer": "layer9"}, r"cannot be cut after 'layer9'[\s\S]*one of stem, layer1, layer2, layer3"),
        ({"of_layer": "head"}, "cannot be cut after 'head'"),
        ({"layer": "layer3.0"}, "cannot be cut after 'layer3.0'"),
        ({"network": "mlp(size=4)", "layer": "layer1"}, r"layer1 of mlp\(size=4\) says \(4,\)[\s\S]*of one kind"),
        ({"network": "reused(layer='a')"}, "cannot be made of 'reused'"),
        ({"of": "peers(count=2)"}, r"cannot be cut[\s\S]*layers follow each other"),
    ],
)
def test_networks_that_cannot_be_joined_are_refused(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        built(**changes)


# Its method


def test_with_a_projector_in_the_student_simkd_makes_none_and_wants_equal_widths() -> None:
    batch = Batch.of(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64), Classification())
    learnt, taught = torch.randn(4, 6), torch.randn(4, 7)
    method = SimKD("projector", "layer1", projected=True)
    with pytest.raises(ObjectiveError, match=r"6 wide\n  expected: the width of the teacher's layer1, 7"):
        method.setup(Signals.dense(learnt, {"projector": learnt}), Signals.dense(taught, {"layer1": taught}), batch)


# A run of it


@pytest.fixture(scope="module")
def run(good_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    to = tmp_path_factory.mktemp("reused") / "run"
    return small(
        str(good_run.folder),
        to,
        student=student_of(good_run),
        objective=PAPER,
        budget="12 epochs",
        training={"ema": 0.9},
    )


@pytest.mark.slow
def test_after_training_its_head_is_the_teachers_bit_for_bit(run: Run, good_run: Run) -> None:
    lent = {name: tensor for name, tensor in under("network", weights(good_run)).items() if name.startswith("head.")}
    assert lent
    for who in ("student", "control"):
        kept = under("network.head", weights(run, who))
        assert kept.keys() == lent.keys()
        assert all(torch.equal(kept[name], tensor) for name, tensor in lent.items())
    body = mlp.build((1, 8, 8), 10, size=16)
    assert run.record.results[0].student.cost["parameters"] == parameters(body) - (16 + 1) * 10 + sum(
        parameters(part) for part in (nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 64), nn.Linear(64, 10))
    )


@pytest.mark.slow
def test_it_says_what_the_teachers_head_says_of_its_projected_features(run: Run, good_run: Run) -> None:
    rows = 16 * torch.rand(20, 1, 8, 8)
    student, teacher = run.student().double(), good_run.student().double()
    with torch.no_grad():
        said = listen(student, rows, ["projector"])
        assert said.logits is not None
        same(said.logits, teacher.network.get_submodule("head")(said.features["projector"]))


@pytest.mark.slow
def test_it_learns_though_nothing_but_features_teach_it(run: Run) -> None:
    assert run.record.results[0].student.metrics["accuracy"] > 0.6


@pytest.mark.slow
def test_it_is_loaded_where_its_teacher_is_gone(good_run: Run, tmp_path: Path) -> None:
    lender = small(None, tmp_path / "lender", student="mlp(size=64)", budget="1 epochs")
    text = student_of(lender)
    made = small(str(lender.folder), tmp_path / "made", student=text, objective=PAPER, budget="3 steps", control=False)
    rows = torch.rand(5, 1, 8, 8)
    before = made.student()(rows)
    lender.folder.rename(tmp_path / "gone")
    assert torch.equal(Run.open(made.folder).student()(rows), before)
    with pytest.raises(ModelError, match="lender is no run folder"):
        small(str(good_run.folder), tmp_path / "again", student=text, objective=PAPER)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"of": "mlp(size=32)"}, r"cannot lend its head: its student is mlp\(size=64\)[\s\S]*try: of='mlp\(size=64\)'"),
        ({"teacher": "nowhere"}, "nowhere is no run folder"),
    ],
)
def test_a_run_that_cannot_lend_is_refused_before_training(
    good_run: Run, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(LimbeckError, match=message):
        small(str(good_run.folder), tmp_path / "run", student=student_of(good_run, **changes), objective=PAPER)
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_cannot_lend(good_run: Run, tmp_path: Path) -> None:
    rows = torch.rand(200, 1, 8, 8).numpy()
    with pytest.raises(ModelError, match=r"cannot lend its head: its classes is \('0', '1'"):
        small(None, tmp_path / "run", student=student_of(good_run), data=(rows, torch.arange(200).numpy() % 4))
