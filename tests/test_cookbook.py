"""Every block of every page of the cookbook runs, in order, in an empty folder."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[1] / "docs" / "cookbook"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(command: list[str], folder: Path) -> None:
    """Runs a command and shows what it wrote where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, f"{shlex.join(command)[:500]}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.glob("*.md") if path.name != "README.md"))
def test_page(page, tmp_path):
    blocks = BLOCK.findall((PAGES / page).read_text(encoding="utf-8"))
    assert blocks
    told = ""
    for language, text in blocks:
        if language == "python":
            # Later blocks go on from earlier ones, as a reader does.
            told += text
        elif language == "yaml":
            name = re.match(r"# file: (\S+)\n", text)
            assert name, "a YAML block says the name of its file in its first line"
            (tmp_path / name[1]).write_text(text, encoding="utf-8")
        else:
            assert language == "sh"
            told = _python(told, tmp_path)
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "limbeck"
                run([sys.executable, "-m", "limbeck", *arguments], tmp_path)
    _python(told, tmp_path)


def _python(text: str, folder: Path) -> str:
    """Runs what was told so far as one script; afterwards nothing is left to tell."""
    if text:
        (folder / "page.py").write_text(text, encoding="utf-8")
        run([sys.executable, "page.py"], folder)
    return ""
