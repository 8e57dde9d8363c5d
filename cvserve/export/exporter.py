"""Exports a trained network: writes every target, compares each with the network, and only then publishes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import cvserve
from cvserve import artifact as artifacts
from cvserve.artifact import (
    TASK_SPECS,
    Artifact,
    Decoding,
    EncodedInput,
    FileEntry,
    Graph,
    Manifest,
    PostprocSpec,
    PreprocSpec,
    Provenance,
    Task,
    file_entry,
)
from cvserve.errors import InvalidInput
from cvserve.export.checks import check_images, output_specs
from cvserve.export.detect_signature import DETECT_SIGNATURE
from cvserve.export.encoded import as_png, check_encoded
from cvserve.export.network import Network
from cvserve.export.parity import ParityImages, check_parity
from cvserve.export.targets import select_targets
from cvserve.export.task_export import TASK_EXPORTS
from cvserve.export.warmup import write_warmup
from cvserve.export.writing import Progress, WrittenGraph, write_targets
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

    Every target is written, opened with its own runtime and run over the images; if one answers differently, nothing
    is published.

    Args:
        model: takes uint8 RGB images [B, H, W, 3], H and W being those of `preproc`, and returns a dict of tensors.
        to: `<repository>/<model name>`; its last part becomes the model's name.
        task: "classification", "detection", "segmentation" or "captioning".
        labels: in index order; captioning has none.
        preproc: the geometry that the model was trained with.
        parity_images: uint8 RGB [N, H, W, 3], real images that went through `preproc`.
        provenance: where the model came from; version and date are filled in.
        formats: names of the targets to write, of `cvserve.export.TARGETS`; None: all.
        encoded_images: encoded images on which the SavedModel's signature `bytes` is compared with OpenCV; by default
            the parity images as PNG, which tests the decoding but hardly the resizing.
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
        ground_truth: detection: the objects of each parity image, in its own pixels; segmentation: its label map,
            uint8 [H, W], 255 where it has none. The parity then also reports the difference in mAP or mIoU.
        on_step: is called with one line of text for each step.

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
        raise InvalidInput(f"{task!r} is not a task; it is one of {', '.join(TASK_SPECS.names())}")
    export = TASK_EXPORTS[task]
    if decoding is not None and not export.takes_decoding:
        raise InvalidInput(f"only captioning models take decoding settings; {name} is a model for {task}")
    check_images(parity_images, preproc)
    report = on_step or _ignore
    model, postproc = export.prepare(model, postproc, decoding)
    network = Network(model, preproc)
    report(f"running the network on {len(parity_images)} images")
    answers = network.answers(parity_images)
    names = parity_names or [f"parity image {number}" for number in range(len(parity_images))]
    encoded = encoded_images if encoded_images is not None else as_png(parity_images)
    samples = Samples(ParityImages(parity_images, list(names), answers), list(encoded), ground_truth)
    outputs = output_specs(answers, roles or {})
    export.check_outputs(outputs, answers, labels, postproc)

    def build(directory: Path, version: int) -> Manifest:
        values = {
            "name": name,
            "version": version,
            "task": task,
            "labels": tuple(labels),
            "preproc": preproc,
            "outputs": outputs,
            "postproc": postproc or export.default_postproc(outputs),
            "graphs": (Graph(format="onnx", files=(_PLACEHOLDER,)),),
            "provenance": (provenance or Provenance()).model_copy(
                update={"cvserve_version": cvserve.__version__, "created": now()}
            ),
        }
        manifest = parse(Manifest, values, "the manifest")
        signatures = export.extra_signatures(network, manifest, detect=detect_signature, steps=step_graphs)
        graphs, extra_files = [], []
        for written in write_targets(network, directory, targets, signatures, report):
            graph, encoded = _compare(written, directory, network, manifest, samples, report)
            graphs.append(graph)
            if graph.encoded is not None:
                path = write_warmup(directory, name, parity_images, encoded, detect=DETECT_SIGNATURE in signatures)
                extra_files.append(file_entry(directory, path))
        return manifest.model_copy(update={"graphs": tuple(graphs), "extra_files": tuple(extra_files)})

    return artifacts.publish(to, build)


@dataclass(frozen=True)
class Samples:
    """Holds the images on which written graphs are compared with the network.

    Args:
        images: those of the graph's own input.
        encoded: encoded images, for the SavedModel's signature `bytes`.
        ground_truth: of each of `images`, where it is known.
    """

    images: ParityImages
    encoded: list[bytes]
    ground_truth: Sequence[Objects] | Sequence[np.ndarray] | None


def _compare(
    written: WrittenGraph, directory: Path, network: Network, manifest: Manifest, samples: Samples, report: Progress
) -> tuple[Graph, list[bytes]]:
    """Compares a written graph and its extra signatures with the network, and measures how fast it runs.

    Returns:
        The graph's part of the manifest, and the encoded images that its signature `bytes` takes.
    """
    target = written.target
    report(f"comparing {target.name} with the network")
    comparison = TASK_EXPORTS[manifest.task].comparison(
        manifest, target.tolerance, ground_truth=samples.ground_truth, ties=network.ties
    )
    encoded: EncodedInput | None = None
    taken: list[bytes] = []
    runtime = written.open()
    try:
        parity = check_parity(runtime, samples.images, comparison, what=f"the exported {target.name} graph")
        latency = measure(runtime, manifest, budget_seconds=_LATENCY_SECONDS)
        signatures = TASK_EXPORTS[manifest.task].check_signatures(
            written, runtime, directory, samples.images, comparison
        )
        if isinstance(runtime, TensorFlowRuntime):
            report("comparing the signature for encoded images with OpenCV")
            encoded, taken = check_encoded(
                runtime, network, samples.encoded, manifest, images=samples.images.pixels, report=report
            )
    finally:
        runtime.close()
    values = {
        "format": target.format,
        "precision": target.precision,
        "batch": target.batch,
        "files": tuple(file_entry(directory, path) for path in written.written.files),
        "parity": parity,
        "encoded": encoded,
        **signatures,
        "latency_ms": {str(batch): round(value, 3) for batch, value in latency.items()},
    }
    return Graph.model_validate(values), taken


def model_name(to: Path) -> str:
    """Returns the last part of `to`, which becomes the model's name.

    Raises:
        InvalidInput: it cannot name a model.
    """
    name = to.resolve().name
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}", name) is None:
        raise InvalidInput(
            f"{name!r} cannot name a model: use letters, digits, '_', '.' and '-', beginning with a letter or digit"
        )
    return name


def now() -> str:
    """Returns the time in UTC as ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _ignore(_: str) -> None:
    return None
