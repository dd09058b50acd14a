"""Teachers: frozen and watched, an ensemble is the mean it says it is, and all speak through one seam."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import small_recordings
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import small
from torch import Tensor, nn

from limbeck.data.augment import Augmentation, parse
from limbeck.data.rows import Rows, TensorRows
from limbeck.data.source import load
from limbeck.divergences import kl, log_mean
from limbeck.errors import RecordingError, TeacherError
from limbeck.model import Model
from limbeck.objective import Needs
from limbeck.recorder import record
from limbeck.signals import Batch, Signals
from limbeck.students import cnn, mlp
from limbeck.tasks.classification import Classification
from limbeck.teachers.ensemble import EnsembleTeacher
from limbeck.teachers.module import ModuleTeacher, Seal
from limbeck.teachers.protocol import Teacher
from limbeck.teachers.recording import RecordedTeacher

TASK = Classification()
CLASSES = tuple("0123456789")
LOGITS = Needs(logits=True)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows() -> TensorRows:
    digits = load("digits").train.select(torch.arange(64))
    return TensorRows(digits.inputs.float() / 16, digits.labels, digits.known, digits.ids)


@pytest.fixture
def batch(rows: TensorRows) -> Batch:
    return Batch.of(rows.inputs[:16], rows.labels[:16], TASK, ids=rows.ids[:16])


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = cnn.build((1, 8, 8), 10, size=4, depth=1, dropout=0.5)
        # Statistics that differ from the batch's, so that train mode would show.
        for module in built.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
        return built


def laid_out(network: nn.Module) -> nn.Module:
    """In the layout in which a teacher on the processor answers, which decides the last bits."""
    return network.to(memory_format=torch.channels_last)


def live(seed: int = 0) -> ModuleTeacher:
    return ModuleTeacher(Model(network(seed)), f"cnn {seed}")


def prepared(seed: int = 0) -> ModuleTeacher:
    teacher = live(seed)
    teacher.prepare(LOGITS, CLASSES)
    return teacher


def test_all_kinds_keep_the_protocol(rows: TensorRows, tmp_path: Path) -> None:
    record(live(), rows, TASK, to=tmp_path / "r", needs=LOGITS, classes=CLASSES)
    teachers: list[Teacher] = [live(), EnsembleTeacher([(1, live())]), RecordedTeacher(tmp_path / "r")]
    for teacher in teachers:
        assert isinstance(teacher, Teacher)
        assert teacher.to(torch.device("cpu")) is teacher
    assert [teacher.views for teacher in teachers] == [None, None, 1]


def test_a_live_teacher_says_what_its_network_says_in_eval_mode(batch: Batch) -> None:
    plain = laid_out(network().eval())
    teacher = live()
    teacher.prepare(Needs(teacher_layers=frozenset({"layer1", "head.1"})), CLASSES)
    said = teacher.signals(batch)
    assert torch.equal(said.logits, plain(batch.inputs))
    assert torch.equal(said.features["layer1"], plain.layer1(plain.stem(batch.inputs)))
    assert said.features["head.1"].shape == (16, 16)
    assert said.logits.grad_fn is None
    assert all(feature.grad_fn is None for feature in said.features.values())
    assert torch.equal(teacher.signals(batch).logits, said.logits)


def test_its_layout_changes_nothing_but_last_digits(batch: Batch) -> None:
    teacher = prepared()
    assert teacher.model.network.stem[0][0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(teacher.signals(batch).logits, network().eval()(batch.inputs), rtol=1e-5, atol=1e-6)
    assert teacher.fingerprint == live().fingerprint


def test_it_answers_without_gradient_also_where_the_inputs_have_one(batch: Batch) -> None:
    said = prepared().signals(replace(batch, inputs=batch.inputs.clone().requires_grad_()))
    assert said.logits is not None and not said.logits.requires_grad


def test_the_outputs_follow_the_classes_of_the_data(batch: Batch) -> None:
    teacher = ModuleTeacher(Model(network(), classes=tuple("0123456789")), "cnn")
    teacher.prepare(LOGITS, tuple("9753"))
    assert torch.equal(teacher.signals(batch).logits, laid_out(network().eval())(batch.inputs)[:, [9, 7, 5, 3]])
    with pytest.raises(TeacherError, match="cnn cannot serve this data: the model knows no class 'ten'") as caught:
        teacher.prepare(LOGITS, ("0", "ten"))
    assert caught.value.remedy.startswith("one of: 0, 1, 2")


def test_preparing_freezes_the_network_that_others_share_in_place() -> None:
    shared = network().train()
    assert all(parameter.requires_grad for parameter in shared.parameters())
    ModuleTeacher(Model(shared), "cnn").prepare(LOGITS, CLASSES)
    assert not any(module.training for module in shared.modules())
    assert not any(parameter.requires_grad for parameter in shared.parameters())


def stepped(network: nn.Module, optimizer: Callable[[Sequence[Tensor]], torch.optim.Optimizer]) -> None:
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer(list(network.parameters())).step()


def forward_in_train_mode(network: nn.Module) -> None:
    network.train()(torch.rand(4, 1, 8, 8))
    network.eval()


def averaged(network: nn.Module) -> None:
    with torch.no_grad():
        network.head[3].weight.lerp_(torch.zeros(10, 16), 0.01)


MOVES: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "train mode": (lambda n: n.train(), "network is in train mode"),
    "one dropout in train mode": (lambda n: n.head[2].train(), r"network\.head\.2 is in train mode"),
    "sgd": (lambda n: stepped(n, lambda p: torch.optim.SGD(p, 0.1, foreach=False)), "was changed in place"),
    "sgd foreach": (lambda n: stepped(n, lambda p: torch.optim.SGD(p, 0.1, foreach=True)), "was changed in place"),
    "sgd fused": (lambda n: stepped(n, lambda p: torch.optim.SGD(p, 0.1, fused=True)), "holds a gradient"),
    "adamw fused": (lambda n: stepped(n, lambda p: torch.optim.AdamW(p, fused=True)), "holds a gradient"),
    "average": (averaged, r"network\.head\.3\.weight was changed in place"),
    "statistics": (forward_in_train_mode, r"network\.stem\.0\.1\.\w+ was changed in place"),
    "loaded": (lambda n: n.load_state_dict(network(1).state_dict()), "was changed in place"),
    "gradients": (lambda n: n.head[3].requires_grad_(), r"network\.head\.3\.weight asks for gradients"),
    "replaced parameter": (
        lambda n: setattr(n.head[3], "bias", nn.Parameter(torch.zeros(10), requires_grad=False)),
        r"network\.head\.3\.bias was replaced",
    ),
    "replaced data": (lambda n: setattr(n.head[3].bias, "data", torch.zeros(10)), r"head\.3\.bias was replaced"),
    "removed parameter": (lambda n: n.head[3].register_parameter("bias", None), r"head\.3\.bias was replaced"),
    "replaced layer": (
        lambda n: n.head.__setitem__(3, nn.Linear(16, 10)),
        r"submodules of network\.head were replaced",
    ),
    "added layer": (lambda n: n.head.append(nn.Identity()), r"submodules of network\.head were replaced"),
}


@pytest.mark.parametrize("how", MOVES)
def test_a_teacher_that_moves_is_noticed_at_the_next_call(batch: Batch, how: str) -> None:
    teacher = prepared()
    teacher.signals(batch)
    move, message = MOVES[how]
    move(teacher.model.network)
    for call in (lambda: teacher.signals(batch), lambda: teacher.to(torch.device("cpu"))):
        with pytest.raises(TeacherError, match=f"the teacher cnn 0 moved: .*{message}") as caught:
            call()
        assert "copy.deepcopy" in caught.value.remedy


def test_training_a_student_beside_it_moves_nothing(rows: TensorRows, batch: Batch) -> None:
    teacher = prepared()
    before, first = teacher.fingerprint, teacher.signals(batch).logits
    student = mlp.build((1, 8, 8), 10)
    optimizer = torch.optim.AdamW(student.parameters(), fused=True)
    for _ in range(3):
        said = teacher.signals(batch).targets
        assert said is not None
        said.divergence(kl, student(batch.inputs), 4.0).mean().backward()
        optimizer.step()
    assert torch.equal(teacher.signals(batch).logits, first)
    teacher.prepare(LOGITS, CLASSES)
    assert teacher.fingerprint == before


def fused_and_cleared(network: nn.Module) -> None:
    stepped(network, lambda parameters: torch.optim.AdamW(parameters, fused=True))
    network.zero_grad()


PAST_AUTOGRAD: dict[str, Callable[[nn.Module], object]] = {
    "fused": fused_and_cleared,
    "data": lambda network: network.head[3].bias.data.add_(1e-3),
    "statistics": lambda network: network.stem[0][1].running_var.data.mul_(1.001),
}


@pytest.mark.parametrize("how", PAST_AUTOGRAD)
def test_a_write_that_autograd_does_not_count_is_found_in_turn_and_by_the_fingerprint(batch: Batch, how: str) -> None:
    teacher = prepared()
    before, tensors = teacher.fingerprint, len(teacher.model.state_dict())
    for _ in range(tensors + 1):
        teacher.signals(batch)
    PAST_AUTOGRAD[how](teacher.model.network)

    def ask_in_turn() -> None:
        for _ in range(tensors):
            teacher.signals(batch)

    with pytest.raises(TeacherError, match="was changed in place, past autograd"):
        ask_in_turn()
    teacher.prepare(LOGITS, CLASSES)
    assert teacher.fingerprint != before


def test_the_seal_holds_through_a_move_of_device_and_inference_tensors() -> None:
    with torch.inference_mode():
        module = nn.Linear(2, 2).eval().requires_grad_(False)
    assert Seal(module).broken() is None
    teacher = prepared()
    assert teacher.to(torch.device("meta")).to(torch.device("meta")) is teacher


def test_what_cannot_be_served_is_said_before_training(batch: Batch) -> None:
    teacher = live()
    with pytest.raises(TeacherError, match="the teacher cnn 0 was asked before it was prepared"):
        teacher.signals(batch)
    with pytest.raises(TeacherError, match="the teacher cnn 0 has no layer 'layr2'") as caught:
        teacher.prepare(Needs(teacher_layers=frozenset({"layr2"})), CLASSES)
    assert caught.value.remedy == "did you mean 'layer2'?"


def mean_in_loops(logits: list[Tensor], weights: list[float]) -> list[list[float]]:
    """log(sum_i w_i softmax(z_i) / sum_i w_i), in Python floats."""
    answer = []
    for row in range(len(logits[0])):
        mixed = [0.0] * len(logits[0][row])
        for member, weight in zip(logits, weights, strict=True):
            powers = [math.exp(value) for value in member[row].double().tolist()]
            for symbol, power in enumerate(powers):
                mixed[symbol] += weight / sum(weights) * power / sum(powers)
        answer.append([math.log(value) for value in mixed])
    return answer


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=4), st.integers(0, 10_000))
def test_the_log_mean_is_the_log_of_the_mean(weights: list[float], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = [5 * torch.randn(3, 6, generator=generator, dtype=torch.float64) for _ in weights]
    found = log_mean(logits, [weight / sum(weights) for weight in weights])
    torch.testing.assert_close(found, torch.tensor(mean_in_loops(logits, weights), dtype=torch.float64))
    single = log_mean([member.float() for member in logits], [weight / sum(weights) for weight in weights])
    torch.testing.assert_close(single, found.float(), atol=1e-5, rtol=1e-5)


def test_an_ensemble_of_the_sure_and_the_impossible_stays_a_number() -> None:
    sure = torch.tensor([[0.0, 1e4, -torch.inf]])
    mean = log_mean([sure, -sure.nan_to_num(neginf=0.0)], [0.25, 0.75])
    assert not mean.isnan().any()
    torch.testing.assert_close(mean.exp().sum(dim=-1), torch.ones(1))
    assert float(log_mean([sure], [1.0])[0, 2]) == -math.inf


def test_an_ensemble_answers_with_the_weighted_mean_of_probabilities(batch: Batch) -> None:
    members = [live(seed) for seed in range(3)]
    ensemble = EnsembleTeacher([(1, members[0]), (2, members[1]), (5, members[2])])
    ensemble.prepare(LOGITS, CLASSES)
    assert ensemble.weights == (0.125, 0.25, 0.625)
    assert ensemble.name == "ensemble(cnn 0, cnn 1, cnn 2)"
    said = ensemble.signals(batch).logits
    expected = mean_in_loops([member.signals(batch).logits for member in members], [1, 2, 5])
    torch.testing.assert_close(said, torch.tensor(expected))
    assert said.grad_fn is None


def test_ensembles_nest(batch: Batch) -> None:
    flat = EnsembleTeacher([(2, live(0)), (1, live(1)), (1, live(2))])
    nested = EnsembleTeacher([(1, live(0)), (1, EnsembleTeacher([(3, live(1)), (3, live(2))]))])
    for ensemble in (flat, nested):
        ensemble.prepare(LOGITS, CLASSES)
    torch.testing.assert_close(nested.signals(batch).logits, flat.signals(batch).logits)
    alone = EnsembleTeacher([(7, live(0))])
    alone.prepare(LOGITS, CLASSES)
    probabilities = prepared().signals(batch).logits.softmax(-1)
    torch.testing.assert_close(alone.signals(batch).logits.softmax(-1), probabilities)


def test_the_fingerprint_of_an_ensemble_combines_its_members_and_weights() -> None:
    def fingerprint(*members: tuple[float, int]) -> str:
        return EnsembleTeacher([(weight, live(seed)) for weight, seed in members]).fingerprint

    base = fingerprint((1, 0), (1, 1))
    assert base == fingerprint((3, 0), (3, 1))
    others = [fingerprint((1, 0), (2, 1)), fingerprint((1, 0), (1, 2)), fingerprint((1, 0)), live().fingerprint]
    assert len({base, *others}) == 5
    member = live()
    ensemble = EnsembleTeacher([(1, member)])
    before = ensemble.fingerprint
    with torch.no_grad():
        member.model.network.head[3].bias.add_(1)
    ensemble.prepare(LOGITS, CLASSES)
    assert ensemble.fingerprint != before


def test_an_ensemble_notices_a_member_that_moved(batch: Batch) -> None:
    member = live()
    ensemble = EnsembleTeacher([(1, EnsembleTeacher([(1, member)])), (1, live(1))])
    ensemble.prepare(LOGITS, CLASSES)
    member.model.train()
    with pytest.raises(TeacherError, match="the teacher cnn 0 moved: the model is in train mode"):
        ensemble.signals(batch)


class Mute:
    """A teacher that keeps the protocol and has no dense logits."""

    name, fingerprint, views = "mute", "0", None

    def prepare(self, needs: Needs, classes: Sequence[str]) -> None:
        pass

    def fits(self, rows: Rows, augment: Augmentation | None, augment_seed: int = 0) -> None:
        pass

    def signals(self, batch: Batch) -> Signals:
        return Signals()

    def to(self, device: torch.device) -> "Mute":
        return self


def test_ensembles_that_make_no_sense_are_refused(batch: Batch) -> None:
    with pytest.raises(TeacherError, match="the ensemble has no members"):
        EnsembleTeacher([])
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(TeacherError, match=f"the weight {weight} of cnn 0 in the ensemble is not a positive"):
            EnsembleTeacher([(weight, live())])
    with pytest.raises(TeacherError, match=r"ensemble\(cnn 0\) is asked for the features of layer1, layer2"):
        EnsembleTeacher([(1, live())]).prepare(Needs(teacher_layers=frozenset({"layer2", "layer1"})), CLASSES)
    mute = EnsembleTeacher([(1, live()), (1, Mute())])
    mute.prepare(LOGITS, CLASSES)
    with pytest.raises(TeacherError, match=r"mute in ensemble\(cnn 0, mute\) says no dense logits"):
        mute.signals(batch)


def test_recorded_and_live_members_mix(rows: TensorRows, batch: Batch, tmp_path: Path) -> None:
    record(live(0), rows, TASK, to=tmp_path / "r", needs=LOGITS, classes=CLASSES, batch_size=16)
    mixed = EnsembleTeacher([(1, RecordedTeacher(tmp_path / "r")), (1, live(1))])
    alive = EnsembleTeacher([(1, live(0)), (1, live(1))])
    for ensemble in (mixed, alive):
        ensemble.prepare(LOGITS, CLASSES)
    assert mixed.views == 1
    assert torch.equal(mixed.signals(batch).logits, alive.signals(batch).logits)


def test_a_copy_of_the_network_may_go_on_training(batch: Batch) -> None:
    network_of_theirs = network()
    teacher = ModuleTeacher(Model(copy.deepcopy(network_of_theirs)), "copy")
    teacher.prepare(LOGITS, CLASSES)
    stepped(network_of_theirs.train(), lambda parameters: torch.optim.SGD(parameters, 0.1))
    assert teacher.signals(batch).logits is not None


def test_recordings_and_ensembles_of_them_fit_their_own_rows_alone(rows: TensorRows, tmp_path: Path) -> None:
    shifted, other = parse("crop(padding=1)"), rows.select(torch.arange(32))
    record(
        live(), rows, TASK, to=tmp_path / "r", needs=LOGITS, classes=CLASSES, views=1, augment=shifted, augment_seed=3
    )
    recorded = RecordedTeacher(tmp_path / "r")
    for teacher in (recorded, EnsembleTeacher([(1, live()), (1, EnsembleTeacher([(1, recorded)]))])):
        teacher.fits(rows, shifted, 3)
        for wrong in ((other, shifted, 3), (rows, None, 3), (rows, parse("flip"), 3), (rows, shifted, 4)):
            with pytest.raises(RecordingError, match=r"was made (of|with)"):
                teacher.fits(*wrong)
    for teacher in (live(), EnsembleTeacher([(1, live(0)), (2, live(1))])):
        teacher.fits(rows, shifted, 3)
        teacher.fits(other, None)


def test_a_recording_given_as_text_teaches_its_own_data_and_no_other(tmp_path: Path) -> None:
    own, bytes_too = load("digits", valid=0.1, test=0.2).train, small_recordings.live()
    teacher = str(record(bytes_too, own, TASK, to=tmp_path / "recording", needs=LOGITS, classes=CLASSES))
    run = small(teacher, tmp_path / "run", objective="kd(temperature=2)", budget="2 steps")
    assert run.record.results[0].steps == 2 and run.record.results[0].control is not None
    refusals = [({"omit": ["3"]}, "was made of other data"), ({"augment": "flip"}, "with another augmentation")]
    for change, message in refusals:
        with pytest.raises(RecordingError, match=message):
            small(teacher, tmp_path / "refused", **change)
    assert not (tmp_path / "refused").exists()
