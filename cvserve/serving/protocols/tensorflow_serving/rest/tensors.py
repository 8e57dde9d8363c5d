"""Converts the JSON of a predict request to its inputs, in the row and the column form (json_tensor.cc)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cvserve.errors import InvalidInput
from cvserve.runtimes.base import TensorInfo
from cvserve.serving.protocols.tensorflow_serving.rest.arrays import Reader, is_base64
from cvserve.serving.protocols.tensorflow_serving.rest.documents import excerpt

Form = Literal["row", "column"]


@dataclass(frozen=True)
class Tensors:
    """Holds the inputs of a request and its form, which is also the form of its answer."""

    form: Form
    inputs: dict[str, np.ndarray]


def to_tensors(
    document: Mapping[str, Any],
    inputs: Mapping[str, TensorInfo],
    infinities: Callable[[], bool] = lambda: True,
) -> Tensors:
    """Returns the arrays of a predict request.

    Args:
        document: the request.
        inputs: the inputs of the signature.
        infinities: whether the text of the request holds the word Infinity; if not, an infinite number was too large.

    Raises:
        InvalidInput: the document has neither form, or a value does not fit. Unimplemented: a dtype that JSON cannot
            give.
    """
    if "instances" in document and "inputs" in document:
        raise InvalidInput(
            f"JSON Value: {excerpt(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    read = Reader(infinities)
    if "instances" in document:
        return Tensors("row", _rows(document, inputs, read))
    if "inputs" in document:
        return Tensors("column", _columns(document["inputs"], inputs, read))
    raise InvalidInput("Missing 'inputs' or 'instances' key")


def signature_name(document: Mapping[str, Any]) -> str:
    """Returns the signature that a request names, "" where it names none.

    Raises:
        InvalidInput: it is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidInput(
            f"JSON Value: {excerpt(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def _rows(document: Mapping[str, Any], infos: Mapping[str, TensorInfo], read: Reader) -> dict[str, np.ndarray]:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise InvalidInput(f"JSON Value: {excerpt(document)} Excepting 'instances' to be an list/array")
    if not rows:
        raise InvalidInput(f"JSON Value: {excerpt(document)} No values in 'instances' array")
    named = isinstance(rows[0], dict) and not is_base64(rows[0])
    for index, row in enumerate(rows):
        if (isinstance(row, dict) and not is_base64(row)) is not named:
            wanted, got = ("object", "list") if named else ("value/list", "object")
            raise InvalidInput(f"Expecting {wanted} but got {got} at item {index} of input list")
    if not named:
        if len(infos) > 1:
            raise InvalidInput(
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map"
            )
        [(name, info)] = infos.items()
        return {name: _stacked(rows, info.dtype, read, "")}
    for index, row in enumerate(rows):
        if row.keys() == infos.keys():
            continue
        for name in row.keys() - infos.keys():
            raise InvalidInput(
                f"Failed to process element: {index} key: {excerpt(name)[1:-1]} of 'instances' list. Error: "
                f"INVALID_ARGUMENT: JSON object: does not have named input: {excerpt(name)[1:-1]}"
            )
        raise InvalidInput(
            f"Failed to process element: {index} of 'instances' list. JSON object: {excerpt(row)} keys must be equal "
            f"to: {','.join(sorted(infos))}"
        )
    return {
        name: _stacked([row[name] for row in rows], info.dtype, read, f" key: {name}") for name, info in infos.items()
    }


def _stacked(rows: list[Any], dtype: str, read: Reader, key: str) -> np.ndarray:
    """Returns the rows as one array, with the number of rows first."""
    try:
        return read.array(rows, dtype)
    except InvalidInput as error:
        fault = error
    # One row is wrong, or its shape differs from the first one's. The error names it, as in TensorFlow Serving.
    first: tuple[int, ...] | None = None
    for index, row in enumerate(rows):
        try:
            shape = read.array(row, dtype).shape
            if first is None:
                first = shape
            elif math.prod(first) != math.prod(shape):
                raise InvalidInput(f"Expecting tensor size: {math.prod(first)} but got: {math.prod(shape)}")
            elif first != shape:
                raise InvalidInput(f"Expecting shape {_shape_text(first)} but got: {_shape_text(shape)}")
        except InvalidInput as error:
            raise InvalidInput(
                f"Failed to process element: {index}{key} of 'instances' list. Error: INVALID_ARGUMENT: {error}"
            ) from None
    raise fault


def _columns(value: Any, infos: Mapping[str, TensorInfo], read: Reader) -> dict[str, np.ndarray]:
    if not isinstance(value, dict) or is_base64(value):
        if len(infos) > 1:
            raise InvalidInput(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        [(name, info)] = infos.items()
        return {name: read.array(value, info.dtype)}
    for name in infos:
        if name not in value:
            raise InvalidInput(f"Missing named input: {name} in 'inputs' object.")
    return {name: read.array(value[name], info.dtype) for name, info in infos.items()}


def _shape_text(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
