"""Writes a network as each of the wanted targets, and opens what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvserve.errors import CvserveError, ExportError
from cvserve.export.network import Network
from cvserve.export.targets import TARGETS, ExportTarget, WrittenFiles
from cvserve.runtimes import Runtime, open_graph
from cvserve.runtimes.tensorflow import TensorFlowRuntime

Progress = Callable[[str], None]
"""Is called with one line of text about what is being done."""


@dataclass(frozen=True)
class WrittenGraph:
    """Holds a target that has been written.

    Args:
        signatures: names of the extra signatures that it holds.
    """

    target: ExportTarget
    written: WrittenFiles
    signatures: tuple[str, ...] = ()

    def open(self) -> Runtime:
        """Opens the graph itself.

        Raises:
            ExportError: its library does not take the file.
        """
        return self._open(self.written.files[0])

    def open_signature(self, signature: str, runtime: Runtime) -> Runtime:
        """Opens an extra signature.

        Args:
            runtime: what `open` returned; a SavedModel is not loaded twice.
        """
        if isinstance(runtime, TensorFlowRuntime):
            return runtime.with_signature(signature)
        if signature in self.written.signature_files:
            return self._open(self.written.signature_files[signature])
        return self._open(self.written.files[0], signature)

    def _open(self, path: Path, signature: str = "serving_default") -> Runtime:
        try:
            return open_graph(path, self.target.format, signature=signature)
        except CvserveError as error:
            raise ExportError(f"the exported {self.target.name} graph cannot be opened: {error}") from error


def write_targets(
    network: Network,
    directory: Path,
    targets: Sequence[ExportTarget],
    signatures: Mapping[str, Any],
    report: Progress,
) -> list[WrittenGraph]:
    """Writes the targets into a directory.

    Those that are made from another target's files (TFLite from the SavedModel) are converted in a thread meanwhile:
    the converter has a process of its own, and takes as long as ONNX here.

    Args:
        signatures: tf.functions of extra signatures, by name.

    Raises:
        ExportError: a format cannot hold the network.
    """
    sources = {target.made_from for target in targets}
    names = {target.name for target in targets}
    needed = [target for target in TARGETS.values() if target.name in names or target.name in sources]
    graphs: list[WrittenGraph] = []
    with ThreadPoolExecutor(1) as pool:
        pending: dict[str, Future[WrittenFiles]] = {}
        for target in needed:
            report(f"writing {target.name}")
            path = directory / target.file
            with _suggest_leaving_out(target, targets):
                if target.name in pending:
                    written = pending[target.name].result()
                else:
                    written = target.writer(network, path, signatures)
            graphs.append(WrittenGraph(target, written, tuple(signatures)))
            for other in needed:
                if other.made_from == target.name:
                    pending[other.name] = pool.submit(other.writer, network, directory / other.file, signatures)
    for graph in graphs:
        if graph.target.name not in names:
            _remove(graph.written, directory)
    return [graph for graph in graphs if graph.target.name in names]


def _remove(written: WrittenFiles, directory: Path) -> None:
    """Removes the files of a target that was only needed to make another, and the folders that they leave empty."""
    for path in (*written.files, *written.signature_files.values()):
        path.unlink()
    folders = [path for path in directory.rglob("*") if path.is_dir()]
    for folder in sorted(folders, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def _suggest_leaving_out(target: ExportTarget, targets: Sequence[ExportTarget]) -> Iterator[None]:
    """Adds to the error of a target that cannot be written how to export the other ones."""
    try:
        yield
    except ExportError as error:
        others = ",".join(other.name for other in targets if other.name != target.name)
        hint = f"; to export only the others, use --formats {others}" if others else ""
        raise ExportError(f"{error}{hint}") from error
