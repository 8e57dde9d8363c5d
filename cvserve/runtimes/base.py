"""The interface of all runtimes, which run a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cvserve.artifact import Quantization


@dataclass(frozen=True)
class Library:
    """Describes the library of a runtime.

    runtime: the runtime's name. format: the format of its graphs. module: the module to import. package: the package to
    install.
    """

    runtime: str
    format: str
    module: str
    package: str


LIBRARIES = {
    library.runtime: library
    for library in (
        Library("tensorflow", "saved_model", "tensorflow", "tensorflow"),
        Library("onnx", "onnx", "onnxruntime", "onnxruntime"),
        Library("litert", "tflite", "ai_edge_litert", "ai-edge-litert"),
    )
}
"""The library of each runtime, by the runtime's name."""

RUNTIMES = tuple(LIBRARIES)
"""Names of the runtimes."""

FORMAT_OF = {name: library.format for name, library in LIBRARIES.items()}
"""The graph format of each runtime."""

RUNTIME_OF = {library.format: name for name, library in LIBRARIES.items()}
"""The runtime of each graph format."""


@dataclass(frozen=True)
class TensorInfo:
    """Describes a tensor of a graph.

    shape: with the batch dimension first, None for a size that varies. ranked: False where the graph leaves the number
    of dimensions open; shape is () then.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    ranked: bool = True


class Runtime(Protocol):
    """Runs a loaded graph.

    batch: the only batch size that the graph takes, or None; `run` still takes any number of rows, in chunks.
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
            outputs: the names of the wanted outputs; None: all.

        Raises:
            InvalidInput: a name, dtype or shape that the graph does not take.
        """

    def close(self) -> None:
        """Frees the memory; the instance cannot be used any more."""
