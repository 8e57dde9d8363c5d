"""Variables that a SavedModel's own restore operation leaves out.

A `tf.Module` that holds a Keras 3 model is saved with two handles of each variable: the checkpoint is restored into one
that nothing reads, and the signatures read the other, which ends in "Could not find variable". What belongs there is in
the checkpoint, under the key that its object graph tells.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cvserve.extras import require

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"


def restore(session: Any, loaded: Any, directory: Path) -> list[str]:
    """Gives every variable of a session's graph that has no value yet the one of its name in the checkpoint.

    Args:
        session: a tf.compat.v1.Session, its graph being the default one.
        loaded: the MetaGraphDef that it was loaded from; only those of TensorFlow 2 know their objects.
        directory: of the SavedModel.

    Returns:
        The names of the variables that were given a value.
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
            # Fed, since a constant would stay in the graph.
            placeholder = tensorflow.compat.v1.placeholder(value.dtype, value.shape)
            values[placeholder] = value
            assigns.append(tensorflow.raw_ops.AssignVariableOp(resource=handle.outputs[0], value=placeholder))
            restored.append(name)
    # At once, since the session goes over the whole graph again after each addition.
    session.run(assigns, values)
    return restored


def _keys_by_name(reader: Any, objects: Any) -> dict[str, str]:
    """The checkpoint's key of each variable by its name; names that several variables have are left out.

    The nodes of the checkpoint's object graph and of the SavedModel's are the same, in the same order.
    """
    if not reader.has_tensor(_OBJECT_GRAPH):
        return {}
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
    found: dict[str, list[str]] = {}
    for node, trackable in zip(objects.nodes, graph.nodes, strict=False):
        for attribute in trackable.attributes:
            if node.WhichOneof("kind") == "variable" and attribute.name == _VALUE:
                found.setdefault(node.variable.name, []).append(attribute.checkpoint_key)
    return {name: keys[0] for name, keys in found.items() if len(keys) == 1}
