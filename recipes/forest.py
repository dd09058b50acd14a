"""The teacher of recipes/forest.yaml: boosted trees on scikit-learn's digits as a table of 64 numbers.

python recipes/forest.py runs/forest-teacher.skops    (scikit-learn's)
python recipes/forest.py runs/forest-teacher.txt      (LightGBM's, in its own text)
python recipes/forest.py runs/forest-teacher.json     (XGBoost's, in its own JSON)
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.data.source import load


def trees(suffix: str) -> tuple[Any, Any]:
    """Unfitted trees (200 rounds, a rate of 0.1, one thread, else the defaults) and what keeps them in a file."""
    if suffix == ".txt":
        from lightgbm import LGBMClassifier

        boosted = LGBMClassifier(n_estimators=200, learning_rate=0.1, random_state=0, n_jobs=1, verbose=-1)
        return boosted, lambda to: boosted.booster_.save_model(to)
    if suffix == ".json":
        from xgboost import XGBClassifier

        boosted = XGBClassifier(n_estimators=200, learning_rate=0.1, random_state=0, n_jobs=1)
        return boosted, boosted.save_model
    from sklearn.ensemble import HistGradientBoostingClassifier
    from skops.io import dump

    boosted = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.1, random_state=0)
    return boosted, lambda to: dump(boosted, to)


def main() -> None:
    """Fits the trees on the very rows the student will train on, and writes them without pickle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("to", type=Path)
    to = parser.parse_args().to
    boosted, keep = trees(to.suffix)
    data = load("digits", valid=0.1, test=0.3)
    train, test = (rows.take(torch.arange(len(rows))) for rows in (data.train, data.test))
    assert train.labels is not None and test.labels is not None
    began = time.process_time()
    boosted.fit(train.inputs.flatten(1).numpy(), train.labels.numpy())
    took = time.process_time() - began
    to.parent.mkdir(parents=True, exist_ok=True)
    keep(to)
    right = np.mean(boosted.predict(test.inputs.flatten(1).numpy()) == test.labels.numpy())
    size = to.stat().st_size
    print(f"{to}: {right:.2%} of the test rows right, {size:,} bytes, fitted in {took:.1f} s of processor time")


if __name__ == "__main__":
    main()
