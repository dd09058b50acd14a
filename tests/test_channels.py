"""Features in one byte a number or in two: within the stated bound of what went in, or refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import TeacherError
from limbeck.recordings.codecs import channels


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-30, 1.0, 1e37]),
    shape=st.sampled_from([(5, 3), (4, 3, 2, 2), (1, 3, 1)]),
)
def test_features_come_back_within_half_a_step(seed: int, scale: float, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(seed)
    features = (rng.standard_normal(shape) * scale).astype(np.float32)
    features[:, 1] = np.maximum(features[:, 1], 0)
    features[:, 2] = features[0, 2].flat[0]
    codes, scales = channels.encode(features, 1)
    decoded = channels.decode(codes, scales)
    error = np.abs(decoded.astype(np.float64) - features).max(axis=(0, *range(2, len(shape))))
    assert (error <= scales.error_bound()).all()
    spread = features.max(axis=(0, *range(2, len(shape)))) - features.min(axis=(0, *range(2, len(shape))))
    assert (scales.error_bound() <= spread / 510 + np.abs(features).max() * 2**-19).all()
    np.testing.assert_array_equal(decoded[:, 2], features[:, 2])
    # One row alone, and the channels on another axis.
    np.testing.assert_array_equal(channels.decode(codes[-1:], scales), decoded[-1:])
    turned, turned_scales = channels.encode(np.moveaxis(features, 1, -1), -1)
    np.testing.assert_array_equal(np.moveaxis(channels.decode(turned, turned_scales), -1, 1), decoded)


def test_zeros_of_a_relu_stay_zeros() -> None:
    features = np.maximum(np.random.default_rng(0).standard_normal((64, 8)), 0).astype(np.float32)
    decoded = channels.decode(*channels.encode(features, -1))
    np.testing.assert_array_equal(decoded == 0, channels.encode(features, -1)[0] == 0)
    assert (decoded[features == 0] == 0).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e38])
def test_features_that_cannot_be_kept_are_refused(value: float) -> None:
    features = np.array([[1.0, value]], np.float32)
    with pytest.raises(TeacherError, match="1e38"):
        channels.encode(features, 1)
    with pytest.raises(TeacherError, match="65504"):
        channels.half(features)
    assert channels.half(np.array([65_504.0], np.float32)) == 65_504
    with pytest.raises(TeacherError, match="65504"):
        channels.half(np.array([65_520.0], np.float32))
