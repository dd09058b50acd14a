"""The report as a person meets it: real run folders in, a real browser at the page."""

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from invented_runs import CLASSES, HOSTILE, LATENCY, a_record, a_run

from limbeck.errors import RunError, StorageError
from limbeck.records import Finding, Scores, read_record, write_record
from limbeck.reporting.headline import headline
from limbeck.reporting.history import read_history
from limbeck.reporting.html import report
from limbeck.reporting.units import cost, duration, metric, times
from limbeck.reporting.verdict import sign_test


def plain_text(page: Path) -> str:
    """What the page says, without tags, in one line."""
    body = re.sub(r"<style>.*?</style>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


class TestHeadline:
    def test_means_spreads_and_paired_difference(self) -> None:
        row = headline(a_record()).selection
        assert row is not None and row.teacher and row.student and row.control and row.difference
        assert row.student.value == "90.25 %" and row.student.spread == "± 0.17"
        assert row.control.value == "89.07 %" and row.control.spread == "± 0.14"
        # Differences 1.27, 1.22, 1.03: their own spread, not that of two independent means.
        assert row.difference.value == "+1.17 points" and row.difference.spread == "± 0.13"
        assert row.teacher.value == "93.12 %" and row.teacher.spread == ""

    def test_ratios_to_the_teacher(self) -> None:
        assert headline(a_record()).ratios == (
            "Next to its teacher the student has 181 times fewer parameters, is 179 times smaller, needs 1,099 times "
            "fewer multiply-accumulates and answers 15 times faster."
        )

    def test_a_slower_student_is_called_slower(self) -> None:
        record = a_record()
        assert record.teacher is not None
        teacher = dataclasses.replace(record.teacher, cost={"latency_ms": 0.206})
        assert "answers 2.0 times slower" in headline(dataclasses.replace(record, teacher=teacher)).ratios

    def test_says_how_latency_was_measured_and_what_a_row_is_worth(self) -> None:
        notes = " ".join(headline(a_record()).notes)
        assert LATENCY in notes and "One test row is worth 0.01 points" in notes

    def test_one_seed_has_no_spread(self) -> None:
        found = headline(a_record(students=(0.9,), controls=(0.89,)))
        assert found.selection and found.selection.student and found.selection.student.spread == "one seed"
        assert found.verdict.kind == "single" and "no spread is known" in found.verdict.text

    @pytest.mark.parametrize(
        ("students", "controls", "kind", "said"),
        [
            (
                (0.92, 0.93),
                (0.90, 0.91),
                "better",
                "Even the worst of 2 students (92.00 %) beats the best student alone",
            ),
            ((0.90, 0.91), (0.92, 0.93), "worse", "Even the best of 2 students (91.00 %) is worse than the worst"),
            ((0.90, 0.93), (0.91, 0.92), "unclear", "no different on average"),
            ((0.92, 0.93), (0.92, 0.91), "unclear", "wins in 1 and loses in 0 of 2 pairs"),
            ((0.90, 0.90), (0.91, 0.89), "unclear", "wins in 1 and loses in 1 of 2 pairs"),
        ],
    )
    def test_verdict_claims_what_the_seeds_show(
        self, students: tuple[float, ...], controls: tuple[float, ...], kind: str, said: str
    ) -> None:
        found = headline(a_record(students=students, controls=controls)).verdict
        assert found.kind == kind and said in found.text

    def test_where_less_is_better_the_words_turn_round(self) -> None:
        record = dataclasses.replace(a_record(), selection="nll")
        found = headline(record).verdict
        assert found.kind == "better" and found.title.startswith("Better with the teacher: −0.0129 nats")

    def test_an_unknown_metric_is_not_judged(self) -> None:
        def renamed(old: Scores) -> Scores:
            return dataclasses.replace(old, metrics={"sharpness": old.metrics["accuracy"]})

        record = a_record()
        results = tuple(
            dataclasses.replace(r, student=renamed(r.student), control=renamed(r.control) if r.control else None)
            for r in record.results
        )
        record = dataclasses.replace(
            record, selection="sharpness", headline=("sharpness",), results=results, teacher=None
        )
        assert headline(record).verdict.kind == "unknown"

    def test_without_a_control_nothing_is_claimed(self) -> None:
        assert headline(a_record(controls=None)).verdict.kind == "uncontrolled"
        assert headline(a_record(controls=None, teacher=None)).verdict.kind == "alone"
        assert headline(a_record(students=(), controls=())).verdict.kind == "unfinished"

    def test_few_seeds_are_called_a_hint(self) -> None:
        assert "once in 8 times" in headline(a_record()).verdict.text
        five = headline(a_record(students=(0.9, 0.91, 0.92, 0.93, 0.94), controls=(0.8, 0.81, 0.82, 0.83, 0.84)))
        assert "hint" not in five.verdict.text

    def test_a_student_of_the_teachers_size_is_not_called_smaller(self) -> None:
        record = a_record()
        assert headline(dataclasses.replace(record, teacher=record.results[1].student)).ratios == ""

    def test_sign_test(self) -> None:
        assert sign_test(5, 0) == 1 / 32 and sign_test(0, 3) == 1.0 and sign_test(2, 1) == 0.5


class TestUnits:
    def test_numbers_for_people(self) -> None:
        assert metric("accuracy").write(0.97213) == "97.21 %" and metric("nll").write(0.12345) == "0.1235 nats"
        assert metric("top5").difference(-0.0123) == "−1.23 points" and metric("odd").better is None
        assert cost("parameters").write(61_706) == "61,706" and cost("parameters").write(11_173_962) == "11.2 M"
        assert cost("bytes").write(249_608) == "250 kB" and cost("latency_ms").write(0.04219) == "0.0422 ms"
        assert metric("accuracy").write(math.nan) == "not a number"
        assert [duration(s) for s in (4.21, 200, 3900, None)] == ["4.2 s", "3 min 20 s", "1 h 05 min", "—"]
        assert times(3.44) == "3.4" and times(1098.9) == "1,099"


class TestHistory:
    def test_reads_each_seed_skips_half_a_line_and_keeps_the_last_word(self, tmp_path: Path) -> None:
        for seed, level in ((0, 0.5), (1, 0.7)):
            place = tmp_path / f"seed-{seed}"
            place.mkdir()
            lines = [
                {"event": "valid", "who": "student", "seed": seed, "step": 10, "metrics": {"accuracy": 0.1}},
                {"event": "valid", "who": "student", "seed": seed, "step": 10, "metrics": {"accuracy": level}},
            ]
            (place / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"event": "tra')
        found = read_history(tmp_path, "accuracy", None)
        band = found.validation["student"]
        assert found.damaged_lines == 2 and found.x_label == "step" and band.seeds == 2
        assert (band.low, band.high) == ((0.5,), (0.7,)) and band.mean == pytest.approx((0.6,))

    def test_thins_long_runs(self, tmp_path: Path) -> None:
        lines = ({"event": "train", "who": "student", "seed": 0, "step": k, "loss": 1.0} for k in range(20_000))
        (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        found = read_history(tmp_path, "accuracy", None)
        assert found.loss is not None and len(found.loss.x) == 160 and found.loss.parts == {}


class TestFile:
    def test_is_small_whole_and_the_same_each_time(self, tmp_path: Path) -> None:
        run = a_run(tmp_path / "run", a_record())
        first = report(run, to=tmp_path / "a.html").read_bytes()
        assert first == report(run, to=tmp_path / "b.html").read_bytes()
        assert len(first) < 1_500_000
        assert not re.search(rb"<script|<link[^>]+href=\"http|src=\"http|@import|url\(http", first)
        assert not list(tmp_path.glob("*.partial"))
        identities = re.findall(rb'\bid="([^"]+)"', first)
        assert len(identities) == len(set(identities))

    def test_every_word_of_a_person_is_escaped(self, tmp_path: Path) -> None:
        classes = (HOSTILE, "$\\frac", *CLASSES[2:])
        record = a_record(name=HOSTILE, classes=classes, objective=HOSTILE)
        finding = Finding("error", HOSTILE, HOSTILE, HOSTILE)
        record = dataclasses.replace(record, findings=(finding,), environment={HOSTILE: HOSTILE}, data={"x": HOSTILE})
        run = a_run(tmp_path / "run", record)
        (run / "recipe.yaml").write_text(f"name: {HOSTILE}\n")
        text = report(run, to=tmp_path / "report.html").read_text()
        assert "<script" not in text and HOSTILE in unescape(text)

    def test_a_hundred_classes_become_a_picture_and_a_list(self, tmp_path: Path) -> None:
        record = a_record(students=(0.7,), controls=(0.68,), classes=tuple(f"class {k}" for k in range(100)))
        page = report(a_run(tmp_path / "run", record), to=tmp_path)
        assert page == tmp_path / "report.html" and page.stat().st_size < 1_500_000
        assert "Of this truth" in plain_text(page) and 'class="matrix' not in page.read_text()

    def test_plain_training_reads_well(self, tmp_path: Path) -> None:
        record = a_record(students=(0.89, 0.9), controls=None, teacher=None, objective="labels")
        text = plain_text(report(a_run(tmp_path / "run", record), to=tmp_path / "report.html"))
        assert "Trained without a teacher: accuracy 89.50 % ± 0.71" in text
        assert "Student alone" not in text and "Difference" not in text and "None" not in text

    def test_a_run_that_is_not_finished_shows_its_curves(self, tmp_path: Path) -> None:
        run = a_run(tmp_path / "run", a_record())
        write_record(dataclasses.replace(read_record(run), results=(), chosen_seed=None, status="interrupted"), run)
        page = report(run, to=tmp_path / "report.html")
        assert "No test scores yet" in plain_text(page) and "Learning curves" in plain_text(page)

    def test_bare_folder_with_only_run_json(self, tmp_path: Path) -> None:
        write_record(dataclasses.replace(a_record(), findings=(), panels=(), seconds={}), tmp_path)
        assert "source: fashion-mnist" in plain_text(report(tmp_path, to=tmp_path / "report.html"))

    def test_comparison_warns_where_runs_cannot_be_ranked(self, tmp_path: Path) -> None:
        first = a_run(tmp_path / "a", a_record("first"))
        other = dataclasses.replace(a_record("other", students=(0.9,), controls=(0.91,)), data={"fingerprint": "else"})
        text = plain_text(report(first, a_run(tmp_path / "b", other), to=tmp_path / "report.html"))
        assert text.index("2 runs compared") < text.index("Better with the teacher")
        assert "cannot be ranked" in text and "different numbers of seeds" in text

    def test_names_an_ensemble_and_how_to_repeat(self, tmp_path: Path) -> None:
        record = a_record(students=(0.88, 0.885), controls=(0.89, 0.9))
        teachers = [{"model": "runs/a", "weight": 0.5}, {"model": "runs/b", "weight": 1.0}]
        record = dataclasses.replace(record, recipe={**record.recipe, "teacher": teachers})
        run = a_run(tmp_path / "run", record)
        text = plain_text(report(run, to=tmp_path / "report.html"))
        assert "0.5 × runs/a, runs/b" in text and f"--to {run}-again" in text
        assert "loses 2 of 2 pairs" in text and "at least 2 losses with probability 0.25" in text

    def test_errors_say_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="no run was given"):
            report(to=tmp_path / "report.html")
        with pytest.raises(RunError, match="not a run folder"):
            report(tmp_path / "nothing", to=tmp_path / "report.html")
        run = a_run(tmp_path / "run", a_record(students=(0.9,), controls=(0.89,)))
        (tmp_path / "file").write_text("")
        with pytest.raises(StorageError, match="cannot be written"):
            report(run, to=tmp_path / "file" / "report.html")


CHROMIUM = "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the page is not looked at in a browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as session:
        opened = session.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison whose names are hostile and long, so that layout and escaping are both tried."""
    folder = tmp_path_factory.mktemp("report")
    runs = [
        a_run(folder / "kd", a_record("fashion-mnist-kd")),
        a_run(
            folder / "one", a_record(HOSTILE, students=(0.9,), controls=(0.89,), classes=(HOSTILE * 3, *CLASSES[1:]))
        ),
        a_run(folder / "plain", a_record("labels-only" * 8, controls=None, teacher=None, objective="labels")),
        a_run(
            folder / "many",
            a_record("many", students=(0.7,), controls=(0.7,), classes=tuple(f"class {k}" for k in range(100))),
        ),
    ]
    return report(*runs, to=folder / "report.html")


class TestBrowser:
    @pytest.mark.parametrize("width", [380, 1280])
    def test_no_request_no_error_no_sideways_scroll(self, browser: Any, written: Path, width: int) -> None:
        page = browser.new_page(viewport={"width": width, "height": 800})
        requests, troubles = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.goto(written.as_uri())
        assert [url for url in requests if not url.startswith("data:")] == [written.as_uri()]
        assert troubles == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        text = " ".join(page.inner_text("body").split())
        for words in (
            "90.25 % ± 0.17",
            "+1.17 points ± 0.13",
            "93.12 %",
            "181 times fewer",
            "one seed",
            HOSTILE,
            LATENCY,
        ):
            assert words in text
        page.close()

    def test_follows_light_and_dark(self, browser: Any, written: Path) -> None:
        found = {}
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            page.goto(written.as_uri())
            line = "svg.chart path[style*='--student']"
            found[scheme] = page.evaluate(
                "line => [getComputedStyle(document.body).backgroundColor,"
                " getComputedStyle(document.querySelector(line)).stroke]",
                line,
            )
            page.close()
        assert found["light"][0] != found["dark"][0] and found["light"][1] != found["dark"][1]
        assert found["light"][1].startswith("rgb")

    def test_charts_and_tables_can_be_read_aloud(self, browser: Any, written: Path) -> None:
        page = browser.new_page()
        page.goto(written.as_uri())
        assert page.evaluate("document.querySelectorAll('svg:not([role=img][aria-label])').length") == 0
        assert page.evaluate("document.querySelectorAll('img:not([alt])').length") == 0
        assert page.evaluate("document.querySelectorAll('table:not(:has(th)), table:not(:has(caption))').length") == 0
        assert page.get_by_role("img", name="Validation accuracy by epoch").count() == 4
        assert page.evaluate("document.documentElement.lang") == "en"
        page.close()
