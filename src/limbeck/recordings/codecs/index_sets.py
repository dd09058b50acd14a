"""Sets of k symbols, one for each position: which of the vocabulary's symbols were kept.

A position's set is said by what it shares with another one: an earlier position of the same row, or one of the table's
anchors, whichever shares most. Kept are how far back that one is, one bit for each of its symbols (shared or not), and
the symbols that are new, as gaps between their frequency ranks. Neighbours share few symbols and similar contexts many:
in real text more than half of 64, which saves a quarter of what the gaps alone would take (docs/benchmarks.md).

The table is counted on the first rows of a recording and then frozen. Any set can be encoded with any table of its
vocabulary and k; one counted on other text costs bytes and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Int64, UInt8, UInt32

from limbeck.errors import TeacherError
from limbeck.recordings.codecs.frames import Frames, damaged, pack, split, width
from limbeck.recordings.codecs.ranking import Ranking

ANCHORS = 512
_CHUNK = 512  # a set is compared with those of its own and the preceding chunk, so that long rows take no more memory
_SETS, _TABLE = "index sets", "a table of sets"
_HEAD = np.dtype("<u4")
_MOST = 1 << 24  # symbols of all anchors; a damaged head may say more than memory holds

Sets = UInt32[np.ndarray, "tokens k"]
Anchors = UInt32[np.ndarray, "anchors k"]


@dataclass(frozen=True, eq=False)
class Table:
    """What is known of the sets before they are read.

    Attributes:
        ranking: The vocabulary in order of frequency.
        anchors: Some sets, as ascending ranks.
    """

    ranking: Ranking
    anchors: Anchors

    @classmethod
    def counted(cls, sets: Sets, vocabulary: int, anchors: int = ANCHORS) -> "Table":
        """The table of some rows' sets.

        Args:
            sets: Symbols, k different ones for each position; at least one position.
            vocabulary: The number of symbols there are.
            anchors: How many of the sets become anchors, evenly spaced; all when there are fewer.

        Raises:
            TeacherError: When a position does not hold k different symbols of the vocabulary.
        """
        ranking = Ranking.counted(sets, vocabulary)
        chosen = np.linspace(0, len(sets) - 1, min(anchors, len(sets))).round().astype(np.int64)
        return cls(ranking, _ascending(ranking.of(sets[chosen])))

    @property
    def k(self) -> int:
        """The symbols in a set."""
        return self.anchors.shape[1]

    def to_bytes(self) -> bytes:
        """The table as bytes, for the recording it belongs to."""
        ranking = self.ranking.to_bytes()
        # The anchors are sets like any others, told with a table that has none.
        anchors, _ = encode(self.ranking.symbols[self.anchors], Table(self.ranking, self.anchors[:0]))
        return np.array([len(ranking), *self.anchors.shape], _HEAD).tobytes() + ranking + anchors

    @classmethod
    def from_bytes(cls, content: bytes) -> "Table":
        """The table that `to_bytes` wrote.

        Raises:
            RecordingError: When the bytes are none.
        """
        head = 3 * _HEAD.itemsize
        if len(content) < head:
            raise damaged(_TABLE, f"it has {len(content)} bytes, fewer than its head of {head}")
        size, anchors, k = np.frombuffer(content, _HEAD, 3).tolist()
        ranking = Ranking.from_bytes(content[head : head + size])
        if anchors * max(k, 1) > _MOST:
            raise damaged(_TABLE, f"it says {anchors} anchors of {k} symbols each")
        if k > len(ranking):
            raise damaged(_TABLE, f"it says sets of {k} of {len(ranking)} symbols")
        bare = cls(ranking, np.empty((0, k), np.uint32))
        return cls(ranking, ranking.ranks[decode([content[head + size :]], [anchors], bare)])


def encode(sets: Sets, table: Table) -> tuple[bytes, Int64[np.ndarray, "tokens k"]]:
    """One block: the sets of the positions of one row.

    Args:
        sets: Symbols, k different ones for each position, in any order.
        table: As it will be given to `decode`.

    Returns:
        The block, and the order its symbols have in it: `numpy.take_along_axis(values, order, 1)` brings values of the
        same shape as `sets` into the order in which `decode` returns the symbols.

    Raises:
        TeacherError: When a position does not hold k different symbols of the table's vocabulary.
    """
    if sets.shape[1] != table.k:
        raise TeacherError(f"{sets.shape[1]} symbols are to be kept", expected=f"{table.k}, as in the table")
    unordered = table.ranking.of(sets)
    order = np.argsort(unordered, axis=1)
    ranks = _ascending(unordered)
    pool = np.concatenate([table.anchors, ranks])
    own = np.arange(len(table.anchors), len(pool))
    likest = _likest(ranks, table)
    shared, new = _compared(ranks, pool[likest], len(table.ranking))
    # Who has no likest refers to itself, shares all with it by mistake, and is new as a whole.
    alone = likest == own
    shared[alone], new[alone] = False, True
    planes = [
        *split((own - likest).astype(np.uint32), width(len(pool))),
        np.packbits(shared, axis=1),
        *split(_gaps_of_new(ranks, new), width(len(table.ranking))),
    ]
    return pack(planes), order


def decode(blocks: Sequence[bytes], tokens: Sequence[int], table: Table) -> Sets:
    """The sets of many blocks, one after the other: symbols by ascending frequency rank, (sum of tokens, k).

    Args:
        blocks: What `encode` returned.
        tokens: The positions in each block.
        table: As it was given to `encode`.

    Raises:
        RecordingError: When a block holds something else.
    """
    k, anchors, vocabulary = table.k, len(table.anchors), len(table.ranking)
    total = sum(tokens)
    likest, shared, gaps = np.empty(total, np.int64), np.empty((total, -(-k // 8)), np.uint8), []
    start = 0
    for block, count in zip(blocks, tokens, strict=True):
        distances, bits, fresh = _unpacked(block, count, table)
        shared[start : start + count] = bits
        # In its own row a position refers to the anchors and to what comes before it; here the rows follow each other.
        reference = np.arange(anchors, anchors + count) - distances
        if count and int(reference.min()) < 0:
            raise damaged(_SETS, "a position refers to what was before the first")
        likest[start : start + count] = np.where(reference < anchors, reference, reference + start)
        gaps.append(fresh)
        start += count
    mask = np.unpackbits(shared, axis=1, count=k).astype(bool)
    new = _spread(np.concatenate([*gaps, np.empty(0, np.uint32)]), ~mask)
    if new.size and int(new.max()) >= vocabulary:
        raise damaged(_SETS, f"it says rank {int(new.max())}, and {vocabulary} symbols have ranks")
    ranks = _resolved(new.astype(np.uint32), mask, likest, table.anchors)
    return table.ranking.symbols[ranks]


def _ascending(ranks: Sets) -> Sets:
    ascending = np.sort(ranks, axis=1)
    if bool((ascending[:, 1:] == ascending[:, :-1]).any()):
        raise TeacherError("a position keeps a symbol twice", expected="k different symbols for each position")
    return ascending


def _likest(ranks: Sets, table: Table) -> Int64[np.ndarray, " tokens"]:
    """For each set the place, in anchors and row, of the one that shares most with it; its own where none does."""
    anchors, size = len(table.anchors), len(table.ranking)
    likest = np.arange(anchors, anchors + len(ranks))
    fixed = _incidence(table.anchors, size)
    for start in range(0, len(ranks), _CHUNK):
        first = max(0, start - _CHUNK)
        chunk = ranks[start : start + _CHUNK]
        before = _incidence(ranks[first : start + len(chunk)], size)
        places = np.concatenate([np.arange(anchors), np.arange(first, start + len(chunk)) + anchors])
        own = likest[start : start + len(chunk)]
        shared = (_incidence(chunk, size) @ scipy.sparse.vstack([fixed, before], format="csr").T).toarray()
        shared[places >= own[:, None]] = 0
        # Of several that share as much the first is taken: chains of references stay short.
        best = shared.argmax(axis=1)
        found = shared[np.arange(len(chunk)), best] > 0
        likest[start : start + len(chunk)] = np.where(found, places[best], own)
    return likest


def _incidence(ranks: Sets, size: int) -> scipy.sparse.csr_matrix:
    tokens, k = ranks.shape
    ends = np.arange(0, tokens * k + 1, k)
    return scipy.sparse.csr_matrix((np.ones(tokens * k, np.int32), ranks.ravel(), ends), shape=(tokens, size))


def _compared(
    ranks: Sets, others: Sets, size: int
) -> tuple[Bool[np.ndarray, "tokens k"], Bool[np.ndarray, "tokens k"]]:
    """Which of the others' symbols each set shares, and which of its own symbols the other lacks."""
    base = np.arange(len(ranks), dtype=np.int64)[:, None] * size
    mine, theirs = (ranks + base).ravel(), (others + base).ravel()
    shared = np.isin(theirs, mine, assume_unique=True).reshape(ranks.shape)
    return shared, ~np.isin(mine, theirs, assume_unique=True).reshape(ranks.shape)


def _gaps_of_new(ranks: Sets, new: Bool[np.ndarray, "tokens k"]) -> UInt32[np.ndarray, " new"]:
    """The gaps between the new symbols of each set, sets one after the other."""
    chosen = ranks[new]
    gaps = chosen.copy()
    gaps[1:] -= chosen[:-1] + np.uint32(1)
    firsts = _firsts(new.sum(axis=1))
    gaps[firsts] = chosen[firsts]
    return gaps


def _firsts(counts: Int64[np.ndarray, " tokens"]) -> Int64[np.ndarray, " filled"]:
    """Where in a flat list of so many for each position the first of each position stands."""
    return (np.cumsum(counts) - counts)[counts > 0]


def _unpacked(
    block: bytes, count: int, table: Table
) -> tuple[Int64[np.ndarray, " count"], UInt8[np.ndarray, "count bytes"], UInt32[np.ndarray, " new"]]:
    back, planes = width(len(table.anchors) + count), width(len(table.ranking))
    frames = Frames(block, back + 1 + planes, _SETS)
    distances = frames.numbers(count, back).astype(np.int64)
    bits = frames.plane(count * -(-table.k // 8)).reshape(count, -(-table.k // 8))
    shared = int(np.unpackbits(bits, axis=1, count=table.k).sum())
    return distances, bits, frames.numbers(count * table.k - shared, planes)


def _spread(gaps: UInt32[np.ndarray, " new"], missing: Bool[np.ndarray, "tokens k"]) -> Int64[np.ndarray, "tokens k"]:
    """The ranks of the new symbols, in the places of those that are not shared; elsewhere zero."""
    counts = missing.sum(axis=1)
    ends = np.cumsum(gaps.astype(np.int64) + 1)
    before = np.concatenate([np.zeros(1, np.int64), ends])[np.cumsum(counts) - counts]
    ranks = np.zeros(missing.shape, np.int64)
    ranks[missing] = ends - 1 - np.repeat(before, counts)
    return ranks


def _resolved(
    new: Sets, shared: Bool[np.ndarray, "tokens k"], likest: Int64[np.ndarray, " tokens"], anchors: Anchors
) -> Sets:
    """All sets as ascending ranks: first those that refer to anchors or nothing, then those that refer to these."""
    pool = np.concatenate([anchors, new])
    depth = _depths(likest, len(anchors))
    by_depth = np.argsort(depth, kind="stable")
    for group in np.split(by_depth, np.cumsum(np.bincount(depth))[:-1]) if len(depth) else []:
        sets = np.where(shared[group], pool[likest[group]], new[group])
        sets.sort(axis=1)
        pool[len(anchors) + group] = sets
    return pool[len(anchors) :]


def _depths(likest: Int64[np.ndarray, " tokens"], anchors: int) -> Int64[np.ndarray, " tokens"]:
    """How many references lead from each position to one that refers to an anchor or nothing, by pointer doubling."""
    own = np.arange(len(likest))
    above = np.where(likest < anchors, own, likest - anchors)
    depth = (above != own).astype(np.int64)
    while bool((above[above] != above).any()):
        depth += depth[above]
        above = above[above]
    return depth
