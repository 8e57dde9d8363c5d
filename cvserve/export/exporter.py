"""A trained network to an artifact: every format written, proven, measured, and only then published."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import cvserve
from cvserve import artifact as artifacts
from cvserve.artifact import (
    Artifact,
    FileEntry,
    Graph,
    Manifest,
    OutputSpec,
    PostprocSpec,
    PreprocSpec,
    Provenance,
    Task,
    file_entry,
)
from cvserve.errors import CvserveError, ExportError, InvalidInput
from cvserve.export.encoded import as_png, check_encoded
from cvserve.export.network import Network
from cvserve.export.onnx import write_onnx
from cvserve.export.parity import LIMITS, check_parity
from cvserve.export.saved_model import write_saved_model
from cvserve.export.tflite import write_tflite
from cvserve.export.warmup import can_write_warmup, write_warmup
from cvserve.runtimes import Runtime, open_graph
from cvserve.runtimes.choose import measure
from cvserve.runtimes.tensorflow import TensorFlowRuntime
from cvserve.settings import parse

if TYPE_CHECKING:
    import keras

FORMATS = ("saved_model", "onnx", "tflite")
FILES = {"saved_model": "saved_model.pb", "onnx": "model.onnx", "tflite": "model.tflite"}

Progress = Callable[[str], None]

_LATENCY_SECONDS = 0.5
_PLACEHOLDER = FileEntry(path="unwritten", bytes=0, sha256="0" * 64)


def export_model(
    model: keras.Model,
    to: str | Path,
    *,
    task: Task,
    labels: Sequence[str],
    preproc: PreprocSpec,
    parity_images: np.ndarray,
    provenance: Provenance | None = None,
    formats: Sequence[str] = FORMATS,
    encoded_images: Sequence[bytes] | None = None,
    parity_names: Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    postproc: PostprocSpec | None = None,
    on_step: Progress | None = None,
) -> Artifact:
    """Publishes the next version of a model.

    Every format is written, opened with its own runtime and run over the pictures; if one answers differently
    nothing is published.

    Args:
        model: takes uint8 RGB images [B, H, W, 3], H and W being those of `preproc`, and returns a dict of tensors.
        to: `<repository>/<model name>`; its last part becomes the model's name.
        task: "classification".
        labels: in index order.
        preproc: the geometry that the model was trained with.
        parity_images: uint8 RGB [N, H, W, 3], real pictures that went through `preproc`.
        provenance: where the model came from; version and date are filled in.
        formats: which of "saved_model", "onnx", "tflite" to write. TFLite is made from the SavedModel, which is then
            written for the moment even if it is not wanted.
        encoded_images: encoded pictures on which the SavedModel's signature `bytes` is held against OpenCV; by
            default the parity images as PNG, which proves the decoding but hardly the resizing.
        parity_names: what errors call the parity images.
        roles: output name to role; by default an output's name is its role.
        postproc: by default a softmax where the output is logits.
        on_step: told what is being done, one line at a time.

    Returns:
        The published artifact; `cvserve.export.report_table(artifact.manifest)` shows the figures.

    Raises:
        InvalidInput: an argument that cannot be used.
        ExportError: a format cannot hold the network, or its graph answers differently.
        MissingExtra: a format's library is not installed.
    """
    to = Path(to)
    name = model_name(to)
    formats = _checked_formats(formats)
    if task != "classification":
        raise InvalidInput(f"{task} models cannot be exported by this version; only classification")
    _check_images(parity_images, preproc)
    names = list(parity_names or [f"parity picture {number}" for number in range(len(parity_images))])
    say = on_step or _silent
    network = Network(model, preproc)
    say(f"asking the network about {len(parity_images)} pictures")
    expected = network.answers(parity_images)
    outputs = _outputs(expected, roles or {}, labels)
    postproc = postproc or _default_postproc(outputs)
    encoded = list(encoded_images) if encoded_images is not None else as_png(parity_images)

    def build(directory: Path, version: int) -> Manifest:
        values = {
            "name": name,
            "version": version,
            "task": task,
            "labels": tuple(labels),
            "preproc": preproc,
            "outputs": outputs,
            "postproc": postproc,
            "graphs": (Graph(format="onnx", files=(_PLACEHOLDER,)),),
            "provenance": (provenance or Provenance()).model_copy(
                update={"cvserve_version": cvserve.__version__, "created": now()}
            ),
        }
        manifest = parse(Manifest, values, "the manifest")
        graphs, extra = [], []
        for graph_format, files in _write(network, directory, formats, say).items():
            say(f"comparing {graph_format} with the network")
            runtime = _open(files[0], graph_format)
            try:
                parity = check_parity(
                    runtime, parity_images, names, expected, manifest, what=graph_format, limit=LIMITS["float32"]
                )
                latency = measure(runtime, manifest, budget_seconds=_LATENCY_SECONDS)
                compared, taken = None, encoded
                if isinstance(runtime, TensorFlowRuntime):
                    say("comparing the signature for encoded pictures with OpenCV")
                    compared, taken = check_encoded(runtime, network, encoded, manifest, images=parity_images, say=say)
            finally:
                runtime.close()
            if graph_format == "saved_model":
                if can_write_warmup():
                    extra.append(file_entry(directory, write_warmup(directory, name, parity_images, taken)))
                else:
                    say("no warm-up requests for TensorFlow Serving: they need pip install 'cvserve[serve]'")
            values = {
                "format": graph_format,
                "files": tuple(file_entry(directory, path) for path in files),
                "parity": parity,
                "encoded": compared,
                "latency_ms": {str(batch): round(value, 3) for batch, value in latency.items()},
            }
            graphs.append(Graph.model_validate(values))
        return manifest.model_copy(update={"graphs": tuple(graphs), "extra_files": tuple(extra)})

    return artifacts.publish(to, build)


def model_name(to: Path) -> str:
    """The last part of `to`, if it can name a model.

    Raises:
        InvalidInput: otherwise.
    """
    name = to.resolve().name
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}", name) is None:
        raise InvalidInput(
            f"{name!r} cannot name a model: use letters, digits, '_', '.' and '-', beginning with a letter or digit"
        )
    return name


def _write(network: Network, directory: Path, formats: Sequence[str], say: Progress) -> dict[str, list[Path]]:
    """Writes the formats; the files of each, the one to open first."""
    written: dict[str, list[Path]] = {}
    for graph_format in FORMATS:
        if graph_format == "saved_model" and {"saved_model", "tflite"} & set(formats):
            say("writing saved_model")
            written[graph_format] = write_saved_model(network, directory)
        elif graph_format in formats:
            say(f"writing {graph_format}")
            path = directory / FILES[graph_format]
            if graph_format == "onnx":
                written[graph_format] = [write_onnx(network, path)]
            else:
                written[graph_format] = [write_tflite(directory, path)]
    if "saved_model" not in formats:
        for path in written.pop("saved_model", []):
            path.unlink()
        for path in (directory / "variables", directory / "assets"):
            if path.is_dir():
                path.rmdir()
    return written


def _open(path: Path, graph_format: str) -> Runtime:
    try:
        return open_graph(path, graph_format)
    except CvserveError as error:
        raise ExportError(f"the exported {graph_format} graph cannot be opened: {error}") from error


def _checked_formats(formats: Sequence[str]) -> list[str]:
    for graph_format in formats:
        if graph_format not in FORMATS:
            raise InvalidInput(f"{graph_format!r} is no format; they are {', '.join(FORMATS)}")
    if not formats:
        raise InvalidInput(f"name at least one format of {', '.join(FORMATS)}")
    return list(formats)


def _check_images(images: np.ndarray, preproc: PreprocSpec) -> None:
    wanted = (preproc.height, preproc.width, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise InvalidInput(
            f"parity pictures must be uint8 [at least 1, {preproc.height}, {preproc.width}, 3], "
            f"not {images.dtype} {list(images.shape)}"
        )


def _outputs(
    expected: Mapping[str, np.ndarray], roles: Mapping[str, str], labels: Sequence[str]
) -> tuple[OutputSpec, ...]:
    outputs = tuple(
        OutputSpec(name=name, role=roles.get(name, name), dtype=str(values.dtype), shape=values.shape[1:])
        for name, values in sorted(expected.items())
    )
    scores = [output for output in outputs if output.role in ("probabilities", "logits")]
    for output in scores:
        if output.shape != (len(labels),):
            raise InvalidInput(
                f"{len(labels)} labels do not fit output {output.name!r}, which is {list(output.shape)} a picture"
            )
    if not scores:
        raise InvalidInput(
            f"the network has no output called probabilities or logits, only {', '.join(expected)}; say which is which"
        )
    return outputs


def _default_postproc(outputs: Sequence[OutputSpec]) -> PostprocSpec:
    has_probabilities = any(output.role == "probabilities" for output in outputs)
    return PostprocSpec(activation="none" if has_probabilities else "softmax")


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _silent(_: str) -> None:
    return None
