"""The tree that the README prints: every module of the library with the first line of its docstring, in layer order.

`make fix` writes it into the README; `test_house.py` fails where the two differ.
"""

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"(?<=```text\n)src/limbeck/\n.*?(?=```)", re.DOTALL)


def layers() -> list[str]:
    """The top-level modules from the highest layer to the lowest, as pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [name.strip(" ()") for row in rows for name in re.split(r"[|:]", row)]


def first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "(no docstring)").splitlines()[0].rstrip(".")


def lines(folder: Path, depth: int, order: list[str]) -> list[str]:
    """The modules in a folder, in the order given and then by name, each followed by what it holds."""
    found = []
    members = {path.stem: path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    places = {name: place for place, name in enumerate(order)}
    for name in sorted(members.keys() - {"__init__"}, key=lambda name: (places.get(name, len(places)), name)):
        path = members[name]
        inside = path.is_dir()
        label = "  " * depth + path.name + "/" * inside
        found.append(f"{label:<26} {first_line(path / '__init__.py' if inside else path)}")
        if inside:
            found += lines(path, depth + 1, [])
    return found


def tree() -> str:
    return "\n".join(["src/limbeck/", *lines(ROOT / "src/limbeck", 1, layers()), ""])


if __name__ == "__main__":
    README.write_text(BLOCK.sub(lambda _: tree(), README.read_text(), count=1))
