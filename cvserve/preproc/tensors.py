"""uint8 pixels to the tensor that a graph takes."""

from __future__ import annotations

import functools

import numpy as np

from cvserve.artifact import InputSpec
from cvserve.errors import InvalidInput


def encode_input(pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Pixels to the graph's input: (pixel * scale - mean) / std per channel, quantised, cast, and laid out.

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
    tables = _tables(spec)
    batch, height, width, _ = pixels.shape
    nhwc = spec.layout == "NHWC"
    result = np.empty((batch, height, width, 3) if nhwc else (batch, 3, height, width), spec.dtype)
    for channel in range(3):
        source = pixels[..., channel if spec.channels == "RGB" else 2 - channel]
        result[(..., channel) if nhwc else (slice(None), channel)] = tables[channel][source]
    return result


@functools.lru_cache(maxsize=64)
def _tables(spec: InputSpec) -> np.ndarray:
    """[3, 256] in the spec's dtype: what each pixel value becomes, per channel in the spec's order.

    A pixel has only 256 values, so the arithmetic is done once, in float64.
    """
    pixel = np.arange(256, dtype=np.float64)
    mean, std = np.array(spec.mean)[:, None], np.array(spec.std)[:, None]
    values = (pixel * spec.scale - mean) / std
    if spec.quantization is not None:
        values = np.rint(values / spec.quantization.scale) + spec.quantization.zero_point
    if spec.dtype in ("uint8", "int8"):
        limits = np.iinfo(spec.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    tables = values.astype(spec.dtype)
    tables.flags.writeable = False
    return tables
