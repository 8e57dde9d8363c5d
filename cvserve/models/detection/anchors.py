"""Computes the shapes of anchors, level by level. `cvserve.postproc.boxes.anchors` computes their positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras

from cvserve.artifact import BoxLevel

Sizes = tuple[tuple[float, float], ...]
"""(width, height) in pixels of the anchors of a cell, in the order of the graph's boxes."""

OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)


def pyramid_anchors(side: float, scales: Sequence[float] = OCTAVES, ratios: Sequence[float] = RATIOS) -> Sizes:
    """Returns the anchors of one level of a feature pyramid (Lin et al. 2017, arXiv 1708.02002, section 4).

    Args:
        side: of the square anchor of scale 1, in pixels; the paper has 4 strides.
        scales: of the side. ratios: height to width; the area stays.

    Returns:
        For each scale, one for each ratio.
    """
    return tuple(
        (side * scale / math.sqrt(ratio), side * scale * math.sqrt(ratio)) for scale in scales for ratio in ratios
    )


def ssd_anchors(side: float, maps: int, smallest: float = 0.1, scales: tuple[float, float] = (0.2, 0.9)) -> list[Sizes]:
    """Returns the default boxes of SSD (Liu et al. 2015, arXiv 1512.02325, sections 2.2 and 3.1).

    The finest map has scale `smallest`, the others go in equal steps from scales[0] to scales[1]. Each has a square of
    its scale, one of the geometric mean of its scale and the next, and boxes of ratio 2 and 1/2; the maps in the
    middle, of ratio 3 and 1/3 too.

    Args:
        side: of the image, pixels. maps: how many feature maps there are.

    Returns:
        The boxes of each map: 4, 6, ..., 6, 4, 4.
    """
    low, high = scales
    step = (high - low) / max(maps - 2, 1)
    scale_of_map = [smallest, *(low + step * index for index in range(maps))]
    sizes = []
    for index in range(maps):
        scale, between = scale_of_map[index], math.sqrt(scale_of_map[index] * scale_of_map[index + 1])
        boxes = [(scale, scale), (between, between)]
        for ratio in (2.0, 3.0) if 0 < index < maps - 2 else (2.0,):
            root = math.sqrt(ratio)
            boxes += [(scale * root, scale / root), (scale / root, scale * root)]
        sizes.append(tuple((side * width, side * height) for width, height in boxes))
    return sizes


def levels_of(maps: Sequence[keras.KerasTensor], anchors: Sequence[Sizes]) -> tuple[BoxLevel, ...]:
    """Describes feature maps [B, rows, columns, C] and the anchors of their cells for a `BoxCoding`."""
    return tuple(
        BoxLevel(rows=features.shape[1], columns=features.shape[2], anchors=sizes)
        for features, sizes in zip(maps, anchors, strict=True)
    )
