"""Turns uint8 pixels into the tensor that a graph takes."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from cvserve.artifact import InputSpec
from cvserve.errors import InvalidInput


def encode_input(pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Returns the graph's input: (pixel * scale - mean) / std per channel, quantised, cast, and laid out.

    Quantised values are value / scale + zero_point, rounded half to even and clipped to the dtype; so are the values
    of an integer input without quantisation.

    Args:
        pixels: uint8 RGB [B, H, W, 3].

    Returns:
        [B, H, W, 3] or [B, 3, H, W] in the spec's dtype, C-contiguous. Where the graph takes the pixels as they are,
        the same array, not a copy.

    Raises:
        InvalidInput: another dtype or shape.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise InvalidInput(f"pixels must be uint8 [batch, height, width, 3], not {pixels.dtype} {list(pixels.shape)}")
    if spec.is_pixels:
        return pixels
    values = np.empty(pixels.shape, spec.dtype)
    if pixels.size:
        table = _table(spec)
        # cv2 knows no float16, and moves two bytes the same whatever they mean.
        stored = np.dtype(np.int16) if table.dtype == np.float16 else table.dtype
        flat = (-1, pixels.shape[2], 3)
        cv2.LUT(pixels.reshape(flat), table.view(stored), values.view(stored).reshape(flat))
    if spec.channels == "BGR":
        values = values[..., ::-1]
    if spec.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values)


@functools.lru_cache(maxsize=64)
def _table(spec: InputSpec) -> np.ndarray:
    """Returns [1, 256, 3] in the spec's dtype: what each pixel value becomes, per channel in RGB order.

    A pixel has only 256 values, so the arithmetic is done once, in float64.
    """
    mean, std = np.array(spec.mean), np.array(spec.std)
    values = (np.arange(256.0)[:, None] * spec.scale - mean) / std
    if spec.quantization is not None:
        values = np.rint(values / spec.quantization.scale) + spec.quantization.zero_point
    if spec.dtype in ("uint8", "int8"):
        limits = np.iinfo(spec.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    if spec.channels == "BGR":
        values = values[:, ::-1]
    table = np.ascontiguousarray(values[None].astype(spec.dtype))
    table.flags.writeable = False
    return table
