"""uint8 pixels to the graph's input, against the formula of InputSpec written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvserve.artifact import InputSpec, Quantization
from cvserve.errors import InvalidInput
from cvserve.preproc import encode_input

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)


def oracle(pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
    """The docstring of InputSpec, one value after the other."""
    batch, height, width, _ = pixels.shape
    result = np.empty((batch, height, width, 3), spec.dtype)
    for at in np.ndindex(batch, height, width):
        for channel in range(3):
            value = float(pixels[at][channel if spec.channels == "RGB" else 2 - channel])
            value = (value * spec.scale - spec.mean[channel]) / spec.std[channel]
            if spec.quantization:
                value = round(value / spec.quantization.scale) + spec.quantization.zero_point
            if spec.dtype == "int8":
                value = min(127, max(-128, round(value)))
            if spec.dtype == "uint8":
                value = min(255, max(0, round(value)))
            result[(*at, channel)] = value
    return result if spec.layout == "NHWC" else result.transpose(0, 3, 1, 2)


@st.composite
def input_specs(draw: st.DrawFn) -> InputSpec:
    number = st.floats(-200, 200)
    positive = st.floats(0.01, 300)
    return InputSpec(
        dtype=draw(st.sampled_from(["uint8", "int8", "float32", "float16"])),
        layout=draw(st.sampled_from(["NHWC", "NCHW"])),
        channels=draw(st.sampled_from(["RGB", "BGR"])),
        scale=draw(positive),
        mean=draw(st.tuples(number, number, number)),
        std=draw(st.tuples(positive, positive, positive)),
        quantization=draw(
            st.none() | st.builds(Quantization, scale=st.floats(0.001, 2), zero_point=st.integers(-128, 255))
        ),
    )


@settings(deadline=None, max_examples=80)
@given(input_specs())
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_the_formula(spec: InputSpec) -> None:
    tensor = encode_input(PIXELS, spec)
    expected = oracle(PIXELS, spec)
    assert tensor.dtype == spec.dtype
    assert tensor.flags.c_contiguous
    assert np.array_equal(tensor, expected)


def test_int8_nchw_bgr_worked_out() -> None:
    spec = InputSpec(
        dtype="int8",
        layout="NCHW",
        channels="BGR",
        scale=1 / 127.5,
        mean=(1, 1, 1),
        quantization=Quantization(scale=1 / 128, zero_point=0),
    )
    pixels = np.array([0, 127, 255], np.uint8).reshape(1, 1, 1, 3)
    # 255 becomes 1.0, which is 128 steps: clipped to 127. 127 is -0.0039, half a step: rounded to even, 0.
    assert encode_input(pixels, spec).tolist() == [[[[127]], [[-1]], [[-128]]]]


def test_halves_are_rounded_to_even_and_clipped() -> None:
    pixels = np.array([1, 3, 5, 255, 251, 0], np.uint8).reshape(1, 2, 1, 3)
    spec = InputSpec(dtype="int8", quantization=Quantization(scale=2, zero_point=0))
    assert encode_input(pixels, spec).reshape(-1).tolist() == [0, 2, 2, 127, 126, 0]


def test_imagenet_normalisation() -> None:
    spec = InputSpec(
        dtype="float32", layout="NCHW", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    expected = (PIXELS / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.allclose(encode_input(PIXELS, spec), expected.transpose(0, 3, 1, 2), rtol=1e-6, atol=1e-6)


def test_pixels_pass_through_without_a_copy() -> None:
    assert encode_input(PIXELS, InputSpec()) is PIXELS


def test_views_and_empty_batches() -> None:
    spec = InputSpec(dtype="float32", layout="NCHW")
    assert np.array_equal(encode_input(PIXELS[:, ::2, ::-1], spec), PIXELS[:, ::2, ::-1].transpose(0, 3, 1, 2))
    assert encode_input(PIXELS[:0], spec).shape == (0, 3, 5, 4)


@pytest.mark.parametrize("pixels", [PIXELS[0], PIXELS.astype(np.float32), PIXELS[..., :2]])
@pytest.mark.parametrize("spec", [InputSpec(), InputSpec(dtype="float32")])
def test_other_pixels_are_errors(pixels: np.ndarray, spec: InputSpec) -> None:
    with pytest.raises(InvalidInput, match=r"pixels must be uint8 \[batch, height, width, 3\], not "):
        encode_input(pixels, spec)
