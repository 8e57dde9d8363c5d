"""Dequantises a graph's outputs."""

from __future__ import annotations

import numpy as np

from cvserve.artifact import OutputSpec


def real_values(values: np.ndarray, spec: OutputSpec) -> np.ndarray:
    """Returns an output as float32, dequantised where the graph gives integers."""
    values = np.asarray(values)
    if spec.quantization is None:
        return values.astype(np.float32, copy=False)
    return (values.astype(np.float32) - spec.quantization.zero_point) * np.float32(spec.quantization.scale)
