"""Converts between messages and plain values: TensorProto and numpy arrays, tf.Examples and their results.

Answers are written in typed fields (`float_val`, ...), since official clients read those, and never in
`tensor_content`; requests may use either. Floats, booleans and class maps (uint8) are packed with numpy into the
protobuf wire format and parsed from there, which avoids a Python object for each number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from cvserve.errors import InvalidInput
from cvserve.protos.tensorflow_serving import DataType, TensorProto
from cvserve.serving.protocols.tensorflow_serving.examples import Examples

_FIELD_OF: dict[str, str] = {
    "float32": "float_val",
    "float64": "double_val",
    "int32": "int_val",
    "uint8": "int_val",
    "int16": "int_val",
    "int8": "int_val",
    "uint16": "int_val",
    "bytes": "string_val",
    "complex64": "scomplex_val",
    "int64": "int64_val",
    "bool": "bool_val",
    "complex128": "dcomplex_val",
    "float16": "half_val",
    "bfloat16": "half_val",
    "uint32": "uint32_val",
    "uint64": "uint64_val",
}
"""The field of TensorProto that holds values of a dtype (tensor.proto)."""

_ENUM_OF: dict[str, int] = {
    "float32": DataType.DT_FLOAT,
    "float64": DataType.DT_DOUBLE,
    "int32": DataType.DT_INT32,
    "uint8": DataType.DT_UINT8,
    "int16": DataType.DT_INT16,
    "int8": DataType.DT_INT8,
    "bytes": DataType.DT_STRING,
    "complex64": DataType.DT_COMPLEX64,
    "int64": DataType.DT_INT64,
    "bool": DataType.DT_BOOL,
    "uint16": DataType.DT_UINT16,
    "complex128": DataType.DT_COMPLEX128,
    "float16": DataType.DT_HALF,
    "bfloat16": DataType.DT_BFLOAT16,
    "uint32": DataType.DT_UINT32,
    "uint64": DataType.DT_UINT64,
}
_NAME_OF = {value: name for name, value in _ENUM_OF.items()}
_NUMBERS = {name: field.number for name, field in TensorProto.DESCRIPTOR.fields_by_name.items()}
_LITTLE_ENDIAN = {"float_val": "<f4", "double_val": "<f8", "scomplex_val": "<f4", "dcomplex_val": "<f8"}


def data_type(dtype: str) -> int:
    """Returns the DataType number of a dtype's name ("float32", "bytes", ...).

    Raises:
        InvalidInput: TensorProto has no such type.
    """
    try:
        return _ENUM_OF[dtype]
    except KeyError:
        raise InvalidInput(f"tensors of {dtype} cannot be sent") from None


def _numpy_dtype(name: str) -> np.dtype[Any]:
    if name == "bytes":
        return np.dtype(object)
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def to_array(tensor: Any, name: str, max_bytes: int = 1 << 31) -> np.ndarray:
    """Returns a request's tensor as an array.

    Args:
        tensor: a TensorProto with its values in tensor_content or in the typed field of its dtype. Missing values are
            filled up with the last one, or with zeros if there are none, as TensorFlow does.
        name: what errors call it.
        max_bytes: the largest size of the array, since a few bytes of a message can stand for gigabytes.

    Returns:
        An array of the tensor's shape (read-only where it shares the message's memory); strings as dtype object
        holding bytes.

    Raises:
        InvalidInput: dtype, shape and values do not fit together, or the tensor is too large.
    """
    kind = _NAME_OF.get(tensor.dtype)
    if kind is None:
        raise InvalidInput(f"tensor parsing error: {name}: its dtype {_type_name(tensor.dtype)} is not supported")
    shape = _shape(tensor, name)
    dtype = _numpy_dtype(kind)
    count = math.prod(shape)
    if count * dtype.itemsize > max_bytes:
        raise InvalidInput(
            f"tensor parsing error: {name}: shape {shape} of {kind} needs more than the {max_bytes >> 20} MiB allowed"
        )
    content = tensor.tensor_content
    if content:
        return _from_content(content, kind, dtype, shape, name)
    values = getattr(tensor, _FIELD_OF[kind])
    per_element = 2 if kind.startswith("complex") else 1
    if len(values) > count * per_element:
        raise InvalidInput(
            f"tensor parsing error: {name}: {len(values)} values do not fit into shape {shape}, which holds {count}"
        )
    if not len(values):
        return np.full(shape, b"" if kind == "bytes" else 0, dtype)
    flat = _from_values(values, kind, dtype, name)
    if len(flat) < count:
        flat = np.concatenate([flat, np.full(count - len(flat), flat[-1], dtype)])
    return flat.reshape(shape)


def _from_content(content: bytes, kind: str, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> np.ndarray:
    if kind == "bytes":
        raise InvalidInput(f"tensor parsing error: {name}: strings belong in string_val, not in tensor_content")
    needed = math.prod(shape) * dtype.itemsize
    if len(content) != needed:
        raise InvalidInput(
            f"tensor parsing error: {name}: tensor_content has {len(content)} bytes, "
            f"but shape {shape} of {kind} needs {needed}"
        )
    return np.frombuffer(content, dtype).reshape(shape)


def _from_values(values: Any, kind: str, dtype: np.dtype[Any], name: str) -> np.ndarray:
    if kind == "bytes":
        strings = np.empty(len(values), object)
        strings[:] = values
        return strings
    if kind in ("float16", "bfloat16"):
        return _integers(values, np.dtype(np.uint16), name).view(dtype)
    if kind.startswith("complex"):
        if len(values) % 2:
            raise InvalidInput(f"tensor parsing error: {name}: complex numbers need pairs of values")
        return np.array(values, dtype.char.lower()).view(dtype)
    if dtype.kind in "iu":
        return _integers(values, dtype, name)
    return np.array(values, dtype)


def _integers(values: Any, dtype: np.dtype[Any], name: str) -> np.ndarray:
    if dtype.itemsize >= 4:
        return np.array(values, dtype)
    # The field is wider than the dtype, and a conversion would wrap around.
    wide = np.array(values, np.int32)
    limits = np.iinfo(dtype)
    if wide.min() < limits.min or wide.max() > limits.max:
        raise InvalidInput(f"tensor parsing error: {name}: a value is outside the range of {dtype}")
    return wide.astype(dtype)


def _shape(tensor: Any, name: str) -> tuple[int, ...]:
    if tensor.tensor_shape.unknown_rank:
        raise InvalidInput(f"tensor parsing error: {name}: its shape is unknown")
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    # numpy multiplies the dimensions and the bytes of an element (16 at most) even where one of the dimensions is 0.
    if any(size < 0 for size in shape) or len(shape) > 32 or math.prod(size for size in shape if size) >= 2**59:
        raise InvalidInput(f"tensor parsing error: {name}: {list(shape)} is not a shape of a tensor")
    return shape


def write_tensor(array: np.ndarray, tensor: Any, *, as_content: bool = False) -> None:
    """Writes `array` into an empty TensorProto: dtype, shape, and the values in the typed field of the dtype.

    Args:
        array: numbers, booleans, or dtype object or S holding bytes (or text, which becomes UTF-8).
        as_content: numbers go into tensor_content instead.

    Raises:
        InvalidInput: TensorProto does not have the dtype.
    """
    kind = "bytes" if array.dtype.kind in "OSU" else array.dtype.name
    tensor.dtype = data_type(kind)
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    field = _FIELD_OF[kind]
    if kind == "bytes":
        strings = (value.encode() if isinstance(value, str) else bytes(value) for value in array.ravel())
        tensor.string_val.extend(strings)
        return
    flat = np.ascontiguousarray(array).ravel()
    if as_content:
        tensor.tensor_content = flat.tobytes()
        return
    payload = _packed(flat, field)
    if payload is None:
        integers = flat.view(np.uint16) if field == "half_val" else flat
        getattr(tensor, field).extend(integers.tolist())
    elif payload:
        tensor.MergeFromString(_varint(_NUMBERS[field] << 3 | 2) + _varint(len(payload)) + payload)


def _packed(flat: np.ndarray, field: str) -> bytes | None:
    """Returns the values as a packed repeated field (protobuf.dev/programming-guides/encoding).

    Returns None where numpy has no fast way to write them.
    """
    if field in _LITTLE_ENDIAN:
        fixed = flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat
        return fixed.astype(_LITTLE_ENDIAN[field], copy=False).tobytes()
    if flat.dtype == np.bool_:
        return flat.tobytes()
    if flat.dtype == np.uint8:
        # A varint holds seven bits a byte, the lowest first, with the top bit set where another byte follows: from
        # 128 on, the byte itself and then a 1.
        pairs = np.ones((len(flat), 2), np.uint8)
        pairs[:, 0] = flat
        used = np.ones(pairs.shape, bool)
        used[:, 1] = flat >= 128
        return pairs[used].tobytes()
    return None


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def to_arrays(tensors: Mapping[str, Any], max_bytes: int) -> dict[str, np.ndarray]:
    """Returns a request's tensors as arrays, by name. See `to_array`; max_bytes is for all of them together.

    A few bytes may stand for a large tensor of one repeated value, and a request may hold many such tensors.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        arrays[name] = to_array(tensor, name, max_bytes)
        max_bytes -= arrays[name].nbytes
    return arrays


def to_examples(message: Any) -> Examples:
    """Returns the tf.Examples of a tensorflow.serving.Input."""
    if message.WhichOneof("kind") == "example_list_with_context":
        given = message.example_list_with_context
        return Examples([example.SerializeToString() for example in given.examples], given.context.SerializeToString())
    return Examples([example.SerializeToString() for example in message.example_list.examples])


def write_classes(classes: Sequence[Sequence[tuple[str, float]]], result: Any) -> None:
    """Writes the classes of each example into a tensorflow.serving.ClassificationResult."""
    for row in classes:
        added = result.classifications.add().classes
        for label, score in row:
            added.add(label=label, score=score)


def write_values(values: Sequence[float], result: Any) -> None:
    """Writes the number of each example into a tensorflow.serving.RegressionResult."""
    for value in values:
        result.regressions.add(value=value)


def _type_name(number: int) -> str:
    try:
        return str(DataType.Name(number))
    except ValueError:
        return str(number)
