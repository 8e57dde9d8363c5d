"""Makes the kernels of transposed convolutions that begin as bilinear interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="cvserve")
class BilinearKernel(keras.initializers.Initializer):
    """Makes the kernel with which a transposed convolution interpolates each channel by itself (Long et al. 2014, arXiv
    1411.4038, section 3.3).

    A side of 3 has the weights 1/2, 1, 1/2 and suits stride 2; an even side of 2 * stride, with padding "same", suits
    any stride. Pixels near the border, which miss a neighbour, come out smaller.

    Call arguments:
        shape: (height, width, C, C).

    Returns:
        [height, width, C, C], zero where the two channels differ.
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Returns the kernel that the class describes."""
        height, width, outputs, inputs = shape
        if outputs != inputs:
            raise ValueError(f"bilinear interpolation keeps the channels: {inputs} do not become {outputs}")
        kernel = np.zeros(shape, np.float32)
        channels = np.arange(inputs)
        kernel[:, :, channels, channels] = np.outer(_triangle(height), _triangle(width))[..., None]
        return keras.ops.convert_to_tensor(kernel, dtype=dtype or "float32")


def _triangle(side: int) -> np.ndarray:
    factor = (side + 1) // 2
    center = factor - 1 if side % 2 else factor - 0.5
    return 1 - np.abs(np.arange(side) - center) / factor
