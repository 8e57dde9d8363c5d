"""The context module begins as the identity, and sees as far as its table says."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cvserve.models.layers import IdentityKernel
from cvserve.models.segmentation.context_module import DILATIONS, WIDTHS, context_module


def test_receptive_fields() -> None:
    """3, 5, 9, 17, 33, 65, 67, 67: how far the middle pixel of each layer looks, measured by its gradient."""
    assert DILATIONS == (1, 1, 2, 4, 8, 16, 1, 1)
    side = 81
    inputs = keras.Input((side, side, 1))
    whole = keras.Model(inputs, context_module(inputs))
    convolutions = [layer for layer in whole.layers if isinstance(layer, keras.layers.Conv2D)]
    for layer in convolutions:
        layer.set_weights([np.ones_like(layer.kernel), np.zeros_like(layer.bias)])
    pixels = tf.ones((1, side, side, 1))
    seen = []
    for layer in convolutions:
        part = keras.Model(inputs, layer.output)
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            middle = part(pixels)[0, side // 2, side // 2, 0]
        reached = np.abs(tape.gradient(middle, pixels)[0, :, :, 0]) > 0
        rows, columns = np.flatnonzero(reached.any(axis=1)), np.flatnonzero(reached.any(axis=0))
        assert rows.max() - rows.min() == columns.max() - columns.min()
        seen.append(int(rows.max() - rows.min() + 1))
    assert seen == [3, 5, 9, 17, 33, 65, 67, 67]


@pytest.mark.parametrize(("form", "error"), [("basic", 1e-6), ("large", 0.2)])
def test_it_begins_by_changing_nothing(form: str, error: float) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 24, 3))
    module = keras.Model(inputs, context_module(inputs, form))  # type: ignore[arg-type]
    features = np.random.default_rng(0).random((2, 20, 24, 3)).astype(np.float32)
    answer = np.asarray(module(features))
    assert np.abs(answer - features).mean() < error
    assert (np.asarray(module(-features)) == 0).all() or form == "large"
    widths = [layer.filters for layer in module.layers if isinstance(layer, keras.layers.Conv2D)]
    assert widths == [3 * multiple for multiple in WIDTHS[form]]


def test_the_identity_kernel_of_groups() -> None:
    """Two classes, from two channels to four and back, as equation 5 has it."""
    wide = np.array(IdentityKernel(2, stddev=0.0)((3, 3, 2, 4)))
    np.testing.assert_array_equal(wide[1, 1], [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    back = np.asarray(IdentityKernel(2, stddev=0.0)((1, 1, 4, 2)))
    np.testing.assert_array_equal(wide[1, 1] @ back[0, 0], np.eye(2))
    wide[1, 1] = 0
    assert not wide.any()
    noisy = np.asarray(IdentityKernel(2, stddev=0.1, seed=1)((3, 3, 2, 4)))
    assert 0 < np.abs(noisy[0, 0]).max() < 0.5
    with pytest.raises(ValueError, match="2 channels cannot be passed on as 3 in groups of 2"):
        IdentityKernel(2)((3, 3, 2, 3))
