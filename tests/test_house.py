"""The rules of the house that no linter checks: sizes, names, import time, and what the README says exists."""

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def printed_tree() -> dict[str, str]:
    """The README's tree as {path below src/limbeck: what it says}."""
    readme = (ROOT / "README.md").read_text()
    block = re.search(r"```text\nsrc/limbeck/\n(.*?)```", readme, re.DOTALL)
    assert block, "the README prints no tree that starts with src/limbeck/"
    tree: dict[str, str] = {}
    folder = ""
    for line in block[1].splitlines():
        match = re.fullmatch(r"( +)(\S+)\s+(\S.*)", line)
        assert match, f"not a line of the tree: {line!r}"
        indent, name, words = len(match[1]), match[2], match[3]
        if indent == 4 and name.endswith("/"):
            folder = name
        tree[name if indent == 4 else folder + name] = words
    return tree


def test_readme_tree_is_the_tree() -> None:
    top = ROOT / "src/limbeck"
    tree = printed_tree()
    missing = [name for name in tree if not (top / name).exists()]
    assert not missing, f"the README's tree names what does not exist: {missing}"
    modules = {path.name for path in top.glob("*.py")} - {"__init__.py", "__main__.py"}
    folders = {f"{path.parent.relative_to(top).as_posix()}/" for path in top.rglob("*.py")} - {"./"}
    unnamed = {name for name in modules | folders if name not in tree}
    assert not unnamed, f"the README's tree leaves out {sorted(unnamed)}"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/log.md"])
def test_links_inside_the_repository_lead_somewhere(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text())
    assert not [target for target in targets if not (path.parent / target).exists()]
