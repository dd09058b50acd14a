"""What a training says of itself: gradients of its terms, likeness to the teacher, and what is amiss."""

import dataclasses
import json
import math
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import same_bits, small, teacher_run, weights
from test_resume import EVERYTHING, Stopping
from torch import nn

from limbeck import workshop
from limbeck.catalog.objectives import objective
from limbeck.errors import Interrupted
from limbeck.model import Model
from limbeck.progress import Silent
from limbeck.records import read_record
from limbeck.run import Run
from limbeck.signals import Batch, Signals
from limbeck.taps import listen
from limbeck.tasks.classification import Classification
from limbeck.training.checkup import Checkup
from limbeck.training.diagnosis import Diagnosis, fixed_rows, points
from limbeck.training.plan import Plan
from limbeck.training.step import Step

PLAN = Plan(
    steps=900, steps_per_epoch=10, batch_size=64, seed=0, optimizer="adamw", lr=0.01, momentum=0.9, weight_decay=0.0,
    schedule="cosine", warmup=0.0, clip=None, ema=None, precision="float32", channels_last=False, validate_every=20,
)  # fmt: skip
KD = "kd(temperature=4)"
NEGLIGIBLE: dict[str, Any] = {
    "objective": "0.0001 * kd(temperature=4) + labels", "budget": "60 epochs", "training": {"batch": 256, "lr": 0.02},
    "control": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(teacher_run(tmp_path_factory.mktemp("runs") / "teacher").folder)


@pytest.fixture(scope="module")
def healthy(teacher: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small(teacher, tmp_path_factory.mktemp("runs") / "healthy", budget="20 epochs", seeds=2, control=False)


@pytest.fixture(scope="module")
def negligible(teacher: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    heard = Hearing()
    run = small(teacher, tmp_path_factory.mktemp("runs") / "run", progress=heard, **NEGLIGIBLE)
    return run, heard.said


class Hearing(Silent):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


class HearingAndStopping(Stopping):
    """Stops a training, and keeps what was said before."""

    said: list[str]

    def say(self, message: str) -> None:
        self.said.append(message)


def lines(folder: Path, *events: str, who: str = "student") -> list[dict[str, Any]]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    read = [json.loads(line, parse_constant=refuse) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in read if line["event"] in events and line["who"] == who]


def measured(
    network: nn.Module, text: str, inputs: torch.Tensor, said: Signals, labels: torch.Tensor, **more: Any
) -> tuple[Step, Diagnosis]:
    """A step on its way, and a diagnosis of it."""
    model, wanted = Model(network), objective(text)
    batch = Batch.of(inputs, labels, Classification())
    layers = sorted(wanted.needs().student_layers)
    with torch.no_grad():
        wanted.setup(listen(model.eval(), inputs, layers), said, batch)
    step = Step(model, wanted.to(inputs.dtype), layers, more.get("precision", "float32"))
    return step, Diagnosis(step, batch, said)


class TestGradients:
    def test_lengths_shares_and_cosines_are_those_of_slow_loops(self) -> None:
        torch.manual_seed(3)
        network = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3)).double()
        inputs, labels = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])
        taught, hint = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
        text = "0.7 * kd(temperature=2) + 0.3 * labels + 0.05 * hint('0', 'deep')"
        step, diagnosis = measured(network, text, inputs, Signals.dense(taught, {"deep": hint}), labels)
        found = diagnosis.measure()
        projector = dict(step.objective.named_parameters())
        names = list(found["norms"])
        expected = [
            by_hand(network, projector, inputs, taught, hint, labels, *term)
            for term in ((0.7, "kd"), (0.3, "labels"), (0.05, "hint"))
        ]
        lengths = [math.sqrt(sum(g * g for g in gradient)) for gradient in expected]
        assert list(found["norms"].values()) == pytest.approx(lengths, rel=1e-9)
        assert list(found["shares"].values()) == pytest.approx([one / sum(lengths) for one in lengths], rel=1e-9)
        for i in range(3):
            for j in range(i + 1, 3):
                dot = sum(a * b for a, b in zip(expected[i], expected[j], strict=True))
                cosine = dot / (lengths[i] * lengths[j])
                assert found["cosines"][names[i]][names[j]] == pytest.approx(cosine, rel=1e-8)

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    @pytest.mark.parametrize(
        "text", ["0.9 * kd(temperature=4) + 0.1 * labels", "kd + 0.5 * rkd + 0.1 * hint('0', 'x')"]
    )
    def test_moves_nothing(self, text: str, precision: str) -> None:
        class Counting(nn.Module):
            calls = 0

            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                self.calls += 1
                return inputs

        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4))
        counting = network.append(Counting())[-1]
        inputs, labels = torch.randn(12, 6), torch.randint(4, (12,))
        said = Signals.dense(torch.randn(12, 4), {"x": torch.randn(12, 5)})
        step, diagnosis = measured(network, text, inputs, said, labels, precision=precision)
        step.eval()
        network[1].train()
        before = {name: tensor.clone() for name, tensor in step.state_dict().items()}
        calls, generator = counting.calls, torch.get_rng_state()
        modes = [module.training for module in step.modules()]
        first, second = diagnosis.measure(), diagnosis.measure()
        assert first == second
        assert same_bits(before, step.state_dict()) and counting.calls == calls
        assert torch.equal(generator, torch.get_rng_state())
        assert all(parameter.grad is None for parameter in step.parameters())
        assert modes == [module.training for module in step.modules()]
        json.dumps(first, allow_nan=False)
        assert all(length > 0 for length in first["norms"].values())

    def test_a_term_without_rows_or_gradient_has_no_number(self) -> None:
        torch.manual_seed(0)
        network, inputs = nn.Linear(6, 4), torch.randn(5, 6)
        said = Signals.dense(network(inputs).detach())  # the student equals its teacher
        step, diagnosis = measured(network, f"{KD} + labels", inputs, said, torch.zeros(5, dtype=torch.int64))
        unknown = dataclasses.replace(diagnosis.batch, known=torch.zeros(5, dtype=torch.bool))
        found = Diagnosis(step, unknown, said).measure()
        assert found["norms"]["labels"] is None and found["shares"]["labels"] is None
        assert found["norms"][KD] == pytest.approx(0, abs=1e-5)
        assert found["cosines"] == {KD: {"labels": None}}

    def test_rows_with_labels_come_first(self) -> None:
        batch = Batch.of(torch.randn(200, 3), torch.zeros(200, dtype=torch.int64), Classification())
        none = dataclasses.replace(batch, known=torch.zeros(200, dtype=torch.bool))
        few = dataclasses.replace(batch, known=torch.arange(200) % 50 == 49)
        rows = fixed_rows(iter([none, few, batch]), 2, labelled=True)
        assert rows.ids[:5].tolist() == [49, 99, 149, 199, 0] and len(rows) == 64
        assert fixed_rows(iter([none, few]), 2, labelled=False).ids.tolist() == list(range(64))
        assert len(fixed_rows(iter([batch]), 100, labelled=False)) == 100
        assert not fixed_rows(iter([none, none]), 2, labelled=True).known.any()

    @pytest.mark.parametrize(("steps", "every", "count"), [(900, 20, 8), (10, 20, 1), (40, 20, 2), (50_000, 1000, 16)])
    def test_points_are_validations_and_denser_early(self, steps: int, every: int, count: int) -> None:
        found = sorted(points(dataclasses.replace(PLAN, steps=steps, validate_every=every)))
        assert len(found) == count and found[0] == min(every, steps) and found[-1] == steps
        assert all(step % every == 0 or step == steps for step in found)
        assert count < 8 or sum(step <= steps / 2 for step in found) >= 5


def by_hand(
    network: nn.Sequential, projector: Mapping[str, torch.Tensor], inputs: torch.Tensor, taught: torch.Tensor,
    hint: torch.Tensor, labels: torch.Tensor, weight: float, term: str,
) -> list[float]:  # fmt: skip
    """The gradient of one weighted term by the student's parameters: w1, b1, w2, b2, in loops over floats."""
    w1, b1, w2, b2 = (parameter.tolist() for parameter in network.parameters())
    matrix = next((p.tolist() for n, p in projector.items() if n.endswith("weight")), [])
    offset = next((p.tolist() for n, p in projector.items() if n.endswith("bias")), [])
    count = len(inputs)
    gradient = {
        "w1": [[0.0] * 3 for _ in range(2)],
        "b1": [0.0] * 2,
        "w2": [[0.0] * 2 for _ in range(3)],
        "b2": [0.0] * 3,
    }
    for x, t, h, label in zip(inputs.tolist(), taught.tolist(), hint.tolist(), labels.tolist(), strict=True):
        low = [b1[j] + sum(w1[j][i] * x[i] for i in range(3)) for j in range(2)]
        bent = [math.tanh(value) for value in low]
        out = [b2[k] + sum(w2[k][j] * bent[j] for j in range(2)) for k in range(3)]
        on_out, on_low = [0.0] * 3, [0.0] * 2
        if term == "labels":
            on_out = [p - (k == label) for k, p in enumerate(soft(out, 1.0))]
        elif term == "kd":  # of T² KL(p || q) by the logits: T (q - p)
            on_out = [2.0 * (q - p) for q, p in zip(soft(out, 2.0), soft(t, 2.0), strict=True)]
        else:
            off = [offset[m] + sum(matrix[m][j] * low[j] for j in range(2)) - h[m] for m in range(4)]
            on_low = [sum(matrix[m][j] * off[m] for m in range(4)) for j in range(2)]
        for j in range(2):
            on_low[j] += sum(on_out[k] * w2[k][j] for k in range(3)) * (1 - bent[j] ** 2)
            gradient["b1"][j] += weight * on_low[j] / count
            for i in range(3):
                gradient["w1"][j][i] += weight * on_low[j] * x[i] / count
        for k in range(3):
            gradient["b2"][k] += weight * on_out[k] / count
            for j in range(2):
                gradient["w2"][k][j] += weight * on_out[k] * bent[j] / count
    flat = lambda rows: [value for row in rows for value in row]  # noqa: E731 - twice in one expression
    return [*flat(gradient["w1"]), *gradient["b1"], *flat(gradient["w2"]), *gradient["b2"]]


def soft(logits: Sequence[float], temperature: float) -> list[float]:
    powers = [math.exp(logit / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


class TestRuns:
    def test_bits_are_the_same_without(self, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        watched = small(teacher, tmp_path / "watched", **EVERYTHING)
        assert len(lines(watched.folder, "diagnosis")) == 4
        monkeypatch.setattr(Checkup, "after", lambda *_: None)
        monkeypatch.setattr(workshop.Workshop, "_on_valid", lambda *_: None)
        alone = small(teacher, tmp_path / "alone", **EVERYTHING)
        assert not lines(alone.folder, "diagnosis") and "likeness" not in lines(alone.folder, "valid")[0]
        for who in ("student", "control"):
            assert same_bits(weights(watched, who), weights(alone, who))
        assert watched.record.results[0].validation == alone.record.results[0].validation

    @pytest.mark.slow
    def test_a_network_with_batch_statistics_too(
        self, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings: dict[str, Any] = {"student": "cnn(size=4)", "data": images(), "control": False}
        watched = small(learnt(teacher), tmp_path / "watched", **settings)
        assert lines(watched.folder, "diagnosis")
        monkeypatch.setattr(Checkup, "after", lambda *_: None)
        assert same_bits(weights(watched), weights(small(learnt(teacher), tmp_path / "alone", **settings)))

    @pytest.mark.parametrize("step", [10, 200])
    def test_resumed_finds_the_same_and_says_it_once(
        self, teacher: str, negligible: tuple[Run, list[str]], tmp_path: Path, step: int
    ) -> None:
        to, (whole, said) = tmp_path / "run", negligible
        stopping = HearingAndStopping("student", step, signal.SIGINT)
        stopping.said = []
        with pytest.raises(Interrupted):
            small(teacher, to, progress=stopping, **NEGLIGIBLE)
        assert len(read_record(to).findings) == len([text for text in stopping.said if text.startswith("warning")])
        after = Hearing()
        resumed = small(teacher, to, progress=after, resume=True, **NEGLIGIBLE)
        assert resumed.record.findings == whole.record.findings
        assert lines(to, "diagnosis", "valid") == lines(whole.folder, "diagnosis", "valid")
        warned = [text for text in stopping.said + after.said if text.startswith("warning")]
        assert warned == [text for text in said if text.startswith("warning")]
        assert same_bits(weights(resumed), weights(whole))

    @pytest.mark.slow
    def test_a_healthy_run_is_not_warned(self, healthy: Run) -> None:
        assert healthy.record.findings == ()

    def test_a_negligible_weight_is_found_twice_over(self, negligible: tuple[Run, list[str]]) -> None:
        run, said = negligible
        drowned, stopped = run.record.findings
        assert drowned.subject == f"labels drowns {KD}" and drowned.severity == "warning"
        assert "over steps 8 to 24" in drowned.evidence and f"for {KD} (it has 0.0001)" in drowned.remedy
        assert stopped.subject == "the student has stopped learning from the teacher"
        assert "agreement on validation rows" in stopped.evidence and "more weight" in stopped.remedy
        assert [text.partition(": ")[2].partition(": ")[0] for text in said if text.startswith("warning")] == [
            drowned.subject, stopped.subject,
        ]  # fmt: skip
        page = (run.folder / "report.html").read_text()
        assert f"labels drowns {KD}" in page and "Findings</h2>" in page
        assert "Share of each term in the gradient by epoch" in page

    @pytest.mark.slow
    def test_a_student_that_can_do_no_more_is_found(self, teacher: str, tmp_path: Path) -> None:
        torch.manual_seed(0)
        bottleneck = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 10))
        bottleneck[1].requires_grad_(False)
        run = small(
            teacher, tmp_path / "run", student=bottleneck, control=False, budget="30 epochs", training={"lr": 0.1}
        )
        (stopped,) = run.record.findings
        assert stopped.subject == "the student has stopped learning from the teacher"
        assert stopped.remedy.startswith("a larger student")

    @pytest.mark.slow
    def test_labels_that_contradict_the_teacher_are_found(self, teacher: str, tmp_path: Path) -> None:
        inputs, labels = images()
        run = small(
            learnt(teacher), tmp_path / "run", data=(inputs, (labels + 1) % 10), control=False, budget="10 epochs",
            objective="0.1 * kd(temperature=4) + labels", seeds=2, claims=0.0,
        )  # fmt: skip
        against = [f for f in run.record.findings if "pull against each other" in f.subject]
        assert len(against) == 1 and against[0].evidence.startswith("seed 0: in the first half of the training")
        assert against[0].evidence.endswith("(also: seed 1)")

    def test_student_and_control_are_compared_with_a_teacher_asked_once(
        self, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        real = workshop.teacher_answers
        monkeypatch.setattr(
            workshop,
            "teacher_answers",
            lambda who, rows, *a, **k: (asked.append(len(rows)), real(who, rows, *a, **k))[1],
        )
        run = small(teacher, tmp_path / "run", seeds=2, record=1)
        count = run.record.data["splits"]["valid"]["rows"]
        assert asked.count(count) == 1
        for seed in (0, 1):
            for who in ("student", "control"):
                for line in lines(tmp_path / "run" / f"seed-{seed}", "valid", who=who):
                    assert line["likeness"].keys() == {"agreement", "kl"}
                    assert (line["likeness"]["agreement"] * count) % 1 == pytest.approx(0, abs=1e-6)
        recorded = small(str(next((tmp_path / "run" / "recording").iterdir())), tmp_path / "again")
        assert "likeness" not in lines(recorded.folder, "valid")[0]
        assert lines(recorded.folder, "diagnosis")


def images() -> tuple[torch.Tensor, torch.Tensor]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.tensor(digits.images, dtype=torch.float32)[:, None], torch.tensor(digits.target)


def learnt(teacher: str) -> nn.Module:
    """The teacher as a module that reads the images as they are."""
    return Run.open(Path(teacher)).student()
