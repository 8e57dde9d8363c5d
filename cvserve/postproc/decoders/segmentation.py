"""Resizes class maps of the graph's size to the sizes of the original images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cvserve.artifact import OutputSpec, SegmentationPostproc
from cvserve.errors import ArtifactError, InvalidInput
from cvserve.postproc.contract import Contract
from cvserve.postproc.quantized import real_values
from cvserve.postproc.results import SegmentationResult

if TYPE_CHECKING:
    from cvserve.postproc.decode import Options
    from cvserve.preproc import Geometry


def decode_segmentation(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract
) -> list[SegmentationResult]:
    """Returns one result an image, its class map in the size of the upright original.

    Each pixel has the class of the graph's pixel in which its centre lies; padding is in no result. What a centre crop
    has cut off, the graph has never seen: there the class of the nearest pixel that it has seen is repeated (resize
    "exact" or "letterbox" cuts nothing off). A class's confidence is the mean over the pixels of the original, those
    that are repeated included.

    Args:
        outputs: the graph's outputs by name, batch first: of role class_map, integers [B, H, W], and of role
            confidence, [B, H, W].
        geometries: how each image was resized.

    Raises:
        ArtifactError: the outputs are not what the manifest says.
        InvalidInput: another number of geometries than images.
    """
    maps = _output(outputs, "class_map", manifest)[1]
    spec, stored = _output(outputs, "confidence", manifest)
    confidence = real_values(stored, spec)
    shape = (len(maps), manifest.preproc.height, manifest.preproc.width)
    for name, values in (("class_map", maps), ("confidence", confidence)):
        if values.shape != shape:
            raise ArtifactError(f"{manifest.name}: the {name} is {list(values.shape)}, not {list(shape)}")
    if maps.dtype.kind not in "iu":
        raise ArtifactError(f"{manifest.name}: the class_map is {maps.dtype}, not whole numbers")
    if maps.size and not 0 <= maps.min() <= maps.max() < len(manifest.labels):
        raise ArtifactError(
            f"{manifest.name}: the class_map has classes from {maps.min()} to {maps.max()}, but there are "
            f"{len(manifest.labels)} labels"
        )
    if not np.isfinite(confidence).all():
        raise ArtifactError(f"{manifest.name}: the graph gave confidences that are not numbers")
    if len(maps) != len(geometries):
        raise InvalidInput(f"the graph answered for {len(maps)} images, {len(geometries)} were given")
    return [
        in_original(item.astype(np.uint8, copy=False), sure, geometry, manifest)
        for item, sure, geometry in zip(maps, confidence, geometries, strict=True)
    ]


def in_original(
    class_map: np.ndarray, confidence: np.ndarray, geometry: Geometry, manifest: Contract
) -> SegmentationResult:
    """Returns the result of one image in the size of the original.

    Args:
        class_map: uint8 [H, W] of the graph's size. confidence: float32 [H, W], 0 to 1.
    """
    height, width = class_map.shape
    rows = nearest_pixels(geometry.original_height, geometry.scale_y, geometry.offset_y, height)
    columns = nearest_pixels(geometry.original_width, geometry.scale_x, geometry.offset_x, width)
    # Of how many pixels of the original each of the graph's pixels is the nearest.
    weights = np.outer(np.bincount(rows, minlength=height), np.bincount(columns, minlength=width)).reshape(-1)
    classes, count = class_map.reshape(-1), len(manifest.labels)
    covered = np.bincount(classes, weights, minlength=count)
    sums = np.bincount(classes, weights * confidence.reshape(-1), minlength=count)
    mean = np.divide(sums, covered, out=np.zeros(count), where=covered > 0)
    return SegmentationResult(
        # Rows last: they are copied as a whole, ten times as fast as single pixels.
        class_map[:, columns][rows],
        np.clip(mean, 0, 1).astype(np.float32),
        manifest.labels,
        SegmentationPostproc.of(manifest).colors,
    )


def nearest_pixels(length: int, scale: float, offset: float, input_length: int) -> np.ndarray:
    """Returns which pixel of the graph's input holds the centre of each pixel of the original, along one axis.

    Args:
        length: of the original. scale, offset: input = original * scale + offset, at pixel edges.
        input_length: of the graph's input.

    Returns:
        int64 [length], never a pixel of padding; beyond a crop the first or last pixel of the input.
    """
    first = max(0, round(offset))
    last = min(input_length, round(length * scale + offset)) - 1
    return np.clip(np.floor((np.arange(length) + 0.5) * scale + offset).astype(np.int64), first, last)


def _output(outputs: Mapping[str, np.ndarray], role: str, manifest: Contract) -> tuple[OutputSpec, np.ndarray]:
    spec = manifest.output(role)
    if spec is None or spec.name not in outputs:
        wanted = f"of role {role}" if spec is None else repr(spec.name)
        raise ArtifactError(f"{manifest.name}: the graph has no output {wanted}, only {sorted(outputs)}")
    return spec, np.asarray(outputs[spec.name])


def _decode(
    outputs: Mapping[str, np.ndarray], geometries: Sequence[Geometry], manifest: Contract, options: Options
) -> list[SegmentationResult]:
    return decode_segmentation(outputs, geometries, manifest)


DECODER = _decode
