"""The interface of all runtimes, which run a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cvserve.artifact import Quantization

RUNTIMES = ("tensorflow", "onnx", "litert")
"""Names of the runtimes; the graph format of each is FORMAT_OF[name]."""

FORMAT_OF = {"tensorflow": "saved_model", "onnx": "onnx", "litert": "tflite"}

RUNTIME_OF = {graph_format: runtime for runtime, graph_format in FORMAT_OF.items()}
"""The runtime of each graph format."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a graph.

    shape: with the batch dimension first, None where it varies. ranked: False where the graph leaves the number of
    dimensions open; shape is () then.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    ranked: bool = True


class Runtime(Protocol):
    """A loaded graph.

    batch: the only batch size that the graph takes, or None; `run` takes any number of rows all the same, in chunks.
    quantization: scale and zero point of the tensors that are stored as integers, where the file has them.

    `run` may be called from any thread. Calls on one instance may be serialised inside; a server therefore opens one
    instance for each worker. All arrays are numpy, C-contiguous, with the batch first.
    """

    name: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    batch: int | None
    quantization: Mapping[str, Quantization]

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Runs the graph.

        Args:
            inputs: every input by name, in the graph's dtype, batch first.
            outputs: the names wanted, all if None.

        Raises:
            InvalidInput: a name, dtype or shape that the graph does not take.
        """

    def close(self) -> None:
        """Frees the memory; the instance cannot be used any more."""
