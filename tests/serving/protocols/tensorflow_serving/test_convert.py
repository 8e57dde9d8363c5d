"""TensorProto and numpy, with TensorFlow's own conversion as the oracle."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvserve.errors import InvalidInput

tf = pytest.importorskip("tensorflow")
convert = pytest.importorskip("cvserve.serving.protocols.tensorflow_serving.convert")

TensorProto = type(tf.make_tensor_proto(0))

INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
FLOATS = ["float16", "float32", "float64", "bfloat16", "complex64", "complex128"]


def samples(dtype: str) -> np.ndarray:
    """Values of a dtype, its extremes among them, [3, 2]."""
    if dtype == "bool":
        return np.array([[True, False], [False, False], [True, True]])
    if dtype in INTEGERS:
        limits = np.iinfo(dtype)
        values = [0, 1, 127, limits.max, limits.min, limits.max // 2]
        return np.array(values, dtype).reshape(3, 2)
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    values = np.array([0, -1.5, 3.25, 1e4, np.inf, -0.0])
    if kind.kind == "c":
        values = [*values[:5].tolist(), complex(1, -2)]
    return np.array(values).astype(kind).reshape(3, 2)


def same(left: np.ndarray, right: np.ndarray) -> None:
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    assert left.tobytes() == right.tobytes()


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, "bool"])
def test_answers_are_typed_fields_that_tensorflow_reads(dtype: str) -> None:
    array = samples(dtype)
    tensor = tf.make_tensor_proto(0.0).__class__()
    convert.write_tensor(array, tensor)
    assert not tensor.tensor_content
    same(np.asarray(tf.make_ndarray(tensor)), array)
    same(convert.to_array(tensor, "x"), array)


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, "bool"])
def test_answers_in_tensor_content_if_set(dtype: str) -> None:
    array = samples(dtype)
    tensor = tf.make_tensor_proto(0.0).__class__()
    # A view whose rows are not contiguous.
    convert.write_tensor(array.T, tensor, as_content=True)
    assert tensor.tensor_content == array.T.tobytes()
    same(np.asarray(tf.make_ndarray(tensor)), np.ascontiguousarray(array.T))


@pytest.mark.parametrize("dtype", [*INTEGERS, *FLOATS, "bool"])
def test_requests_may_be_in_either_encoding(dtype: str) -> None:
    array = samples(dtype)
    same(convert.to_array(tf.make_tensor_proto(array), "x"), array)
    content = proto(dtype, [3, 2], tensor_content=array.tobytes())
    same(convert.to_array(content, "x"), array)
    one = array[:1, :1]
    single = tf.make_tensor_proto(one)
    assert not single.tensor_content
    same(convert.to_array(single, "x"), one)


def test_strings() -> None:
    values = np.array([[b"a", b""], [b"\xff\x00", "grün".encode()]], object)
    tensor = tf.make_tensor_proto(values)
    found = convert.to_array(tensor, "x")
    assert found.dtype == object
    assert found.tolist() == values.tolist()
    written = tensor.__class__()
    convert.write_tensor(np.array([["grün", b"\x00"]], object), written)
    assert list(written.string_val) == ["grün".encode(), b"\x00"]
    fixed = tensor.__class__()
    convert.write_tensor(np.array([b"ab", b"c"]), fixed)
    assert tf.make_ndarray(fixed).tolist() == [b"ab", b"c"]


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1, 1)])
def test_scalars_and_empty_tensors(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 7, np.int64)
    tensor = tf.make_tensor_proto(0).__class__()
    convert.write_tensor(array, tensor)
    same(convert.to_array(tensor, "x"), array)
    same(np.asarray(tf.make_ndarray(tensor)).astype(np.int64), array)


@given(values=st.lists(st.integers(0, 255), max_size=300))
def test_packed_bytes_are_what_protobuf_itself_writes(values: list[int]) -> None:
    tensor = tf.make_tensor_proto(0).__class__()
    convert.write_tensor(np.array(values, np.uint8), tensor)
    assert list(tensor.int_val) == values
    own = tensor.__class__(int_val=values)
    assert own.SerializeToString() in tensor.SerializeToString()


def test_non_contiguous_answers() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    tensor = tf.make_tensor_proto(0).__class__()
    convert.write_tensor(array, tensor)
    assert list(tensor.float_val) == [0, 2, 4, 6, 8, 10]


def proto(dtype: str, shape: list[int], **fields: object) -> object:
    tensor = tf.make_tensor_proto(0).__class__(dtype=tf.as_dtype(dtype).as_datatype_enum, **fields)
    for size in shape:
        tensor.tensor_shape.dim.add().size = size
    return tensor


def test_missing_values_are_filled_up_with_the_last_one() -> None:
    same(convert.to_array(proto("float32", [2, 2], float_val=[1.5]), "x"), np.full((2, 2), 1.5, np.float32))
    same(convert.to_array(proto("int32", [4], int_val=[1, 2]), "x"), np.array([1, 2, 2, 2], np.int32))
    same(convert.to_array(proto("float32", [3]), "x"), np.zeros(3, np.float32))
    assert convert.to_array(proto("string", [2], string_val=[b"a"]), "x").tolist() == [b"a", b"a"]


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (lambda: proto("float32", [3], tensor_content=b"1234"), "tensor_content has 4 bytes, but .* needs 12"),
        (lambda: proto("float32", [1], float_val=[1, 2]), "2 values do not fit into shape"),
        (lambda: proto("float32", [-1], float_val=[1]), r"\[-1\] is not a shape of a tensor"),
        (lambda: proto("float32", [1 << 40], float_val=[1]), "needs more than the 64 MiB allowed"),
        (lambda: proto("float32", [1 << 62, 1 << 62], float_val=[1]), "is not a shape of a tensor"),
        (lambda: proto("float32", [1] * 40, float_val=[1]), "is not a shape of a tensor"),
        (lambda: proto("uint8", [1], int_val=[300]), "a value is outside the range of uint8"),
        (lambda: proto("complex64", [1], scomplex_val=[1.0]), "complex numbers need pairs"),
        (lambda: proto("string", [1], tensor_content=b"abc"), "strings belong in string_val"),
        (lambda: proto("qint8", [1], int_val=[1]), "its dtype DT_QINT8 is not supported"),
        (lambda: tf.make_tensor_proto(0).__class__(dtype=999), "its dtype 999 is not supported"),
        (lambda: tf.make_tensor_proto(0).__class__(), "its dtype DT_INVALID is not supported"),
    ],
)
def test_tensors_whose_parts_do_not_fit_together(tensor: object, text: str) -> None:
    with pytest.raises(InvalidInput, match=f"tensor parsing error: x: .*{text}"):
        convert.to_array(tensor(), "x", 64 << 20)  # type: ignore[operator]


def test_an_unknown_rank_is_refused() -> None:
    tensor = proto("float32", [])
    tensor.tensor_shape.unknown_rank = True  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="its shape is unknown"):
        convert.to_array(tensor, "x")


def test_a_dtype_that_cannot_be_sent() -> None:
    with pytest.raises(InvalidInput, match="tensors of datetime64"):
        convert.write_tensor(np.zeros(1, "datetime64[s]"), tf.make_tensor_proto(0).__class__())


def test_the_limit_is_for_all_tensors_of_a_request_together() -> None:
    def repeated(count: int) -> object:
        tensor = TensorProto(dtype=tf.uint8.as_datatype_enum, int_val=[1])
        tensor.tensor_shape.dim.add(size=count)
        return tensor

    assert len(convert.to_arrays({"a": repeated(600), "b": repeated(400)}, 1000)) == 2
    with pytest.raises(InvalidInput, match="b: shape"):
        convert.to_arrays({"a": repeated(600), "b": repeated(401)}, 1000)


def test_dimensions_that_overflow_with_a_zero_among_them_are_refused() -> None:
    tensor = TensorProto(dtype=tf.uint8.as_datatype_enum)
    for size in (0, 2**62, 4):
        tensor.tensor_shape.dim.add(size=size)
    with pytest.raises(InvalidInput, match="not a shape of a tensor"):
        convert.to_arrays({"a": tensor}, 1000)


@pytest.mark.parametrize("dtype", [tf.bool, tf.float64, tf.complex128, tf.string])
def test_bytes_that_overflow_with_a_zero_dimension_are_refused(dtype: tf.DType) -> None:
    for size in (2**58, 2**59, 2**60, 2**61, 2**62 - 1):
        tensor = TensorProto(dtype=dtype.as_datatype_enum)
        tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_shape.dim.add(size=0)
        if size == 2**58:
            assert convert.to_array(tensor, "x").shape == (size, 0)
        else:
            with pytest.raises(InvalidInput, match="not a shape of a tensor"):
                convert.to_array(tensor, "x")
