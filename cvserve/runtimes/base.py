"""The one interface behind which a graph runs."""

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
    """A tensor of a graph. shape: with the batch dimension first, None where it varies. ranked: False where the graph
    leaves the number of dimensions open, with () as the shape."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    ranked: bool = True


class Runtime(Protocol):
    """A loaded graph.

    batch: the only batch size that the graph takes, or None; `run` takes any number of rows all the same, in chunks.
    quantization: scale and zero point of the tensors that are stored as integers, where the file tells them.

    `run` may be called from any thread; calls on one instance may be serialised inside, so that a server makes one
    instance a worker. All arrays are numpy, C-contiguous, with the batch first.
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
        """Gives the memory back; the instance cannot be used any more."""
