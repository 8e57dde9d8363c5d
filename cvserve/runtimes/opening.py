"""Opens a graph by its format, and finds the graphs of an artifact that can be opened."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from cvserve.artifact import Artifact, Graph, Manifest
from cvserve.errors import FailedPrecondition, InvalidInput, NotFound
from cvserve.runtimes.base import FORMAT_OF, LIBRARIES, RUNTIME_OF, RUNTIMES, Runtime
from cvserve.runtimes.device import Resources, parse_device


def open_graph(
    path: Path,
    format: str,
    *,
    threads: int | None = None,
    device: str = "cpu",
    signature: str = "serving_default",
    resources: Resources | None = None,
) -> Runtime:
    """Opens one graph, which needs no manifest.

    Args:
        path: the SavedModel's directory (or its saved_model.pb), the .onnx or the .tflite file.
        format: "saved_model", "onnx" or "tflite".
        threads: CPU threads of a call; None takes every core.
        device: "cpu" or "gpu:N".
        signature: which signature of a SavedModel or a TFLite file; ONNX has none.
        resources: other threads and GPU memory; None: the defaults of `Resources`.

    Raises:
        InvalidInput: no such format.
        MissingExtra: the format's library is not installed.
        NotFound: no such signature.
        ArtifactError: the library does not take the file.
        FailedPrecondition: the runtime has no such device.
    """
    path = Path(path)
    if format == "onnx":
        from cvserve.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(path, threads=threads, device=device, resources=resources)
    if format == "tflite":
        from cvserve.runtimes.litert import LiteRtRuntime

        return LiteRtRuntime(path, threads=threads, device=device, signature=signature)
    if format == "saved_model":
        from cvserve.runtimes.tensorflow import TensorFlowRuntime

        return TensorFlowRuntime(path, threads=threads, device=device, signature=signature, resources=resources)
    raise InvalidInput(f"{format!r} is not a graph format; it is one of {', '.join(FORMAT_OF.values())}")


def is_installed(runtime: str) -> bool:
    """Returns whether the library of a runtime is installed, without importing it."""
    return find_spec(LIBRARIES[runtime].module) is not None


def usable_runtimes(manifest: Manifest) -> list[str]:
    """Returns the runtimes that can run a model here: installed, and with a graph whose parity holds."""
    formats = {graph.format for graph in manifest.graphs if graph.usable}
    return [runtime for runtime in RUNTIMES if FORMAT_OF[runtime] in formats and is_installed(runtime)]


def open_candidate(
    artifact: Artifact, graph: Graph, *, threads: int | None, device: str, resources: Resources | None = None
) -> Runtime:
    """Opens one graph of an artifact."""
    path = artifact.directory / graph.path
    return open_graph(
        path, graph.format, threads=threads, device=device, signature=graph.signature, resources=resources
    )


def candidates(artifact: Artifact, runtime: str, precision: str | None, device: str) -> list[Graph]:
    """Returns the graphs of an artifact that can be opened; arguments and errors are those of `open_runtime`."""
    manifest = artifact.manifest
    if runtime != "auto" and runtime not in RUNTIMES:
        raise InvalidInput(f"{runtime!r} is not a runtime; it is one of auto, {', '.join(RUNTIMES)}")
    has = ", ".join(f"{graph.format} {graph.precision}" for graph in manifest.graphs)
    graphs = [graph for graph in manifest.graphs if precision in (None, graph.precision)]
    if runtime != "auto":
        graphs = [graph for graph in graphs if graph.format == FORMAT_OF[runtime]]
    if not graphs:
        wanted = f"graph of precision {precision}" if runtime == "auto" else f"graph for the runtime {runtime}"
        if runtime != "auto" and precision is not None:
            wanted += f" of precision {precision}"
        raise NotFound(f"{artifact.directory} has no {wanted}; it has {has}")
    usable = [graph for graph in graphs if graph.usable]
    if runtime != "auto":
        return usable or graphs  # an explicitly requested graph is opened even if its parity does not hold
    if not usable:
        raise FailedPrecondition(
            f"no graph of {artifact.directory} agrees with its network ({has}); name a runtime to use it all the same"
        )
    if parse_device(device).kind == "gpu":
        usable = [graph for graph in usable if graph.format != "tflite"]
        if not usable:
            raise FailedPrecondition(f"{artifact.directory} has only TFLite graphs, which cannot run on {device}")
    installed = [graph for graph in usable if is_installed(RUNTIME_OF[graph.format])]
    if not installed:
        extras = sorted({RUNTIME_OF[graph.format] for graph in usable})
        raise FailedPrecondition(
            f"nothing installed can run {artifact.directory} ({has}): pip install 'cvserve[{extras[0]}]'"
        )
    return installed
