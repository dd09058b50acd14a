"""Whether trees from a file stay within themselves: compiled code follows their numbers without looking."""

import numpy as np
from jaxtyping import Bool, Shaped

from limbeck.errors import TeacherError


def sound(
    left: Shaped[np.ndarray, " nodes"],
    right: Shaped[np.ndarray, " nodes"],
    feature: Shaped[np.ndarray, " nodes"],
    leaf: Bool[np.ndarray, " nodes"],
    width: int,
) -> bool:
    """Whether a walk from node 0 ends at a leaf, whatever the row.

    Every child is a node, no node is the child of two, and nobody's child is the first one: so no walk goes in circles.

    Args:
        left: The left child of each node; of leaves it means nothing.
        right: The right one.
        feature: Which number of a row each node looks at; of leaves it means nothing.
        leaf: Which nodes are leaves.
        width: How many numbers a row has.
    """
    inner = ~leaf
    children = np.concatenate([left[inner], right[inner]]).astype(np.int64)
    looked_at = feature[inner].astype(np.int64)
    inside = bool(((children > 0) & (children < len(leaf))).all())
    return inside and len(np.unique(children)) == len(children) and bool(((looked_at >= 0) & (looked_at < width)).all())


def harmful(happened: str, grower: str) -> TeacherError:
    """The refusal of a file whose trees are not sound.

    Args:
        happened: What is wrong, and in which file.
        grower: Whose trees they should be.
    """
    return TeacherError(
        happened,
        expected=f"trees as {grower} grew them",
        remedy="do not use this file: it is damaged, or was made to do harm",
    )
