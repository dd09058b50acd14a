"""The rules of the house that no linter checks: sizes, names, import time, and what the README says exists."""

import ast
import importlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import readme_tree

import limbeck

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for folder in ("src", "runtime", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
LIBRARY = sorted((ROOT / "src").rglob("*.py"))

# The spine, which a person reads top to bottom, may be longer than 60 lines.
LONG_FUNCTIONS = {("distillation.py", "distill")}
# Kinds of file a person reads or a tool is set up by.
TEXTS = {".py", ".md", ".toml", ".lock", ".yaml", ".yml", ".txt", ".j2", ".css", ".cfg", ""}
# Imported only inside the verb that needs them: some are optional extras, all are slow.
HEAVY = {"timm", "torchvision", "transformers", "tensorboard", "wandb", "mlflow", "onnx", "onnxruntime", "playwright"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fresh(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a new interpreter that has imported nothing of ours."""
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)


def library_modules() -> list[str]:
    return [
        module.name for module in pkgutil.walk_packages(limbeck.__path__, "limbeck.") if "__main__" not in module.name
    ]


def test_size_of_files() -> None:
    long = {relative(path): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 400}
    assert not long, f"files over 400 lines: {long}"


def test_size_of_functions() -> None:
    long = {}
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and (path.name, node.name) not in LONG_FUNCTIONS
            ):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 60:
                    long[f"{relative(path)}:{node.lineno} {node.name}"] = lines
    assert not long, f"functions over 60 lines: {long}"


def test_names_say_something() -> None:
    vague = re.compile(r"^(utils?|helpers?|common|misc)$|_v\d+$|^v\d+$")
    found = [
        relative(path)
        for path in SOURCES
        for part in path.relative_to(ROOT).with_suffix("").parts
        if vague.search(part)
    ]
    assert not found


@pytest.mark.parametrize("what", ["file", "folder"])
def test_every_package_says_what_it_is(what: str) -> None:
    if what == "folder":
        bare = [relative(folder) for path in LIBRARY if not ((folder := path.parent) / "__init__.py").is_file()]
        assert bare == ["src"] * bare.count("src"), f"folders without an __init__.py: {sorted(set(bare))}"
    else:
        silent = [relative(path) for path in LIBRARY if ast.get_docstring(ast.parse(path.read_text())) is None]
        assert not silent, f"modules without a docstring: {silent}"


def test_import_takes_less_than_half_a_second_and_loads_no_torch() -> None:
    code = (
        "import time, sys; start = time.perf_counter(); import limbeck; took = time.perf_counter() - start;"
        "print(took, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    runs = [fresh(code).stdout.split() for _ in range(3)]
    assert min(float(seconds) for seconds, _, _ in runs) < 0.5
    assert [loaded for _, *loaded in runs] == [["False", "False"]] * 3


def test_every_module_imports_without_side_effects_and_hides_no_verb() -> None:
    code = f"""
import importlib, json, os, sys, types, warnings
import numpy, torch
warnings.simplefilter("ignore")  # other people's; ours are errors in the rest of the tests
torch.manual_seed(5); numpy.random.seed(5)
def state():
    return {{
        "torch": torch.get_rng_state().tolist(), "numpy": numpy.random.get_state()[1].tolist(),
        "threads": torch.get_num_threads(), "dtype": str(torch.get_default_dtype()), "grad": torch.is_grad_enabled(),
        "matmul": torch.get_float32_matmul_precision(), "deterministic": torch.are_deterministic_algorithms_enabled(),
        "environment": dict(os.environ),
    }}
before = state()
for name in {library_modules()!r}:
    importlib.import_module(name)
import limbeck
after = state()
print(json.dumps({{
    "moved": [key for key in before if before[key] != after[key]],
    "modules": [name for name in limbeck.__all__ if isinstance(getattr(limbeck, name), types.ModuleType)],
    "heavy": sorted({HEAVY!r} & set(sys.modules)),
}}))
"""
    said = json.loads(fresh(code).stdout)
    assert said["moved"] == [], "importing Limbeck moved a global state"
    assert said["modules"] == [], "a module bears the name of a verb"


def test_public_names_exist_and_unknown_ones_are_errors() -> None:
    for name in limbeck.__all__:
        assert not isinstance(getattr(limbeck, name), types.ModuleType)
        assert name in dir(limbeck)
    assert callable(limbeck.distill)
    with pytest.raises(AttributeError, match="no attribute 'destill'"):
        limbeck.destill  # noqa: B018 - the look-up is what is tested


def module_level_imports(tree: ast.AST) -> Iterator[str]:
    """Names of what is imported when the module is, functions and `if TYPE_CHECKING:` left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        else:
            yield from module_level_imports(node)


def test_heavy_packages_are_imported_inside_the_verb() -> None:
    found = {
        relative(path): name
        for path in LIBRARY
        for name in module_level_imports(ast.parse(path.read_text()))
        if name.split(".")[0] in HEAVY
    }
    assert not found


def test_onnx_runtime_is_kept_from_reporting_wherever_it_is_imported() -> None:
    """Whoever imports it or a part of it imports `limbeck_runtime.onnx_runtime` before, there or in the package."""
    imports = re.compile(r"^\s*(?:import|from) onnxruntime\b", re.MULTILINE)
    quiet = "limbeck_runtime.onnx_runtime import"
    files = [path for path in SOURCES if path.is_relative_to(ROOT / "src") or path.is_relative_to(ROOT / "runtime")]
    loud = [path for path in files if path.name != "onnx_runtime.py" and imports.search(path.read_text())]
    assert not [path for path in loud if quiet not in path.read_text() + (path.parent / "__init__.py").read_text()]


def test_methods_of_the_catalog_are_the_files_in_objectives() -> None:
    catalog = importlib.import_module("limbeck.catalog.objectives")
    files = {path.stem for path in (ROOT / "src/limbeck/objectives").glob("*.py")} - {"__init__"}
    assert {card.name for card in catalog.methods()} == files
    references = {path.stem for path in (ROOT / "tests/reference").glob("*.py")} - {"__init__"}
    assert files <= references, f"methods without a reference: {files - references}"


def test_versions_agree() -> None:
    limbeck_runtime = importlib.import_module("limbeck_runtime")
    for module, folder in ((limbeck, ROOT), (limbeck_runtime, ROOT / "runtime")):
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        assert project["version"] == module.__version__


def tracked_texts() -> Iterator[tuple[Path, str]]:
    """What a clone holds, as text: tracked files and new ones that git does not ignore."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix in TEXTS:
            yield path, path.read_text(encoding="utf-8")


def test_lock_and_settings_name_no_address_of_a_registry() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()
    registry = re.compile(
        r"index-url\s*=|extra-index-url|find-links|\[\[tool\.uv\.index\]\]|pypi\.(org|python)|pythonhosted"
    )
    named = [relative(path) for path, text in tracked_texts() if path != Path(__file__) and registry.search(text)]
    assert not named


def test_readme_tree_is_the_tree() -> None:
    """Names and what is said about them; `make fix` writes the tree anew."""
    block = readme_tree.BLOCK.search((ROOT / "README.md").read_text())
    assert block, "the README prints no tree that starts with src/limbeck/"
    assert block[0] == readme_tree.tree()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/log.md"])
def test_links_inside_the_repository_lead_somewhere(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text())
    assert not [target for target in targets if not (path.parent / target).exists()]


@pytest.mark.slow
@pytest.mark.parametrize(("planted", "passes"), [("", True), ("self.temperature**2 * ", False)])
def test_the_method_that_contributing_adds_works(tmp_path: Path, planted: str, passes: bool) -> None:
    """Adds it to a copy of the repository, as the page says; once without T², which its reference must notice."""
    for name in ("src", "tests", "pyproject.toml"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    headings = r"### \d\. .*?`((?:src|tests)/\S+/jeffreys\.py)`\n.*?```python\n(.*?)```"
    blocks = dict(re.findall(headings, (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL))
    assert list(blocks) == ["src/limbeck/objectives/jeffreys.py", "tests/reference/jeffreys.py"]
    for name, text in blocks.items():
        (tmp_path / name).write_text(text.replace(planted, "") if planted else text)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/test_objectives.py", "-k", "jeffreys"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode == 0) == passes, ran.stdout
    assert "passed" in ran.stdout or "failed" in ran.stdout
    strict = [sys.executable, "-m", "ruff", "check", *blocks]
    linted = subprocess.run(strict, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout
