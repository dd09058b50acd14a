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

import numpy as np
import pytest
from rich.console import Console

from limbeck.errors import RunError, StorageError
from limbeck.records import Finding, Panel, RunRecord, Scores, SeedResult, read_record, write_record
from limbeck.reporting.headline import headline
from limbeck.reporting.history import read_history
from limbeck.reporting.html import report
from limbeck.reporting.table import headline_table
from limbeck.reporting.units import cost, duration, metric, times
from limbeck.reporting.verdict import sign_test

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
HOSTILE = "<script>alert('x')</script>"
LATENCY = "median of 300 calls, batch 1, one thread, eager torch, models in turns"
OBJECTIVE = "0.9 * kd(temperature=4) + 0.1 * labels"
STUDENTS, CONTROLS = (0.9021, 0.9043, 0.9010), (0.8894, 0.8921, 0.8907)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def panels(classes: tuple[str, ...], seed: int, skill: float) -> tuple[Panel, ...]:
    """Per-class table, confusion matrix and reliability curve of an invented classifier."""
    generator = np.random.default_rng(seed)
    count = len(classes)
    confused = np.round(generator.dirichlet(np.full(count, 0.25), size=count) * 100 * (1 - skill)).astype(int)
    confused[np.arange(count), np.arange(count)] = np.round(100 * (skill + generator.normal(0, 0.03, count))).astype(
        int
    )
    recall = confused.diagonal() / confused.sum(axis=1)
    precision = confused.diagonal() / np.maximum(confused.sum(axis=0), 1)
    rows = [
        [name, float(p), float(r), float(2 * p * r / (p + r)), int(n)]
        for name, p, r, n in zip(classes, precision, recall, confused.sum(axis=1), strict=True)
    ]
    bins = (np.arange(15) + 0.5) / 15
    counts = np.round(600 * bins**3).astype(int)
    truth = np.clip(bins - (1 - skill) * np.sin(np.pi * bins) + generator.normal(0, 0.015, 15), 0, 1)
    columns = ["Class", "Precision", "Recall", "F1", "Rows"]
    return (
        Panel("per_class", "By class", "table", {"columns": columns, "rows": rows}),
        Panel("confusion", "Confusion matrix", "matrix", {"labels": list(classes), "values": confused.tolist()}),
        Panel(
            "reliability",
            "Reliability",
            "curve",
            {
                "x": bins.tolist(), "y": truth.tolist(), "counts": counts.tolist(), "diagonal": True,
                "x_label": "confidence", "y_label": "share that was right",
            },
        ),
    )  # fmt: skip


def teacher_saw(classes: tuple[str, ...]) -> Panel:
    """A few drawn pictures with a teacher's answers at T=1 and T=4."""
    generator = np.random.default_rng(4)
    rows = []
    for place in range(6):
        label = place % len(classes)
        height, width = np.mgrid[0:28, 0:28] / 27
        shape = np.abs(height - 0.5) + np.abs(width - 0.5) * (0.6 + 0.3 * place) < 0.45
        image = shape * (0.55 + 0.4 * np.sin(9 * height + place))
        logits = generator.normal(0, 2.2, len(classes))
        logits[label] = logits.max() + (0.4 if place % 2 else 6.0)
        cold, warm = softmax(logits), softmax(logits / 4)
        rows.append(
            {"image": image.tolist(), "label": classes[label], "cold": cold.tolist(), "warm": warm.tolist()},
        )
    data = {"classes": list(classes), "temperature": 4.0, "rows": rows}
    return Panel("teacher_saw", "What the teacher saw", "examples", data)


def scores(accuracy: float, *, big: bool = False, shown: tuple[Panel, ...] = (), like: bool = True) -> Scores:
    metrics = {"accuracy": accuracy, "nll": 1.1 * (1 - accuracy) + 0.17, "ece": 0.4 * (1 - accuracy)}
    if like and not big:
        metrics |= {"agreement": accuracy + 0.02, "kl": 0.4 * (1 - accuracy)}
    costs = (
        {"parameters": 11_173_962, "bytes": 44_778_296, "macs": 457_725_440, "latency_ms": 6.18, "latency_p95_ms": 7.4}
        if big
        else {
            "parameters": 61_706,
            "bytes": 249_608,
            "macs": 416_520,
            "latency_ms": 0.5 - accuracy / 10,
            "latency_p95_ms": 0.533,
        }
    )
    return Scores(10_000, metrics, costs, shown)


def a_record(
    name: str = "fashion-mnist-kd",
    *,
    students: tuple[float, ...] = STUDENTS,
    controls: tuple[float, ...] | None = CONTROLS,
    teacher: float | None = 0.9312,
    classes: tuple[str, ...] = CLASSES,
    objective: str = OBJECTIVE,
) -> RunRecord:
    results = tuple(
        SeedResult(
            seed=seed,
            student=scores(student, shown=panels(classes, seed, student), like=teacher is not None),
            control=None
            if controls is None
            else scores(controls[seed], shown=panels(classes, 50 + seed, controls[seed])),
            steps=8580,
            selected_step=7722 - 429 * seed,
            validation=student + 0.004,
            seconds=241.7 + seed,
            control_seconds=None if controls is None else 233.2 + seed,
            control_validation=None if controls is None else controls[seed] + 0.003,
        )
        for seed, student in enumerate(students)
    )
    return RunRecord(
        name=name,
        status="finished",
        task="classification",
        selection="accuracy",
        headline=("accuracy", "nll", "ece"),
        classes=classes,
        recipe={
            "data": {"source": "fashion-mnist", "valid": 5000},
            "teacher": None if teacher is None else "runs/resnet18",
            "student": "cnn(size=16)",
            "objective": objective,
            "budget": "20 epochs",
        },
        environment={"limbeck": "0.1.0", "python": "3.11.2", "torch": "2.10.0", "threads": 2, "latency": LATENCY},
        data={
            "name": "fashion-mnist",
            "rows": {"train": 55_000, "valid": 5_000, "test": 10_000},
            "class_counts": {str(label): 5500 for label in range(10)},
            "fingerprint": "sha256:8f14e45f",
        },
        teacher=None if teacher is None else scores(teacher, big=True, shown=panels(classes, 9, teacher)),
        results=results,
        chosen_seed=1 if len(results) > 1 else 0,
        findings=(Finding("warning", "temperature", "KL at T=4 is 12 times KL at T=1.", "compare with T=2"),),
        panels=() if teacher is None else (teacher_saw(classes),),
        seconds={"recording": 34.2, "training": 725.1, "scoring": 8.8},
    )


def a_run(folder: Path, record: RunRecord) -> Path:
    """Writes the files that `distill` writes: run.json, recipe.yaml, metrics.jsonl (under seed-N for several seeds)."""
    folder.mkdir(parents=True)
    write_record(record, folder)
    (folder / "recipe.yaml").write_text(f"name: {record.name}\nobjective: {record.recipe['objective']}\nseed: 0\n")
    for result in record.results:
        place = folder if len(record.results) == 1 else folder / f"seed-{result.seed}"
        place.mkdir(exist_ok=True)
        lines = metrics_lines(result, taught=record.teacher is not None)
        (place / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def metrics_lines(result: SeedResult, *, taught: bool) -> Iterator[dict[str, Any]]:
    generator = np.random.default_rng(result.seed)
    ends = {"student": result.student, "control": result.control}
    for who, end in ((who, end) for who, end in ends.items() if end is not None):
        for step in range(60, 8581, 60):
            decay, epoch = math.exp(-step / 1500), step / 429
            common = {"who": who, "seed": result.seed, "step": step, "epoch": epoch}
            loss = 0.35 + 2.1 * decay + abs(generator.normal(0, 0.03))
            kd = 0.75 + 0.2 * decay
            distilled = taught and who == "student"
            terms = {"kd(temperature=4)": loss, "labels": 0.6 * loss} if distilled else {"labels": loss}
            shares = {"kd(temperature=4)": kd, "labels": 1 - kd} if distilled else {"labels": 1.0}
            yield {"event": "train", **common, "loss": loss, "terms": terms, "shares": shares, "lr": 1e-3,
                   "rows_per_second": 18_000 + generator.normal(0, 90)}  # fmt: skip
        for epoch in range(1, 21):
            level = end.metrics["accuracy"] - 0.16 * math.exp(-epoch / 3) + generator.normal(0, 0.0015)
            yield {"event": "valid", "who": who, "seed": result.seed, "step": 429 * epoch, "epoch": float(epoch),
                   "metrics": {"accuracy": level, "nll": 1.2 * (1 - level)}}  # fmt: skip


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
        assert found.kind == "better" and found.title.startswith("The teacher helped: −0.0129 nats")

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

    def test_sign_test(self) -> None:
        assert sign_test(5, 0) == 1 / 32 and sign_test(0, 3) == 1.0 and sign_test(2, 1) == 0.5

    def test_terminal_table_says_the_same(self) -> None:
        console = Console(width=160, record=True, file=None, quiet=False)
        with console.capture() as captured:
            console.print(headline_table(a_record(name="[red]kd[/red]")))
        text = captured.get()
        assert "[red]kd[/red]" in text
        for words in ("90.25 % ± 0.17", "+1.17 points ± 0.13", "The teacher helped", "0.410 ms ± 0.000"):
            assert words in text


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
        text = report(run, run, to=tmp_path / "report.html").read_text()
        assert "<script" not in text and HOSTILE in unescape(text)

    def test_a_hundred_classes_become_a_picture_and_a_list(self, tmp_path: Path) -> None:
        record = a_record(students=(0.7,), controls=(0.68,), classes=tuple(f"class {k}" for k in range(100)))
        page = report(a_run(tmp_path / "run", record), to=tmp_path)
        assert page == tmp_path / "report.html" and page.stat().st_size < 1_500_000
        assert "Of this truth" in plain_text(page) and 'class="matrix"' not in page.read_text()

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
        assert text.index("2 runs compared") < text.index("The teacher helped")
        assert "cannot be ranked" in text and "different numbers of seeds" in text

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
