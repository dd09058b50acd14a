"""Laws of augmentation: a row's look depends on (seed, id, view) alone, and each step does what its paper says."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.augment import Augmentation, known_names, parse
from limbeck.data.rows import TensorRows
from limbeck.errors import DataError, RecipeError
from limbeck.replay import Draw

WORD = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15
TEXTS = [
    "crop(padding=2)",
    "flip",
    "cutout(size=3)",
    "mixup(alpha=0.4)",
    "crop(padding=1) + flip + cutout(size=5) + mixup(alpha=1)",
    "crop(padding=3) + crop(padding=1)",
]


def pictures(rows: int, *, channels: int = 1, side: int = 9, kind: torch.dtype = torch.uint8) -> TensorRows:
    generator = torch.Generator().manual_seed(rows + channels)
    # no pixel is 0, so that what a step blackened can be told from what was black
    images = torch.randint(1, 256, (rows, channels, side, side + 2), generator=generator).to(kind)
    return TensorRows.of(images, torch.arange(rows) % 5)


def mixed(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


def test_the_reference_of_the_mixing_function_gives_the_published_first_numbers():
    # the first two outputs of SplitMix64 from the state 0
    assert [mixed(GAMMA), mixed(2 * GAMMA & WORD)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


@given(seed=st.integers(-5, 2**70), view=st.integers(0, 2**40), ids=st.lists(st.integers(0, 2**62), min_size=1))
def test_random_words_equal_the_reference_in_whole_numbers_without_bounds(seed, view, ids):
    name = int.from_bytes(hashlib.sha256(b"crop 0").digest()[:8], "little")
    key = mixed((mixed((seed + 1) * GAMMA & WORD) + (view + 1) * GAMMA) & WORD)
    expected = [
        [mixed((mixed((row * GAMMA + key) & WORD) + mixed((name + index * GAMMA) & WORD)) & WORD) for row in ids]
        for index in (1, 2)
    ]
    words = Draw.of(torch.tensor(ids), seed, view, "crop 0").words(2)
    assert [[word & WORD for word in row] for row in words.tolist()] == expected
    integers = Draw.of(torch.tensor(ids), seed, view, "crop 0").integers(5, 28)
    assert integers.tolist() == [
        [(word >> 33) * below >> 31 for word in row] for row, below in zip(expected, (5, 28), strict=True)
    ]


def test_rows_of_several_views_have_the_numbers_of_each() -> None:
    ids, views = torch.tensor([5, 5, 7, 0]), torch.tensor([0, 3, 3, 2**40])
    together = Draw.of(ids, 9, views, "any")
    each = [Draw.of(ids[row : row + 1], 9, int(view), "any") for row, view in enumerate(views)]
    assert torch.equal(together.words(4), torch.cat([draw.words(4) for draw in each], dim=1))


def test_uniforms_are_the_53_highest_bits_of_the_words() -> None:
    draw = Draw.of(torch.arange(1000), 1)
    uniforms = draw.uniforms(3)
    assert uniforms.dtype == torch.float64
    assert uniforms.T.tolist() == [[((word & WORD) >> 11) / 2**53 for word in row] for row in draw.words(3).tolist()]


@pytest.mark.parametrize("below", [2, 5, 28])
def test_whole_numbers_are_uniform_and_independent_of_each_other(below):
    first, second = Draw.of(torch.arange(20_000), 3, 1, "any").integers(below, below)
    other = Draw.of(torch.arange(20_000), 3, 1, "other").integers(below)[0]
    view = Draw.of(torch.arange(20_000), 3, 2, "any").integers(below)[0]
    for one in (second, other, view):
        pairs = torch.bincount(first * below + one, minlength=below**2).double()
        expected = 20_000 / below**2
        statistic = float(((pairs - expected) ** 2 / expected).sum())
        freedom = below**2 - 1
        assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


@settings(deadline=None, max_examples=40)
@given(
    text=st.sampled_from(TEXTS),
    order=st.permutations(range(12)),
    view=st.integers(0, 9),
    seed=st.integers(0, 9),
    channels=st.sampled_from([1, 3]),
    kind=st.sampled_from([torch.uint8, torch.float32]),
)
def test_augmenting_a_permuted_batch_is_permuting_the_augmented_batch(text, order, view, seed, channels, kind):
    rows, augmentation = pictures(20, channels=channels, kind=kind), parse(text)
    positions, order = torch.arange(5, 17), torch.tensor(order)
    inputs, labels, known, ids, partner = augmentation.apply(rows, positions, view, seed)
    other_inputs, other_labels, other_known, other_ids, other = augmentation.apply(rows, positions[order], view, seed)
    assert torch.equal(other_inputs, inputs[order])
    assert torch.equal(other_labels, labels[order])
    assert torch.equal(other_known, known[order])
    assert torch.equal(other_ids, ids[order])
    if partner is not None:
        assert torch.equal(other.labels, partner.labels[order])
        assert torch.equal(other.share, partner.share[order])
        assert torch.equal(other.known, partner.known[order])


@pytest.mark.parametrize("text", TEXTS)
def test_a_row_looks_the_same_alone_and_in_any_batch(text):
    rows, augmentation = pictures(20), parse(text)
    together = augmentation.apply(rows, torch.arange(20), 3, 7)[0]
    for place in range(20):
        alone = augmentation.apply(rows, torch.tensor([place]), 3, 7)[0]
        assert torch.equal(alone[0], together[place])


@pytest.mark.parametrize("text", ["crop(padding=2) + flip", "cutout(size=3)"])
def test_the_id_decides_not_the_position_nor_the_set_of_rows(text):
    rows, augmentation = pictures(20), parse(text)
    whole = augmentation.apply(rows, torch.arange(20), 0, 0)[0]
    some = rows.select(torch.tensor([17, 3, 8]))
    assert torch.equal(augmentation.apply(some, torch.arange(3), 0, 0)[0], whole[[17, 3, 8]])


@pytest.mark.parametrize("text", TEXTS)
def test_another_view_and_another_seed_look_different(text):
    rows, augmentation = pictures(20), parse(text)
    first = augmentation.apply(rows, torch.arange(20), 0, 0)[0]
    assert torch.equal(first, augmentation.apply(rows, torch.arange(20), 0, 0)[0])
    assert not torch.equal(first, augmentation.apply(rows, torch.arange(20), 1, 0)[0])
    assert not torch.equal(first, augmentation.apply(rows, torch.arange(20), 0, 1)[0])


def test_augmenting_touches_neither_the_rows_nor_any_global_random_state():
    rows = pictures(20)
    before, state = rows.inputs.clone(), torch.get_rng_state()
    parse(TEXTS[4]).apply(rows, torch.arange(20), 0, 0)
    assert torch.equal(rows.inputs, before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("channels", [1, 3])
def test_crop_shifts_by_every_whole_number_of_pixels_up_to_the_padding(channels):
    rows = pictures(600, channels=channels, side=6)
    cropped = parse("crop(padding=1)").apply(rows, torch.arange(600), 0, 0)[0]
    assert cropped.dtype == torch.uint8
    seen = {}
    for image, result in zip(rows.inputs.numpy(), cropped.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
        shifts = [
            (down, right)
            for down in range(3)
            for right in range(3)
            if np.array_equal(padded[:, down : down + 6, right : right + 8], result)
        ]
        assert len(shifts) == 1
        seen[shifts[0]] = seen.get(shifts[0], 0) + 1
    assert len(seen) == 9
    assert min(seen.values()) > 40  # 67 expected


def test_flip_mirrors_about_half_of_the_rows():
    rows = pictures(400)
    flipped = parse("flip").apply(rows, torch.arange(400), 0, 0)[0]
    same = (flipped == rows.inputs).flatten(1).all(1)
    mirrored = (flipped == rows.inputs.flip(3)).flatten(1).all(1)
    assert torch.equal(same, ~mirrored)
    assert 160 < int(same.sum()) < 240


@pytest.mark.parametrize("size", [1, 3, 4, 30])
def test_cutout_blackens_a_square_about_any_pixel_and_nothing_else(size):
    rows = pictures(300, channels=3)
    cut = parse(f"cutout(size={size})").apply(rows, torch.arange(300), 0, 0)[0]
    hole = cut == 0
    assert torch.equal(cut[~hole], rows.inputs[~hole])
    assert torch.equal(hole[:, 0], hole[:, 1])
    areas = set()
    for mask in hole[:, 0]:
        lines, columns = mask.any(1), mask.any(0)
        assert torch.equal(mask, lines[:, None] & columns)
        for side in (lines, columns):
            places = side.nonzero().squeeze(1)
            assert len(places) == int(places[-1] - places[0]) + 1
            assert len(places) <= size
        areas.add(int(mask.sum()))
    assert max(areas) == min(size, 9) * min(size, 11)


def test_mixup_mixes_two_augmented_rows_and_reports_the_second_ones_label():
    rows = pictures(50)
    labelled = rows.hide_labels(torch.arange(0, 50, 2))
    alone = parse("crop(padding=2) + flip").apply(labelled, torch.arange(50), 4, 1)[0].float()
    inputs, labels, known, ids, partner = parse("crop(padding=2) + flip + mixup(alpha=1)").apply(
        labelled, torch.arange(50), 4, 1
    )
    assert inputs.dtype == torch.float32
    assert torch.equal(ids, torch.arange(50))
    assert torch.equal(labels, labelled.labels)
    assert torch.equal(known, labelled.known)
    partners = set()
    for place in range(50):
        share = float(partner.share[place])
        mixtures = share * alone[place] + (1 - share) * alone
        errors = (mixtures - inputs[place]).abs().flatten(1).amax(1)
        found = int(errors.argmin())
        partners.add(found)
        assert float(errors[found]) < 1e-3
        assert bool(partner.known[place]) == (found % 2 == 0)
        if found % 2 == 0:
            assert int(partner.labels[place]) == found % 5
    assert len(partners) > 20


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_of_mixup_follow_the_beta_distribution(alpha):
    share = parse(f"mixup(alpha={alpha})").apply(pictures(20_000, side=1), torch.arange(20_000), 0, 0)[4].share
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1))
    assert float(share.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    assert float(share.min()) >= 0
    assert float(share.max()) <= 1


def test_mixup_of_rows_without_labels_knows_none():
    rows = TensorRows.of(pictures(8).inputs)
    _, labels, known, _, partner = parse("mixup").apply(rows, torch.arange(8), 0, 0)
    assert labels is None
    assert not known.any()
    assert not partner.known.any()


STEPS = st.one_of(
    st.builds("crop(padding={})".format, st.integers(1, 9)),
    st.just("flip"),
    st.builds("cutout(size={})".format, st.integers(1, 40)),
)


@given(steps=st.lists(STEPS, min_size=1, max_size=4), alpha=st.none() | st.floats(0.01, 100))
def test_what_is_written_down_reads_back_as_the_same(steps, alpha):
    augmentation = parse(" + ".join(steps + ([] if alpha is None else [f"mixup(alpha={alpha!r})"])))
    assert parse(repr(augmentation)) == augmentation
    assert repr(parse(repr(augmentation))) == repr(augmentation)
    assert isinstance(augmentation, Augmentation)


def test_defaults_and_places_of_arguments_are_written_out():
    written = repr(parse("crop(2) + flip + cutout + mixup"))
    assert written == "crop(padding=2) + flip + cutout(size=8) + mixup(alpha=0.2)"
    assert parse("crop(2)").fingerprint == "crop(padding=2)"
    assert known_names() == ["crop", "cutout", "flip", "mixup"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crob(padding=2)", "no augmentation is called 'crob'\n  try: did you mean 'crop'?"),
        ("crop(pading=2)", "crop has no argument 'pading'\n  try: did you mean 'padding'?"),
        ("flip(2)", "flip was given 1 arguments\n  expected: 0 at most"),
        ("crop(2, padding=2)", "crop was given padding twice"),
        ("crop(padding=0)", "crop has padding=0\n  expected: a whole number of pixels, at least 1"),
        ("crop(padding=1.5)", "crop has padding=1.5"),
        ("crop(padding=True)", "crop has padding=True"),
        ("cutout(size='8')", "cutout has size='8'"),
        ("mixup(alpha=0)", "mixup has alpha=0\n  expected: a number above 0, at most 100"),
        ("0.5 * flip", "flip in the augmentation '0.5 * flip' has the weight 0.5\n  expected: steps without weights"),
        ("mixup + flip", "mixup is not the last step of 'mixup + flip'\n  expected: mixup once, at the end"),
        ("crop -", "the augmentation cannot be read"),
    ],
)
def test_a_mistake_in_the_text_is_named(text, message):
    with pytest.raises(RecipeError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_flat_rows_cannot_be_augmented():
    rows = TensorRows.of(torch.zeros(4, 64, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"flip was asked of rows of shape \(64,\)\n  expected: images") as caught:
        parse("flip").apply(rows, torch.arange(4), 0, 0)
    assert "inputs.reshape(-1, 1, 8, 8)" in caught.value.remedy
