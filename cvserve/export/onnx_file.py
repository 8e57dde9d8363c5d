"""Reads ONNX files that cvserve did not make: where their weights are, and the scales of quantised tensors."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cvserve.artifact import Quantization
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.extras import require


def weight_files(path: Path) -> list[str]:
    """Returns the paths, relative to the file, of other files that hold its weights.

    Raises:
        InvalidInput: one of them is missing, or outside of the file's directory.
    """
    paths: set[str] = set()
    for tensor in _load(path).graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                paths.add(entry.value)
    for relative in sorted(paths):
        parts = PurePosixPath(relative).parts
        if relative.startswith("/") or ".." in parts or "\\" in relative:
            raise InvalidInput(f"{path} keeps weights in {relative!r}, outside its own directory")
        if not (path.parent / relative).is_file():
            raise InvalidInput(f"{path} keeps weights in {relative!r}, which is not there")
    return sorted(paths)


def onnx_quantization(path: Path, graph_format: str) -> dict[str, Quantization]:
    """Returns scale and zero point, by name, of the integer inputs and outputs of a quantised ONNX graph.

    They are in the DequantizeLinear behind an input and the QuantizeLinear before an output.
    """
    if graph_format != "onnx":
        return {}
    from onnx import numpy_helper

    graph = _load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer if not tensor.external_data}
    inputs, outputs = {value.name for value in graph.input}, {value.name for value in graph.output}
    quantization: dict[str, Quantization] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in inputs:
            name = node.input[0]
        elif node.op_type == "QuantizeLinear" and node.output[0] in outputs:
            name = node.output[0]
        else:
            continue
        values = [numpy_helper.to_array(constants[key]) for key in node.input[1:3] if key in constants]
        if len(values) == len(node.input) - 1 and all(value.size == 1 for value in values):
            zero_point = int(np.ravel(values[1])[0]) if len(values) > 1 else 0
            quantization[name] = Quantization(scale=float(np.ravel(values[0])[0]), zero_point=zero_point)
    return quantization


def _load(path: Path) -> Any:
    onnx = require("onnx")
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise ArtifactError(f"{path} is not an ONNX file") from error
