"""Implements the geometry of PreprocSpec, and the decoding before it, as TensorFlow operations.

For the SavedModel's `bytes` signature only: everything else uses `cvserve.preproc`, which this follows step by step.
Decoding a JPEG is bit for bit the same (libjpeg's accurate integer transform on both sides), resizing differs by
rounding. Resizes are products with a matrix a direction, since none of TensorFlow's own is OpenCV's area mean or its
cubic kernel.
"""

from __future__ import annotations

import functools
from typing import Any

from cvserve.artifact import PreprocSpec
from cvserve.extras import require
from cvserve.preproc.geometry import MOST_OVERHANG as MOST_OVERHANG

_SCAN_BYTES = 1 << 17
"""How many bytes of a JPEG are searched for the orientation: its segment (64 KiB at most) is one of the first."""


def load_pixels(data: Any, spec: PreprocSpec) -> Any:
    """Decodes and resizes one image.

    Args:
        data: scalar string tensor, a JPEG (its EXIF orientation is applied), PNG, GIF (first frame), BMP or WebP.

    Returns:
        uint8 RGB [spec.height, spec.width, 3].
    """
    tf = require("tensorflow")
    # Filled up, since a substring beyond the end is an error of its own, whose text may be no text.
    start = tf.strings.join([tf.strings.substr(data, 0, 32), tf.constant(bytes(32))])
    is_jpeg = tf.equal(tf.strings.substr(start, 0, 2), b"\xff\xd8")
    is_webp = tf.equal(tf.strings.substr(start, 0, 4), b"RIFF") & tf.equal(tf.strings.substr(start, 8, 4), b"WEBP")

    def other() -> tuple[Any, Any, Any, Any]:
        pixels = tf.cond(is_webp, lambda: _webp(tf, data, start), lambda: _decode_image(tf, data))
        return pixels, tf.shape(pixels)[:2], tf.constant(1), tf.constant(1)

    pixels, stored, orientation, factor = tf.cond(is_jpeg, lambda: _jpeg(tf, data, spec), other)
    pixels = tf.ensure_shape(pixels, (None, None, 3))

    def whole() -> Any:
        return _resize(tf, _upright(tf, pixels, orientation), spec)

    def reduced() -> Any:
        # As it is stored, and by the exact scale: a part of the last pixels may lie beyond the original.
        target = _turned(tf, _target(tf, _turned(tf, stored, orientation), spec), orientation)
        scale = tf.cast(stored, tf.float64) / tf.cast(target * factor, tf.float64)
        return _upright(tf, _shrink(tf, pixels, target[0], target[1], scale), orientation)

    return _place(tf, tf.cond(tf.equal(factor, 1), whole, reduced), spec)


def _jpeg(tf: Any, data: Any, spec: PreprocSpec) -> tuple[Any, Any, Any, Any]:
    """Decodes an image; returns its pixels as stored, its full size (height, width), its orientation, and the factor by
    which it was reduced while decoding.

    An image that shrinks by 4 or more is reduced while it is decoded, as in `cvserve.preproc`.
    """
    orientation = _orientation(tf, data)
    stored = tf.io.extract_jpeg_shape(data)[:2]
    upright = _turned(tf, stored, orientation)
    target = _target(tf, upright, spec)
    index = tf.add_n([tf.cast(tf.reduce_all(upright >= 2 * factor * target), tf.int32) for factor in (2, 4, 8)])
    branches = [functools.partial(_decode_jpeg, tf, data, factor) for factor in (1, 2, 4, 8)]
    return tf.switch_case(index, branches), stored, orientation, tf.bitwise.left_shift(1, index)


def _turned(tf: Any, size: Any, orientation: Any) -> Any:
    """Returns (height, width) of the upright image from that of the stored one, or the other way round."""
    return tf.where(orientation >= 5, tf.reverse(size, [0]), size)


def _target(tf: Any, size: Any, spec: PreprocSpec) -> Any:
    return tf.stack(_plan(tf, size, spec)[:2])


def _decode_jpeg(tf: Any, data: Any, factor: int) -> Any:
    return tf.io.decode_jpeg(data, channels=3, ratio=factor, dct_method="INTEGER_ACCURATE")


def _decode_image(tf: Any, data: Any) -> Any:
    return tf.ensure_shape(tf.io.decode_image(data, channels=3, expand_animations=False), (None, None, 3))


def _webp(tf: Any, data: Any, start: Any) -> Any:
    """Decodes the first frame. TensorFlow must know whether there is alpha, which is dropped."""
    # WebP container specification: VP8X has flags in byte 20 (0x10: alpha); VP8L has its alpha bit in byte 24 (0x10).
    kind = tf.strings.substr(start, 12, 4)
    content = tf.cast(tf.io.decode_raw(start, tf.uint8), tf.int32)
    flags = tf.where(tf.equal(kind, b"VP8X"), content[20], tf.where(tf.equal(kind, b"VP8L"), content[24], 0))
    has_alpha = tf.not_equal(tf.bitwise.bitwise_and(flags, 0x10), 0)
    return tf.cond(
        has_alpha,
        lambda: tf.io.decode_webp(data, channels=4)[0, ..., :3],
        lambda: tf.io.decode_webp(data, channels=3)[0],
    )


def _orientation(tf: Any, data: Any) -> Any:
    """Returns the EXIF orientation of a JPEG, 1 to 8, and 1 where there is none; see `cvserve.preproc.exif`."""
    content = tf.io.decode_raw(tf.strings.substr(data, 0, _SCAN_BYTES), tf.uint8)
    length = tf.size(content)
    content = tf.pad(tf.cast(content, tf.int32), [[0, 16]])

    def byte(position: Any) -> Any:
        return tf.gather(content, tf.clip_by_value(position, 0, length))

    def big(position: Any) -> Any:
        return byte(position) * 256 + byte(position + 1)

    def is_exif(position: Any) -> Any:
        header = tf.gather(content, tf.clip_by_value(position + tf.range(2, 10), 0, length))
        name = tf.constant([0x45, 0x78, 0x69, 0x66, 0, 0])  # "Exif", two zeros; after the segment's length
        return tf.equal(byte(position + 1), 0xE1) & tf.reduce_all(tf.equal(header[2:], name))

    def is_skipped(position: Any) -> Any:
        marker = byte(position + 1)
        is_segment = tf.equal(byte(position), 0xFF) & (marker >= 0xC0) & tf.not_equal(marker, 0xDA)
        return is_segment & tf.logical_not(is_exif(position)) & (position < length)

    position = tf.while_loop(is_skipped, lambda p: [p + 2 + tf.maximum(big(p + 2), 2)], [tf.constant(2)])[0]
    start = position + 10  # of the TIFF header
    little = tf.equal(byte(start), 0x49)

    def short(position: Any) -> Any:
        first, second = byte(position), byte(position + 1)
        return tf.where(little, second * 256 + first, first * 256 + second)

    def long(position: Any) -> Any:
        low, high = short(position), short(position + 2)
        # The high half is cut so that a damaged offset stays a positive number.
        return tf.where(little, (high % 256) * 65536 + low, (low % 256) * 65536 + high)

    directory = start + long(start + 4)
    entries = directory + 2 + 12 * tf.range(tf.minimum(short(directory), 512))
    # A LONG in big-endian order has its low half last, where a SHORT has its value first.
    is_long = tf.equal(short(entries + 2), 4) & tf.logical_not(little)
    values = short(entries + tf.where(is_long, 10, 8))
    is_orientation = tf.equal(short(entries), 0x0112) & (entries + 12 <= length)
    first = tf.boolean_mask(values, is_orientation)[:1]
    value = tf.reduce_sum(first)  # 0 where there is none
    return tf.where(is_exif(position) & (value >= 1) & (value <= 8), value, 1)


def _upright(tf: Any, pixels: Any, orientation: Any) -> Any:
    """Turns an image [H, W, 3] as its EXIF orientation asks."""

    def turn() -> Any:
        # EXIF 2.32, 4.6.4 A: 2 mirrored, 3 half turn, 4 upside down, 5 transposed, 6 and 8 quarter turns, 7 both.
        flips_rows = tf.reduce_any(tf.equal(orientation, [3, 4, 7, 8]))
        flips_columns = tf.reduce_any(tf.equal(orientation, [2, 3, 6, 7]))
        turned = tf.cond(orientation >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels)
        rows, columns = tf.range(tf.shape(turned)[0]), tf.range(tf.shape(turned)[1])
        turned = tf.gather(turned, tf.where(flips_rows, tf.reverse(rows, [0]), rows))
        return tf.gather(turned, tf.where(flips_columns, tf.reverse(columns, [0]), columns), axis=1)

    return tf.ensure_shape(tf.cond(tf.equal(orientation, 1), lambda: pixels, turn), (None, None, 3))


def _plan(tf: Any, size: Any, spec: PreprocSpec) -> tuple[Any, Any, Any]:
    """Plans the resize of an image of `size` (height, width), with the same float64 arithmetic as
    `cvserve.preproc.geometry.plan`.

    Returns:
        New height, new width, and the part (top, left, height, width) of the original that is resized.
    """
    height, width = size[0], size[1]
    everything = tf.stack([0, 0, height, width])
    if spec.resize == "exact":
        return tf.constant(spec.height), tf.constant(spec.width), everything
    real_height, real_width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)

    def rounded(value: Any) -> Any:
        return tf.cast(tf.round(value), tf.int32)

    if spec.resize == "letterbox":
        scale = tf.minimum(spec.width / real_width, spec.height / real_height)
        return (
            tf.clip_by_value(rounded(real_height * scale), 1, spec.height),
            tf.clip_by_value(rounded(real_width * scale), 1, spec.width),
            everything,
        )
    short = tf.cast(spec.short_side or 0, tf.float64) / tf.minimum(real_width, real_height)
    scale = tf.maximum(short, tf.maximum(spec.width / real_width, spec.height / real_height))
    keep_width = tf.minimum(width, tf.cast(tf.math.ceil(spec.width * MOST_OVERHANG / scale), tf.int32))
    keep_height = tf.minimum(height, tf.cast(tf.math.ceil(spec.height * MOST_OVERHANG / scale), tf.int32))
    cut = tf.stack([(height - keep_height) // 2, (width - keep_width) // 2, keep_height, keep_width])
    keep = tf.where(scale > 1, cut, everything)
    new_height = tf.maximum(spec.height, rounded(tf.cast(keep[2], tf.float64) * scale))
    new_width = tf.maximum(spec.width, rounded(tf.cast(keep[3], tf.float64) * scale))
    return new_height, new_width, keep


def _resize(tf: Any, pixels: Any, spec: PreprocSpec) -> Any:
    """Resizes an upright image to its planned size, before it is cropped or padded."""
    size = tf.shape(pixels)[:2]
    new_height, new_width, keep = _plan(tf, size, spec)
    pixels = pixels[keep[0] : keep[0] + keep[2], keep[1] : keep[1] + keep[3]]
    return _resize_to(tf, pixels, new_height, new_width, spec.interpolation)


def _place(tf: Any, pixels: Any, spec: PreprocSpec) -> Any:
    """Crops or pads the resized image to the spec's size, about its centre."""
    height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
    if spec.resize == "letterbox":
        top, left = (spec.height - height) // 2, (spec.width - width) // 2
        padding = [[top, spec.height - height - top], [left, spec.width - width - left], [0, 0]]
        inside = tf.pad(tf.ones_like(pixels[..., :1]), padding)
        pixels = tf.where(inside > 0, tf.pad(pixels, padding), tf.constant(spec.fill, tf.uint8))
    else:
        top, left = (height - spec.height) // 2, (width - spec.width) // 2
        pixels = pixels[top : top + spec.height, left : left + spec.width]
    return tf.ensure_shape(pixels, (spec.height, spec.width, 3))


def _resize_to(tf: Any, pixels: Any, height: Any, width: Any, interpolation: str) -> Any:
    """Resizes as `cvserve.preproc.resize_to`: an area mean where it shrinks, then `interpolation` where it grows."""
    size = tf.shape(pixels)
    smaller_height, smaller_width = tf.minimum(height, size[0]), tf.minimum(width, size[1])
    pixels = tf.cond(
        tf.equal(smaller_height, size[0]) & tf.equal(smaller_width, size[1]),
        lambda: pixels,
        lambda: _shrink(
            tf, pixels, smaller_height, smaller_width, size[:2] / tf.stack([smaller_height, smaller_width])
        ),
    )
    return tf.cond(
        tf.equal(smaller_height, height) & tf.equal(smaller_width, width),
        lambda: pixels,
        lambda: _enlarge(tf, pixels, height, width, interpolation),
    )


def _shrink(tf: Any, pixels: Any, height: Any, width: Any, scale: Any) -> Any:
    """Shrinks by the area mean. scale: float64 [2], old pixels for each new pixel, vertically and horizontally."""
    now = tf.shape(pixels)
    rows = _area_matrix(tf, now[0], height, scale[0])
    columns = _area_matrix(tf, now[1], width, scale[1])
    real = _apply(tf, pixels, rows, columns)
    # OpenCV's own path for halves rounds a half up, its other paths round it to even.
    halves = tf.reduce_all(tf.equal(scale, 2))
    return tf.cast(tf.where(halves, tf.floor(real + 0.5), tf.round(real)), tf.uint8)


def _enlarge(tf: Any, pixels: Any, height: Any, width: Any, interpolation: str) -> Any:
    now = tf.shape(pixels)
    rows = _interpolation_matrix(tf, now[0], height, interpolation)
    columns = _interpolation_matrix(tf, now[1], width, interpolation)
    real = _apply(tf, pixels, rows, columns)
    return tf.cast(tf.clip_by_value(tf.round(real), 0, 255), tf.uint8)


def _apply(tf: Any, pixels: Any, rows: Any, columns: Any) -> Any:
    """Returns rows [h, H] x pixels [H, W, 3] x columns [w, W] transposed: float32 [h, w, 3]."""
    real = tf.cast(pixels, tf.float32)
    now = tf.shape(pixels)
    real = tf.reshape(tf.matmul(rows, tf.reshape(real, (now[0], -1))), (tf.shape(rows)[0], now[1], 3))
    return tf.einsum("wj,hjc->hwc", columns, real)


def _area_matrix(tf: Any, old: Any, new: Any, scale: Any) -> Any:
    """Returns float32 [new, old]: the weight of each old pixel in each new one, which is `scale` old ones long."""
    start = tf.cast(tf.range(new), tf.float64)[:, None] * scale
    left = tf.cast(tf.range(old), tf.float64)[None, :]
    overlap = tf.minimum(start + scale, left + 1) - tf.maximum(start, left)
    return tf.cast(tf.maximum(overlap, 0) / scale, tf.float32)


def _interpolation_matrix(tf: Any, old: Any, new: Any, interpolation: str) -> Any:
    """Returns float32 [new, old]: OpenCV's weights for enlarging; the edge is repeated outside of the image."""
    scale = tf.cast(old, tf.float64) / tf.cast(new, tf.float64)
    index = tf.cast(tf.range(new), tf.float64)
    if interpolation == "nearest":
        nearest = tf.minimum(tf.cast(tf.floor(index * scale), tf.int32), old - 1)
        return tf.one_hot(nearest, old, dtype=tf.float32)
    center = (index + 0.5) * scale - 0.5
    base = tf.floor(center)
    matrix = tf.zeros((new, old), tf.float32)
    for offset in (0, 1) if interpolation == "linear" else (-1, 0, 1, 2):
        distance = tf.abs(center - (base + offset))
        weight = 1 - distance if interpolation == "linear" else _cubic(tf, distance)
        column = tf.clip_by_value(tf.cast(base, tf.int32) + offset, 0, old - 1)
        matrix += tf.one_hot(column, old, dtype=tf.float32) * tf.cast(weight, tf.float32)[:, None]
    return matrix


def _cubic(tf: Any, distance: Any) -> Any:
    """Returns the cubic convolution kernel with a = -0.75, as in OpenCV (R. Keys, 1981; TensorFlow has a = -0.5)."""
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return tf.where(distance <= 1, near, tf.where(distance < 2, far, 0.0))
