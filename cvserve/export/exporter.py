"""A trained network to an artifact: every format written, proven, measured, and only then published."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import cvserve
from cvserve import artifact as artifacts
from cvserve.artifact import (
    Artifact,
    DetectSignature,
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
from cvserve.errors import InvalidInput
from cvserve.export.comparison import comparison_of
from cvserve.export.comparison_detection import SignatureComparison
from cvserve.export.detect_signature import detect_function
from cvserve.export.encoded import as_png, check_encoded
from cvserve.export.formats import FILES, FORMATS, Progress, Written, checked_formats, write_formats
from cvserve.export.network import Network
from cvserve.export.parity import check_parity
from cvserve.export.warmup import can_write_warmup, write_warmup
from cvserve.runtimes import Runtime
from cvserve.runtimes.choose import measure
from cvserve.runtimes.tensorflow import TensorFlowRuntime
from cvserve.settings import parse

if TYPE_CHECKING:
    import keras

    from cvserve.data.objects import Objects

__all__ = ["FILES", "FORMATS", "Progress", "export_model", "model_name", "now"]

TASKS: tuple[Task, ...] = ("classification", "detection", "segmentation")
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
    detect_signature: bool = True,
    truth: Sequence[Objects] | Sequence[np.ndarray] | None = None,
    on_step: Progress | None = None,
) -> Artifact:
    """Publishes the next version of a model.

    Every format is written, opened with its own runtime and run over the pictures; if one answers differently
    nothing is published.

    Args:
        model: takes uint8 RGB images [B, H, W, 3], H and W being those of `preproc`, and returns a dict of tensors.
        to: `<repository>/<model name>`; its last part becomes the model's name.
        task: "classification", "detection" or "segmentation".
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
        postproc: how the outputs become results. Detection needs it; classification by default has a softmax where the
            output is logits; segmentation has its colours there.
        detect_signature: detection: add the signature `detect`, with decoding and suppression inside, to each format
            (to ONNX as a second file); not where the network itself has them inside.
        truth: detection: the objects of each parity image, in its own pixels; segmentation: its label map, uint8
            [H, W], 255 where it has none; the parity then tells the difference in mAP or mIoU too.
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
    formats = checked_formats(formats)
    if task not in TASKS:
        raise InvalidInput(f"{task} models cannot be exported by this version; only {', '.join(TASKS)}")
    if task == "detection" and (postproc is None or postproc.boxes is None):
        raise InvalidInput("a detection model needs postproc, which says how its outputs become boxes (postproc.boxes)")
    _check_images(parity_images, preproc)
    names = list(parity_names or [f"parity picture {number}" for number in range(len(parity_images))])
    say = on_step or _silent
    network = Network(model, preproc)
    say(f"asking the network about {len(parity_images)} pictures")
    expected = network.answers(parity_images)
    outputs = _outputs(expected, roles or {})
    if task == "classification":
        _check_scores(outputs, labels)
    if task == "segmentation":
        _check_class_map(outputs, expected, labels)
    postproc = postproc or _default_postproc(task, outputs)
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
        suppressed = postproc.boxes is not None and postproc.boxes.kind == "boxes"
        with_detect = task == "detection" and detect_signature and not suppressed
        detect = detect_function(network, manifest) if with_detect else None
        comparison = comparison_of(manifest, truth=truth)
        graphs, extra = [], []
        for written in write_formats(network, directory, formats, detect, say):
            say(f"comparing {written.format} with the network")
            what = f"the exported {written.format} graph"
            runtime = written.open()
            try:
                parity = check_parity(runtime, parity_images, names, expected, comparison, what=what)
                latency = measure(runtime, manifest, budget_seconds=_LATENCY_SECONDS)
                second = None
                if detect is not None:
                    second = _checked_detect(written, runtime, directory, parity_images, names, expected, manifest)
                compared, taken = None, encoded
                if isinstance(runtime, TensorFlowRuntime):
                    say("comparing the signature for encoded pictures with OpenCV")
                    compared, taken = check_encoded(runtime, network, encoded, manifest, images=parity_images, say=say)
            finally:
                runtime.close()
            if written.format == "saved_model":
                if can_write_warmup():
                    path = write_warmup(directory, name, parity_images, taken, detect=with_detect)
                    extra.append(file_entry(directory, path))
                else:
                    say("no warm-up requests for TensorFlow Serving: they need pip install 'cvserve[serve]'")
            values = {
                "format": written.format,
                "files": tuple(file_entry(directory, path) for path in written.files),
                "parity": parity,
                "encoded": compared,
                "detect": second,
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


def _checked_detect(
    written: Written,
    runtime: Runtime,
    directory: Path,
    images: np.ndarray,
    names: Sequence[str],
    expected: Mapping[str, np.ndarray],
    manifest: Manifest,
) -> DetectSignature:
    second = written.open_detect(runtime)
    try:
        what = f"the signature detect of the exported {written.format} graph"
        parity = check_parity(second, images, names, expected, SignatureComparison(manifest), what=what)
    finally:
        second.close()
    file = None if written.detect is None else file_entry(directory, written.detect)
    return DetectSignature(file=file, parity=parity)


def _check_images(images: np.ndarray, preproc: PreprocSpec) -> None:
    wanted = (preproc.height, preproc.width, 3)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != wanted or not len(images):
        raise InvalidInput(
            f"parity pictures must be uint8 [at least 1, {preproc.height}, {preproc.width}, 3], "
            f"not {images.dtype} {list(images.shape)}"
        )


def _outputs(expected: Mapping[str, np.ndarray], roles: Mapping[str, str]) -> tuple[OutputSpec, ...]:
    return tuple(
        OutputSpec(name=name, role=roles.get(name, name), dtype=str(values.dtype), shape=values.shape[1:])
        for name, values in sorted(expected.items())
    )


def _check_scores(outputs: Sequence[OutputSpec], labels: Sequence[str]) -> None:
    scores = [output for output in outputs if output.role in ("probabilities", "logits")]
    for output in scores:
        if output.shape != (len(labels),):
            raise InvalidInput(
                f"{len(labels)} labels do not fit output {output.name!r}, which is {list(output.shape)} a picture"
            )
    if not scores:
        raise InvalidInput(
            "the network has no output called probabilities or logits, only "
            f"{', '.join(output.name for output in outputs)}; say which is which"
        )


def _check_class_map(outputs: Sequence[OutputSpec], expected: Mapping[str, np.ndarray], labels: Sequence[str]) -> None:
    by_role = {output.role: output for output in outputs}
    if not {"class_map", "confidence"} <= set(by_role):
        raise InvalidInput(
            "a segmentation network needs the outputs class_map and confidence; this one has "
            f"{', '.join(output.name for output in outputs)}; say which is which"
        )
    found = expected[by_role["class_map"].name]
    if found.dtype != np.uint8:
        raise InvalidInput(f"a class map has one byte a pixel, but {by_role['class_map'].name!r} is {found.dtype}")
    if found.max() >= len(labels):
        raise InvalidInput(f"{len(labels)} labels do not fit a network that answers with class {found.max()}")


def _default_postproc(task: Task, outputs: Sequence[OutputSpec]) -> PostprocSpec:
    if task == "segmentation":
        return PostprocSpec()
    has_probabilities = any(output.role == "probabilities" for output in outputs)
    return PostprocSpec(activation="none" if has_probabilities else "softmax")


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _silent(_: str) -> None:
    return None
