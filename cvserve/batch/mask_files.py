"""Writes class maps as files, under the names of their images."""

from __future__ import annotations

from pathlib import Path

from cvserve.batch.annotate import annotated_path, write_file
from cvserve.batch.sources import Source
from cvserve.postproc import SegmentationResult, encode_segmentation

SUFFIX = ".png"


def write_mask(source: Source, result: SegmentationResult, folder: Path) -> Path:
    """Writes the class map as `<folder>/<name>.png`: grey, one byte for each pixel, the index of its class.

    Raises:
        InvalidInput: the folder cannot be written to.
    """
    path = annotated_path(folder, source.name, SUFFIX)
    write_file(path, encode_segmentation(result, "png").png)
    return path
