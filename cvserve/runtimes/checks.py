"""Checks tensors before native code gets them, so that a wrong one raises an error and does not crash the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cvserve.errors import InvalidInput
from cvserve.runtimes.base import TensorInfo

BYTES = "bytes"
"""TensorInfo.dtype of a string tensor; its arrays are of dtype object (or S, which loses trailing zero bytes)."""


def describe(info: TensorInfo) -> str:
    """Returns a tensor as text, such as `uint8 [batch, 224, 224, 3]`."""
    sizes = ["?" if size is None else str(size) for size in info.shape]
    if info.shape and info.shape[0] is None:
        sizes[0] = "batch"
    return f"{info.dtype} [{', '.join(sizes)}]"


def _dtype_name(array: np.ndarray) -> str:
    return BYTES if array.dtype.kind in "OS" else array.dtype.name


def _fits(array: np.ndarray, info: TensorInfo) -> bool:
    return len(array.shape) == len(info.shape) and all(
        wanted is None or size == wanted for size, wanted in zip(array.shape, info.shape, strict=True)
    )


def fits(inputs: Mapping[str, np.ndarray], infos: Mapping[str, TensorInfo]) -> bool:
    """Returns whether the inputs have the shapes that the graph declares."""
    return all(_fits(np.asarray(inputs[name]), info) for name, info in infos.items() if name in inputs)


def check_inputs(
    inputs: Mapping[str, np.ndarray],
    infos: Mapping[str, TensorInfo],
    *,
    unranked: Iterable[str] = (),
) -> dict[str, np.ndarray]:
    """Checks names, dtypes and shapes of the inputs; returns them as C-contiguous arrays.

    Args:
        inputs: arrays by input name.
        infos: what the graph takes, by name.
        unranked: the names whose rank the graph leaves open.

    Raises:
        InvalidInput: a name, dtype or shape that the graph does not take.
    """
    takes = ", ".join(f"{name} ({describe(info)})" for name, info in infos.items())
    for name in inputs:
        if name not in infos:
            raise InvalidInput(f"the model has no input {name!r}; it takes {takes}")
    for name in infos:
        if name not in inputs:
            raise InvalidInput(f"input {name!r} is missing; the model takes {takes}")
    unranked = set(unranked)
    checked: dict[str, np.ndarray] = {}
    for name, info in infos.items():
        array = np.asarray(inputs[name])
        if _dtype_name(array) != info.dtype:
            raise InvalidInput(f"input {name!r} is {_dtype_name(array)}, but the model takes {describe(info)}")
        if name not in unranked and not _fits(array, info):
            raise InvalidInput(f"input {name!r} has shape {list(array.shape)}, but the model takes {describe(info)}")
        if 0 in array.shape:
            raise InvalidInput(f"input {name!r} has shape {list(array.shape)}: an empty batch has no answer")
        # ascontiguousarray would turn a scalar into a vector.
        checked[name] = array if array.flags.c_contiguous else np.ascontiguousarray(array)
    return checked


def check_outputs(wanted: Sequence[str] | None, infos: Mapping[str, TensorInfo]) -> list[str]:
    """Returns the names of the wanted outputs, in the given order; of all outputs if `wanted` is None.

    Raises:
        InvalidInput: a name that the graph does not give.
    """
    if wanted is None:
        return list(infos)
    for name in wanted:
        if name not in infos:
            raise InvalidInput(f"the model has no output {name!r}; it gives {', '.join(infos)}")
    return list(wanted)
