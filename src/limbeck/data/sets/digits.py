"""1,797 handwritten digits of 8 x 8 pixels, values 0 to 16, as scikit-learn ships them: no file, no network.

Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
https://doi.org/10.24432/C50P49 (its test half).
"""

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
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.ascontiguousarray(digits.images[:, None].astype(np.uint8))
    names = tuple(str(number) for number in range(10))
    return Raw("digits", (images, digits.target.astype(np.int64)), classes=names, origin="scikit-learn")
