"""Laws of batching: an order that depends on seed and epoch alone, batches that can be skipped; and standardising."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.data.augment import parse
from limbeck.data.loader import batches, in_order, order, steps_per_epoch
from limbeck.data.rows import TensorRows
from limbeck.data.source import load
from limbeck.data.standardise import Standardise, statistics
from limbeck.errors import DataError
from limbeck.tasks.classification import Classification

TASK = Classification()


@given(rows=st.integers(1, 200), seed=st.integers(0, 2**40), epoch=st.integers(0, 2**20))
def test_an_order_is_a_permutation_and_a_pure_function(rows, seed, epoch):
    first = order(rows, seed, epoch)
    assert sorted(first.tolist()) == list(range(rows))
    assert torch.equal(order(rows, seed, epoch), first)


def test_orders_of_other_epochs_and_seeds_differ_and_every_place_is_as_likely():
    assert not torch.equal(order(50, 0, 0), order(50, 0, 1))
    assert not torch.equal(order(50, 0, 0), order(50, 1, 0))
    firsts = torch.bincount(torch.stack([order(5, 3, epoch)[0] for epoch in range(1000)]), minlength=5)
    assert (firsts - 200).abs().max() < 65  # five deviations


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 40), size=st.integers(1, 12), first=st.integers(0, 5), text=st.sampled_from([None, "flip"]))
def test_batches_follow_the_order_and_skipping_equals_slicing(rows, size, first, text):
    data = TensorRows.of(torch.arange(rows * 4, dtype=torch.uint8).reshape(rows, 1, 2, 2), torch.arange(rows) % 3)
    options = {"batch_size": size, "seed": 5, "epoch": 2, "view": 3, "augment": text and parse(text)}
    whole = list(batches(data, TASK, **options))
    assert len(whole) == steps_per_epoch(rows, size) == max(1, rows // size)
    seen = torch.cat([batch.ids for batch in whole])
    assert torch.equal(seen, order(rows, 5, 2)[: len(seen)])
    assert all(len(batch) == min(size, rows) for batch in whole)
    for batch in whole:
        assert batch.task is TASK
        assert batch.mask.all()
        assert batch.known.all()
        assert batch.views.tolist() == [3] * len(batch)
        assert batch.labels.tolist() == [place % 3 for place in batch.ids.tolist()]
    skipped = list(batches(data, TASK, first=first, **options))
    assert len(skipped) == max(0, len(whole) - first)
    for one, other in zip(skipped, whole[first:], strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.inputs, other.inputs)


def test_evaluation_sees_every_row_once_in_order_and_untouched():
    data = load("digits").test
    seen = list(in_order(data, TASK, batch_size=64))
    assert [len(batch) for batch in seen] == [64, 64, 52]
    assert torch.equal(torch.cat([batch.inputs for batch in seen]), data.inputs)
    assert torch.equal(torch.cat([batch.ids for batch in seen]), data.ids)
    assert not torch.cat([batch.views for batch in seen]).any()


def test_augmented_batches_carry_the_partner_and_the_seed_of_the_augmentation_is_its_own():
    data = load("digits").valid
    options = {"batch_size": 32, "seed": 0, "epoch": 0, "view": 1, "augment": parse("crop(padding=1) + mixup")}
    first = next(batches(data, TASK, augment_seed=1, **options))
    other = next(batches(data, TASK, augment_seed=2, **options))
    assert first.inputs.dtype == torch.float32
    assert first.partner.share.shape == (32,)
    assert torch.equal(first.ids, other.ids)
    assert not torch.equal(first.inputs, other.inputs)


# standardising


@pytest.mark.parametrize("shape", [(700, 3, 4, 5), (700, 6), (700, 2, 9)])
def test_statistics_are_those_of_each_channel_and_standardise_to_zero_and_one(shape):
    generator = np.random.default_rng(1)
    inputs = torch.from_numpy(generator.normal(1e4, 3, shape)).float()
    inputs[:, 1] *= 2
    mean, std = statistics(TensorRows.of(inputs))
    over = (0, *range(2, len(shape)))
    assert np.allclose(mean, inputs.double().numpy().mean(over), rtol=1e-7)
    assert np.allclose(std, inputs.double().numpy().std(over), rtol=1e-5)
    standard = Standardise(mean, std)(inputs)
    assert standard.dtype == torch.float32
    assert np.allclose(standard.numpy().mean(over), 0, atol=1e-2)
    assert np.allclose(standard.numpy().std(over), 1, atol=1e-3)


def test_bytes_are_standardised_and_a_constant_channel_becomes_zero():
    rows = TensorRows.of(torch.tensor([[[[0, 10]], [[7, 7]]], [[[20, 10]], [[7, 7]]]], dtype=torch.uint8))
    mean, std = statistics(rows)
    assert mean.tolist() == [10, 7]
    assert std.tolist() == pytest.approx([50**0.5, 1])
    module = Standardise(mean, std)
    assert module(rows.inputs)[:, 1].abs().max() == 0
    assert set(module.state_dict()) == {"mean", "std"}
    with pytest.raises(DataError, match="no rows to take statistics of"):
        statistics(rows.select(torch.arange(0)))
