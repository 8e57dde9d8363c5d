"""Replaces calls of functions by the functions' bodies, in a frozen graph.

Freezing inlines every function except those that are marked to be compiled by XLA. Keras marks so each grouped
convolution (TensorFlow has no other kernel for it on a CPU), and tf2onnx does not look inside calls.
"""

from __future__ import annotations

from typing import Any

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def inline_calls(graph: Any) -> Any:
    """Returns a copy of a GraphDef without calls of the functions in its library."""
    functions = {function.signature.name: function for function in graph.library.function}
    while any(_is_call(node, functions) for node in graph.node):
        graph = _inline_once(graph, functions)
    return graph


def _is_call(node: Any, functions: dict[str, Any]) -> bool:
    return node.op in _CALLS and node.attr["f"].func.name in functions


def _inline_once(graph: Any, functions: dict[str, Any]) -> Any:
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

    result = type(graph)()
    result.CopyFrom(graph)
    del result.node[:]
    moved: dict[str, str] = {}
    for node in graph.node:
        if not _is_call(node, functions):
            result.node.add().CopyFrom(node)
            continue
        function = functions[node.attr["f"].func.name]
        body, flat = function_def_to_graph_def(function)
        inputs = [name for name in node.input if not name.startswith("^")]
        arguments = {item.name: name for item, name in zip(function.signature.input_arg, inputs, strict=True)}
        for inner in body.node:
            if inner.name not in arguments:
                copy = result.node.add()
                copy.CopyFrom(inner)
                copy.name = f"{node.name}/{inner.name}"
                # Within the body a name may be an argument of the call or another node of the body.
                copy.input[:] = [_inside(name, node.name, arguments) for name in inner.input]
        for index, item in enumerate(function.signature.output_arg):
            moved[_tensor(node.name, index)] = _inside(flat[function.ret[item.name]], node.name, arguments)
    for node in result.node:
        # The functions are pure once their variables are constants: nothing need wait for a call that has gone.
        names = [_follow(name, moved) for name in node.input if not name.startswith("^")]
        controls = [name for name in node.input if name.startswith("^") and name[1:] not in moved]
        node.input[:] = [*names, *controls]
    return result


def _inside(name: str, call: str, arguments: dict[str, str]) -> str:
    control = "^" if name.startswith("^") else ""
    node, _, index = name.removeprefix("^").partition(":")
    if node in arguments:
        return control + (arguments[node].partition(":")[0] if control else arguments[node])
    return f"{control}{call}/{node}" + (f":{index}" if index not in ("", "0") else "")


def _follow(name: str, moved: dict[str, str]) -> str:
    """Returns the tensor that a name stands for after calls were replaced; one of them may return another's output."""
    while name in moved:
        name = moved[name]
    return name


def _tensor(node: str, index: int) -> str:
    return node if index == 0 else f"{node}:{index}"
