"""The teacher of recipes/forest.yaml: boosted trees on scikit-learn's digits as a table of 64 numbers.

python recipes/forest.py runs/forest-teacher.skops
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from skops.io import dump

from limbeck.data.source import load


def main() -> None:
    """Fits the trees on the very rows the student will train on, and writes them without pickle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("to", type=Path)
    to = parser.parse_args().to
    data = load("digits", valid=0.1, test=0.3)
    train, test = (rows.take(torch.arange(len(rows))) for rows in (data.train, data.test))
    assert train.labels is not None and test.labels is not None
    trees = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.1, random_state=0)
    trees.fit(train.inputs.flatten(1).numpy(), train.labels.numpy())
    to.parent.mkdir(parents=True, exist_ok=True)
    dump(trees, to)
    right = np.mean(trees.predict(test.inputs.flatten(1).numpy()) == test.labels.numpy())
    print(f"{to}: {right:.2%} of the test rows right, {to.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
