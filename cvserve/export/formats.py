"""Writes a network in each of the formats that are wanted, and opens what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvserve.errors import CvserveError, ExportError, InvalidInput
from cvserve.export.network import Network
from cvserve.export.onnx import write_onnx
from cvserve.export.saved_model import write_saved_model
from cvserve.export.tflite import write_tflite
from cvserve.runtimes import Runtime, open_graph
from cvserve.runtimes.tensorflow import TensorFlowRuntime

FORMATS = ("saved_model", "onnx", "tflite")
FILES = {"saved_model": "saved_model.pb", "onnx": "model.onnx", "tflite": "model.tflite"}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Written:
    """One format. files: the one to open first. signatures: the further ones that it holds. further: their own files,
    by signature, where they have such."""

    format: str
    files: tuple[Path, ...]
    signatures: tuple[str, ...] = ()
    further: Mapping[str, Path] = field(default_factory=dict)

    def open(self) -> Runtime:
        """The graph itself.

        Raises:
            ExportError: its library does not take it.
        """
        return _open(self.files[0], self.format)

    def open_further(self, signature: str, runtime: Runtime) -> Runtime:
        """A further signature. runtime: what `open` gave."""
        if isinstance(runtime, TensorFlowRuntime):
            return runtime.with_signature(signature)
        if signature in self.further:
            return _open(self.further[signature], self.format)
        return _open(self.files[0], self.format, signature)


def checked_formats(formats: Sequence[str]) -> list[str]:
    """The formats, if they are some.

    Raises:
        InvalidInput
    """
    for graph_format in formats:
        if graph_format not in FORMATS:
            raise InvalidInput(f"{graph_format!r} is no format; they are {', '.join(FORMATS)}")
    if not formats:
        raise InvalidInput(f"name at least one format of {', '.join(FORMATS)}")
    return list(formats)


def write_formats(
    network: Network, directory: Path, formats: Sequence[str], further: Mapping[str, Any], say: Progress
) -> list[Written]:
    """Writes the formats.

    Args:
        formats: TFLite is made from the SavedModel, which is then written for the moment even if it is not wanted.
        further: tf.functions of further signatures, by name; each becomes an ONNX file of its own.

    Raises:
        ExportError: a format cannot hold the network.
    """
    wanted = [item for item in FORMATS if item in formats or (item == "saved_model" and "tflite" in formats)]
    written: list[Written] = []
    with ThreadPoolExecutor(1) as pool:
        later: dict[str, Future[Written]] = {}
        for graph_format in wanted:
            say(f"writing {graph_format}")
            with _way_out(graph_format, formats):
                if graph_format in later:
                    written.append(later[graph_format].result())
                else:
                    written.append(_write(network, directory, graph_format, further))
            if graph_format == "saved_model" and "tflite" in wanted:
                # It has a process of its own, and takes as long as ONNX here.
                later["tflite"] = pool.submit(_write, network, directory, "tflite", further)
    if "saved_model" not in formats:
        for temporary in [item for item in written if item.format == "saved_model"]:
            written.remove(temporary)
            for path in temporary.files:
                path.unlink()
        for path in (directory / "variables", directory / "assets"):
            if path.is_dir():
                path.rmdir()
    return written


@contextmanager
def _way_out(graph_format: str, formats: Sequence[str]) -> Iterator[None]:
    """Tells how to go on without a format that fails."""
    try:
        yield
    except ExportError as error:
        others = [other for other in formats if other != graph_format]
        way_out = f"; to go without it, say --formats {','.join(others)}" if others else ""
        raise ExportError(f"{error}{way_out}") from error


def _write(network: Network, directory: Path, graph_format: str, further: Mapping[str, Any]) -> Written:
    path = directory / FILES[graph_format]
    if graph_format == "saved_model":
        return Written(graph_format, tuple(write_saved_model(network, directory, further)), tuple(further))
    if graph_format == "onnx":
        others = {
            signature: write_onnx(network, path.with_suffix(f".{signature}.onnx"), function)
            for signature, function in further.items()
        }
        return Written(graph_format, (write_onnx(network, path),), tuple(further), others)
    return Written(graph_format, (write_tflite(directory, path, further=list(further)),), tuple(further))


def _open(path: Path, graph_format: str, signature: str = "serving_default") -> Runtime:
    try:
        return open_graph(path, graph_format, signature=signature)
    except CvserveError as error:
        raise ExportError(f"the exported {graph_format} graph cannot be opened: {error}") from error
