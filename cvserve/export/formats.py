"""Writes a network in each of the formats that are wanted, and opens what was written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvserve.errors import CvserveError, ExportError, InvalidInput
from cvserve.export.detect_signature import DETECT_SIGNATURE
from cvserve.export.network import Network
from cvserve.export.onnx import write_onnx
from cvserve.export.saved_model import write_saved_model
from cvserve.export.tflite import write_tflite
from cvserve.runtimes import Runtime, open_graph
from cvserve.runtimes.tensorflow import TensorFlowRuntime

FORMATS = ("saved_model", "onnx", "tflite")
FILES = {"saved_model": "saved_model.pb", "onnx": "model.onnx", "tflite": "model.tflite"}
DETECT_ONNX = "model.detect.onnx"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Written:
    """One format. files: the one to open first. detect: a file of its own for the signature `detect`, if it has one."""

    format: str
    files: tuple[Path, ...]
    detect: Path | None = None

    def open(self) -> Runtime:
        """The graph itself.

        Raises:
            ExportError: its library does not take it.
        """
        return _open(self.files[0], self.format)

    def open_detect(self, runtime: Runtime) -> Runtime:
        """The signature `detect`. runtime: what `open` gave."""
        if isinstance(runtime, TensorFlowRuntime):
            return runtime.with_signature(DETECT_SIGNATURE)
        if self.detect is not None:
            return _open(self.detect, self.format)
        return _open(self.files[0], self.format, DETECT_SIGNATURE)


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
    network: Network, directory: Path, formats: Sequence[str], detect: Any | None, say: Progress
) -> list[Written]:
    """Writes the formats.

    Args:
        formats: TFLite is made from the SavedModel, which is then written for the moment even if it is not wanted.
        detect: the tf.function of the signature `detect`, for detection.

    Raises:
        ExportError: a format cannot hold the network.
    """
    written: list[Written] = []
    for graph_format in FORMATS:
        needed = graph_format in formats or (graph_format == "saved_model" and "tflite" in formats)
        if not needed:
            continue
        say(f"writing {graph_format}")
        try:
            written.append(_write(network, directory, graph_format, detect))
        except ExportError as error:
            others = [other for other in formats if other != graph_format]
            way_out = f"; to go without it, say --formats {','.join(others)}" if others else ""
            raise ExportError(f"{error}{way_out}") from error
    if "saved_model" not in formats:
        for temporary in [item for item in written if item.format == "saved_model"]:
            written.remove(temporary)
            for path in temporary.files:
                path.unlink()
        for path in (directory / "variables", directory / "assets"):
            if path.is_dir():
                path.rmdir()
    return written


def _write(network: Network, directory: Path, graph_format: str, detect: Any | None) -> Written:
    path = directory / FILES[graph_format]
    if graph_format == "saved_model":
        return Written(graph_format, tuple(write_saved_model(network, directory, detect)))
    if graph_format == "onnx":
        second = None if detect is None else write_onnx(network, directory / DETECT_ONNX, detect)
        return Written(graph_format, (write_onnx(network, path),), second)
    return Written(graph_format, (write_tflite(directory, path, detect=detect is not None),))


def _open(path: Path, graph_format: str, signature: str = "serving_default") -> Runtime:
    try:
        return open_graph(path, graph_format, signature=signature)
    except CvserveError as error:
        raise ExportError(f"the exported {graph_format} graph cannot be opened: {error}") from error
