"""Writes ONNX, always from the frozen graph.

tf2onnx only logs what it cannot map, and still writes the file. So the file is checked here, and compared afterwards
(see `cvserve.export.parity`).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cvserve.errors import ExportError
from cvserve.export.inlining import inline_calls
from cvserve.export.network import Network
from cvserve.extras import require
from cvserve.runtimes.quiet import without_startup_messages

OPSET = 17
"""The opset of the files. tf2onnx 1.17 writes up to 18; 17 is read by onnxruntime 1.13 and later."""

BATCH = "batch"


def write_onnx(network: Network, path: Path, function: Any | None = None) -> Path:
    """Writes `path`: uint8 `images` [batch, H, W, 3] to the network's outputs by name, opset 17.

    Args:
        function: another tf.function than the network's own; its inputs have the names of its signature.

    Raises:
        ExportError: ONNX cannot hold the network; the text names the operations.
        MissingExtra: tf2onnx or onnx is not installed.
    """
    onnx = require("onnx")
    tf2onnx = require("tf2onnx")
    graph, inputs, outputs = _frozen(network.function if function is None else function)
    with _quiet():
        model, _ = tf2onnx.convert.from_graph_def(
            graph,
            input_names=list(inputs),
            output_names=list(outputs),
            opset=OPSET,
            tensors_to_rename={**inputs, **outputs},
        )
    _replace_erfc(onnx, model.graph)
    _name_batch(model.graph)
    _check(onnx, model)
    onnx.save(model, str(path))
    return path


def _frozen(traced: Any) -> tuple[Any, dict[str, str], dict[str, str]]:
    """Returns the graph with its variables as constants, and the wanted names of inputs and outputs by tensor name.

    Without freezing, a tensor that a layer holds would become an input of the graph.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = traced.get_concrete_function()
    names = sorted(function.structured_outputs)
    frozen = convert_variables_to_constants_v2(function)
    inputs = {tensor.name: tensor.name.partition(":")[0] for tensor in frozen.inputs}
    outputs = {tensor.name: name for tensor, name in zip(frozen.outputs, names, strict=True)}
    return inline_calls(frozen.graph.as_graph_def()), inputs, outputs


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the log lines of tf2onnx and TensorFlow during the conversion; `_check` finds the errors."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), without_startup_messages():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _replace_erfc(onnx: Any, graph: Any) -> None:
    """Replaces Erfc(x), of the exact gelu, by 1 - Erf(x): ONNX has no Erfc, and tf2onnx copies it unmapped."""
    if not any(node.op_type == "Erfc" for node in graph.node):
        return
    one = "cvserve_one"
    graph.initializer.append(onnx.helper.make_tensor(one, onnx.TensorProto.FLOAT, [], [1.0]))
    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        erf = f"{node.output[0]}/erf"
        nodes.append(onnx.helper.make_node("Erf", node.input, [erf], name=f"{node.name}/erf"))
        nodes.append(onnx.helper.make_node("Sub", [one, erf], node.output, name=f"{node.name}/one_minus"))
    del graph.node[:]
    graph.node.extend(nodes)


def _name_batch(graph: Any) -> None:
    """Renames the batch dimension, for which tf2onnx makes up another name at every run."""
    old = {value.type.tensor_type.shape.dim[0].dim_param for value in graph.input} - {""}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for index, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.dim_param in old or (
                index == 0 and not dimension.HasField("dim_value") and value in graph.output
            ):
                dimension.dim_param = BATCH


def _check(onnx: Any, model: Any) -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    unknown = sorted({node.op_type for node in model.graph.node if node.domain in ("", "ai.onnx")} - known)
    if unknown:
        raise ExportError(
            f"ONNX cannot hold this network: it has no operation {', '.join(unknown)} "
            "(opset 17); export the other formats only, or replace the layer it comes from"
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"the ONNX graph of this network is not valid: {' '.join(str(error).split())[:300]}"
        ) from error
