"""The rules that read a training's lines: when they speak, and when noise or a healthy end keeps them silent."""

import math
import random
from collections.abc import Sequence
from typing import Any

from limbeck.catalog.objectives import objective
from limbeck.records import Finding
from limbeck.reporting.charts import validation_chart
from limbeck.reporting.history import Band
from limbeck.reporting.units import metric
from limbeck.training.diagnosis import points
from limbeck.training.plan import Plan
from limbeck.training.symptoms import Symptoms, merged

PLAN = Plan(
    steps=900, steps_per_epoch=10, batch_size=64, seed=0, optimizer="adamw", lr=0.01, momentum=0.9, weight_decay=0.0,
    schedule="cosine", warmup=0.0, clip=None, ema=None, precision="float32", channels_last=False, validate_every=20,
)  # fmt: skip
KD = "kd(temperature=4)"


def invented(
    soft_term: Sequence[float], kl: Sequence[float], agreement: Sequence[float], plan: Plan = PLAN
) -> list[dict[str, Any]]:
    """Lines of a training with one validation for each value."""
    made: list[dict[str, Any]] = []
    for place, values in enumerate(zip(soft_term, kl, agreement, strict=True), start=1):
        step = place * plan.steps // len(soft_term)
        made.append({"event": "train", "step": step, "terms": {KD: values[0], "labels": 1.0}})
        made.append({"event": "valid", "step": step, "likeness": {"kl": values[1], "agreement": values[2]}})
    return made


class TestSymptoms:
    SYMPTOMS = Symptoms.of(objective(f"0.9 * {KD} + 0.1 * labels"), PLAN)

    def stopped(self, *series: Sequence[float]) -> bool:
        return any("stopped" in finding.subject for finding in self.SYMPTOMS.found(invented(*series)))

    def test_flat_from_the_middle_on_is_stopped_and_the_end_of_a_cosine_is_not(self) -> None:
        places = [place / 45 for place in range(1, 46)]
        flat = [0.5 + 2 * math.exp(-place * 30) for place in places]
        cosine = [0.5 + 0.25 * (1 + math.cos(math.pi * place)) for place in places]
        found = 0
        for random_seed in range(20):
            draws = random.Random(random_seed)
            shaken = [value * (1 + draws.gauss(0, 0.01)) for value in flat]
            agreement = [0.9 + draws.gauss(0, 0.01) for _ in places]
            found += self.stopped(shaken, shaken, agreement)
            settling = [value * (1 + draws.gauss(0, 0.02)) for value in cosine]
            assert not self.stopped(settling, settling, agreement)
        assert found >= 17  # agreement, which is noise here, now and then seems to grow

    def test_noise_and_few_validations_say_nothing(self) -> None:
        for random_seed in range(20):
            draws = random.Random(random_seed)
            noise = [0.5 * math.exp(draws.gauss(0, 0.4)) for _ in range(45)]
            assert not self.stopped(noise, noise, [0.9] * 45)
        assert not self.stopped([0.5] * 6, [0.5] * 6, [0.9] * 6)
        assert self.stopped([0.5] * 9, [0.5] * 9, [0.9] * 9)

    def test_whatever_still_improves_keeps_it_silent(self) -> None:
        flat, falling = [0.5] * 45, [0.5 - 0.004 * place for place in range(45)]
        assert self.stopped(flat, flat, [0.9] * 45)
        assert not self.stopped(falling, flat, [0.9] * 45)
        assert not self.stopped(flat, falling, [0.9] * 45)
        assert not self.stopped(flat, flat, [0.5 + 0.01 * place for place in range(45)])
        # One that equals its teacher has nothing left to learn.
        assert not self.stopped([0.0] * 45, [0.0] * 45, [1.0] * 45)

    def test_an_interruption_that_splits_a_line_changes_no_finding(self) -> None:
        whole = invented([0.5] * 45, [0.5] * 45, [0.9] * 45)
        split = [
            part
            for line in whole
            for part in ([{**line, "step": line["step"] - 7}, line] if line["event"] == "train" else [line])
        ]
        assert self.SYMPTOMS.found(split) == self.SYMPTOMS.found(whole) != []

    def test_terms_drown_beyond_a_hundred_and_conflict_beyond_chance(self) -> None:
        def found(ratio: float, cosines: Sequence[float]) -> list[str]:
            steps = sorted(points(PLAN))
            made = [
                {"event": "diagnosis", "step": step, "norms": {KD: ratio, "labels": 1.0}, "shares": {KD: 0.5},
                 "cosines": {KD: {"labels": cosine}}}
                for step, cosine in zip(steps, cosines, strict=True)
            ]  # fmt: skip
            return [finding.subject for finding in self.SYMPTOMS.found(made)]

        assert found(99, [0.1] * 8) == [] and found(101, [0.1] * 8) == [f"{KD} drowns labels"]
        assert found(1 / 101, [0.1] * 8) == [f"labels drowns {KD}"]
        opposed = [f"{KD} and labels pull against each other"]
        assert found(1, [-0.5] * 8) == opposed
        assert found(1, [-0.01] * 8) == [] and found(1, [0.5] * 5 + [-0.9] * 3) == []
        assert found(1, [-0.5, 0.1] * 4) == []

    def test_a_subject_is_told_once_for_all_seeds(self) -> None:
        one, other = Finding("warning", "a", "1", "x"), Finding("warning", "a", "2", "y")
        assert merged({3: [one], 4: [other], 5: []}) == [Finding("warning", "a", "seed 3: 1 (also: seed 4)", "x")]
        assert merged({3: [one]}) == [one] and merged({}) == []


def test_a_curve_that_never_moves_is_drawn() -> None:
    level = (0.5,) * 12
    band = Band(tuple(float(place) for place in range(12)), level, level, level, 1)
    chart = validation_chart({"student": band}, metric("agreement"), "epoch", alt="flat", name="flat")
    assert 'aria-label="flat"' in chart
