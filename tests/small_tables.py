"""Small tables of numbers, shared by the tests of the data."""

import numpy as np

from limbeck.data.source import Data


def table(rows: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(rows)
    return generator.normal(size=(rows, 5)).astype(np.float32), np.arange(rows) % classes


def ids(data: Data) -> list[list[int]]:
    return [rows.ids.tolist() for rows in (data.train, data.valid, data.test)]
