"""Finds regions of a data set's images once and stores them in a file, for networks that take regions as input."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from cvserve.console import Progress
from cvserve.data.pipelines.detection import DetectionPipeline, Targets
from cvserve.data.source import Source
from cvserve.errors import ImageError, InvalidInput, NotFound
from cvserve.parallel import ordered_map
from cvserve.preproc import Geometry, ImageSource, decode, resize_to
from cvserve.preproc.regions import find_regions

SUFFIXES = (".json", ".npz")
SEARCH_SIZE = 500
"""Pixels of the longer side of the image that is searched: R-CNN's section 2.2 has a width of 500."""

Proposals = dict[str, np.ndarray]
"""Name of an image to float32 [N, 4], x1, y1, x2, y2 in pixels of the upright original, best first."""


def find_proposals(
    source: Source, method: str, count: int, *, file: str | Path | None = None, workers: int | None = None
) -> Proposals:
    """Finds the regions of every image of a split; images that cannot be read have none.

    Args:
        method, count: of `cvserve.preproc.regions.find_regions`.
        file: where they are stored; images in it are not searched again, so name it after the method.
        workers: threads, by default one per core.

    Raises:
        InvalidInput: no such method, or a file without proposals. MissingExtra: OpenCV has no contributed modules.
    """
    path = None if file is None else Path(file)
    known = read_proposals(path) if path is not None and path.exists() else {}
    wanted = [index for index in range(len(source)) if source.name(index) not in known]

    def search(index: int) -> np.ndarray:
        try:
            return _search(source.image(index), source.name(index), method, count)
        except ImageError:  # the pipeline reports it
            return np.zeros((0, 4), np.float32)

    threads = workers or os.cpu_count() or 1
    with Progress(len(wanted), f"searching {source.split} images", unit="images") as progress:
        for index, boxes in zip(wanted, ordered_map(search, wanted, workers=threads, ahead=threads), strict=True):
            known[source.name(index)] = boxes
            progress.advance()
    if path is not None and wanted:
        write_proposals(path, known)
    return {source.name(index): known[source.name(index)][:count] for index in range(len(source))}


def _search(image: ImageSource, name: str, method: str, count: int) -> np.ndarray:
    pixels = decode(image, name=name)
    height, width = pixels.shape[:2]
    shrink = min(1.0, SEARCH_SIZE / max(height, width))
    small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    if shrink < 1:
        pixels = resize_to(pixels, *small)
    scale = np.array([width / small[0], height / small[1]] * 2, np.float32)
    boxes: np.ndarray = find_regions(pixels, method, count) * scale
    return boxes


def read_proposals(path: str | Path) -> Proposals:
    """Reads the boxes [N, 4] of each image, by its name, from a `.json` object or the arrays of an `.npz`.

    Raises:
        NotFound: no such file. InvalidInput: not such a file, or no valid boxes; the error names the image.
    """
    path = Path(path)
    _check_suffix(path)
    if not path.is_file():
        raise NotFound(f"no file of proposals at {path}")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                content: Any = {name: arrays[name] for name in arrays.files}
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, BadZipFile) as error:
        raise InvalidInput(f"{path} is not a file of proposals: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, Mapping):
        raise InvalidInput(f"{path} must hold an object of image names and boxes, not a {type(content).__name__}")
    return {name: _boxes(boxes, f"{path}: {name}") for name, boxes in content.items()}


def write_proposals(path: str | Path, proposals: Mapping[str, np.ndarray]) -> None:
    """Writes a file for `read_proposals`; a reader sees the old file or the new one, never half of it."""
    path = Path(path)
    _check_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix must stay .npz for numpy to write to just this path.
    temporary = path.with_name(f".part.{path.name}")
    if path.suffix == ".npz":
        arrays: dict[str, Any] = dict(proposals)
        np.savez_compressed(temporary, **arrays)
    else:
        rounded = {name: np.round(boxes.astype(float), 2).tolist() for name, boxes in proposals.items()}
        temporary.write_text(json.dumps(rounded) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def in_input(boxes: np.ndarray, geometry: Geometry, width: int, height: int, count: int) -> np.ndarray:
    """Maps regions of the original to the network's input.

    Args:
        boxes: float32 [N, 4], in pixels of the upright original. geometry: from there to the network's input.
        width, height: of that input. count: P.

    Returns:
        float32 [P, 4], clipped to the input: the first P that are inside it; zeros where there are fewer.
    """
    moved = np.clip(geometry.to_input(boxes), 0, np.array([width, height] * 2, np.float32))
    inside = moved[(moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])][:count]
    padded = np.zeros((count, 4), np.float32)
    padded[: len(inside)] = inside
    return padded


def batches_with_proposals(
    pipeline: DetectionPipeline, proposals: Mapping[str, np.ndarray], count: int, epoch: int
) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], Targets]]:
    """Yields the batches of an epoch for a network of two inputs.

    A batch is ((images, proposals float32 [B, P, 4]), (boxes, labels)).

    Args:
        pipeline: its augmentation must not move boxes, since the regions are those of the image as it is served.
        proposals: of each image, by name.

    Raises:
        InvalidInput: the pipeline moves boxes, or an image has no proposals. ImageError: an image cannot be read.
    """
    if pipeline.augmentation.moves:
        raise InvalidInput(
            "given proposals do not move with the pixels: train without mosaic, flips, turns and scaling"
        )
    order, size = pipeline.order(epoch), (pipeline.preproc.width, pipeline.preproc.height)
    for start in range(0, len(order), pipeline.batch_size):
        indices = order[start : start + pipeline.batch_size]
        images, targets = pipeline.batch(epoch, indices)
        if len(images) != len(indices):
            raise ImageError(pipeline.source.describe(), "an image became unreadable during the training")
        rows = []
        for index in indices.tolist():
            name = pipeline.source.name(index)
            if name not in proposals:
                raise InvalidInput(f"{name} has no proposals")
            rows.append(in_input(proposals[name], pipeline.geometry(index), *size, count))
        yield (images, np.stack(rows)), targets


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"{path} is not a file of proposals: they are {' or '.join(SUFFIXES)}")


def _boxes(values: Any, where: str) -> np.ndarray:
    try:
        boxes = np.asarray(values, np.float32)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{where}: boxes are four numbers each, x1, y1, x2, y2") from error
    if boxes.size == 0:
        return np.zeros((0, 4), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise InvalidInput(f"{where}: boxes are four numbers each, x1, y1, x2, y2")
    if (boxes[:, 2:] <= boxes[:, :2]).any():
        raise InvalidInput(f"{where}: a box has its second corner left of or above its first (x1, y1, x2, y2)")
    return boxes
