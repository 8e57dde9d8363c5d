"""Writes arrays and results as JSON, as TensorFlow Serving does (json_tensor.cc)."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvserve.errors import FailedPrecondition, InvalidInput
from cvserve.serving.protocols.tensorflow_serving.rest.arrays import TYPE_NAMES
from cvserve.serving.protocols.tensorflow_serving.rest.pieces import array_json, rows_json
from cvserve.serving.protocols.tensorflow_serving.rest.tensors import Form

_DIGITS = {"float32": range(6, 10), "float16": range(3, 6), "bfloat16": range(2, 5)}
"""Least and most significant digits to try for each dtype: decimals with the least always survive a conversion, and the
most distinguish all numbers (C's FLT_DIG and FLT_DECIMAL_DIG, and the same for the shorter dtypes)."""


def to_json(outputs: Mapping[str, np.ndarray], form: Form) -> bytes:
    """Returns the answer to a predict request.

    Args:
        outputs: by name; strings as dtype object or S.
        form: "row" has one entry for each row, which needs outputs with equally many rows.

    Raises:
        InvalidInput: outputs that the form cannot hold, in TensorFlow Serving's words.
        FailedPrecondition: bytes that are not text, in an output whose name does not end in "_bytes".
    """
    if not outputs:
        raise InvalidInput("Cannot convert empty tensor map to JSON")
    if form == "row":
        return _document("predictions", _rows(outputs))
    if len(outputs) == 1:
        [(name, array)] = outputs.items()
        return _document("outputs", _column(name, array))
    columns = [f"{json.dumps(name)}: {_column(name, array)}" for name, array in outputs.items()]
    return _document("outputs", "{" + ", ".join(columns) + "}")


def classes_json(results: Sequence[Sequence[tuple[str, float]]]) -> bytes:
    """Returns the answer to a classify request: (label, score) of each class of each example."""
    if not results:
        raise InvalidInput("Cannot convert empty ClassificationResults to JSON")
    values = [
        [[label, score] for (label, _), score in zip(classes, _floats([score for _, score in classes]), strict=True)]
        for classes in results
    ]
    return _document("results", json.dumps(values))


def values_json(values: Sequence[float]) -> bytes:
    """Returns the answer to a regress request."""
    if not values:
        raise InvalidInput("Cannot convert empty RegressionResults to JSON")
    return _document("results", json.dumps(_floats(values)))


def _document(key: str, value: str) -> bytes:
    return f'{{\n    "{key}": {value}\n}}'.encode()


def _rows(outputs: Mapping[str, np.ndarray]) -> str:
    count: int | None = None
    for name, array in outputs.items():
        if not array.ndim:
            raise InvalidInput(f"Tensor name: {name} has no shape information ")
        if count is not None and len(array) != count:
            raise InvalidInput(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {count}")
        count = len(array)
    assert count is not None, "there are outputs"
    if len(outputs) == 1:
        [(name, array)] = outputs.items()
        return _column(name, array)

    def write(rows: slice) -> str:
        columns = [_values(name, array[rows]) for name, array in outputs.items()]
        return json.dumps([dict(zip(outputs, row, strict=True)) for row in zip(*columns, strict=True)])

    return rows_json(count, sum(math.prod(array.shape[1:]) for array in outputs.values()), write)


def _column(name: str, array: np.ndarray) -> str:
    return array_json(array, lambda part: json.dumps(_values(name, part)))


def _values(name: str, array: np.ndarray) -> Any:
    """Returns an array as values that `json` can write."""
    kind = array.dtype.name
    if array.dtype.kind in "OSU":
        written = np.empty(array.size, object)
        written[:] = [_string(name, value) for value in array.ravel().tolist()]
        return written.reshape(array.shape).tolist()
    if kind in _DIGITS:
        return short_decimals(array).tolist()
    if array.dtype.kind not in "biuf":
        raise InvalidInput(f"Failed to write JSON value for tensor type: {TYPE_NAMES.get(kind, kind)}")
    return array.tolist()


def _string(name: str, value: str | bytes) -> Any:
    raw = value.encode() if isinstance(value, str) else value
    if name.endswith("_bytes"):
        return {"b64": base64.b64encode(raw).decode()}
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise FailedPrecondition(
            f"output {name!r} holds bytes that are no text, and REST answers bytes only in outputs whose name ends in "
            "'_bytes'; ask over gRPC"
        ) from None


def _floats(values: Sequence[float]) -> list[float]:
    return short_decimals(np.array(values, np.float32)).tolist()  # type: ignore[no-any-return]


def short_decimals(array: np.ndarray) -> np.ndarray:
    """Returns numbers of a shorter float dtype as float64 numbers that print with few digits.

    0.2 as a float32 is 0.20000000298 as a float64, and would be printed like that. So the shortest decimal that rounds
    to the same number of the array's dtype is taken.

    Args:
        array: float32, float16 or bfloat16.

    Returns:
        float64 numbers of the same shape, which are equal to the array when cast to its dtype.
    """
    values = np.atleast_1d(array)
    with np.errstate(invalid="ignore"):  # bfloat16 warns of NaN
        exact = values.astype(np.float64)
    result = exact.copy()
    open_ = np.isfinite(exact) & (exact != 0)
    exponent = np.zeros(exact.shape)
    exponent[open_] = np.floor(np.log10(np.abs(exact[open_])))
    for digits in _DIGITS[array.dtype.name]:
        if not open_.any():
            break
        places = digits - 1 - exponent
        # Two powers with positive exponents, since these are exact up to 10**22; one with a negative exponent is not.
        up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.rint(exact * up / down) * down / up
            equal = open_ & (rounded.astype(array.dtype) == values)
        result[equal] = rounded[equal]
        open_ &= ~equal
    return result.reshape(array.shape)
