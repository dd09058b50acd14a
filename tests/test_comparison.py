"""Methods side by side: the statistics against their definitions, and a small comparison from end to end."""

import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented_runs import a_record
from scipy import integrate, special
from small_runs import SETTLED, same_bits, weights
from test_cli import call

from limbeck.distillation import distill
from limbeck.errors import ObjectiveError, RecipeError, RunError
from limbeck.plans.comparison import Compared, compare
from limbeck.recipe import Recipe
from limbeck.records import RunRecord, read_record
from limbeck.reporting.methods import methods_page
from limbeck.reporting.ranking import ALONE, differences, holm, ranking

QUICK = settings(max_examples=80, deadline=None, derandomize=True)


@QUICK
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_as_it_steps_down(values: list[float]) -> None:
    """Rejecting one after the other from the smallest, as Holm writes it, gives what the corrected values say."""
    corrected = holm(values)
    for level in (0.01, 0.05, 0.2, *values):
        rejected: set[int] = set()
        for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
            if values[place] * (len(values) - rank) > level:
                break
            rejected.add(place)
        found = {place for place, p in enumerate(corrected) if p <= level}
        assert found == rejected or level == 1.0 or min(abs(p - level) for p in corrected) < 1e-12
    assert all(after >= before for before, after in zip(values, corrected, strict=True))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert math.isnan(holm([math.nan, 0.02])[0])
    assert holm([math.nan, 0.02])[1] == pytest.approx(0.04)


def a_comparison(**students: tuple[float, ...]) -> dict[str, list[RunRecord]]:
    controls = (0.70, 0.72, 0.71, 0.73)
    return {
        name: [a_record(name, students=values, controls=controls[: len(values)] if name == "kd" else None)]
        for name, values in students.items()
    }


def test_differences_are_a_paired_t_test() -> None:
    """The interval and p from the t distribution's density, integrated."""
    runs = a_comparison(kd=(0.80, 0.82, 0.81, 0.83), other=(0.81, 0.835, 0.81, 0.85))
    found = ranking(runs, "kd", higher_is_better=True)
    gaps = [0.01, 0.015, 0.0, 0.02]
    mean = sum(gaps) / 4
    error = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / 3 / 4)
    scale = special.gamma(2) / (math.sqrt(3 * math.pi) * special.gamma(1.5))

    def density(t: float) -> float:
        return scale * (1 + t * t / 3) ** -2

    each = found.against_baseline["other"]
    tail = 1 - 2 * integrate.quad(density, 0, mean / error)[0]
    reach = (each.high - mean) / error
    assert (each.mean, each.seeds) == (pytest.approx(mean), 4)
    assert each.p == pytest.approx(tail, rel=1e-6)
    assert each.holm == pytest.approx(tail, rel=1e-6), "the last of two to be tested: the student alone came first"
    alone = found.against_baseline[ALONE]
    assert alone.holm == pytest.approx(2 * alone.p)
    assert 2 * integrate.quad(density, 0, reach)[0] == pytest.approx(0.95, rel=1e-6)
    assert each.low == pytest.approx(2 * mean - each.high)


def test_ranked_by_validation_over_common_seeds_and_for_either_direction() -> None:
    runs = a_comparison(kd=(0.80, 0.82), late=(0.805, 0.81, 0.99, 0.99), best=(0.81, 0.83))
    found = ranking(runs, "kd", higher_is_better=True)
    assert [each.name for each in found.contenders] == ["best", "kd", "late", ALONE]
    assert found.against_alone["best"].mean == pytest.approx(0.11)
    lower = ranking(runs, "kd", higher_is_better=False)
    assert [each.name for each in lower.contenders] == [ALONE, "late", "kd", "best"]


def test_equal_contenders_and_single_seeds() -> None:
    runs = a_comparison(kd=(0.8, 0.82), same=(0.8, 0.82))
    equal = ranking(runs, "kd", higher_is_better=True).against_baseline["same"]
    assert (equal.mean, equal.p, equal.settled) == (0, 1.0, False)
    single = ranking(a_comparison(kd=(0.8,), one=(0.81,)), "kd", higher_is_better=True)
    assert math.isnan(single.against_baseline["one"].holm)
    assert not single.against_baseline["one"].settled
    assert differences(single.contenders, None) == {}


def test_the_page_names_what_is_outside_chance_and_what_failed() -> None:
    runs = a_comparison(kd=(0.80, 0.82, 0.81, 0.83), good=(0.90, 0.922, 0.91, 0.93), bad=(0.6, 0.62, 0.611, 0.63))
    found = ranking(runs, "kd", higher_is_better=True)
    records = [record for several in runs.values() for record in several]
    page = methods_page(
        "some", found, records, failures={"wild": "the term became nan\nat step 3"}, command="limbeck x"
    )
    assert "- better than kd: `good`" in page
    assert "- worse than kd: `bad`, `alone`" in page or "- worse than kd: `alone`, `bad`" in page
    assert "- better than alone: `good`, `kd`" in page
    assert "- `wild`: the term became nan at step 3" in page
    assert "| good | 91.95 % ± 1.32 % | 91.55 % ± 1.32 % | 4 | **+10.05 [" in page


RECIPE = """
name: small
data: {source: digits, valid: 0.15, test: 0.25}
training: {batch: 64, optimizer: sgd, lr: 0.05, clip: null, precision: float32, channels_last: false, threads: 1}
device: cpu
student: mlp(size=16)
budget: 20 steps
chain:
  - {name: teacher, student: mlp(size=48), budget: 60 steps}
compare:
  methods:
    kd: 0.5 * kd(temperature=4) + 0.5 * labels
    hint: 0.1 * hint('layer1', 'layer1') + labels
    wild: 1e12 * logit_mse + labels
  seeds: 2
  leaders: 1
  leader_seeds: 3
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("compared")
    return compare(Recipe.parse(RECIPE).replace(to=str(folder / "small")))


def test_every_method_trains_what_distill_trains(compared: Compared, tmp_path: Path) -> None:
    """The comparison's student of a seed has the bits of a single run from the same recording."""
    seeds = {each.name: sorted(each.test) for each in compared.ranking.contenders}
    assert seeds.keys() == {"kd", "hint", ALONE}
    assert seeds["kd"] == [0, 1, 2], "the baseline and the control go on with the leaders"
    assert seeds[ALONE] == [0, 1, 2]
    assert list(compared.failures) == ["wild"]
    run = distill(
        str(compared.folder / "recording"),
        "mlp(size=16)",
        "digits",
        objective="0.1 * hint('layer1', 'layer1') + labels",
        budget="20 steps",
        valid=0.15,
        test=0.25,
        to=tmp_path / "single",
        training={**SETTLED, "optimizer": "sgd", "lr": 0.05, "clip": None, "threads": 1},
        device="cpu",
    )
    assert same_bits(weights(run), weights(compared.folder / "methods" / "hint" / "seed-0"))
    assert same_bits(weights(run, "control"), weights(compared.folder / "methods" / "kd" / "seed-0", "control"))
    assert compared.page.read_text().startswith("# small: methods side by side")


def test_a_resumed_comparison_keeps_what_finished(compared: Compared, tmp_path: Path) -> None:
    again = tmp_path / "small"
    shutil.copytree(compared.folder, again)
    for path in again.glob("*/*/recipe.yaml"):
        path.write_text(path.read_text().replace(str(compared.folder), str(again)))
    (again / "methods.md").unlink()
    shutil.rmtree(again / "methods" / "hint")
    before = {path: path.stat().st_mtime_ns for path in again.glob("*/kd/run.json")}
    resumed = compare(Recipe.parse(RECIPE).replace(to=str(again)), resume=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [each.test for each in resumed.ranking.contenders] == [each.test for each in compared.ranking.contenders]


def test_a_method_that_was_changed_is_not_taken_for_the_one_that_ran(compared: Compared) -> None:
    edited = RECIPE.replace("kd: 0.5 * kd(temperature=4)", "kd: 0.6 * kd(temperature=4)")
    with pytest.raises(RunError, match=r"begun with another recipe: objective was '0\.5 .* is '0\.6 "):
        compare(Recipe.parse(edited).replace(to=str(compared.folder)), resume=True)


def test_recordings_teach_as_they_are(compared: Compared, tmp_path: Path) -> None:
    """A list of recordings is no path to one; it teaches the methods that hear its members apart as well."""
    recording = str(compared.folder / "recording")
    methods = {"kd": "kd", "apart": "ca_mkd"}
    plan = {"methods": methods, "seeds": 2, "leaders": 0}
    recipe = Recipe.parse(RECIPE).replace(
        chain=None, teacher=[recording, recording], compare=plan, budget="3 steps", to=str(tmp_path / "list")
    )
    found = compare(recipe)
    scores = {each.name: each.test for each in found.ranking.contenders}
    assert scores["kd"].keys() == scores["apart"].keys() == {0, 1}
    assert not (found.folder / "recording").exists()


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(compared: Compared, tmp_path: Path) -> None:
    other = compare(Recipe.parse(RECIPE).replace(to=str(tmp_path / "two")), workers=2)
    for place in ("methods/kd/seed-1", "methods/hint/seed-0"):
        assert same_bits(weights(other.folder / place), weights(compared.folder / place))
    assert list(other.failures) == ["wild"]


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    recipe = Recipe.parse(RECIPE).replace(to=str(tmp_path / "run"))
    with pytest.raises(RecipeError, match=r"compares nothing"):
        compare(recipe.replace(compare=None))
    with pytest.raises(RecipeError, match=r"has no teacher"):
        compare(recipe.replace(chain=None))
    methods = {"kd": "kd", "misspelt": "kdd"}
    with pytest.raises(ObjectiveError, match=r"the method misspelt: there is no method 'kdd'"):
        compare(recipe.replace(compare={"methods": methods}))
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match=r"baseline 'x' is not among the methods"):
        recipe.replace(compare={"methods": {"a": "kd", "b": "labels"}, "baseline": "x"})
    with pytest.raises(RecipeError, match=r"fewer seeds than the others"):
        recipe.replace(compare={"methods": {"a": "kd", "b": "labels"}, "seeds": 4, "leader_seeds": 3})


def test_a_layer_that_is_not_there_is_found_after_the_teacher_and_before_the_methods(tmp_path: Path) -> None:
    recipe = Recipe.parse(RECIPE).replace(
        to=str(tmp_path / "run"),
        compare={"methods": {"kd": "kd", "hint": "hint('layer9', 'layer1')"}},
        chain=[{"name": "teacher", "student": "mlp(size=16)", "budget": "2 steps"}],
    )
    with pytest.raises(Exception, match=r"the method hint: the network has no layer 'layer9'"):
        compare(recipe)
    assert not (tmp_path / "run" / "methods").exists()
    with pytest.raises(RunError, match=r"exists already"):
        compare(recipe)


def test_from_the_command_line(compared: Compared, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    call("compare", str(path), "--to", str(compared.folder), "--resume", "--quiet")
    assert "| hint |" in capsys.readouterr().out
    assert read_record(compared.folder / "methods" / "hint").status == "finished"
    call("distill", str(path), code=2)
    assert f"limbeck compare {path}" in capsys.readouterr().err
    call("chain", str(path), code=2)
    assert f"limbeck compare {path}" in capsys.readouterr().err
