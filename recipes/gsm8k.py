"""The corpus of recipes/gsm8k.yaml's vocabulary: the problems that it learns from, and no others.

python recipes/gsm8k.py runs/gsm8k-text recipes/gsm8k.yaml
"""

import argparse
from pathlib import Path

from limbeck.catalog.verifiers import verifier
from limbeck.recipe import Recipe
from limbeck.solutions.problems import read


def main() -> None:
    """Writes corpus.txt into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("changes", nargs="*", help="such as data.source=elsewhere/train.jsonl.gz")
    given = parser.parse_args()
    recipe = Recipe.read(given.recipe, given.changes)
    assert recipe.reason is not None
    found = read(recipe.data, recipe.reason, verifier(recipe.reason.verifier))
    given.folder.mkdir(parents=True, exist_ok=True)
    texts = [f"{recipe.reason.prompt.format(question=each.question)}{each.known['solution']}\n" for each in found.train]
    (given.folder / "corpus.txt").write_text("\n".join(texts), encoding="utf-8")
    print(found.facts())


if __name__ == "__main__":
    main()
