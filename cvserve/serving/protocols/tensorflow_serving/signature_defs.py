"""Converts signatures to TensorFlow's SignatureDef, from which clients learn names, dtypes and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvserve.protos import tensorflow_serving as protos
from cvserve.runtimes.base import TensorInfo
from cvserve.serving.core.signatures import Signature
from cvserve.serving.protocols.tensorflow_serving.convert import data_type


def signature_def_map(signatures: Mapping[str, Signature]) -> Any:
    """Returns a SignatureDefMap of these signatures, for every runtime.

    For a SavedModel it is the one of its file, without the values of defaults, as in TensorFlow Serving since 2.20.
    """
    result = protos.SignatureDefMap()
    for name, signature in signatures.items():
        definition = result.signature_def[name]
        if signature.definition is not None:
            definition.ParseFromString(signature.definition.SerializeToString())  # TensorFlow's own type
            definition.ClearField("defaults")
            continue
        definition.method_name = signature.method_name
        for infos, target in ((signature.inputs, definition.inputs), (signature.outputs, definition.outputs)):
            for alias, info in infos.items():
                target[alias].CopyFrom(_tensor_info(info))
    return result


def _tensor_info(info: TensorInfo) -> Any:
    name = info.name if ":" in info.name else f"{info.name}:0"
    tensor = protos.TensorInfo(name=name, dtype=data_type(info.dtype))
    for size in info.shape:
        tensor.tensor_shape.dim.add(size=-1 if size is None else size)
    return tensor
