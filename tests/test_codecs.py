"""Codecs: what comes back is what went in or within the stated bound; damaged bytes are an error or the same shape."""

import functools
from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import RecordingError, TeacherError
from limbeck.recordings.codecs import draws, index_sets, log_probs
from limbeck.recordings.codecs.index_sets import Table
from limbeck.recordings.codecs.log_probs import Precision
from limbeck.recordings.codecs.ranking import Ranking

PRECISIONS = get_args(Precision)
SEEDS = st.integers(0, 2**32 - 1)
# Vocabulary and k: one byte, two and three for a rank; all symbols kept, one kept, k no multiple of eight.
SIZES = st.sampled_from([(1, 1), (10, 1), (10, 10), (10, 3), (300, 64), (49_152, 64), (200_000, 1), (200_000, 17)])


def sets_of(rng: np.random.Generator, tokens: int, vocabulary: int, k: int, likeness: float = 0.5) -> np.ndarray:
    """Sets that partly repeat the one before, of symbols that are unequally frequent, in no order."""
    found = np.empty((tokens, k), np.uint32)
    for token in range(tokens):
        kept = found[token - 1][rng.random(k) < likeness] if token else found[:0, 0]
        fresh = np.minimum(rng.geometric(min(1, 3 / vocabulary), size=4 * k) - 1, vocabulary - 1)
        # What the frequent symbols do not fill, any may, and in the end the first ones.
        order = np.concatenate([kept, fresh, rng.integers(vocabulary, size=k), np.arange(k)])
        _, first = np.unique(order, return_index=True)
        found[token] = rng.permutation(order[np.sort(first)[:k]])
    return found


@functools.cache
def table_of(seed: int, vocabulary: int, k: int, tokens: int = 20, anchors: int = 8) -> Table:
    """A table of data of its own."""
    return Table.counted(sets_of(np.random.default_rng(seed), tokens, vocabulary, k), vocabulary, anchors)


def values_of(rng: np.random.Generator, tokens: int, k: int) -> np.ndarray:
    """Log-probabilities between certainty and 80 nats, some impossible."""
    values = -(rng.random((tokens, k), np.float32) ** 2) * rng.choice(np.float32([1e-6, 1, 12, 80]), (tokens, 1))
    values[rng.random((tokens, k)) < 0.02] = -np.inf
    return values


def entropies_of(rng: np.random.Generator, tokens: int) -> np.ndarray:
    return (rng.random(tokens) * 11).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, size=SIZES, tokens=st.lists(st.integers(0, 12), max_size=4), likeness=st.sampled_from([0, 0.6, 1]))
def test_sets_come_back_in_the_order_that_was_told(
    seed: int, size: tuple[int, int], tokens: list[int], likeness: float
) -> None:
    vocabulary, k = size
    rng = np.random.default_rng(seed)
    table = table_of(seed % 7, vocabulary, k)
    sets = [sets_of(rng, count, vocabulary, k, likeness) for count in tokens]
    encoded = [index_sets.encode(one, table) for one in sets]
    decoded = index_sets.decode([block for block, _ in encoded], tokens, table)
    told = [np.take_along_axis(one, order, axis=1) for one, (_, order) in zip(sets, encoded, strict=True)]
    assert decoded.dtype == np.uint32
    np.testing.assert_array_equal(decoded, np.concatenate([*told, np.empty((0, k), np.uint32)]))
    # Ascending ranks: equal sets have equal orders, whatever order they came in.
    assert (np.diff(table.ranking.ranks[decoded].astype(np.int64), axis=1) > 0).all()
    assert [index_sets.encode(np.asfortranarray(one), table)[0] for one in sets] == [block for block, _ in encoded]


def test_a_row_longer_than_a_chunk_and_sets_that_return_after_long() -> None:
    table = table_of(1, 49_152, 64)
    once = sets_of(np.random.default_rng(2), 700, 49_152, 64)
    sets = np.concatenate([once, once, once[::-1]])
    block, order = index_sets.encode(sets, table)
    np.testing.assert_array_equal(index_sets.decode([block], [2100], table), np.take_along_axis(sets, order, axis=1))


@pytest.mark.parametrize("anchors", [0, 1, 512])
def test_a_single_position_and_all_of_the_vocabulary(anchors: int) -> None:
    table = Table.counted(sets_of(np.random.default_rng(0), 30, 3000, 3000), 3000, anchors)
    sets = np.arange(3000, dtype=np.uint32)[None]
    block, order = index_sets.encode(sets, table)
    np.testing.assert_array_equal(index_sets.decode([block], [1], table)[0], table.ranking.symbols)
    np.testing.assert_array_equal(order[0], table.ranking.symbols)
    assert index_sets.decode([], [], table).shape == (0, 3000)


def test_independent_sets_take_little_more_than_their_entropy() -> None:
    """What symbols kept by a coin each would have, which is nearly what these have: no code does much better."""
    rng = np.random.default_rng(0)
    # Of k symbols drawn without replacement in proportion to 1 / rank; the largest of these keys are such a draw.
    keys = rng.exponential(size=(1300, 5000)) * np.arange(1, 5001)
    sets = np.argpartition(keys, 64, axis=1)[:, :64].astype(np.uint32)
    table = Table.counted(sets[:1000], 5000)
    frequencies = (np.bincount(sets.ravel(), minlength=5000) / len(sets)).clip(1e-12, 1 - 1e-12)
    entropy = -(frequencies * np.log2(frequencies) + (1 - frequencies) * np.log2(1 - frequencies)).sum() / 8
    size = len(index_sets.encode(sets[1000:], table)[0]) / 300
    # Unlike neighbours share the frequent symbols alone, whose gaps would have taken less than the bits that say so.
    assert entropy < size < 1.25 * entropy


def test_what_was_said_before_takes_next_to_nothing() -> None:
    table = table_of(0, 49_152, 64, anchors=16)
    anchors = table.ranking.symbols[table.anchors]
    assert len(index_sets.encode(np.tile(anchors, (32, 1)), table)[0]) < 1.5 * 512
    # The last set of a chunk, at once again in the next one.
    others = sets_of(np.random.default_rng(6), 512, 49_152, 64, 0)
    whole = len(index_sets.encode(np.concatenate([others, others[-1:]]), table)[0])
    assert whole < len(index_sets.encode(others, table)[0]) + 16


def test_a_table_of_other_data_costs_bytes_and_nothing_else() -> None:
    rng = np.random.default_rng(3)
    sets = sets_of(rng, 300, 10_000, 64)
    own = Table.counted(sets, 10_000, 0)
    # What is frequent there is rare here.
    other = Table.counted(9_999 - sets, 10_000, 0)
    sizes = []
    for table in (own, other):
        block, order = index_sets.encode(sets, table)
        np.testing.assert_array_equal(index_sets.decode([block], [300], table), np.take_along_axis(sets, order, axis=1))
        sizes.append(len(block))
    assert sizes[0] < sizes[1]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 5), size=SIZES, anchors=st.integers(0, 30))
def test_tables_and_rankings_come_back(seed: int, size: tuple[int, int], anchors: int) -> None:
    table = table_of(seed, *size, anchors=anchors)
    content = table.to_bytes()
    again = Table.from_bytes(content)
    np.testing.assert_array_equal(again.anchors, table.anchors)
    np.testing.assert_array_equal(again.ranking.symbols, table.ranking.symbols)
    assert again.k == size[1]
    assert again.to_bytes() == content


def test_ranks_follow_counts_and_then_symbols() -> None:
    ranking = Ranking.counted(np.array([[5, 2, 2], [7, 5, 2]], np.uint32), 8)
    assert ranking.symbols.tolist() == [2, 5, 7, 0, 1, 3, 4, 6]
    assert ranking.of(np.array([2, 6], np.uint32)).tolist() == [0, 7]


@pytest.mark.parametrize(
    ("sets", "message"),
    [([[1, 10]], "symbol 10 is to be kept"), ([[1, 2], [3, 3]], "twice"), ([[1, 2, 3]], "3 symbols")],
)
def test_sets_that_are_none_are_refused(sets: list[list[int]], message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        index_sets.encode(np.array(sets, np.uint32), table_of(0, 10, 2))


def exactly(values: np.ndarray, precision: Precision) -> np.ndarray:
    """The values in a type, by another way than the codec's."""
    if precision == "bfloat16":
        torch = pytest.importorskip("torch")
        return torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    return values.astype({"float32": np.float32, "float16": np.float16}[precision]).astype(np.float32)


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, k=st.sampled_from([1, 2, 64]), tokens=st.lists(st.integers(0, 20), max_size=4))
@pytest.mark.parametrize("precision", PRECISIONS)
def test_values_come_back_within_the_bound(precision: Precision, seed: int, k: int, tokens: list[int]) -> None:
    rng = np.random.default_rng(seed)
    values = [values_of(rng, count, k) for count in tokens]
    blocks = [log_probs.encode(one, precision) for one in values]
    decoded = log_probs.decode(blocks, tokens, k, precision)
    together = np.concatenate([*values, np.empty((0, k), np.float32)])
    assert (decoded.dtype, decoded.shape) == (np.float32, together.shape)
    np.testing.assert_array_equal(np.isneginf(decoded), np.isneginf(together))
    possible = np.isfinite(together)
    error = np.abs(decoded[possible].astype(np.float64) - together[possible])
    assert (error <= log_probs.error_bound(together, precision)[possible]).all()
    if precision != "companded":
        np.testing.assert_array_equal(decoded.view(np.uint32), exactly(together, precision).view(np.uint32))
    assert [log_probs.encode(np.asfortranarray(one), precision) for one in values] == blocks


@given(
    values=st.lists(
        st.floats(-60_000, 60_000, width=32) | st.sampled_from([0.0, -0.0, 5e-39, -3e-8, -np.inf]), min_size=1
    )
)
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_any_number_keeps_its_bits(precision: Precision, values: list[float]) -> None:
    row = np.array([values], np.float32)
    decoded = log_probs.decode([log_probs.encode(row, precision)], [1], len(values), precision)
    np.testing.assert_array_equal(decoded.view(np.uint32), exactly(row, precision).view(np.uint32))


def test_numbers_on_both_sides_of_zero_are_neighbours() -> None:
    """Tails are negative at T = 1 and positive above; the bits of +x and -x are far apart, what is packed is not."""
    chosen = np.random.default_rng(0).integers(2, size=(200, 64))
    about, below = (np.float32(pair)[chosen] for pair in ([6e-8, -1.2e-7], [-6e-8, -1.2e-7]))
    assert len(log_probs.encode(about, "float16")) < 1.1 * len(log_probs.encode(below, "float16"))


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_the_bound_is_reached_and_is_what_the_documentation_says(precision: Precision) -> None:
    """A bound far above what happens would pass every test and say nothing."""
    values = -np.random.default_rng(0).random((400, 64), np.float32) * 9
    bound = log_probs.error_bound(values, precision)
    error = np.abs(log_probs.decode([log_probs.encode(values, precision)], [400], 64, precision) - values)
    assert (error / bound).max() > 0.95
    if precision == "companded":
        away = values.max(axis=1, keepdims=True) - values
        allowed = np.sqrt(away + 0.002) / 64 + 1 / 16384 + 1e-5
        assert (bound <= np.where(away == 0, 0.002, np.maximum(allowed, 0.002))).all()


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0, 20.0])
@pytest.mark.parametrize("precision", ["float16", "bfloat16", "companded"])
def test_the_divergence_of_what_is_kept_from_what_was_said(precision: Precision, temperature: float) -> None:
    """Of p and q = p * exp(error), normalised, KL is at most max(error)² / 2 (Hoeffding's lemma)."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((200, 5000)) * 3
    said = np.sort(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), axis=1)[:, ::-1]
    top, rest = said[:, :64].astype(np.float32), said[:, 64:]
    tail = np.log(np.exp(rest / temperature).sum(axis=1, keepdims=True)).astype(np.float32)
    kept = log_probs.decode([log_probs.encode(top, precision)], [200], 64, precision)
    kept_tail = log_probs.decode([log_probs.encode(tail, "float16")], [200], 1, "float16")

    def distribution(values: np.ndarray, tails: np.ndarray) -> np.ndarray:
        powers = np.exp(np.concatenate([values.astype(np.float64) / temperature, tails], axis=1))
        return powers / powers.sum(axis=1, keepdims=True)

    p, q = distribution(top, tail), distribution(kept, kept_tail)
    error = np.maximum(
        log_probs.error_bound(top, precision).max(axis=1) / temperature, log_probs.error_bound(tail, "float16")[:, 0]
    )
    divergence = (p * np.log(p / q)).sum(axis=1)
    assert (divergence <= error**2 / 2).all()
    assert divergence.max() > 0


@pytest.mark.parametrize(
    ("value", "precision", "message"),
    [
        (np.nan, "float32", "not finite"),
        (np.inf, "companded", "not finite"),
        (-65_520.0, "float16", "6.552e[+]04"),
        (-65_520.0, "companded", None),
        (-3.4e38, "bfloat16", "3.4e[+]38"),
        (-1.1e6, "companded", "1.1e[+]06 below"),
    ],
)
def test_values_that_cannot_be_kept_are_refused(value: float, precision: Precision, message: str | None) -> None:
    values = np.array([[-1.0, value]], np.float32)
    if message is None:
        decoded = log_probs.decode([log_probs.encode(values, precision)], [1], 2, precision)
        assert (np.abs(decoded - values) <= log_probs.error_bound(values, precision)).all()
        return
    with pytest.raises(TeacherError, match=message):
        log_probs.encode(values, precision)


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, vocabulary=st.sampled_from([1, 10, 49_152, 200_000]), n=st.sampled_from([1, 12, 300]))
def test_draws_come_back_with_their_counts(seed: int, vocabulary: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = [3, 0, 1, 17]
    drawn = [np.minimum(rng.geometric(0.01, (count, n)) - 1, vocabulary - 1).astype(np.uint32) for count in tokens]
    entropies = [entropies_of(rng, count) for count in tokens]
    ranking = Ranking.counted(drawn[3], vocabulary)
    blocks = [draws.encode(one, said, ranking) for one, said in zip(drawn, entropies, strict=True)]
    symbols, counts, said = draws.decode(blocks, tokens, n, ranking)
    assert (counts.sum(axis=1) == n).all()
    for row, (one, some, many) in enumerate(zip(np.concatenate(drawn), symbols, counts, strict=True)):
        expected = dict(zip(*(part.tolist() for part in np.unique(one, return_counts=True)), strict=True))
        first = many > 0
        assert dict(zip(some[first].tolist(), many[first].tolist(), strict=True)) == expected, row
    np.testing.assert_array_equal(said, np.concatenate(entropies).astype(np.float16).astype(np.float32))
    assert draws.decode([], [], n, ranking)[0].shape == (0, n)
    assert blocks == [draws.encode(one[:, ::-1], said, ranking) for one, said in zip(drawn, entropies, strict=True)]


@pytest.mark.parametrize("entropy", [np.nan, np.inf, -0.5, 7e4])
def test_an_entropy_that_is_none_is_refused(entropy: float) -> None:
    ranking = Ranking(np.arange(10, dtype=np.uint32))
    with pytest.raises(TeacherError, match="entropy"):
        draws.encode(np.zeros((1, 12), np.uint32), np.array([entropy], np.float32), ranking)


TOKENS, K = [9, 4], 12
Decode = Callable[[Sequence[bytes]], Sequence[np.ndarray]]


@functools.cache
def blocks_of(what: str) -> tuple[list[bytes], Decode]:
    """Two blocks, and what reads them."""
    rng = np.random.default_rng(0)
    table = table_of(1, 5000, K)
    if what == "draws":
        drawn = [sets_of(rng, count, 5000, K) for count in TOKENS]
        blocks = [draws.encode(one, entropies_of(rng, len(one)), table.ranking) for one in drawn]
        return blocks, lambda found: draws.decode(found, TOKENS, K, table.ranking)
    if what == "index sets":
        blocks = [index_sets.encode(sets_of(rng, count, 5000, K), table)[0] for count in TOKENS]
        return blocks, lambda found: [index_sets.decode(found, TOKENS, table)]
    precision = next(precision for precision in PRECISIONS if precision == what)
    blocks = [log_probs.encode(values_of(rng, count, K), precision) for count in TOKENS]
    return blocks, lambda found: [log_probs.decode(found, TOKENS, K, precision)]


def refused_or_of_the_same_shape(decode: Decode, blocks: Sequence[bytes], right: Sequence[np.ndarray]) -> None:
    try:
        found = decode(blocks)
    except RecordingError:
        return
    assert [(one.shape, one.dtype) for one in found] == [(one.shape, one.dtype) for one in right]


@settings(deadline=None, max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), second=st.floats(0, 1, exclude_max=True))
@pytest.mark.parametrize("what", ["index sets", "draws", *PRECISIONS])
def test_flipped_bytes_are_refused_or_change_numbers_alone(what: str, place: float, flip: int, second: float) -> None:
    blocks, decode = blocks_of(what)
    right = decode(blocks)
    damaged = bytearray(blocks[0])
    damaged[int(place * len(damaged))] ^= flip
    refused_or_of_the_same_shape(decode, [bytes(damaged), blocks[1]], right)
    damaged[int(second * len(damaged))] ^= flip
    refused_or_of_the_same_shape(decode, [bytes(damaged), blocks[1]], right)


@pytest.mark.parametrize("what", ["index sets", "draws", *PRECISIONS])
def test_truncated_extended_and_exchanged_blocks_are_refused(what: str) -> None:
    blocks, decode = blocks_of(what)
    for size in range(len(blocks[0])):
        with pytest.raises(RecordingError, match="cannot be read"):
            decode([blocks[0][:size], blocks[1]])
    for wrong in (blocks[0] + b"\0", blocks[1], bytes(len(blocks[0]))):
        with pytest.raises(RecordingError, match="cannot be read"):
            decode([wrong, blocks[1]])
    with pytest.raises(RecordingError, match="limbeck verify"):
        decode([b"", blocks[1]])


def test_a_frame_that_says_it_is_vast_reserves_nothing() -> None:
    """zstandard trusts the size in a frame's header: a few bytes could ask for all memory."""
    table = table_of(1, 5000, K)
    honest = zstandard.ZstdCompressor().compress(bytes(9))
    # Frame descriptor with an eight-byte content size, which says 2^46.
    vast = honest[:4] + bytes([0b11100000]) + (1 << 46).to_bytes(8, "little") + honest[6:]
    assert zstandard.frame_content_size(vast) == 1 << 46
    sizes = [len(vast), 0, 0, 0]
    with pytest.raises(RecordingError, match="not written by this codec"):
        index_sets.decode([np.array(sizes, "<u4").tobytes() + vast], [9], table)


@settings(deadline=None, max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_damaged_tables_are_refused_or_are_tables(place: float, flip: int) -> None:
    content = bytearray(table_of(1, 500, K).to_bytes())
    content[int(place * len(content))] ^= flip
    try:
        table = Table.from_bytes(bytes(content))
    except RecordingError:
        return
    assert sorted(table.ranking.symbols.tolist()) == list(range(len(table.ranking)))
    assert not table.anchors.size or table.anchors.max() < len(table.ranking)
