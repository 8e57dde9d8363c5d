"""A run directory to an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvserve.artifact import Artifact, Provenance
from cvserve.errors import ImageError, InvalidInput
from cvserve.export.encoded import as_png
from cvserve.export.exporter import FORMATS, Progress, export_model
from cvserve.preproc import preprocess
from cvserve.preproc.source import read_file
from cvserve.runs import load_run
from cvserve.runtimes.quiet import without_chatter


def export_run(
    run_directory: str | Path,
    to: str | Path,
    *,
    formats: Sequence[str] = FORMATS,
    data: str | Path | None = None,
    split: str = "val",
    pictures: int = 64,
    licence: str = "",
    notes: str = "",
    on_step: Progress | None = None,
) -> Artifact:
    """Exports the best network of a run; parity is measured over its own validation pictures.

    Args:
        run_directory: what `cvserve train` made.
        to: `<repository>/<model name>`.
        formats: see `export_model`.
        data: where the pictures are; by default where the run found them.
        split: which of them to use.
        pictures: how many, evenly spread over the split.
        licence, notes: for the manifest's provenance.

    Raises:
        NotFound, ArtifactError: no (whole) run directory, or its pictures have gone.
        InvalidInput, ExportError, MissingExtra: as `export_model`.
    """
    if pictures < 1:
        raise InvalidInput(f"parity needs at least one picture, not {pictures}")
    from cvserve.data import open_dataset

    run = load_run(run_directory)
    dataset = open_dataset(data or run.data_path, split, task=run.task, classes=run.labels)
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(pictures, len(dataset))).round().astype(int))
    images, encoded, names = [], [], []
    for index in map(int, chosen):
        source, name = dataset.image(index), dataset.name(index)
        try:
            content = as_png(source[None])[0] if isinstance(source, np.ndarray) else _read(source, name)
            images.append(preprocess(content, run.preproc, name=name)[0])
        except ImageError as error:
            if on_step is not None:
                on_step(f"left out of the comparison: {error}")
            continue
        encoded.append(content)
        names.append(name)
    if not images:
        raise InvalidInput(f"none of the {len(chosen)} {split} pictures of {data or run.data_path} can be used")
    with without_chatter():
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
