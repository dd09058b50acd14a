"""The text of recipes/smollm2.yaml, and what its student says before it learns anything.

python recipes/smollm2.py runs/smollm2-text                every third topic of Python's language reference, a file each
python recipes/smollm2.py --untrained runs/smollm2         perplexity of the cut student, on the run's test rows
"""

import argparse
from pathlib import Path
from pydoc_data.topics import topics

import torch

from limbeck.catalog.data import data_of
from limbeck.catalog.languages import language
from limbeck.catalog.tasks import task
from limbeck.evaluation import answers
from limbeck.run import Run


def main() -> None:
    """Writes the files, or evaluates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--untrained", action="store_true")
    given = parser.parse_args()
    if given.untrained:
        recipe = Run.open(given.folder).recipe()
        data, found = data_of(recipe.data), task("language")
        model = language(recipe.student)
        model.align(data.classes)
        said = answers(model, data.test, found, device=torch.device("cpu"))
        print(found.metrics(said.outputs, said.labels, said.known))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(topics)[::3]:
        (given.folder / f"{name}.txt").write_text(topics[name], encoding="utf-8")


if __name__ == "__main__":
    main()
