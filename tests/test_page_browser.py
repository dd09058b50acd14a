"""The page of an artifact in a real browser that has no network: answers, alerts, and nothing that leaves it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import page_visits
import pytest
import small_artifacts
from page_visits import Visit, serving
from PIL import Image

from limbeck.page.server import page
from limbeck_runtime import load


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with page_visits.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_visits.picture(tmp_path_factory.mktemp("picture"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_visits.table(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def glucose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_visits.glucose(tmp_path_factory.mktemp("glucose"))


class TestBrowser:
    def test_a_picture_gets_the_answer_that_python_gives(self, browser: Any, picture: Path, tmp_path: Path) -> None:
        pixels = np.random.default_rng(5).integers(0, 256, (12, 12)).astype("uint8")
        pixels[0, 0] = 255
        Image.fromarray(pixels).save(tmp_path / "picture.png")
        predictor = load(picture)
        high = predictor.manifest.input.high
        assert high == 255 and predictor.manifest.input.low == 0
        (known,) = predictor(pixels[None])
        with serving(page(picture)) as server:
            visit = Visit(browser, server, viewport={"width": 380, "height": 800})
            assert "This browser gives the same answers to the golden rows: max difference" in visit.text()
            visit.dropped(tmp_path / "picture.png")
            visit.page.wait_for_selector("#answer .big")
            assert visit.text("#answer .big") == known["class"]
            shown = [
                100 * float(each)
                for each in visit.page.eval_on_selector_all("#answer meter", "all => all.map(m => m.value)")
            ]
            assert shown == pytest.approx([100 * each for each in known["likeliest"].values()], abs=1e-3)
            assert visit.page.eval_on_selector_all("#answer meter", "all => all.map(m => m.ariaLabel)") == [
                *known["likeliest"]
            ]
            assert "12 x 12 pixels, uint8 from 0 to 255" in visit.text()
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= 380
            visit.close()

    @pytest.mark.slow
    def test_a_drawing_becomes_light_ink_in_the_middle(self, browser: Any, picture: Path) -> None:
        with serving(page(picture)) as server:
            visit = Visit(browser, server)
            box = visit.page.locator("canvas.pad").bounding_box()
            mouse = visit.page.mouse
            mouse.move(box["x"] + 20, box["y"] + 20)
            mouse.down()
            mouse.move(box["x"] + 20, box["y"] + 120, steps=5)
            mouse.up()
            visit.page.wait_for_selector("#answer .big")
            assert "light ink on dark ground" in visit.text()
            seen = visit.page.evaluate(
                "Array.from(document.querySelector('canvas.seen').getContext('2d').getImageData(0, 0, 12, 12).data)"
            )
            ink = np.array(seen).reshape(12, 12, 4)[:, :, 0] / 255
            weight = ink / ink.sum()
            # A stroke at the left edge of the pad: its mass lies in the middle, its length is 20/28 of the frame.
            assert abs((weight.sum(1) * (np.arange(12) + 0.5)).sum() - 6) < 0.75
            assert abs((weight.sum(0) * (np.arange(12) + 0.5)).sum() - 6) < 0.75
            assert 8 <= (ink.max(1) > 0.1).sum() <= 10 and (ink.max(0) > 0.1).sum() <= 4
            visit.close()

    @pytest.mark.slow
    def test_once_loaded_the_page_can_ask_no_server_not_even_its_own(self, browser: Any, picture: Path) -> None:
        with serving(page(picture)) as server:
            visit = Visit(browser, server)
            asked = "name => fetch(name).then(() => 'answered', () => 'refused')"
            assert visit.page.evaluate(asked, "artifact.limbeck") == "refused"
            assert visit.page.evaluate(asked, "https://example.org/") == "refused"
            loads = "name => new Promise(done => { const i = new Image(); i.onload = () => done('answered');"
            assert (
                visit.page.evaluate(f"{loads} i.onerror = () => done('refused'); i.src = name; }})", "style.css?x")
                == "refused"
            )
            assert visit.reached == [] and any("Content Security Policy" in each for each in visit.troubles)
            visit.page.close()

    @pytest.mark.slow
    def test_a_table_gets_the_numbers_that_python_gives(self, browser: Any, table: Path, tmp_path: Path) -> None:
        rows = np.random.default_rng(1).standard_normal((5, 3)).astype("float32")
        lines = ["c;a;b", *(f"{float(c)!r};{float(a)!r};{float(b)!r}" for a, b, c in rows)]
        (tmp_path / "rows.csv").write_text("\n".join(lines))
        known = load(table)(rows)
        with serving(page(table)) as server:
            visit = Visit(browser, server)
            visit.dropped(tmp_path / "rows.csv")
            visit.page.wait_for_selector("#answer table")
            cells = visit.page.eval_on_selector_all(
                "#answer tr", "all => all.map(r => [...r.cells].map(c => c.innerText))"
            )
            assert cells[0] == ["row", "10", "2", "z"]
            shown = np.array([[float(each) for each in line[1:]] for line in cells[1:]])
            assert shown == pytest.approx(np.array([[*each.values()] for each in known]), rel=1e-3)
            (tmp_path / "hole.csv").write_text("a,b,c\n1,,3\n")
            errors: list[str] = []
            visit.page.on("pageerror", lambda error: errors.append(str(error)))
            visit.page.get_by_label("a", exact=True).fill("")
            visit.page.get_by_role("button", name="Ask").click()
            visit.page.wait_for_selector("#answer .error")
            assert "no number for a; a missing one is no 0" in visit.text("#answer")
            visit.close()

    def test_a_stream_alarms_where_its_thresholds_say(self, browser: Any, glucose: Path, tmp_path: Path) -> None:
        level = [120.0] * 8 + [69.0, 68.0, 65.0, 66.0, 90.0, 91.0] + [120.0] * 4
        lines = [
            f"2026-01-01 {minute // 60:02d}:{minute % 60:02d}:00,{value}"
            for minute, value in zip(range(0, 90, 5), level, strict=True)
        ]
        del lines[16]  # a hole of one step, which is bridged
        (tmp_path / "gl.csv").write_text("\n".join(["time,gl", *lines]))
        with serving(page(glucose)) as server:
            visit = Visit(browser, server, color_scheme="dark", viewport={"width": 380, "height": 800})
            visit.dropped(tmp_path / "gl.csv")
            visit.page.wait_for_selector(".state[data-done]")
            events = visit.page.eval_on_selector_all(
                "#input tr", "all => all.map(r => [...r.cells].map(c => c.innerText))"
            )
            assert [(when, kind) for when, kind, _ in events] == [
                ("2026-01-01 00:25:00", "data"),
                ("2026-01-01 00:45:00", "alert"),
                ("2026-01-01 01:00:00", "over"),
            ]
            (known,) = load(glucose)(np.float32(level[-6:])[None, None])
            said = visit.text("#answer")
            assert "below 70" in said and f"{100 * known['probability']:.1f}"[:3] in said
            assert visit.page.locator("svg .alarm").count() == 1 and visit.page.locator("svg .forecast").count() == 1
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= 380
            visit.close()

    @pytest.mark.slow
    def test_an_artifact_that_was_changed_on_the_way_is_not_opened(
        self, browser: Any, picture: Path, tmp_path: Path
    ) -> None:
        content = bytearray(picture.read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / "damaged.limbeck").write_bytes(content)
        other = tmp_path / "other.limbeck"
        shutil.copy(picture, other)

        def swapped(said: dict[str, Any], files: dict[str, bytes]) -> None:
            files["golden/outputs.bin"] = np.float32(np.ones((4, 10))).tobytes()

        small_artifacts.rewrite(other, swapped)
        for path, words in ((tmp_path / "damaged.limbeck", "damaged"), (other, "read otherwise")):
            server = page(picture)
            server.files = {**server.files, "artifact.limbeck": path}
            with serving(server):
                visit = Visit(browser, server)
                assert visit.page.get_attribute("body", "data-ready") == "failed" and words in visit.text("#input")
                visit.close()

    def test_without_the_browsers_runtime_the_page_says_how_to_get_it(
        self, browser: Any, picture: Path, tmp_path: Path
    ) -> None:
        with serving(page(picture, runtime=tmp_path)) as server:
            visit = Visit(browser, server)
            assert "make page" in visit.text("#input") and "takes uint8 rows of 1 x 12 x 12" in visit.text("header")
            assert all("404" in each for each in visit.troubles)
            visit.page.close()

    def test_light_and_dark_are_two(self, browser: Any, table: Path, tmp_path: Path) -> None:
        found = {}
        with serving(page(table, runtime=tmp_path)) as server:
            for scheme in ("light", "dark"):
                visit = Visit(browser, server, color_scheme=scheme)
                found[scheme] = visit.page.evaluate(
                    "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
                )
                visit.page.close()
        assert found["light"][0] != found["dark"][0] and found["light"][1] != found["dark"][1]
