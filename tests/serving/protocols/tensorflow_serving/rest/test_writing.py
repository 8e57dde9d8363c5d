"""Arrays and results as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from cvserve.errors import FailedPrecondition, InvalidInput
from cvserve.serving.errors import error_json
from cvserve.serving.protocols.tensorflow_serving.rest import pieces
from cvserve.serving.protocols.tensorflow_serving.rest.writing import (
    classes_json,
    short_decimals,
    to_json,
    values_json,
)


@pytest.fixture(scope="module", autouse=True)
def small_pieces() -> Iterator[None]:
    before, pieces.VALUES = pieces.VALUES, 7
    yield
    pieces.VALUES = before


def strings(*values: bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@settings(max_examples=200, deadline=None)
@given(
    some.sampled_from(["uint8", "int64", "uint64", "float32", "float16", "float64", "bool"]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=4, max_side=6))
    )
)
def test_written_numbers_are_read_as_the_same_numbers(array: np.ndarray) -> None:
    """A single output has no name in the answer, and both forms hold the array."""
    for form, key in (("row", "predictions"), ("column", "outputs")):
        found = json.loads(to_json({"y": array}, form))  # type: ignore[arg-type]
        assert list(found) == [key]
        # Through Python's numbers, since a list of integers is not always an array of the dtype at once.
        np.testing.assert_array_equal(np.array(found[key], array.dtype), array)


@settings(max_examples=100, deadline=None)
@given(some.integers(0, 6), some.integers(0, 4))
def test_rows_of_several_outputs(rows: int, columns: int) -> None:
    numbers = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    outputs = {"n": numbers, "s": strings(*[b"a"] * rows), "t_bytes": strings(*[b"\xff"] * rows)}
    assert json.loads(to_json(outputs, "row")) == {
        "predictions": [{"n": row.tolist(), "s": "a", "t_bytes": {"b64": "/w=="}} for row in numbers]
    }
    assert json.loads(to_json(outputs, "column")) == {
        "outputs": {"n": numbers.tolist(), "s": ["a"] * rows, "t_bytes": [{"b64": "/w=="}] * rows}
    }


def test_floats_as_short_as_they_can_be() -> None:
    values = np.array([0.2, 1 / 3, 9e6, 3e-5, 555557.5, 16777217, 0, -0.0, np.nan, np.inf, -np.inf], np.float32)
    assert to_json({"y": values}, "row") == (
        b'{\n    "predictions": [0.2, 0.33333334, 9000000.0, 3e-05, 555557.5, 16777216.0, 0.0, -0.0, NaN, Infinity, '
        b"-Infinity]\n}"
    )


@settings(max_examples=300, deadline=None)
@given(some.integers(0, 2**32 - 1))
def test_short_decimals_are_the_same_number(bits: int) -> None:
    [value] = np.array([bits], np.uint32).view(np.float32)
    [short] = short_decimals(np.array([value]))
    assert np.float32(short) == value or np.isnan(value)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_short_decimals_of_every_half(dtype: Any) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(dtype)
    every = every[np.isfinite(every.astype(np.float32))]
    assert (short_decimals(every).astype(dtype) == every).all()


def test_a_scalar_output_has_a_column_but_no_rows() -> None:
    assert json.loads(to_json({"y": np.float32(2.5)}, "column")) == {"outputs": 2.5}  # type: ignore[dict-item]
    with pytest.raises(InvalidInput, match=r"^Tensor name: y has no shape information $"):
        to_json({"y": np.array(2.5)}, "row")


def test_outputs_that_json_cannot_hold() -> None:
    with pytest.raises(InvalidInput, match=r"^Tensor name: b has inconsistent batch size: 1 expecting: 2$"):
        to_json({"a": np.zeros(2), "b": np.zeros(1)}, "row")
    with pytest.raises(InvalidInput, match=r"^Failed to write JSON value for tensor type: complex64$"):
        to_json({"y": np.zeros(2, np.complex64)}, "row")
    with pytest.raises(InvalidInput, match=r"^Cannot convert empty tensor map to JSON$"):
        to_json({}, "row")
    with pytest.raises(FailedPrecondition, match="'image' holds bytes that are no text"):
        to_json({"image": strings(b"\xff")}, "row")


def test_results() -> None:
    assert json.loads(classes_json([[("", 3.0)], [("a", 0.2), ("b", 0.8)]])) == {
        "results": [[["", 3.0]], [["a", 0.2], ["b", 0.8]]]
    }
    assert json.loads(values_json([3.0, 0.2])) == {"results": [3.0, 0.2]}
    for write in (classes_json, values_json):
        with pytest.raises(InvalidInput, match=r"^Cannot convert empty "):
            write([])


def test_an_error_is_json_whatever_its_text() -> None:
    assert json.loads(error_json('a "name"\n\udcff')) == {"error": 'a "name"\n\udcff'}
