"""Classifies onnxruntime's errors by their messages."""

from __future__ import annotations

import re
from typing import Any

_OF_THE_GPU = re.compile(
    r"CUDA failure|CUDA error|CUDNN failure|CUBLAS failure|CUDNN_STATUS|CUBLAS_STATUS|cudaError|invalid device id", re.I
)
_OF_MEMORY = re.compile(
    r"Failed to allocate memory|smaller than requested|bad_alloc|out of memory|ALLOC_FAILED|ALLOCATION_FAILED", re.I
)

# Codes of cudaError_t about the device, its context or its driver, not about one call.
_LOST = re.compile(
    r"CUDA (?:failure|error) (?:4\d|[1378]\d\d|2[01]\d|999)\b"
    r"|(?:CUDNN|CUBLAS)_STATUS_(?:EXECUTION_FAILED|INTERNAL_ERROR|NOT_INITIALIZED|MAPPING_ERROR)\b",
    re.I,
)


def failures(runtime: Any) -> tuple[type[Exception], ...]:
    """Returns the exceptions of onnxruntime's native code, which have no common base class.

    Args:
        runtime: the module onnxruntime.
    """
    state = runtime.capi.onnxruntime_pybind11_state
    kinds = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*kinds, RuntimeError, ValueError)


def is_of_the_gpu(error: Exception) -> bool:
    """Returns whether the GPU or its driver failed, and not the input."""
    return _OF_THE_GPU.search(str(error)) is not None


def is_lost(error: Exception) -> bool:
    """Returns whether the GPU failed in a way that makes all later calls fail too."""
    return _LOST.search(str(error)) is not None


def is_of_memory(error: Exception) -> bool:
    """Returns whether there was too little memory, on the GPU or on the machine."""
    return _OF_MEMORY.search(str(error)) is not None


def first_line(error: Exception) -> str:
    """Returns the first line of onnxruntime's message, without its prefix of source lines and codes."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rpartition("[ONNXRuntimeError] : ")[2]
