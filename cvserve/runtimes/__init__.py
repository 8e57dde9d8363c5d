"""Runs a graph: TensorFlow, onnxruntime or LiteRT behind one interface, each imported when it is first used."""

from cvserve.runtimes.base import FORMAT_OF, RUNTIMES, Runtime, TensorInfo
from cvserve.runtimes.choose import open_runtime
from cvserve.runtimes.opening import open_graph, usable_runtimes

__all__ = ["FORMAT_OF", "RUNTIMES", "Runtime", "TensorInfo", "open_graph", "open_runtime", "usable_runtimes"]
