"""Shows a model: its graphs and their parity, preprocessing, labels and origin. Checks the hash of every file.

PATH is a model's directory, a version's, or a repository of models, whose models and versions are listed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvserve import console
from cvserve.cli.arguments import example, positive
from cvserve.cli.failures import list_failures
from cvserve.errors import CvserveError, InvalidInput

if TYPE_CHECKING:
    from cvserve.artifact import Artifact, Graph, Parity, PreprocSpec

_LABELS_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("path", metavar="PATH", help="a model, a version of it, or a repository")
    parser.add_argument("--version", type=positive, metavar="N", help="a version of the model; default: the newest")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    example(parser, "cvserve inspect models/flowers", "cvserve inspect models/")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns its exit code."""
    from cvserve import artifact as artifacts
    from cvserve.runs import is_run

    path = Path(arguments.path)
    if is_run(path):
        raise InvalidInput(f"{path} is a run, not a model yet; cvserve export {path} --to models/{path.name} makes one")
    if _is_repository(path):
        return _repository(path, as_json=arguments.json)
    artifact = artifacts.read(path, arguments.version)
    if arguments.json:
        console.say(json.dumps(_as_dict(artifact), ensure_ascii=False, indent=2))
    else:
        _show(artifact)
    return 0


def _is_repository(path: Path) -> bool:
    from cvserve import artifact as artifacts
    from cvserve.artifact.manifest import FILE_NAME

    if not path.is_dir() or artifacts.versions(path) or (path / FILE_NAME).exists():
        return False
    return any(True for _ in artifacts.models(path))


def _as_dict(artifact: Artifact) -> dict[str, Any]:
    return {"directory": str(artifact.directory), "intact": True, **artifact.manifest.model_dump(mode="json")}


def _show(artifact: Artifact) -> None:
    manifest = artifact.manifest
    console.say(f"{manifest.name}, version {manifest.version}: {manifest.task}, all files match their hashes")
    console.say()
    console.table(
        [row for graph in manifest.graphs for row in _graph_rows(graph)],
        ("format", "precision", "file", "size", "batch", "parity", "latency"),
    )
    console.say()
    for name, text in (
        ("input", _input(artifact)),
        ("outputs", ", ".join(f"{item.name} ({item.role}, {item.dtype})" for item in manifest.outputs)),
        ("preprocessing", _preproc(manifest.preproc)),
        ("labels", _labels(manifest.labels)),
        *manifest.postproc.describe(),
        *_provenance(artifact),
    ):
        if text:
            console.say(f"{name + ':':<15}{text}")


def _graph_rows(graph: Graph) -> Iterator[tuple[Any, ...]]:
    batch = "any" if graph.batch is None else graph.batch
    yield graph.format, graph.precision, graph.path, size(graph.bytes), batch, _parity(graph.parity), _latency(graph)
    if graph.encoded is not None:
        signature = f"  signature {graph.encoded.signature}, of encoded images"
        yield signature, None, None, None, None, _parity(graph.encoded.parity), None
    if graph.detect is not None:
        signature, file = f"  signature {graph.detect.signature}, boxes decoded in the graph", graph.detect.file
        where = (file.path, size(file.bytes)) if file else (None, None)
        yield signature, None, *where, None, _parity(graph.detect.parity), None
    if graph.steps is not None:
        signature, files = f"  signatures {graph.steps.encode} and {graph.steps.step}", graph.steps.files
        names, total = ", ".join(file.path for file in files), size(sum(file.bytes for file in files))
        yield signature, None, names or None, total if files else None, None, _parity(graph.steps.parity), None


def _parity(parity: Parity | None) -> str | None:
    """Returns how far the graph's answers are from those of the network it was made from."""
    if parity is None:
        return None
    verdict = "" if parity.holds else " BROKEN"
    figures = [
        f"{parity.max_abs_difference:.1e}",
        f"{parity.agreement:.1%} same on {parity.images}",
        *parity.describe(),
    ]
    return ", ".join(figures) + verdict


def _latency(graph: Graph) -> str | None:
    return ", ".join(f"{value:.1f} ms at {batch}" for batch, value in graph.latency_ms.items()) or None


def _input(artifact: Artifact) -> str:
    spec, preproc = artifact.manifest.input, artifact.manifest.preproc
    sides = (preproc.height, preproc.width)
    shape = ["batch", *sides, 3] if spec.layout == "NHWC" else ["batch", 3, *sides]
    text = f"{spec.name}, {spec.dtype} [{', '.join(map(str, shape))}], {spec.channels}"
    if any(spec.mean) or any(value != 1 for value in spec.std) or spec.scale != 1:
        text += f", (pixel * {spec.scale:g} - {_triple(spec.mean)}) / {_triple(spec.std)}"
    if spec.quantization is not None:
        text += f", quantised by {spec.quantization.scale:g} around {spec.quantization.zero_point}"
    return text


def _triple(values: tuple[float, float, float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def _preproc(spec: PreprocSpec) -> str:
    text = f"{spec.resize.replace('_', ' ')} to {spec.width} x {spec.height} (width x height)"
    if spec.short_side is not None:
        text += f", short side {spec.short_side}, centre crop"
    return f"{text}, {spec.interpolation} when enlarging"


def _labels(labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:_LABELS_SHOWN])
    return f"{len(labels)}: {shown}{', ...' if len(labels) > _LABELS_SHOWN else ''}" if labels else ""


def _provenance(artifact: Artifact) -> list[tuple[str, str]]:
    origin = artifact.manifest.provenance
    made = " ".join(
        part for part in (origin.created, origin.cvserve_version and f"cvserve {origin.cvserve_version}") if part
    )
    return [
        ("architecture", origin.architecture),
        ("dataset", origin.dataset),
        ("metrics", ", ".join(f"{name} {value:.4g}" for name, value in origin.metrics.items())),
        ("licence", origin.licence),
        ("made", f"{made}{' (imported)' if origin.source == 'import' else ''}".strip()),
        ("notes", origin.notes),
    ]


def _repository(path: Path, *, as_json: bool) -> int:
    from cvserve import artifact as artifacts

    rows: list[dict[str, Any]] = []
    failed: list[tuple[str, str]] = []
    for directory in artifacts.models(path):
        for version, version_directory in artifacts.versions(directory).items():
            row: dict[str, Any] = {"model": directory.name, "version": version, "intact": True}
            try:
                manifest = artifacts.read(version_directory).manifest
                row |= {
                    "task": manifest.task,
                    "labels": len(manifest.labels),
                    "formats": [f"{graph.format} {graph.precision}" for graph in manifest.graphs],
                    "bytes": sum(file.bytes for file in manifest.all_files),
                }
            except CvserveError as error:
                row |= {"intact": False, "error": str(error)}
                failed.append((str(version_directory), str(error)))
            rows.append(row)
    if as_json:
        console.say(json.dumps({"repository": str(path), "models": rows}, ensure_ascii=False, indent=2))
    else:
        console.table(
            [
                (
                    row["model"],
                    row["version"],
                    row.get("task"),
                    row.get("labels"),
                    ", ".join(row.get("formats", ())) or None,
                    size(row["bytes"]) if row["intact"] else "DAMAGED",
                )
                for row in rows
            ],
            ("model", "version", "task", "labels", "graphs", "size"),
        )
    return list_failures(failed, len(failed), done=len(rows) - len(failed))


def size(count: int) -> str:
    """Returns a number of bytes as text: 3.4 MB (decimal units)."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
