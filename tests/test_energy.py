"""Energy: counters that wrap, what is modelled and what is estimated, and nothing where nothing is known."""

import importlib.util
import shutil
import time
from pathlib import Path

import pytest

from limbeck.measures import energy


def zone(root: Path, place: str, name: str, joules: float, span: float = 262143.0) -> Path:
    """A counter as powercap shows it, in real files."""
    folder = root / place
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (folder / "max_energy_range_uj").write_text(f"{round(span * 1e6)}\n")
    return folder / "energy_uj"


def test_packages_and_memory_count_but_not_what_lies_in_or_around_them(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 10.0)
    zone(tmp_path, "intel-rapl:0:0", "core", 4.0)
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", 1.0)
    zone(tmp_path, "intel-rapl:1", "psys", 99.0)
    counter = energy.Rapl(tmp_path)
    before = counter.read()
    assert before == [10.0, 1.0] and counter.scope.startswith("package-0, dram")
    package.write_text("12500000")
    memory.write_text("1250000")
    assert counter.spent(before, counter.read()) == pytest.approx(2.75)


def test_a_counter_that_wrapped_goes_on(tmp_path: Path) -> None:
    counted = zone(tmp_path, "intel-rapl:0", "package-0", 4290.0, span=4294.967295)
    counter = energy.Rapl(tmp_path)
    before = counter.read()
    counted.write_text("1000000")
    assert counter.spent(before, counter.read()) == pytest.approx(4294.967295 - 4290 + 1)


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no counter of a package"):
        energy.Rapl(tmp_path)
    zone(tmp_path, "intel-rapl:0", "core", 1.0)
    with pytest.raises(OSError, match="no counter of a package"):
        energy.Rapl(tmp_path)


def test_joules_of_an_answer_are_what_was_counted_divided_by_the_answers(tmp_path: Path) -> None:
    counted = zone(tmp_path, "intel-rapl:0", "package-0", 0.0)
    answers = 0

    def answer() -> None:
        nonlocal answers
        answers += 1
        time.sleep(0.001)
        counted.write_text(f"{answers * 250_000}")  # a quarter of a joule each

    reading = energy.measured(energy.Rapl(tmp_path), answer, seconds=0.02)
    assert reading.joules == pytest.approx(0.25) and reading.method == "measured-rapl"
    assert reading.uncertainty == pytest.approx(0.0, abs=1e-9) and answers >= energy.CHUNKS


def test_a_board_is_modelled_and_a_design_power_is_an_estimate() -> None:
    seconds = [0.001] * 60 + [0.002] * 40
    board = energy.of_board(0.07, seconds)
    assert board.method == "modelled-board" and board.joules == pytest.approx(0.07e-3)
    assert board.uncertainty == pytest.approx(0.07e-3) and "the power's is not known" in board.reason
    tdp = energy.of_tdp(15, 0.002)
    assert tdp.method == "estimated-tdp" and tdp.joules == pytest.approx(0.03) and tdp.uncertainty == tdp.joules
    assert "upper estimate" in tdp.scope
    assert energy.by_meter(0.003).method == "measured-external"
    nothing = energy.unavailable("no counter")
    assert nothing.joules is None and nothing.method == "unavailable" and nothing.uncertainty is None


def test_a_card_that_cannot_be_read_is_an_error_that_says_why() -> None:
    if shutil.which("nvidia-smi") and importlib.util.find_spec("pynvml"):
        found = energy.Nvml()
        before = found.read()
        time.sleep(0.2)
        assert found.spent(before, found.read()) >= 0
        return
    with pytest.raises(OSError, match=r"nvidia-ml-py is not installed|NVML"):
        energy.Nvml()
