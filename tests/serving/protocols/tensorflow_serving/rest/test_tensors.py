"""The row and the column form of predict: JSON to arrays."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from cvserve.errors import InvalidInput, Unimplemented
from cvserve.runtimes.base import TensorInfo
from cvserve.serving.protocols.tensorflow_serving.rest import arrays as json_arrays
from cvserve.serving.protocols.tensorflow_serving.rest.tensors import signature_name, to_tensors


@pytest.fixture(scope="module", autouse=True)
def small_pieces() -> Iterator[None]:
    before, json_arrays.VALUES = json_arrays.VALUES, 7
    yield
    json_arrays.VALUES = before


def infos(**dtypes: str) -> dict[str, TensorInfo]:
    return {name: TensorInfo(name, dtype, (None,)) for name, dtype in dtypes.items()}


def one(value: Any, dtype: str, form: str = "inputs") -> np.ndarray:
    [array] = to_tensors({form: value}, infos(x=dtype)).inputs.values()
    return array


@settings(max_examples=200, deadline=None)
@given(
    some.sampled_from(["uint8", "int32", "int64", "uint64", "float32", "float64", "bool"]).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=4, max_side=6))
    )
)
def test_lists_are_arrays_in_either_form(array: np.ndarray) -> None:
    value = json.loads(json.dumps(array.tolist()))
    for form in ("inputs", "instances"):
        found = one(value, array.dtype.name, form)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_named_rows_are_stacked_and_columns_are_not() -> None:
    row = {"n": [[1, 2]], "s": "a", "b": {"b64": base64.b64encode(b"\xff\0").decode()}}
    found = to_tensors({"instances": [row, row, row]}, infos(n="int32", s="bytes", b="bytes"))
    assert found.form == "row"
    assert found.inputs["n"].shape == (3, 1, 2)
    assert found.inputs["s"].tolist() == [b"a"] * 3
    assert found.inputs["b"].tolist() == [b"\xff\0"] * 3
    found = to_tensors({"inputs": row | {"more": 1}}, infos(n="int32", s="bytes", b="bytes"))
    assert found.form == "column"
    assert found.inputs["n"].shape == (1, 2)
    assert found.inputs["b"].shape == ()


def test_the_name_of_a_single_input_may_be_left_out() -> None:
    for value in ([1, 2], {"x": [1, 2]}):
        assert one(value, "int32").tolist() == [1, 2]
    rows: Any
    for rows in ([1, 2], [{"x": 1}, {"x": 2}]):
        assert one(rows, "int32", "instances").tolist() == [1, 2]
    # Bytes are an object too.
    for rows in ([{"b64": "YQ"}], [{"x": {"b64": "YQ=="}}]):
        assert one(rows, "bytes", "instances").tolist() == [b"a"]
    assert one({"b64": "Y Q\n=="}, "bytes").tolist() == b"a"


def test_numbers_that_a_dtype_rounds() -> None:
    assert one([1.7976931348623157e308, -1e300, 1e-300], "float32").tolist() == [np.inf, -np.inf, 0]
    assert one([1435774380], "float32").tolist() == one([1435774380.0], "float32").tolist()
    assert np.isnan(one(float("nan"), "float32"))
    assert one([0.1], "bfloat16").dtype == ml_dtypes.bfloat16
    assert one([0.1], "float16").tolist() == [np.float16(0.1)]


def test_infinity_must_be_written_as_a_word() -> None:
    value = json.loads('{"inputs": [1e999]}')
    assert to_tensors(value, infos(x="float64"), lambda: True).inputs["x"].tolist() == [np.inf]
    with pytest.raises(InvalidInput, match="Number too big to be stored in double"):
        to_tensors(value, infos(x="float64"), lambda: False)


ROW = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("document", "dtype", "text"),
    [
        ({}, "float32", "Missing 'inputs' or 'instances' key"),
        (
            {"inputs": 1, "instances": [1]},
            "float32",
            'JSON Value: {"inputs": 1, "instances": [1]} Not formatted correctly expecting only one of '
            "'inputs' or 'instances' keys to exist ",
        ),
        ({"instances": 1}, "float32", "JSON Value: {\"instances\": 1} Excepting 'instances' to be an list/array"),
        ({"instances": []}, "float32", "JSON Value: {\"instances\": []} No values in 'instances' array"),
        ({"instances": [1, {"x": 1}]}, "float32", "Expecting value/list but got object at item 1 of input list"),
        ({"instances": [{"x": 1}, 1]}, "float32", "Expecting object but got list at item 1 of input list"),
        (
            {"instances": [{"y": 1}]},
            "float32",
            "Failed to process element: 0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not "
            "have named input: y",
        ),
        (
            {"instances": [{"x": 1}, {}]},
            "float32",
            "Failed to process element: 1 of 'instances' list. JSON object: {} keys must be equal to: x",
        ),
        ({"instances": [[1, 2], [3]]}, "float32", ROW.format(1) + "Expecting tensor size: 2 but got: 1"),
        ({"instances": [[1, 2], [[3], [4]]]}, "float32", ROW.format(1) + "Expecting shape [2] but got: [2,1]"),
        ({"instances": [1, [2]]}, "float32", ROW.format(1) + "Expecting shape [] but got: [1]"),
        (
            {"instances": [[1, [2]]]},
            "float32",
            ROW.format(0) + "Encountered list at unexpected level: 1 expected < 1",
        ),
        (
            {"instances": ["x", "y"]},
            "float32",
            ROW.format(0) + 'JSON Value: "x" Type: String is not of expected type: float',
        ),
        ({"inputs": {"y": 1}}, "float32", "Missing named input: x in 'inputs' object."),
        ({"inputs": [[1], [2, 3]]}, "int64", "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        (
            {"inputs": [[1], 2]},
            "int64",
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ({"inputs": None}, "float32", "JSON Value: null Type: Null is not of expected type: float"),
        ({"inputs": [True]}, "float64", "JSON Value: true Type: True is not of expected type: double"),
        ({"inputs": [1]}, "bool", "JSON Value: 1 Type: Number is not of expected type: bool"),
        ({"inputs": [1.0]}, "int32", "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ({"inputs": [1, 256]}, "uint8", "JSON Value: 256 Type: Number is not of expected type: uint8"),
        ({"inputs": [-1]}, "uint64", "JSON Value: -1 Type: Number is not of expected type: uint64"),
        ({"inputs": 2**63}, "int64", "JSON Value: 9223372036854775808 Type: Number is not of expected type: int64"),
        (
            {"inputs": {"b64": "YQ=="}},
            "int32",
            'JSON Value: {"b64": "YQ=="} Type: Object is not of expected type: int32',
        ),
        ({"inputs": [10**400]}, "float32", "JSON Parse error: Number too big to be stored in double."),
        ({"inputs": [1]}, "bytes", "JSON Value: 1 Type: Number is not of expected type: string"),
        ({"inputs": {"b64": "a!"}}, "bytes", "Unable to base64 decode"),
        ({"inputs": {"b64": "a"}}, "bytes", "Unable to base64 decode"),
        (
            {"inputs": [{"b64": "YQ==", "c": 1}]},
            "bytes",
            'JSON Value: {"b64": "YQ==", "c": 1} not formatted correctly for base64 data',
        ),
        ({"inputs": "\udcff"}, "bytes", "JSON Value: \"?\" is not UTF-8; send bytes as {'b64': ...}"),
    ],
)
def test_faults(document: dict[str, Any], dtype: str, text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        to_tensors(document, infos(x=dtype))
    assert str(error.value) == text


def test_several_inputs_need_their_names() -> None:
    for document, text in (({"instances": [1]}, "instances is a plain list"), ({"inputs": 1}, "inputs is a plain")):
        with pytest.raises(InvalidInput, match=text):
            to_tensors(document, infos(x="int32", y="int32"))


def test_a_list_with_a_huge_shape_takes_no_memory() -> None:
    """The shape is that of the first elements, which may claim far more elements than there are."""
    value = [[[1] * 50_000] + [[]] * 50_000] + [[]] * 50_000
    with pytest.raises(InvalidInput, match="Encountered list at unexpected size: 0 at level: 2 expected size: 50000"):
        one(value, "float32")


def test_too_many_dimensions() -> None:
    value: Any = 1
    for _ in range(40):
        value = [value]
    with pytest.raises(InvalidInput, match="at most 32 dimensions"):
        one(value, "float32")


@pytest.mark.parametrize("dtype", ["complex64", "variant", "resource"])
def test_dtypes_that_json_cannot_hold(dtype: str) -> None:
    with pytest.raises(Unimplemented, match=f"Conversion of JSON Value: 1 to type: {dtype}"):
        one([1], dtype)


def test_the_name_of_the_signature_is_a_string() -> None:
    assert signature_name({}) == ""
    with pytest.raises(InvalidInput, match="'signature_name' key must be a string value"):
        signature_name({"signature_name": 100})
