"""Implements RoI pooling: it cuts regions into small maps of one size, by maxima (Girshick 2015, arXiv 1504.08083)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvserve.models.layers.roi_levels import level_masks


@keras.saving.register_keras_serializable(package="cvserve")
class RoIPool(keras.layers.Layer):
    """Cuts each region, rounded to whole cells, into size[0] x size[1] bins of whole cells; returns their maxima.

    As in the author's code: a region goes from round(x1) to round(x2) inclusive, in cells, and is at least one cell; a
    bin goes from floor to ceil of its share, so that neighbours may overlap; bins outside of the map are 0.

    The maximum of a rectangle of any size is that of four overlapping rectangles whose sides are powers of two; those
    are tables, made once an image, so that a bin costs four look-ups and no loop.

    Args:
        size: (rows, columns) of what comes out.
        image_size: (height, width) of the pixels that boxes are given in; maps cover all of it.

    Call arguments:
        maps: [B, h, w, C], or a list of them, finest first: each region is cut from one (see `level_masks`).
        boxes: float32 [B, P, 4] x1, y1, x2, y2; they get no gradient.

    Returns:
        [B, P, rows, columns, C], of the dtype of the maps.
    """

    def __init__(self, size: Sequence[int], image_size: Sequence[int], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.size = tuple(size)
        self.image_size = tuple(image_size)

    def call(self, maps: Any, boxes: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        maps = list(maps) if isinstance(maps, list | tuple) else [maps]
        boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
        masks = level_masks(maps, boxes, self.image_size[0])
        parts = [self._cut(features, boxes, mask) for features, mask in zip(maps, masks, strict=True)]
        return tf.add_n(parts) if len(parts) > 1 else parts[0]

    def _cut(self, features: tf.Tensor, boxes: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        (rows, columns), regions = self.size, boxes.shape[1]
        height, width, channels = features.shape[1:]
        down = height / self.image_size[0]
        across = width / self.image_size[1]
        tables, row_powers, column_powers = _tables(features)
        tops, bottoms = _bins(boxes[..., 1] * down, boxes[..., 3] * down, rows, height)
        lefts, rights = _bins(boxes[..., 0] * across, boxes[..., 2] * across, columns, width)
        row_power, row_starts = _covers(tops, bottoms, row_powers)
        column_power, column_starts = _covers(lefts, rights, column_powers)
        table = row_power[..., :, None] * column_powers + column_power[..., None, :]
        best: tf.Tensor | None = None
        for down_start in row_starts:
            for across_start in column_starts:
                cell = (table * height + down_start[..., :, None]) * width + across_start[..., None, :]
                values = tf.gather(tables, tf.reshape(cell, [-1, regions * rows * columns]), batch_dims=1)
                best = values if best is None else tf.maximum(best, values)
        has_cells = tf.logical_and((bottoms > tops)[..., :, None], (rights > lefts)[..., None, :])
        used = tf.logical_and(has_cells, mask[..., None, None])
        cut = tf.reshape(best, [-1, regions, rows, columns, channels])
        return cut * tf.cast(used, features.dtype)[..., None]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "size": self.size, "image_size": self.image_size}


def _tables(features: tf.Tensor) -> tuple[tf.Tensor, int, int]:
    """Returns the maxima over 2 ** i x 2 ** j cells from each cell on: [B, I * J * h * w, C], and I and J.

    Near the far borders, where such a rectangle would reach out of the map, entries are of no meaning.
    """
    height, width, channels = features.shape[1:]
    row_powers, column_powers = height.bit_length(), width.bit_length()
    tables, of_rows = [], features
    for i in range(row_powers):
        if i:
            of_rows = _with_neighbour(of_rows, 1, 2 ** (i - 1))
        of_both = of_rows
        for j in range(column_powers):
            if j:
                of_both = _with_neighbour(of_both, 2, 2 ** (j - 1))
            tables.append(of_both)
    stacked = tf.stack(tables, axis=1)
    return tf.reshape(stacked, [-1, len(tables) * height * width, channels]), row_powers, column_powers


def _with_neighbour(values: tf.Tensor, axis: int, distance: int) -> tf.Tensor:
    """Returns the maximum of each cell and the one `distance` further; the last ones have none and stay."""
    if axis == 1:
        return tf.concat([tf.maximum(values[:, :-distance], values[:, distance:]), values[:, -distance:]], axis=1)
    return tf.concat([tf.maximum(values[:, :, :-distance], values[:, :, distance:]), values[:, :, -distance:]], axis=2)


def _bins(start: tf.Tensor, end: tf.Tensor, bins: int, length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the first cell of each bin of start..end [B, P], and the one past its last: int32 [B, P, bins] each."""
    # floor(x + 0.5), the rounding of C: tf.round goes to even numbers.
    first = tf.cast(tf.floor(start + 0.5), tf.int32)[..., None]
    cells = tf.maximum(tf.cast(tf.floor(end + 0.5), tf.int32)[..., None] - first + 1, 1)
    # Whole numbers, since shares such as 3 * (7 / 3) are not exact.
    index = np.arange(bins, dtype=np.int32)
    starts = first + index * cells // bins
    ends = first + ((index + 1) * cells + (bins - 1)) // bins
    return _clipped(starts, length), _clipped(ends, length)


def _clipped(cells: tf.Tensor, length: int) -> tf.Tensor:
    """Returns int32 cells, clipped to 0..length.

    As float32 meanwhile: where length is 6, TFLite's converter makes a ReLU6 of a clipped integer, and has none for
    integers.
    """
    return tf.cast(tf.clip_by_value(tf.cast(cells, tf.float32), 0.0, float(length)), tf.int32)


def _covers(starts: tf.Tensor, ends: tf.Tensor, powers: int) -> tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
    """Returns the greatest i with 2 ** i cells in each stretch, and the starts of two such that cover it: int32."""
    cells = ends - starts
    power = tf.zeros_like(cells)
    side = tf.ones_like(cells)
    for exponent in range(1, powers):
        fits = cells >= 2**exponent
        power += tf.cast(fits, tf.int32)
        side = tf.where(fits, tf.ones_like(side) * 2**exponent, side)
    # Stretches of no cell are masked afterwards; they must look up some entry all the same.
    first = tf.minimum(starts, tf.maximum(ends - side, 0))
    return power, (first, tf.maximum(ends - side, 0))
