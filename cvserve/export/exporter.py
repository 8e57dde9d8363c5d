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
    TASK_SPECS,
    Artifact,
    ClassificationPostproc,
    Decoding,
    DetectionPostproc,
    FileEntry,
    Graph,
    Manifest,
    OutputSpec,
    PostprocSpec,
    PreprocSpec,
    Provenance,
    Task,
    default_postproc,
    file_entry,
)
from cvserve.errors import InvalidInput
from cvserve.export.checks import check_images, check_outputs, outputs_of
from cvserve.export.comparison.base import comparison_of
from cvserve.export.detect_signature import DETECT_SIGNATURE
from cvserve.export.encoded import as_png, check_encoded
from cvserve.export.extra_signatures import check_extra_signatures, extra_signatures
from cvserve.export.network import Network
from cvserve.export.parity import ParityImages, check_parity
from cvserve.export.targets import select_targets
from cvserve.export.warmup import write_warmup
from cvserve.export.writing import Progress, write_targets
from cvserve.runtimes.choose import measure
from cvserve.runtimes.tensorflow import TensorFlowRuntime
from cvserve.settings import parse

if TYPE_CHECKING:
    import keras

    from cvserve.data.objects import Objects

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
    formats: Sequence[str] | None = None,
    encoded_images: Sequence[bytes] | None = None,
    parity_names: Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    postproc: PostprocSpec | None = None,
    detect_signature: bool = True,
    decoding: Decoding | None = None,
    step_graphs: bool = True,
    ground_truth: Sequence[Objects] | Sequence[np.ndarray] | None = None,
    on_step: Progress | None = None,
) -> Artifact:
    """Publishes the next version of a model.

    Every format is written, opened with its own runtime and run over the images; if one answers differently
    nothing is published.

    Args:
        model: takes uint8 RGB images [B, H, W, 3], H and W being those of `preproc`, and returns a dict of tensors.
        to: `<repository>/<model name>`; its last part becomes the model's name.
        task: "classification", "detection", "segmentation" or "captioning".
        labels: in index order; captioning has none.
        preproc: the geometry that the model was trained with.
        parity_images: uint8 RGB [N, H, W, 3], real images that went through `preproc`.
        provenance: where the model came from; version and date are filled in.
        formats: names of the targets to write, of `cvserve.export.TARGETS`; None: all.
        encoded_images: encoded images on which the SavedModel's signature `bytes` is held against OpenCV; by
            default the parity images as PNG, which proves the decoding but hardly the resizing.
        parity_names: what errors call the parity images.
        roles: output name to role; by default an output's name is its role.
        postproc: how the outputs become results. Detection needs it; classification by default has a softmax where the
            output is logits; segmentation has its colours there; captioning needs the vocabulary.
        detect_signature: detection: add the signature `detect`, with decoding and suppression inside, to each format
            (to ONNX as a second file); not where the network itself has them inside.
        decoding: captioning: how sentences are searched; None keeps the network's own way. Sampling too is the same in
            every format, see `Decoding`.
        step_graphs: captioning: add the signatures `encode` and `step` to each format (to ONNX as two more files), for
            `cvserve.stepwise`.
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
    targets = select_targets(formats)
    if task not in TASK_SPECS:
        raise InvalidInput(f"{task!r} is no task; it is one of {', '.join(TASK_SPECS.names())}")
    check_images(parity_images, preproc)
    names = list(parity_names or [f"parity image {number}" for number in range(len(parity_images))])
    say = on_step or _silent
    if task == "captioning":
        model, postproc = _searching(model, postproc, decoding)
    elif decoding is not None:
        raise InvalidInput(f"decoding is of captioning models; {name} does {task}")
    network = Network(model, preproc)
    say(f"asking the network about {len(parity_images)} images")
    expected = network.answers(parity_images)
    images = ParityImages(parity_images, names, expected)
    outputs = outputs_of(expected, roles or {})
    check_outputs(task, outputs, expected, labels, postproc)
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
        suppressed = isinstance(postproc, DetectionPostproc) and postproc.boxes.kind == "boxes"
        signatures = extra_signatures(network, manifest, detect=detect_signature and not suppressed, steps=step_graphs)
        graphs, extra = [], []
        for written in write_targets(network, directory, targets, signatures, say):
            target = written.target
            say(f"comparing {target.name} with the network")
            comparison = comparison_of(
                manifest, tolerance=target.tolerance, ground_truth=ground_truth, ties=network.ties
            )
            runtime = written.open()
            try:
                parity = check_parity(runtime, images, comparison, what=f"the exported {target.name} graph")
                latency = measure(runtime, manifest, budget_seconds=_LATENCY_SECONDS)
                extras = check_extra_signatures(written, runtime, directory, images, manifest, comparison)
                compared, taken = None, encoded
                if isinstance(runtime, TensorFlowRuntime):
                    say("comparing the signature for encoded images with OpenCV")
                    compared, taken = check_encoded(runtime, network, encoded, manifest, images=parity_images, say=say)
            finally:
                runtime.close()
            if target.format == "saved_model":
                path = write_warmup(directory, name, parity_images, taken, detect=DETECT_SIGNATURE in signatures)
                extra.append(file_entry(directory, path))
            values = {
                "format": target.format,
                "precision": target.precision,
                "batch": target.batch,
                "files": tuple(file_entry(directory, path) for path in written.written.files),
                "parity": parity,
                "encoded": compared,
                **extras,
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


def _default_postproc(task: Task, outputs: Sequence[OutputSpec]) -> PostprocSpec:
    if task != "classification":
        return default_postproc(task)
    has_probabilities = any(output.role == "probabilities" for output in outputs)
    return ClassificationPostproc(activation="none" if has_probabilities else "softmax")


def _searching(
    model: keras.Model, postproc: PostprocSpec | None, decoding: Decoding | None
) -> tuple[keras.Model, PostprocSpec | None]:
    """A captioning network that decodes as wanted, and what says so."""
    from cvserve.models.captioning.captions import captions_of, with_decoding

    if decoding is not None:
        model = with_decoding(model, decoding)
    captions = captions_of(model)
    if captions is not None and postproc is not None:
        postproc = postproc.model_copy(update={"decoding": captions.decoding})
    return model, postproc


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _silent(_: str) -> None:
    return None
