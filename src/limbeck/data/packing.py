"""Which documents share a row: best fit, the longest first.

Best-fit decreasing leaves little empty: at most 11/9 of the fewest rows possible and four more (Johnson, Demers,
Ullman, Garey, Graham, 1974, "Worst-case performance bounds for simple one-dimensional packing algorithms", SIAM J.
Comput. 3(4), https://doi.org/10.1137/0203025; read: memory). Rows filled in the order of the documents may need twice
the fewest, and for a language model an empty position costs what a full one does.
That a row then holds documents of like length does no harm: none of them sees another, and rows are shuffled.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def pieces(sizes: Ints, length: int) -> tuple[Ints, Ints, Ints]:
    """Cuts documents into pieces of at most `length`, none overlapping; every piece but the last of each is full.

    Args:
        sizes: Tokens of each document, 1 or more.
        length: 1 or more.

    Returns:
        For each piece its document, where in the document it begins, and its size; in the order of the documents.
    """
    counts = -(-sizes // length)
    document = np.repeat(np.arange(len(sizes)), counts)
    number = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = number * length
    return document, first, np.minimum(length, sizes[document] - first)


def shared(sizes: Ints, length: int) -> list[Ints]:
    """The pieces of each row, by best fit, the longest first; of equal ones the earlier first.

    Rows come in the order of their first pieces, and the pieces of a row in their own order.

    Args:
        sizes: Of the pieces, from 1 to `length`.
        length: Positions in a row.
    """
    rows: list[list[int]] = []
    # rows by the room that is left in them, the latest last, and a word whose bit n says that some row has room n
    room: list[list[int]] = [[] for _ in range(length + 1)]
    there = 0
    for piece in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[piece])
        fitting = there >> size
        if fitting:
            left = size + (fitting & -fitting).bit_length() - 1
            row = room[left].pop()
            if not room[left]:
                there ^= 1 << left
            rows[row].append(piece)
        else:
            left, row = length, len(rows)
            rows.append([piece])
        left -= size
        if left:
            room[left].append(row)
            there |= 1 << left
    return sorted((np.sort(np.array(row, dtype=np.int64)) for row in rows), key=lambda row: int(row[0]))


def alone(sizes: Ints) -> list[Ints]:
    """A row for each piece."""
    return [np.array([piece], dtype=np.int64) for piece in range(len(sizes))]
