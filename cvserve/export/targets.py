"""Lists the files that an export can write: one row for each graph format and precision.

Another target is another row, added here or from outside by `TARGETS[target.name] = target`. Everything else follows
from the row: what the command line offers, the file's name, the comparison's limit, the manifest and the reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvserve.artifact.graphs import GraphFormat, Precision
from cvserve.errors import InvalidInput

if TYPE_CHECKING:
    from cvserve.export.network import Network


@dataclass(frozen=True)
class WrittenFiles:
    """Holds what a writer wrote.

    Args:
        files: all files of the graph, the one that a runtime opens first.
        signature_files: files of the extra signatures by name, where the format holds one graph a file; empty where
            they are in the graph's own file.
    """

    files: tuple[Path, ...]
    signature_files: Mapping[str, Path] = field(default_factory=dict)


Writer = Callable[["Network", Path, Mapping[str, Any]], WrittenFiles]
"""Writes a network to a path, with the tf.functions of extra signatures by name. It raises ExportError where the format
cannot hold the network, and MissingExtra where a library is not installed."""


@dataclass(frozen=True)
class ExportTarget:
    """Describes one graph format in one precision.

    Args:
        format: decides which runtime opens the file.
        precision: of the weights or of the computation, as the manifest names it.
        file: the name in the artifact's directory of the file that a runtime opens.
        writer: writes it.
        tolerance: the largest difference to the network's answers that is allowed: absolute of a probability, relative
            to an output's own size otherwise.
        batch: the only batch size that the graph takes; None takes any.
        made_from: name of the target whose files the writer reads. That one is then written as well, and removed
            afterwards if it is not wanted.
    """

    format: GraphFormat
    precision: Precision
    file: str
    writer: Writer
    tolerance: float
    batch: int | None = None
    made_from: str | None = None

    @property
    def name(self) -> str:
        """Returns the name in `--formats`: "onnx", or "onnx-float16" in another precision than float32."""
        return self.format if self.precision == "float32" else f"{self.format}-{self.precision}"


def _saved_model(network: Network, path: Path, signatures: Mapping[str, Any]) -> WrittenFiles:
    from cvserve.export.saved_model import write_saved_model

    return WrittenFiles(tuple(write_saved_model(network, path.parent, signatures)))


def _onnx(network: Network, path: Path, signatures: Mapping[str, Any]) -> WrittenFiles:
    from cvserve.export.onnx import write_onnx

    signature_files = {
        signature: write_onnx(network, path.with_suffix(f".{signature}.onnx"), function)
        for signature, function in signatures.items()
    }
    return WrittenFiles((write_onnx(network, path),), signature_files)


def _tflite(network: Network, path: Path, signatures: Mapping[str, Any]) -> WrittenFiles:
    from cvserve.export.tflite import write_tflite

    return WrittenFiles((write_tflite(path.parent, path, signatures=list(signatures)),))


FLOAT32_TOLERANCE = 1e-4
"""Graphs of float32 differ from the network by about 1e-6."""

TARGETS: dict[str, ExportTarget] = {
    target.name: target
    for target in (
        ExportTarget("saved_model", "float32", "saved_model.pb", _saved_model, FLOAT32_TOLERANCE),
        ExportTarget("onnx", "float32", "model.onnx", _onnx, FLOAT32_TOLERANCE),
        ExportTarget("tflite", "float32", "model.tflite", _tflite, FLOAT32_TOLERANCE, made_from="saved_model"),
    )
}
"""All targets by name, in the order in which they are written."""


def select_targets(names: Sequence[str] | None) -> list[ExportTarget]:
    """Returns the targets of these names, in the table's order; all of them for None.

    Raises:
        InvalidInput: a name is unknown, or there is none.
    """
    if names is None:
        return list(TARGETS.values())
    for name in names:
        if name not in TARGETS:
            raise InvalidInput(f"{name!r} is not a format; they are {', '.join(TARGETS)}")
    if not names:
        raise InvalidInput(f"name at least one format of {', '.join(TARGETS)}")
    return [target for name, target in TARGETS.items() if name in names]
