"""1,797 handwritten digits of 8 x 8 pixels, values 0 to 16, as scikit-learn ships them: no file, no network.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49 (its test half).
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from limbeck.data.raw import Raw
from limbeck.errors import DataError


def load(path: Path | None = None) -> Raw:
    """Reads the digits: images of shape (1797, 1, 8, 8), unsigned bytes; the set has no test split of its own.

    Raises:
        DataError: When a path is given; the set comes with scikit-learn.
    """
    if path is not None:
        raise DataError(f"digits was given the path {path}", expected="no path: it comes with scikit-learn")
    # Its file, and not its loader: importing scikit-learn takes longer than all else before the first step.
    table = np.loadtxt(_file(), delimiter=",", dtype=np.uint8)
    images = np.ascontiguousarray(table[:, :-1].reshape(-1, 1, 8, 8))
    names = tuple(str(number) for number in range(10))
    return Raw("digits", (images, table[:, -1].astype(np.int64)), classes=names, origin="scikit-learn")


def _file() -> Path:
    found = find_spec("sklearn")
    places = [] if found is None else [Path(place) for place in found.submodule_search_locations or ()]
    files = [place / "datasets" / "data" / "digits.csv.gz" for place in places]
    if not any(file.is_file() for file in files):
        raise DataError("scikit-learn's digits are not here", expected="datasets/data/digits.csv.gz in its package")
    return next(file for file in files if file.is_file())
