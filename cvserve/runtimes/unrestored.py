"""Restores variables that a SavedModel's own restore operation leaves out.

A `tf.Module` that holds a Keras 3 model is saved with two handles of each variable. The checkpoint is restored into one
handle that nothing reads; the signatures read the other one, which fails with "Could not find variable". Its value is
in the checkpoint, under the key that is in the checkpoint's object graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cvserve.extras import require

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"


def restore(session: Any, loaded: Any, directory: Path) -> list[str]:
    """Sets every variable of a session's graph that has no value yet to the value of its name in the checkpoint.

    Args:
        session: a tf.compat.v1.Session whose graph is the default one.
        loaded: the MetaGraphDef of the graph; only those of TensorFlow 2 have an object graph.
        directory: the directory of the SavedModel.

    Returns:
        The names of the variables that were set.
    """
    if not loaded.HasField("object_graph_def"):
        return []
    tensorflow = require("tensorflow")
    handles = [node for node in session.graph.get_operations() if node.type == "VarHandleOp"]
    checks = [tensorflow.raw_ops.VarIsInitializedOp(resource=handle.outputs[0]) for handle in handles]
    empty = [handle for handle, has_value in zip(handles, session.run(checks), strict=True) if not has_value]
    prefix = str(directory / "variables" / "variables")
    if not empty or not Path(f"{prefix}.index").is_file():
        return []
    reader = tensorflow.train.load_checkpoint(prefix)
    keys = _keys_by_name(reader, loaded.object_graph_def)
    values: dict[Any, Any] = {}
    assigns: list[Any] = []
    restored: list[str] = []
    for handle in empty:
        name = handle.get_attr("shared_name").decode() or handle.name
        if name in keys:
            value = reader.get_tensor(keys[name])
            # The value is fed to a placeholder, since a constant would stay in the graph.
            placeholder = tensorflow.compat.v1.placeholder(value.dtype, value.shape)
            values[placeholder] = value
            assigns.append(tensorflow.raw_ops.AssignVariableOp(resource=handle.outputs[0], value=placeholder))
            restored.append(name)
    # All in one call: the session processes the whole graph again after each addition.
    session.run(assigns, values)
    return restored


def _keys_by_name(reader: Any, objects: Any) -> dict[str, str]:
    """Returns the checkpoint's key of each variable by name; names of several variables are left out.

    The nodes of the checkpoint's object graph and of the SavedModel's are the same, in the same order.
    """
    if not reader.has_tensor(_OBJECT_GRAPH):
        return {}
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
    keys_of: dict[str, list[str]] = {}
    for node, trackable in zip(objects.nodes, graph.nodes, strict=False):
        for attribute in trackable.attributes:
            if node.WhichOneof("kind") == "variable" and attribute.name == _VALUE:
                keys_of.setdefault(node.variable.name, []).append(attribute.checkpoint_key)
    return {name: keys[0] for name, keys in keys_of.items() if len(keys) == 1}
