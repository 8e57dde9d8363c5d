"""Makes the kernels of convolutions that begin as the identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


@keras.saving.register_keras_serializable(package="cvserve")
class IdentityKernel(keras.initializers.Initializer):
    """Makes the kernel of a convolution that is the identity (Yu & Koltun 2015, 1511.07122, equations 4 and 5).

    With as many channels out as in, the middle of the kernel is the identity. With other numbers, which must be
    multiples of `groups`, both sides are split into `groups` of neighbours, and every output of a group gets all of its
    inputs, each with the weight groups / outputs: a chain that begins and ends with `groups` channels passes on what it
    got.

    Args:
        groups: C of the paper, the channels that a chain begins with; None where the channels stay the same.
        stddev: of the noise on all other weights where the channels change; without it, equal channels would stay
            equal for ever. A share of groups / outputs.
        seed: of the noise.

    Call arguments:
        shape: (height, width, inputs, outputs), sides odd.
    """

    def __init__(self, groups: int | None = None, stddev: float = 0.01, seed: int | None = None) -> None:
        self.groups = groups
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Returns the kernel that the class describes."""
        height, width, inputs, outputs = shape
        if inputs == outputs:
            kernel = np.zeros(shape, np.float32)
            kernel[height // 2, width // 2] = np.eye(inputs)
            return keras.ops.convert_to_tensor(kernel, dtype=dtype or "float32")
        if self.groups is None or inputs % self.groups or outputs % self.groups:
            raise ValueError(f"{inputs} channels cannot be passed on as {outputs} in groups of {self.groups}")
        share = self.groups / outputs
        same = np.zeros(shape, np.float32)
        same_group = np.arange(inputs)[:, None] * self.groups // inputs == np.arange(outputs) * self.groups // outputs
        same[height // 2, width // 2] = share * same_group
        noise = keras.random.normal(shape, stddev=self.stddev * share, seed=self.seed, dtype="float32")
        return keras.ops.cast(keras.ops.where(same > 0, same, noise), dtype or "float32")

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {"groups": self.groups, "stddev": self.stddev, "seed": self.seed}
