"""Exports the best network of a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvserve.artifact import Artifact, Decoding, Provenance
from cvserve.errors import ImageError, InvalidInput
from cvserve.export.encoded import as_png
from cvserve.export.exporter import export_model
from cvserve.export.task_export import TASK_EXPORTS
from cvserve.export.writing import Progress
from cvserve.preproc import preprocess
from cvserve.preproc.source import read_file
from cvserve.runs import load_run
from cvserve.runtimes.quiet import without_startup_messages


def export_run(
    run_directory: str | Path,
    to: str | Path,
    *,
    formats: Sequence[str] | None = None,
    data: str | Path | None = None,
    split: str = "val",
    image_count: int = 64,
    licence: str = "",
    notes: str = "",
    detect_signature: bool = True,
    decoding: Decoding | None = None,
    step_graphs: bool = True,
    on_step: Progress | None = None,
) -> Artifact:
    """Exports the best network of a run, and compares the graphs with it on the run's own validation images.

    For detectors the parity also has the difference in mAP on these images, for segmentation networks that in mIoU.

    Args:
        run_directory: what `cvserve train` made.
        to: `<repository>/<model name>`.
        formats: see `export_model`.
        data: where the images are; by default where the run found them.
        split: which of them to use.
        image_count: how many, evenly spread over the split.
        licence, notes: for the manifest's provenance.
        detect_signature, decoding, step_graphs: see `export_model`.

    Raises:
        NotFound, ArtifactError: no (whole) run directory, or its images have gone.
        InvalidInput, ExportError, MissingExtra: as `export_model`.
    """
    if image_count < 1:
        raise InvalidInput(f"parity needs at least one image, not {image_count}")
    from cvserve.data import open_dataset

    run = load_run(run_directory)
    export = TASK_EXPORTS[run.task]
    dataset = open_dataset(data or run.data_path, split, task=run.task, classes=run.labels)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(image_count, len(dataset))).round().astype(int))
    images, encoded, names = [], [], []
    ground_truth: list[Any] = []
    for index in map(int, chosen):
        source, name = dataset.image(index), dataset.name(index)
        try:
            content = as_png(source[None])[0] if isinstance(source, np.ndarray) else _read(source, name)
            pixels, geometry = preprocess(content, run.preproc, name=name)
        except ImageError as error:
            if on_step is not None:
                on_step(f"left out of the comparison: {error}")
            continue
        images.append(pixels)
        encoded.append(content)
        names.append(name)
        ground_truth.append(export.ground_truth(dataset, index, geometry, run.preproc))
    if not images:
        raise InvalidInput(f"none of the {len(chosen)} {split} images of {data or run.data_path} can be used")
    with without_startup_messages():
        model = run.load_model()
    return export_model(
        model,
        to,
        task=run.task,
        labels=run.labels,
        preproc=run.preproc,
        parity_images=np.stack(images),
        parity_names=names,
        encoded_images=encoded,
        formats=formats,
        postproc=run.postproc or export.dataset_postproc(dataset),
        detect_signature=detect_signature,
        decoding=decoding,
        step_graphs=step_graphs,
        ground_truth=None if ground_truth[0] is None else ground_truth,
        provenance=Provenance(
            architecture=run.architecture,
            dataset=run.dataset,
            metrics=run.metrics,
            licence=licence,
            notes=notes,
        ),
        on_step=on_step,
    )


def _read(source: str | Path | bytes, name: str) -> bytes:
    return source if isinstance(source, bytes) else read_file(source, name)
