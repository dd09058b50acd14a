"""The spine: what a run promises about its control, its seeds, its teacher and its repetition."""

import copy
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from small_runs import SETTLED, same_bits, small, teacher_run, weights
from torch import nn

from limbeck.distillation import distill
from limbeck.errors import ModelError, ObjectiveError, RunError, TeacherError, TrainingError
from limbeck.model import Model
from limbeck.plans.chain import chain
from limbeck.progress import Silent
from limbeck.recipe import Recipe
from limbeck.records import read_record
from limbeck.run import Run, evaluate_run, predict_run


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return teacher_run(tmp_path_factory.mktemp("runs") / "teacher")


@pytest.fixture(scope="module")
def run(teacher: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small(str(teacher.folder), tmp_path_factory.mktemp("runs") / "student", augment="crop(padding=1)")


def test_the_control_is_the_student_trained_alone(run: Run, tmp_path: Path) -> None:
    """Law 2: same initial weights, steps, data order, views and dropout; only the teacher is gone."""
    alone = small(None, tmp_path / "alone", augment="crop(padding=1)")
    assert same_bits(weights(run, "control"), weights(alone))
    assert not same_bits(weights(run), weights(alone))
    assert run.record.results[0].control is not None
    assert run.record.results[0].control.metrics["accuracy"] == alone.record.results[0].student.metrics["accuracy"]


def test_the_control_draws_the_students_dropout_masks(teacher: Run, tmp_path: Path) -> None:
    student = "mlp(size=16, dropout=0.5)"
    taught = small(str(teacher.folder), tmp_path / "taught", student=student, budget="1 epochs")
    alone = small(None, tmp_path / "alone", student=student, budget="1 epochs")
    assert same_bits(weights(taught, "control"), weights(alone))


def test_a_teacher_with_weight_zero_teaches_nothing(teacher: Run, tmp_path: Path) -> None:
    """Student and control differ by the objective alone: take the teacher's share away and they are one."""
    run = small(str(teacher.folder), tmp_path / "run", objective="0.0 * kd(temperature=2) + 1.0 * labels")
    assert same_bits(weights(run), weights(run, "control"))


def test_the_resolved_recipe_reproduces_the_run(run: Run, tmp_path: Path) -> None:
    from limbeck.distillation import run_recipe

    recipe = Recipe.read(run.folder / "recipe.yaml").replace(to=tmp_path / "again")
    assert recipe.budget.endswith("steps")
    assert recipe.training.threads == torch.get_num_threads()
    again = run_recipe(recipe)
    assert same_bits(weights(run), weights(again))
    assert same_bits(weights(run, "control"), weights(again, "control"))


def test_recorded_teaches_as_live(teacher: Run, tmp_path: Path) -> None:
    """Law 1: with as many recorded views as epochs the student cannot tell a recording from its teacher."""
    live = small(str(teacher.folder), tmp_path / "live", augment="crop(padding=1)", control=False)
    recorded = small(str(teacher.folder), tmp_path / "recorded", augment="crop(padding=1)", control=False, record=2)
    for name, tensor in weights(live).items():
        torch.testing.assert_close(weights(recorded)[name], tensor, rtol=1e-4, atol=1e-5)
    assert recorded.record.seconds["recording"] > 0


@pytest.mark.slow
def test_a_recording_teaches_whatever_labels_the_student_sees(teacher: Run, tmp_path: Path) -> None:
    """One recording for 50 and for 100 labels; the run's own identity still knows its labels."""
    small(str(teacher.folder), tmp_path / "few", record=1, labelled=50, control=False)
    (recording,) = (tmp_path / "few/recording").iterdir()
    more = small(str(recording), tmp_path / "more", labelled=100, control=False)
    own = small(str(teacher.folder), tmp_path / "own", record=1, labelled=100, control=False)
    assert same_bits(weights(more), weights(own))
    assert not same_bits(weights(more), weights(tmp_path / "few"))
    assert more.record.data["fingerprint"] != read_record(tmp_path / "few").data["fingerprint"]


def test_seeds_are_runs_of_their_own(teacher: Run, tmp_path: Path) -> None:
    both = small(str(teacher.folder), tmp_path / "both", seed=3, seeds=2, budget="1 epochs")
    second = small(str(teacher.folder), tmp_path / "second", seed=4, budget="1 epochs")
    assert [result.seed for result in both.record.results] == [3, 4]
    assert same_bits(weights(both.folder / "seed-4"), weights(second))
    assert not same_bits(weights(both.folder / "seed-3"), weights(second))
    best = max(both.record.results, key=lambda result: result.validation)
    assert both.record.chosen_seed == best.seed
    assert same_bits(weights(both), weights(both.folder / f"seed-{best.seed}"))


@pytest.mark.slow
def test_the_teacher_shown_is_the_chosen_seeds_own(tmp_path: Path) -> None:
    """Seed by seed: each student learns from the teacher of its seed, and the record shows the one that was kept."""
    teachers = small(None, tmp_path / "teachers", seed=1, seeds=3, budget="1 epochs")
    run = small(str(teachers.folder), tmp_path / "run", seed=1, seeds=3, budget="1 epochs", control=False)
    assert run.record.chosen_seed != 3, "the last seed's teacher would be shown by mistake as well"
    own = {result.seed: result.student.metrics["nll"] for result in teachers.record.results}
    assert len(set(own.values())) == 3
    assert run.record.teacher is not None and run.record.chosen_seed is not None
    assert run.record.teacher.metrics["nll"] == pytest.approx(own[run.record.chosen_seed], abs=1e-6)


def test_a_chain_of_one_is_distill(tmp_path: Path) -> None:
    (link,) = chain(
        ["mlp(size=16)"], "digits", to=tmp_path / "chain", valid=0.1, test=0.2, budget="1 epochs", training=SETTLED
    )
    assert same_bits(weights(link), weights(small(None, tmp_path / "alone", budget="1 epochs")))


def test_each_link_learns_from_the_one_before(tmp_path: Path) -> None:
    runs = chain(
        [{"student": "mlp(size=32)", "budget": "2 epochs"}, "mlp(size=16)", "mlp(size=8)"],
        "digits",
        to=tmp_path / "chain",
        valid=0.1,
        test=0.2,
        budget="1 epochs",
        training=SETTLED,
        control=False,
    )
    assert [run.record.recipe["teacher"] for run in runs[1:]] == [str(run.folder) for run in runs[:-1]]
    by_hand = small(str(runs[1].folder), tmp_path / "hand", student="mlp(size=8)", budget="1 epochs", control=False)
    assert same_bits(weights(runs[2]), weights(by_hand))


def test_two_runs_in_a_process_do_not_touch(teacher: Run, tmp_path: Path) -> None:
    """Law 6: a bfloat16 run in between changes nothing for a float32 run, and no global state is left moved."""
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = small(str(teacher.folder), tmp_path / "first", budget="1 epochs")
    low = small(str(teacher.folder), tmp_path / "low", budget="1 epochs", training={"precision": "bfloat16"})
    second = small(str(teacher.folder), tmp_path / "second", budget="1 epochs")
    assert same_bits(weights(first), weights(second))
    assert not same_bits(weights(first), weights(low))
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.get_num_threads(), torch.is_autocast_enabled("cpu")) == (threads, False)


@pytest.mark.slow
def test_a_module_and_its_text_give_the_same_run(teacher: Run, tmp_path: Path) -> None:
    taught = small(teacher.student(), tmp_path / "object", budget="1 epochs", control=False)
    by_text = small(str(teacher.folder), tmp_path / "text", budget="1 epochs", control=False)
    by_run = small(teacher, tmp_path / "run", budget="1 epochs", control=False)
    assert same_bits(weights(taught), weights(by_text))
    assert same_bits(weights(taught), weights(by_run))


class Net(nn.Module):
    """A user's own network: flat rows of 64 pixel values."""

    def __init__(self, outputs: int = 10) -> None:
        super().__init__()
        self.first = nn.Linear(64, 12)
        self.head = nn.Linear(12, outputs)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.first(rows.flatten(1) / 16)))


def test_a_users_own_module_is_trained_as_a_copy(teacher: Run, tmp_path: Path) -> None:
    net = Net()
    start = copy.deepcopy(net.state_dict())
    run = small(
        str(teacher.folder),
        tmp_path / "run",
        student=net,
        objective="kd(temperature=4) + 0.01 * hint('first', 'layer1')",
    )
    assert same_bits(net.state_dict(), start)
    back = run.student(Net())
    rows = torch.randint(0, 17, (5, 1, 8, 8), dtype=torch.uint8)
    assert isinstance(back, Model)
    assert not same_bits(back.network.state_dict(), start)
    with pytest.raises(RunError, match="was given as an object"):
        run.student()
    assert back(rows).shape == (5, 10)


def test_a_factory_is_built_under_each_seed(tmp_path: Path) -> None:
    run = small(None, tmp_path / "run", student=Net, seeds=2, budget="1 steps")
    assert not same_bits(weights(run.folder / "seed-0"), weights(run.folder / "seed-1"))


def test_a_network_whose_classes_come_in_another_order_teaches_rightly(teacher: Run, tmp_path: Path) -> None:
    """The class map: a teacher whose outputs are the digits backwards teaches as the one with the digits in order."""
    straight = teacher.student()
    backwards = copy.deepcopy(straight)
    head = [module for module in backwards.network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.copy_(head.weight.flip(0))
        head.bias.copy_(head.bias.flip(0))
    backwards.classes = tuple(reversed(straight.classes))
    one = small(straight, tmp_path / "one", budget="1 epochs", control=False)
    other = small(backwards, tmp_path / "other", budget="1 epochs", control=False)
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(other)[name], tensor, rtol=1e-4, atol=1e-6)
    assert one.record.teacher is not None and other.record.teacher is not None
    assert one.record.teacher.metrics["accuracy"] == other.record.teacher.metrics["accuracy"] > 0.8


def test_evaluate_gives_the_runs_own_figures(run: Run) -> None:
    scores = evaluate_run(run)
    result = run.record.results[0]
    assert result.control is not None and run.record.teacher is not None
    for name, recorded in (("student", result.student), ("control", result.control), ("teacher", run.record.teacher)):
        for metric in ("accuracy", "nll", "ece"):
            assert scores[name].metrics[metric] == pytest.approx(recorded.metrics[metric], abs=1e-6)


def test_predict_says_what_the_student_says(run: Run) -> None:
    from limbeck.data.source import load

    data = load("digits", valid=0.1, test=0.2)
    piece = data.test.take(torch.arange(20))
    said = predict_run(run, piece.inputs.numpy())
    with torch.inference_mode():
        best = run.student()(piece.inputs).argmax(dim=1).tolist()
    assert [answer["class"] for answer in said] == [data.classes[number] for number in best]


@pytest.mark.parametrize("objective", ["labels", "0.9 * kd(temperature=4) + 0.1 * labels"])
def test_a_loss_that_is_not_a_number_names_term_and_step(teacher: Run, tmp_path: Path, objective: str) -> None:
    with pytest.raises(TrainingError, match=r"the term .* of the student became (nan|inf) at step \d+"):
        small(
            str(teacher.folder),
            tmp_path / "run",
            objective=objective,
            training={"lr": 1e30, "clip": None, "optimizer": "sgd", "warmup": 0.0},
        )


def test_what_cannot_work_is_said_before_anything_is_written(teacher: Run, tmp_path: Path) -> None:
    to = tmp_path / "run"
    with pytest.raises(ObjectiveError, match="needs a teacher"):
        small(None, to, objective="kd(temperature=4)")
    with pytest.raises(ObjectiveError, match="every weight"):
        small(str(teacher.folder), to, objective="0.0 * kd(temperature=4)")
    with pytest.raises(ModelError, match="no trainable parameter"):
        small(str(teacher.folder), to, student=Net().requires_grad_(False))
    with pytest.raises(ModelError, match="gives 7 outputs a row"):
        small(str(teacher.folder), to, student=Net(7))
    with pytest.raises(TeacherError, match="did you mean 'layer1'"):
        small(str(teacher.folder), to, student=Net(), objective="kd + hint('first', 'layr1')")
    with pytest.raises(ModelError, match="did you mean 'first'"):
        small(str(teacher.folder), to, student=Net(), objective="kd + hint('frist', 'layer1')")
    assert not to.exists()


def test_a_folder_that_holds_a_run_is_refused(run: Run) -> None:
    with pytest.raises(RunError, match=r"exists already \(status: finished\)"):
        small(None, run.folder)


def test_a_budget_in_time_becomes_steps_and_is_stored(tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    run = small(None, tmp_path / "run", budget="1s", progress=Listening())
    recipe = run.recipe()
    assert any("budget: 1s is" in sentence for sentence in said)
    assert recipe.budget == f"{run.record.results[0].steps} steps"
    assert 10 <= run.record.results[0].steps <= 20_000


def test_progress_is_told_of_every_term(teacher: Run, tmp_path: Path) -> None:
    shares: list[Mapping[str, float]] = []

    class Listening(Silent):
        def step(self, step: int, loss: float, terms: Mapping[str, float], rows_per_second: float, left: float) -> None:
            shares.append(terms)

    small(str(teacher.folder), tmp_path / "run", progress=Listening(), control=False)
    assert shares
    for share in shares:
        assert set(share) == {"kd(temperature=4)", "labels"}
        assert sum(share.values()) == pytest.approx(1)


@pytest.mark.slow
def test_few_labels_and_a_teacher_beat_few_labels(teacher: Run, tmp_path: Path) -> None:
    """The reason Limbeck exists, small: the worst student that heard the teacher beats the best that did not."""
    run = distill(
        str(teacher.folder),
        "mlp(size=24)",
        "digits",
        valid=0.1,
        test=0.2,
        labelled=30,
        budget="12 epochs",
        seeds=3,
        to=tmp_path / "run",
        training=SETTLED,
    )
    taught = [result.student.metrics["accuracy"] for result in run.record.results]
    alone = [result.control.metrics["accuracy"] for result in run.record.results if result.control is not None]
    assert len(alone) == 3
    assert min(taught) > max(alone)
