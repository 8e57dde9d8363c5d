"""Converts JSON values to arrays of a dtype, with the error texts of TensorFlow Serving (json_tensor.cc).

Large values are converted in pieces of about VALUES numbers, so that other threads have their turn in between.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import ml_dtypes
import numpy as np

from cvserve.errors import InvalidInput, Unimplemented
from cvserve.serving.protocols.tensorflow_serving.rest.documents import excerpt

VALUES = 32 << 10
"""Number of values in a piece, which takes about a millisecond."""

MAX_DIMENSIONS = 32

TYPE_NAMES = {"float32": "float", "float64": "double", "float16": "half", "bytes": "string"}
"""TensorFlow's name of a dtype (DataTypeString), where numpy's name differs."""

_NUMBER, _STRING = {int, float}, {str, dict}


def decode_base64(value: Any) -> bytes:
    """Returns the bytes of `{"b64": "..."}`.

    Raises:
        InvalidInput: it is something else, or not base64.
    """
    if not is_base64(value):
        raise InvalidInput(f"JSON Value: {excerpt(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("Unable to base64 decode") from None


def is_base64(value: Any) -> bool:
    """Returns whether a value stands for bytes: an object whose only key is "b64"."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def to_bytes(value: str) -> bytes:
    """Returns a string of a document as UTF-8.

    Raises:
        InvalidInput: it was not UTF-8, or half a surrogate pair.
    """
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"JSON Value: {excerpt(value)} is not UTF-8; send bytes as {{'b64': ...}}") from None


def json_type(value: Any) -> str:
    """Returns rapidjson's name of the type of a value."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return "True" if value else "False"
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _numpy_dtype(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    except TypeError:
        return np.dtype(np.void)


class Reader:
    """Converts JSON values to arrays."""

    def __init__(self, infinities: Callable[[], bool]) -> None:
        """
        Args:
            infinities: returns whether the text holds the word Infinity; if not, an infinite number was too large.
        """
        self._infinities = infinities

    def array(self, value: Any, dtype: str) -> np.ndarray:
        """Returns a number, a string, or lists of them nested to any depth, as an array of a dtype's name.

        The first elements give the shape; all others must have the same.

        Raises:
            InvalidInput, Unimplemented
        """
        shape: list[int] = []
        first = value
        while isinstance(first, list):
            shape.append(len(first))
            if len(shape) > MAX_DIMENSIONS:
                raise InvalidInput(f"a tensor has at most {MAX_DIMENSIONS} dimensions")
            first = first[0] if first else None
        pieces: list[np.ndarray] = []
        if shape:
            self._gather(value, 0, shape, dtype, pieces)
        else:
            self._check(value, dtype)
            pieces.append(self._flat([value], dtype))
        flat = pieces[0] if len(pieces) == 1 else np.concatenate([self._flat([], dtype), *pieces])
        return flat.reshape(shape)

    def _gather(self, value: list[Any], level: int, shape: list[int], dtype: str, pieces: list[np.ndarray]) -> None:
        """Adds the values of a list at `level` to `pieces`."""
        each = math.prod(shape[level + 1 :])
        if each > VALUES:
            for item in value:
                if type(item) is not list or len(item) != shape[level + 1]:
                    self._explain(item, level + 1, shape, dtype)
                self._gather(item, level + 1, shape, dtype, pieces)
            return
        count = max(1, VALUES // max(each, 1))
        for start in range(0, len(value), count):
            items = value[start : start + count]
            leaves = items
            for size in shape[level + 1 :]:
                if set(map(type, leaves)) != {list} or set(map(len, leaves)) != {size}:
                    self._explain_all(items, level + 1, shape, dtype)
                leaves = list(chain.from_iterable(leaves))
            try:
                pieces.append(self._flat(leaves, dtype))
            except (InvalidInput, OverflowError):
                self._explain_all(items, level + 1, shape, dtype)
                raise

    def _flat(self, values: list[Any], dtype: str) -> np.ndarray:
        """Returns values without lists among them as a vector."""
        types = set(map(type, values))
        if dtype == "bytes":
            if not types <= _STRING:
                raise InvalidInput("a value is not a string")
            strings = np.empty(len(values), object)
            strings[:] = [to_bytes(value) if type(value) is str else decode_base64(value) for value in values]
            return strings
        if dtype == "bool":
            if not types <= {bool}:
                raise InvalidInput("a value is not true or false")
            return np.array(values, np.bool_)
        kind = _numpy_dtype(dtype)
        if kind.kind in "iu":
            if not types <= {int}:
                raise InvalidInput("a value is not a whole number")
            return np.array(values, kind)
        if kind.kind != "f" and dtype != "bfloat16":
            raise Unimplemented(f"Conversion of JSON Value: {excerpt(values[:1])[1:-1]} to type: {dtype}")
        if not types <= _NUMBER:
            raise InvalidInput("a value is not a number")
        try:
            doubles = np.array(values, np.float64)
        except OverflowError:
            raise InvalidInput("JSON Parse error: Number too big to be stored in double.") from None
        if np.isinf(doubles).any() and not self._infinities():
            raise InvalidInput("JSON Parse error: Number too big to be stored in double.")
        with np.errstate(over="ignore"):
            # As in TensorFlow Serving, a double that no float32 can hold becomes infinite.
            return doubles.astype(kind)

    def _explain_all(self, items: Sequence[Any], level: int, shape: Sequence[int], dtype: str) -> None:
        for item in items:
            self._explain(item, level, shape, dtype)

    def _explain(self, value: Any, level: int, shape: Sequence[int], dtype: str) -> None:
        """Raises an error if the value at `level` is wrong."""
        rank = len(shape)
        if isinstance(value, list):
            if level >= rank:
                raise InvalidInput(f"Encountered list at unexpected level: {level} expected < {rank}")
            if len(value) != shape[level]:
                raise InvalidInput(
                    f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
                )
            for item in value:
                self._explain(item, level + 1, shape, dtype)
        elif level != rank:
            raise InvalidInput(
                f"JSON Value: {excerpt(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        else:
            self._check(value, dtype)

    def _check(self, value: Any, dtype: str) -> None:
        if dtype == "bytes" and isinstance(value, dict):
            decode_base64(value)
            return
        try:
            self._flat([value], dtype)
        except (InvalidInput, OverflowError) as error:
            if isinstance(error, InvalidInput) and str(error).startswith("JSON"):
                raise
            raise InvalidInput(
                f"JSON Value: {excerpt(value)} Type: {json_type(value)} is not of expected type: "
                f"{TYPE_NAMES.get(dtype, dtype)}"
            ) from None
