"""What an artifact costs: budgets, prices and pay-back by hand, and measurements of real artifacts and runs."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import small_artifacts
from invented_runs import a_record, a_run
from small_runs import small

from limbeck.cli import main
from limbeck.errors import DataError, ModelError, RecipeError
from limbeck.expenditure.amortisation import BreakEven, Teacher
from limbeck.expenditure.limits import Verdict, closest, limits, written
from limbeck.expenditure.measurement import Power, bench
from limbeck.expenditure.money import Prices
from limbeck.expenditure.quantities import Price, price, quantity
from limbeck.measures.latency import Latency
from limbeck.measures.memory import peak
from limbeck.run import Run

CANDIDATES = [
    {"recipe": "float32", "bytes": 90_000, "accuracy": 0.9, "agreement": 1.0, "latency_ms": 0.1},
    {"recipe": "dynamic", "bytes": 30_000, "accuracy": 0.9, "agreement": 0.99, "latency_ms": 0.9},
    {"recipe": "static", "bytes": 40_000, "accuracy": 0.89, "agreement": 0.98, "latency_ms": 0.3},
]


class TestQuantities:
    @pytest.mark.parametrize(
        ("text", "kind", "value"),
        [
            ("5ms", "time", 0.005),
            ("5 µs", "time", 5e-6),
            ("500kB", "size", 5e5),
            ("1KiB", "size", 1024),
            ("0.07W", "power", 0.07),
            (".5mJ", "energy", 5e-4),
            ("1kWh", "energy", 3.6e6),
            ("2M", "count", 2e6),
            ("12", "count", 12),
            ("1e3/s", "rate", 1000),
            ("0.445 kg/kWh", "carbon intensity", 445),
        ],
    )
    def test_read(self, text: str, kind: str, value: float) -> None:
        assert quantity(text, kind) == pytest.approx(value)

    @pytest.mark.parametrize(
        ("text", "kind", "said"),
        [
            ("5kb", "size", "did you mean 'kB'"),
            ("5", "time", "no unit"),
            ("fast", "time", "is no time"),
            ("-5ms", "time", "is no time"),
            ("5 W", "time", "has a unit 'W'"),
            ("nan s", "time", "is no time"),
            ("1e999s", "time", "no finite number"),
        ],
    )
    def test_refused(self, text: str, kind: str, said: str) -> None:
        with pytest.raises(RecipeError, match=said):
            quantity(text, kind)

    def test_prices(self) -> None:
        assert price("0.30 EUR/kWh") == Price(0.3, "EUR", "kWh")
        for text, said in (("0.30", "is no price"), ("3 EUR/kwh", "did you mean 'kWh'"), ("3 eur/h", "is no price")):
            with pytest.raises(RecipeError, match=said):
                price(text)


class TestBudgets:
    def test_bounds_are_read_and_kept_as_their_sign_says(self) -> None:
        asked = limits("latency<5ms, size<=500kB,throughput > 100/s")
        assert [(each.name, each.sign, each.bound) for each in asked] == [
            ("latency", "<", 0.005),
            ("size", "<=", 5e5),
            ("throughput", ">", 100.0),
        ]
        latency, size, throughput = asked
        assert not latency.keeps(0.005) and latency.keeps(0.0049) and size.keeps(5e5) and not throughput.keeps(100)
        assert written(latency, 0.0123) == "12.3ms" and written(size, 123_456) == "123.5kB"
        assert not Verdict(latency, None).kept

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("latancy<5ms", "did you mean 'latency'"),
            ("latency<5", "no unit"),
            ("latency>5ms", "bounds latency with >"),
            ("latency=5ms", "bounds latency with ="),
            ("throughput<5/s", "bounds throughput with <"),
            ("latency<5ms,latency<6ms", "bounded twice"),
            ("latency<5ms,", "is no bound"),
            ("", "is no bound"),
            ("latency<5kB", "has a unit 'kB'"),
            ("latency<", "is no bound"),
        ],
    )
    def test_refused(self, text: str, said: str) -> None:
        with pytest.raises(RecipeError, match=said):
            limits(text)

    def test_the_closest_candidate_breaks_fewest_bounds_and_then_by_least(self) -> None:
        near = closest(limits("latency<0.2ms,size<35kB"), CANDIDATES)
        # float32 is outside in size by 55/35; dynamic in time by 0.7/0.2; static in both.
        assert near is not None and near.recipe == "float32" and near.broken == ("size<35kB",)
        assert near.excess == pytest.approx(55 / 35)
        near = closest(limits("latency<0.8ms,size<35kB"), CANDIDATES)
        assert near is not None and near.recipe == "dynamic" and near.excess == pytest.approx(0.125)
        near = closest(limits("energy<1mJ"), CANDIDATES)
        assert near is not None and near.broken == () and near.unknown == ("energy<1mJ",)
        assert closest(limits("size<1kB"), []) is None
        # A file is larger than its graph.
        near = closest(limits("size<35kB"), CANDIDATES[1:2], beside=6_000)
        assert near is not None and near.broken == ("size<35kB",) and near.excess == pytest.approx(1 / 35)


class TestPayingBack:
    def test_training_divided_by_what_an_answer_saves(self) -> None:
        even = BreakEven("time", "s", invested=600.0, teacher=0.025, student=0.001, basis="")
        assert even.answers == pytest.approx(25_000) and even.amortised(1e5) == pytest.approx(0.007)
        assert BreakEven("time", "s", 600.0, 0.001, 0.001, "").answers is None
        assert BreakEven("time", "s", 600.0, 0.001, 0.002, "").answers is None

    def test_a_run_took_its_recording_and_every_student_and_control(self, tmp_path: Path) -> None:
        record = Run.open(a_run(tmp_path / "run", a_record())).record
        said = Teacher.of(record)
        results = record.results
        wanted = sum(record.seconds.values()) + sum(each.seconds + (each.control_seconds or 0) for each in results)
        assert len(results) == 3 and said.training == pytest.approx(wanted)
        assert record.teacher is not None and said.seconds == record.teacher.cost["latency_ms"] / 1e3

    def test_a_bill_has_only_what_was_named(self) -> None:
        prices = Prices.read(["0.36 EUR/h", "0.30 EUR/kWh"], None, "2 EUR/million")
        bill = prices.bill(seconds=0.01, joules=3.6)
        assert bill is not None and bill.parts == pytest.approx({"the device's time": 1.0, "energy": 0.3})
        assert bill.million == pytest.approx(1.3) and bill.currency == "EUR"
        unknown = prices.bill(seconds=0.01, joules=None)
        assert unknown is not None and unknown.million == pytest.approx(1.0) and "energy is not in it" in unknown.basis
        assert Prices().bill(0.01, 1.0) is None and prices.of_teacher(5.0) == pytest.approx(2e-6)
        assert Prices.read([], None, "3.6 EUR/h").of_teacher(5.0) == pytest.approx(0.005)

    @pytest.mark.parametrize(
        ("device", "training", "teacher", "said"),
        [
            (["1 EUR/answer"], None, None, "teacher-price for an answer"),
            (["1 EUR/h", "2 EUR/h"], None, None, "one for h"),
            (["1 EUR/h"], None, "1 USD/answer", "EUR and USD"),
            ([], "1 EUR/kWh", None, "a price for h"),
        ],
    )
    def test_prices_of_other_things_are_refused(
        self, device: list[str], training: str | None, teacher: str | None, said: str
    ) -> None:
        with pytest.raises(RecipeError, match=said):
            Prices.read(device, training, teacher)


def test_percentiles_are_those_of_the_calls() -> None:
    found = Latency.of([each / 1e3 for each in range(1, 102)])
    assert (found.least, found.calls) == (1.0, 101)
    assert (found.p50, found.p90, found.p99) == pytest.approx((51.0, 91.0, 100.0))


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    return small_artifacts.made(folder, row=(1, 8, 8), kind="image", verification={"candidates": CANDIDATES})


@pytest.fixture(scope="module")
def student(good_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small(good_run.folder, tmp_path_factory.mktemp("student") / "run", budget="2 steps")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read in /proc, which is Linux's")
def test_memory_grows_by_what_an_artifact_holds(tmp_path: Path) -> None:
    megabytes = 24
    light = peak(small_artifacts.made(tmp_path, name="light", row=(64,)), batch=4)
    graph = small_artifacts.linear(tmp_path, (64,), megabytes * 4096)
    names = [str(each) for each in range(megabytes * 4096)]
    heavy = small_artifacts.made(
        tmp_path, name="heavy", row=(64,), graph=graph, reading={"kind": "numbers", "names": names}
    )
    found = peak(heavy, batch=4)
    assert light.artifact is not None and found.artifact is not None and found.process is not None
    # The weights lie in the file's bytes, in the graph's and in the session: at least once, at most some times.
    assert megabytes * 1e6 < found.artifact - light.artifact < 8 * megabytes * 2**20
    assert found.process > found.artifact and "measured: VmHWM" in found.method


class TestMeasuring:
    @pytest.mark.slow
    def test_an_artifact_beside_another(self, artifact: Path, tmp_path: Path) -> None:
        graph = small_artifacts.linear(tmp_path, (1, 8, 8), 100_000)
        names = [str(each) for each in range(100_000)]
        slow = small_artifacts.made(
            tmp_path, name="slow", row=(1, 8, 8), graph=graph, kind="image", reading={"kind": "numbers", "names": names}
        )
        found = bench(artifact, against=slow, rounds=3, power=Power(source="none"))
        other = found.against[str(slow)]
        assert found.speed.latency.p50 < other.latency.p50 / 5
        assert found.speed.cpu_seconds < other.cpu_seconds / 5 and found.speed.throughput > 5 * other.throughput
        assert (
            found.speed.latency.least <= found.speed.latency.p50 <= found.speed.latency.p90 <= found.speed.latency.p99
        )
        assert found.bytes == artifact.stat().st_size and found.against_bytes == {str(slow): slow.stat().st_size}
        assert found.work is not None and (found.work.parameters, found.work.macs) == (192, 192)
        assert found.energy.method == "unavailable" and found.energy.joules is None and found.carbon is None
        assert found.bill is None and found.break_even == ()
        assert found.value("latency") == found.speed.latency.p50 / 1e3 and found.value("energy") is None

    def test_a_run_gives_the_student_in_torch_and_the_pay_back(self, student: Run, artifact: Path) -> None:
        run = student
        prices = Prices.read(["0.36 EUR/h"], "3.6 EUR/h", "1000 EUR/million")
        found = bench(
            artifact, against=run.folder, rounds=3, power=Power(source="none", tdp=10.0, grid=400.0), prices=prices
        )
        assert list(found.against) == [f"{run.folder} in torch"]
        teacher = Teacher.of(run.record)
        assert teacher.seconds is not None and teacher.training > 0
        by_time, by_energy, by_price = found.break_even
        assert (by_time.invested, by_time.teacher) == (teacher.training, teacher.seconds)
        assert by_time.student == found.speed.latency.p50 / 1e3
        assert by_energy.invested == pytest.approx(10 * teacher.training)
        assert by_energy.student == found.energy.joules == pytest.approx(10 * found.speed.cpu_seconds)
        assert found.energy.method == "estimated-tdp" and "estimated" in by_energy.basis
        assert by_price.invested == pytest.approx(teacher.training * 3.6 / 3600) and by_price.teacher == 0.001
        assert found.carbon == pytest.approx(10 * found.speed.cpu_seconds * 1e6 / 3.6e6 * 400)

    @pytest.mark.slow
    def test_what_was_not_named_is_said_to_be_missing(self, good_run: Run, student: Run, artifact: Path) -> None:
        found = bench(artifact, against=student.folder, rounds=3, power=Power(source="none"))
        assert [each.what for each in found.break_even] == ["time"]
        assert "--tdp" in found.missing[0] and "--teacher-price" in found.missing[1]
        alone = bench(artifact, against=good_run.folder, rounds=3, power=Power(source="none"))
        assert alone.break_even == () and alone.missing == ("break-even: the run has no latency of a teacher",)

    def test_a_counter_that_was_asked_for_and_is_not_there_is_not_replaced_in_silence(self, artifact: Path) -> None:
        if Path("/sys/class/powercap/intel-rapl:0/energy_uj").exists():
            pytest.skip("this machine has RAPL")
        found = bench(artifact, rounds=3, power=Power(source="rapl", board=0.07))
        assert found.energy.method == "modelled-board" and "RAPL cannot be read" in found.missing[0]

    def test_others_rows_are_refused(self, artifact: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"reads rows of shape \(8,\)"):
            bench(artifact, against=small_artifacts.made(tmp_path), rounds=3)


class TestCommandLine:
    def said(self, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
        with pytest.raises(SystemExit) as left:
            main(["bench", *arguments])
        captured = capsys.readouterr()
        assert (left.value.code or 0) == code, captured.err
        return captured.out if code in (0, 11) else captured.err

    def test_json(self, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
        options = [
            "--board",
            "0.07W",
            "--grid",
            "445 g/kWh",
            "--price",
            "0.05 EUR/h",
            "--rounds",
            "3",
            "--energy",
            "none",
        ]
        said = json.loads(self.said(capsys, str(artifact), *options, "--budget", "size<1MB", "--json"))
        found = said["expenditure"]
        assert said["budget"] == [{"bound": "size<1MB", "value": artifact.stat().st_size, "kept": True}]
        assert said["exit_code"] == 0 and found["energy"]["method"] == "modelled-board"
        assert found["carbon"] == pytest.approx(found["energy"]["joules"] * 1e6 / 3.6e6 * 445)
        assert found["conditions"]["threads"] == 1 and len(found["conditions"]["load"]) == 2

    def test_a_broken_budget_leaves_with_11_and_shows_the_closest(
        self, artifact: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        budget = "size<1kB,energy<1J"
        text = self.said(capsys, str(artifact), "--rounds", "3", "--energy", "none", "--budget", budget, code=11)
        assert "broken: size<1kB" in text and "broken: energy<1J (not measured)" in text
        assert "closest candidate of the export: dynamic" in text and "breaks size<1kB" in text

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (["--budget", "speed<5ms"], 2, "nothing called 'speed'"),
            (["--board", "0.07V"], 2, "has a unit 'V'"),
            (["--grid", "445"], 2, "no unit"),
            (["--price", "cheap"], 2, "is no price"),
            (["--rounds", "1"], 2, "rounds"),
            (["--against", "nowhere"], 6, "nowhere"),
        ],
    )
    def test_bad_input(
        self, artifact: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert words in self.said(capsys, str(artifact), *arguments, code=code)

    def test_bad_files(self, tmp_path: Path, artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "cannot be read" in self.said(capsys, str(tmp_path / "nowhere.limbeck"), code=4)
        (tmp_path / "cut.limbeck").write_bytes(artifact.read_bytes()[:-100])
        assert "damaged" in self.said(capsys, str(tmp_path / "cut.limbeck"), code=4)
        with pytest.raises(ModelError, match="damaged"):
            bench(os.fspath(tmp_path / "cut.limbeck"))
