"""Imports a model that was not made by cvserve."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cvserve
from cvserve import artifact as artifacts
from cvserve.artifact import (
    Artifact,
    ClassificationPostproc,
    Graph,
    InputSpec,
    Manifest,
    PreprocSpec,
    Provenance,
    file_entry,
)
from cvserve.errors import CvserveError, InvalidInput, NotFound
from cvserve.export.contract import input_contract, output_contract
from cvserve.export.exporter import model_name, now
from cvserve.export.import_keras import import_keras
from cvserve.export.import_spec import ImportSpec, read_labels, read_spec
from cvserve.export.onnx_file import onnx_quantization, weight_files
from cvserve.export.targets import TARGETS
from cvserve.export.writing import Progress
from cvserve.preproc import ImageSource, encode_input
from cvserve.runtimes import Runtime, open_graph
from cvserve.runtimes.choose import measure

_FORMAT_OF = {".onnx": "onnx", ".tflite": "tflite", ".keras": "keras", ".h5": "keras", ".hdf5": "keras"}
# The files of a SavedModel; others in its directory are not copied.
_SAVED_MODEL = ("saved_model.pb", "fingerprint.pb", "keras_metadata.pb", "variables", "assets", "assets.extra")
_LATENCY_SECONDS = 0.5
_TRIAL_BATCH = 2


def import_model(
    path: str | Path,
    spec: str | Path | dict[str, Any] | ImportSpec,
    to: str | Path,
    *,
    labels: str | Path | Sequence[str] | None = None,
    images: Sequence[ImageSource] = (),
    on_step: Progress | None = None,
) -> Artifact:
    """Publishes a model that was not made by cvserve as the next version under `to`.

    An ONNX or TFLite file and a SavedModel are copied as they are, and keep their own input and output, which the
    manifest describes. A `.keras` file is exported in all formats, with cvserve's own input.

    Args:
        path: the .onnx, .tflite or .keras file, or the SavedModel's directory.
        spec: what the file does not contain: a YAML file, a mapping, or an ImportSpec.
        to: `<repository>/<model name>`.
        labels: instead of the spec's: a text file or the labels.
        images: real images for the parity of a `.keras` file's formats; generated ones by default.
        on_step: is called with one line of text for each step.

    Raises:
        NotFound: a file is not there.
        InvalidInput: the spec cannot be used or contradicts the file.
        ArtifactError: the file's library does not take it.
        MissingExtra: the library is not installed.
        ExportError: a `.keras` file cannot be exported.
    """
    path, to = Path(path), Path(to)
    graph_format = _format(path)
    options, folder = read_spec(spec)
    name = model_name(to)
    if options.name is not None and options.name != name:
        raise InvalidInput(f"the spec calls the model {options.name!r}, but {to} would call it {name!r}; change either")
    folders = [*([folder] if folder is not None else []), path.parent, Path()]
    if isinstance(labels, str | Path):
        classes = read_labels(str(labels), [Path()])
    else:
        classes = read_labels(tuple(labels) if labels is not None else options.labels, folders)
    report = on_step or (lambda _: None)
    if graph_format == "keras":
        return import_keras(path, options, to, classes, images, on_step)
    report(f"opening {path.name}")
    source = _open(path, graph_format, options)
    try:
        quantization = dict(source.quantization) or onnx_quantization(path, graph_format)
        contract, preproc = input_contract(options, source.inputs, quantization)
        answers = _trial_answers(source, contract, preproc)
        output = output_contract(options, classes, source.outputs, quantization, answers)
        batch = source.batch
    finally:
        source.close()

    def build(directory: Path, version: int) -> Manifest:
        report("copying")
        files = _copy(path, graph_format, directory)
        graph = Graph.model_validate(
            {
                "format": graph_format,
                "precision": _precision(contract),
                "files": tuple(file_entry(directory, file) for file in files),
                "batch": batch,
                "signature": options.signature or "serving_default",
            }
        )
        manifest = Manifest(
            name=name,
            version=version,
            task=options.task,
            labels=classes,
            preproc=preproc,
            input=contract,
            outputs=(output,),
            postproc=ClassificationPostproc(
                top_k=options.top_k, activation=options.output.activation if output.role == "logits" else "none"
            ),
            graphs=(graph,),
            provenance=Provenance(
                source="import",
                architecture=options.architecture,
                dataset=options.dataset,
                licence=options.licence,
                notes=options.notes,
                cvserve_version=cvserve.__version__,
                created=now(),
            ),
        )
        report("measuring")
        copied = _open(directory / graph.path, graph_format, options)
        try:
            latency = measure(copied, manifest, budget_seconds=_LATENCY_SECONDS)
        finally:
            copied.close()
        rounded = {str(batch): round(value, 3) for batch, value in latency.items()}
        return manifest.model_copy(update={"graphs": (graph.model_copy(update={"latency_ms": rounded}),)})

    return artifacts.publish(to, build)


def _format(path: Path) -> str:
    """Returns "saved_model", "onnx", "tflite" or "keras", by the kind of file."""
    if not path.exists():
        raise NotFound(f"no model at {path}")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        raise InvalidInput(f"{path} is a directory without saved_model.pb, so it is not a SavedModel")
    if path.suffix.lower() not in _FORMAT_OF:
        known = ", ".join(_FORMAT_OF)
        raise InvalidInput(f"{path.name} is none of {known}, nor a SavedModel's directory; only these can be imported")
    return _FORMAT_OF[path.suffix.lower()]


def _open(path: Path, graph_format: str, spec: ImportSpec) -> Runtime:
    try:
        return open_graph(path, graph_format, signature=spec.signature or "serving_default")
    except NotFound as error:
        raise InvalidInput(f"{error}; write signature in the spec") from error


def _precision(contract: InputSpec) -> str:
    """Returns the precision of the graph, as far as its input shows it."""
    if contract.dtype == "int8" or contract.quantization:
        return "int8"
    return "float16" if contract.dtype == "float16" else "float32"


def _trial_answers(runtime: Runtime, contract: InputSpec, preproc: PreprocSpec) -> dict[str, np.ndarray]:
    """Runs two random images, together and one alone; returns the answers by name."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (_TRIAL_BATCH, preproc.height, preproc.width, 3), dtype=np.uint8)
    for batch in (1, _TRIAL_BATCH):
        try:
            answers = runtime.run({contract.name: encode_input(pixels[:batch], contract)})
        except CvserveError as error:
            raise InvalidInput(f"the model cannot be run on {batch} random images as the spec says: {error}") from error
        for name, values in answers.items():
            if values.ndim and len(values) != batch:
                raise InvalidInput(
                    f"output {name!r} has {len(values)} rows for {batch} images; models must answer once an image"
                )
    return answers


def _copy(path: Path, graph_format: str, directory: Path) -> list[Path]:
    """Copies the graph; returns its files, the one to open first."""
    if graph_format == "saved_model":
        for part in filter(Path.exists, (path / name for name in _SAVED_MODEL)):
            copy = shutil.copytree if part.is_dir() else shutil.copyfile
            copy(part, directory / part.name)
        graph = directory / "saved_model.pb"
        return [graph, *sorted(file for file in directory.rglob("*") if file.is_file() and file != graph)]
    target = directory / TARGETS[graph_format].file
    shutil.copyfile(path, target)
    files = [target]
    for relative in weight_files(path) if graph_format == "onnx" else []:
        (directory / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path.parent / relative, directory / relative)
        files.append(directory / relative)
    return files
