"""Upsampling layers: the lectures' worked examples, brute force, and the formats that they must survive."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from cvserve.artifact import PreprocSpec
from cvserve.export.network import Network
from cvserve.export.onnx import write_onnx
from cvserve.export.saved_model import write_saved_model
from cvserve.export.tflite import write_tflite
from cvserve.models.layers import BedOfNails, BilinearKernel, MaxPoolingWithSwitches, MaxUnpooling, NearestUnpooling
from cvserve.models.segmentation.head import enlarge


def maps(rows: list[list[float]]) -> np.ndarray:
    """[H][W] to float32 [1, H, W, 1]."""
    return np.array(rows, np.float32)[None, :, :, None]


def rows_of(answer: tf.Tensor) -> list[list[float]]:
    return np.asarray(answer)[0, :, :, 0].tolist()


SMALL = [[1, 2], [3, 4]]


def test_nearest_unpooling() -> None:
    assert rows_of(NearestUnpooling()(maps(SMALL))) == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


def test_bed_of_nails() -> None:
    assert rows_of(BedOfNails()(maps(SMALL))) == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]


def test_max_pooling_and_unpooling() -> None:
    pooled, switches = MaxPoolingWithSwitches()(maps([[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]))
    assert rows_of(pooled) == [[5, 6], [7, 8]]
    assert rows_of(MaxUnpooling()(maps(SMALL), switches)) == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]


def test_of_equal_values_the_first_is_taken() -> None:
    _, switches = MaxPoolingWithSwitches()(maps([[0, 0, 1, 2], [0, 0, 2, 2]]))
    assert rows_of(switches) == [[1, 0, 0, 1], [0, 0, 0, 0]]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.integers(1, 3),
    factors=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    channels=st.integers(1, 3),
)
def test_against_loops(seed: int, size: int, factors: tuple[int, int], channels: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns = factors
    # Few different values, so that many windows have several maxima.
    features = random.integers(0, 3, (2, rows * size, columns * size, channels)).astype(np.float32)
    values = random.normal(size=(2, rows, columns, channels)).astype(np.float32)
    pooled, switches = MaxPoolingWithSwitches(size)(features)
    unpooled = MaxUnpooling(size)(values, switches)
    nearest, nails = NearestUnpooling(size)(values), BedOfNails(size)(values)
    for b, r, c, k in np.ndindex(2, rows, columns, channels):
        place = np.s_[b, r * size : (r + 1) * size, c * size : (c + 1) * size, k]
        first = np.zeros(size * size, bool)
        first[np.argmax(features[place])] = True
        assert float(pooled[b, r, c, k]) == features[place].max()
        np.testing.assert_array_equal(switches[place], first.reshape(size, size))
        np.testing.assert_array_equal(unpooled[place], np.where(first, values[b, r, c, k], 0).reshape(size, size))
        np.testing.assert_array_equal(nearest[place], np.full((size, size), values[b, r, c, k]))
        assert float(nails[b, r * size, c * size, k]) == values[b, r, c, k]
        assert np.count_nonzero(nails[place]) == np.count_nonzero(values[b, r, c, k])


def test_gradients_go_where_the_values_came_from() -> None:
    features = tf.constant(maps([[0, 0, 1, 2], [0, 0, 2, 2]]))
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled, switches = MaxPoolingWithSwitches()(features)
        total = tf.reduce_sum(MaxUnpooling()(pooled * tf.constant([[[[5.0], [7.0]]]]), switches))
    assert rows_of(tape.gradient(total, features)) == [[5, 0, 0, 7], [0, 0, 0, 0]]


def test_windows_must_fill_the_map() -> None:
    with pytest.raises(ValueError, match="windows of 2 do not fill a map of 3 x 4"):
        MaxPoolingWithSwitches()(np.zeros((1, 3, 4, 1), np.float32))


def test_the_bilinear_kernel() -> None:
    kernel = np.asarray(BilinearKernel()((3, 3, 2, 2)))
    expected = [[1 / 4, 1 / 2, 1 / 4], [1 / 2, 1, 1 / 2], [1 / 4, 1 / 2, 1 / 4]]
    for channel in (0, 1):
        np.testing.assert_array_equal(kernel[:, :, channel, channel], expected)
        np.testing.assert_array_equal(kernel[:, :, channel, 1 - channel], 0)
    with pytest.raises(ValueError, match="3 do not become 2"):
        BilinearKernel()((4, 4, 2, 3))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_bilinear_transposed_convolution_interpolates(factor: int) -> None:
    """Away from the border it is what resizing gives, and OpenCV's."""
    import cv2

    features = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32)
    layer = layers.Conv2DTranspose(
        3, 2 * factor, strides=factor, padding="same", use_bias=False, kernel_initializer=BilinearKernel()
    )
    transposed = np.asarray(layer(features))
    resized = np.asarray(enlarge(features, factor, name="up"))
    inner = np.s_[:, factor // 2 : -factor // 2, factor // 2 : -factor // 2]
    np.testing.assert_allclose(transposed[inner], resized[inner], atol=1e-5)
    theirs = cv2.resize(features[0], (5 * factor, 6 * factor), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resized[0], theirs, atol=1e-4)


@pytest.mark.slow
def test_all_of_them_survive_the_formats(tmp_path: Path) -> None:
    """Of several photos at once, in ONNX and in TFLite with nothing but built-in operations."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    keras.utils.set_random_seed(0)
    images = keras.Input((12, 18, 3), dtype="uint8", name="images")
    pixels = layers.Rescaling(1 / 255)(images)
    pooled, switches = MaxPoolingWithSwitches()(layers.ReLU()(pixels - 0.5))
    thirds, of_thirds = MaxPoolingWithSwitches(3)(pooled)
    back = MaxUnpooling(3)(layers.Rescaling(2.0)(thirds), of_thirds)
    transposed = layers.Conv2DTranspose(3, 4, strides=2, padding="same", kernel_initializer=BilinearKernel())(pooled)
    answers = {
        "unpooled": MaxUnpooling()(back, switches),
        "nearest": NearestUnpooling(3)(pooled),
        "nails": BedOfNails()(pooled),
        "bilinear": enlarge(pooled, 4, name="up"),
        "transposed": transposed,
    }
    network = Network(keras.Model(images, answers), PreprocSpec(height=12, width=18, resize="exact"))
    # Dark halves make windows of equal values.
    photos = np.random.default_rng(0).integers(0, 256, (3, 12, 18, 3), np.uint8)
    expected = network.answers(photos)
    session = onnxruntime.InferenceSession(str(write_onnx(network, tmp_path / "model.onnx")))
    names = [output.name for output in session.get_outputs()]
    onnx = dict(zip(names, session.run(names, {"images": photos}), strict=True))
    write_saved_model(network, tmp_path / "saved")
    interpreter = Interpreter(str(write_tflite(tmp_path / "saved", tmp_path / "model.tflite")))
    lite = interpreter.get_signature_runner("serving_default")(images=photos)
    for name, values in expected.items():
        np.testing.assert_allclose(onnx[name], values, atol=1e-5, err_msg=f"onnx {name}")
        np.testing.assert_allclose(lite[name], values, atol=1e-5, err_msg=f"tflite {name}")
