"""Sampled targets: the symbols that N draws from the teacher's distribution gave, how often, and its entropy.

Random-sampling distillation: Anshumann and others, 2025, https://arxiv.org/abs/2503.16870. Read: memory. Drawn in
proportion to the teacher's probabilities, counts / N is an unbiased estimate of them, and so of a cross-entropy; the
entropy turns that into a KL divergence.

The N draws of a position are sorted by frequency rank and kept as gaps between neighbours. A symbol drawn again has the
gap 0, by far the most frequent number: counts need no bytes of their own.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt32

from limbeck.errors import TeacherError
from limbeck.recordings.codecs.frames import Frames, damaged, join, pack, split, width
from limbeck.recordings.codecs.ranking import Ranking

_WHAT = "draws"
_LARGEST = 65504.0  # of float16


def encode(draws: UInt32[np.ndarray, "tokens n"], entropies: Float32[np.ndarray, " tokens"], ranking: Ranking) -> bytes:
    """One block: the draws of the positions of one row.

    Args:
        draws: Symbols, in any order, a symbol as often as it was drawn.
        entropies: Of the distributions they were drawn from, in nats; kept as `float16`.
        ranking: As it will be given to `decode`.

    Raises:
        TeacherError: When a symbol is not of the vocabulary, or an entropy is not from 0 to 65504.
    """
    if not bool(((entropies >= 0) & (entropies <= _LARGEST)).all()):
        raise TeacherError(
            "the entropy of a teacher's distribution is negative, not finite or above 65504 nats",
            expected="the entropy of a distribution over the vocabulary",
            remedy="look at the teacher's weights and input transform; a half-precision teacher may overflow",
        )
    ranks = np.sort(ranking.of(draws), axis=1)
    gaps = np.diff(ranks, axis=1, prepend=np.uint32(0))
    return pack([*split(entropies.astype(np.float16).view(np.uint16), 2), *split(gaps, width(len(ranking)))])


def decode(
    blocks: Sequence[bytes], tokens: Sequence[int], n: int, ranking: Ranking
) -> tuple[UInt32[np.ndarray, "total n"], UInt32[np.ndarray, "total n"], Float32[np.ndarray, " total"]]:
    """The draws of many blocks, one after the other.

    Args:
        blocks: What `encode` returned.
        tokens: The positions in each block.
        n: The draws of one position.
        ranking: As it was given to `encode`.

    Returns:
        Symbols, by ascending frequency rank; counts, which stand where a symbol is named first and are zero where it is
        named again, so that each position's sum is n; entropies in nats.

    Raises:
        RecordingError: When a block holds something else.
    """
    total, planes = sum(tokens), width(len(ranking))
    entropies, gaps = np.empty((2, total, 1), np.uint8), np.empty((planes, total, n), np.uint8)
    start = 0
    for block, count in zip(blocks, tokens, strict=True):
        frames = Frames(block, 2 + planes, _WHAT)
        for plane in (*entropies, *gaps):
            rows = plane[start : start + count]
            rows[:] = frames.plane(rows.size).reshape(rows.shape)
        start += count
    steps = join(list(gaps))
    ranks = np.cumsum(steps, axis=1, dtype=np.int64)
    if ranks.size and int(ranks.max()) >= len(ranking):
        raise damaged(_WHAT, f"it says rank {int(ranks.max())}, and {len(ranking)} symbols have ranks")
    halves = join(list(entropies))[:, 0].astype(np.uint16).view(np.float16)
    return ranking.symbols[ranks], _counts(steps), halves.astype(np.float32)


def _counts(gaps: UInt32[np.ndarray, "total n"]) -> UInt32[np.ndarray, "total n"]:
    """How long each run of one symbol is, where it starts."""
    total, n = gaps.shape
    firsts = gaps != 0
    firsts[:, :1] = True
    starts = np.flatnonzero(firsts)
    counts = np.zeros(total * n, np.uint32)
    counts[starts] = np.diff(starts, append=total * n)
    return counts.reshape(total, n)
