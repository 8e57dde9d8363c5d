"""Chooses the feature map of a pyramid that a region is cut from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import tensorflow as tf

CANONICAL_SIDE = 224.0
CANONICAL_STRIDE = 16
"""A region of 224 x 224 pixels belongs to the map of stride 16, one of half the side to the next finer one (Lin et al.
2016, arXiv 1612.03144, equation 1)."""


def level_masks(maps: Sequence[tf.Tensor], boxes: tf.Tensor, image_height: int) -> list[tf.Tensor]:
    """Returns for each map which regions are cut from it: k = floor(k0 + log2(sqrt(w h) / 224)), if there is one.

    Args:
        maps: [B, h, w, C] each, finest first, each of twice the stride before.
        boxes: float32 [B, P, 4] x1, y1, x2, y2 in pixels. image_height: of those pixels.

    Returns:
        A bool [B, P] for each map; every region has one.
    """
    area = tf.nn.relu(boxes[..., 2] - boxes[..., 0]) * tf.nn.relu(boxes[..., 3] - boxes[..., 1])
    # Areas are compared with powers of four instead of taking logarithms, which runtimes round differently.
    reached = [tf.ones_like(area, tf.bool)]
    for features in maps[1:]:
        power = round(math.log2(image_height / features.shape[1])) - round(math.log2(CANONICAL_STRIDE))
        reached.append(area >= (CANONICAL_SIDE * 2.0**power) ** 2)
    own = [tf.logical_and(this, tf.logical_not(coarser)) for this, coarser in itertools.pairwise(reached)]
    return [*own, reached[-1]]
