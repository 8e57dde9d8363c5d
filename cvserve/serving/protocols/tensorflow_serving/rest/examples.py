"""Converts the JSON of classify and regress to tf.Examples (json_tensor.cc): `{"feature": value or list, ...}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cvserve.errors import InvalidInput
from cvserve.protos.tensorflow_serving import Example
from cvserve.serving.protocols.tensorflow_serving.examples import Examples
from cvserve.serving.protocols.tensorflow_serving.rest.arrays import decode_base64, is_base64, json_type, to_bytes
from cvserve.serving.protocols.tensorflow_serving.rest.documents import excerpt

_WHOLE, _STRING = {int, bool}, {str, dict}


def to_examples(document: Mapping[str, Any]) -> Examples:
    """Returns the examples of a classify or regress request.

    Raises:
        InvalidInput: the document does not have the form; the text is TensorFlow Serving's.
    """
    context = _example(document["context"]) if "context" in document else None
    if "examples" not in document:
        raise InvalidInput(
            f"JSON Value: {excerpt(document)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise InvalidInput(f"JSON Value: {excerpt(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise InvalidInput(f"JSON Value: {excerpt(document)} 'examples' value is an empty array")
    return Examples([_example(example) for example in examples], context)


def _example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise InvalidInput(f"Example must be JSON object but got JSON {json_type(value)}")
    example = Example()
    for name, content in value.items():
        key = to_bytes(name).decode()
        _write(key, content if isinstance(content, list) else [content], example.features.feature[key])
    serialised: bytes = example.SerializeToString()
    return serialised


def _write(name: str, values: list[Any], feature: Any) -> None:
    types = set(map(type, values))
    if not types:
        return
    if types <= _WHOLE and all(-(2**63) <= value < 2**63 for value in values):
        feature.int64_list.value.extend(map(int, values))
    elif types == {float}:
        with np.errstate(over="ignore"):
            feature.float_list.value.extend(np.array(values, np.float64).astype(np.float32).tolist())
    elif types <= _STRING and all(type(value) is str or is_base64(value) for value in values):
        strings = (to_bytes(value) if type(value) is str else decode_base64(value) for value in values)
        feature.bytes_list.value.extend(strings)
    else:
        _explain(name, values)


def _explain(name: str, values: list[Any]) -> None:
    """Raises an error that names the value that cannot be in the feature."""
    first = ""
    for value in values:
        if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
            raise InvalidInput(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise InvalidInput(f"Feature: {name} has uint64 element. Only int64 is supported.")
        kind = "int64" if type(value) in _WHOLE else "float" if type(value) is float else "bytes"
        first = first or kind
        if kind != first:
            raise InvalidInput(f"Unexpected element type in feature: {name} expecting type: {first}")
    raise AssertionError("one of the values is wrong")
