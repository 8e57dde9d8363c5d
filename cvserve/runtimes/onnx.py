"""Runs ONNX graphs with onnxruntime."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.artifact import Quantization
from cvserve.errors import (
    ArtifactError,
    CvserveError,
    DeviceLost,
    FailedPrecondition,
    InvalidInput,
    OutOfMemory,
    Unavailable,
)
from cvserve.extras import require
from cvserve.runtimes import cuda
from cvserve.runtimes.base import TensorInfo
from cvserve.runtimes.checks import BYTES, check_inputs, check_outputs
from cvserve.runtimes.device import Resources, check_threads, parse_device, usable_cores
from cvserve.runtimes.fixed_batch import any_batch, fixed_batch, run_in_batches
from cvserve.runtimes.onnx_errors import failures, first_line, is_lost, is_of_memory, is_of_the_gpu

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bfloat16)": "bfloat16",
    "tensor(string)": BYTES,
}


class OnnxRuntime:
    """Runs an ONNX graph in one InferenceSession.

    Sessions are thread-safe, so concurrent calls run at the same time.
    """

    name = "onnx"

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        device: str = "cpu",
        resources: Resources | None = None,
    ) -> None:
        """Opens the graph.

        Args:
            path: the .onnx file; its external data, if any, lies beside it.
            threads: threads of one call; None takes every core.
            device: "cpu" or "gpu:N" (CUDA).
            resources: with interop_threads over 1, independent operations of a call run at the same time.

        Raises:
            MissingExtra: onnxruntime is not installed.
            ArtifactError: onnxruntime does not take the file.
            FailedPrecondition: no such device, or what onnxruntime needs for it is not installed.
            OutOfMemory: the device has too little memory.
        """
        runtime = require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = check_threads(threads) or usable_cores()
        resources = resources or Resources()
        options.inter_op_num_threads = resources.interop_threads or 1
        if options.inter_op_num_threads > 1:
            options.execution_mode = runtime.ExecutionMode.ORT_PARALLEL
        options.log_severity_level = 3  # errors only
        # Spinning threads would take cores from a server's other sessions and decoders.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = parse_device(device)
        self._device = str(wanted)
        self._failures = failures(runtime)
        try:
            if wanted.kind == "gpu":
                session = cuda.open_session(runtime, path, options, wanted, resources)
            else:
                session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except self._failures as error:
            if is_of_memory(error):
                raise OutOfMemory(f"{wanted} has no memory left for {path}: {first_line(error)}") from error
            raise ArtifactError(f"onnxruntime cannot load {path}: {first_line(error)}") from error
        self._session: Any = session
        inputs = {item.name: _info(item) for item in session.get_inputs()}
        outputs = {item.name: _info(item) for item in session.get_outputs()}
        self._unranked = [item.name for item in session.get_inputs() if item.shape is None]
        self.batch = fixed_batch(inputs, outputs)
        self.quantization: Mapping[str, Quantization] = {}
        self.inputs: Mapping[str, TensorInfo] = inputs if self.batch is None else any_batch(inputs)
        self.outputs: Mapping[str, TensorInfo] = outputs if self.batch is None else any_batch(outputs)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """See `Runtime.run`."""
        if self._session is None:
            raise FailedPrecondition("this model was closed; load it again")
        names = check_outputs(outputs, self.outputs)
        arrays = check_inputs(inputs, self.inputs, unranked=self._unranked)
        session = self._session

        def call(feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            try:
                return dict(zip(names, session.run(names, feed), strict=True))
            except self._failures as error:
                raise self._fault(error) from error

        return call(arrays) if self.batch is None else run_in_batches(call, arrays, self.batch)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._session = None

    def _fault(self, error: Exception) -> CvserveError:
        """Returns the error of a failed call, caused by memory, by the GPU, or by the input."""
        if is_of_memory(error):
            return OutOfMemory(f"{self._device} has no memory left to run the model on this input: {first_line(error)}")
        if is_of_the_gpu(error):
            return (DeviceLost if is_lost(error) else Unavailable)(f"{self._device} failed: {first_line(error)}")
        return InvalidInput(f"onnxruntime cannot run the model on this input: {first_line(error)}")


def _info(item: Any) -> TensorInfo:
    dtype = _DTYPES.get(item.type) or re.sub(r"^tensor\((.*)\)$", r"\1", item.type)
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in item.shape or ())
    return TensorInfo(item.name, dtype, shape)
