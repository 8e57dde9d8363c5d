"""Tiny detection networks for tests: random weights on the output contract, with scores that depend on the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cvserve.artifact import BoxCoding, BoxLevel, DetectionPostproc, PreprocSpec

LABELS = ("cat", "dog", "bird")
SIZE = (48, 64)
PREPROC = PreprocSpec(height=48, width=64, resize="letterbox")
GRIDS = ((6, 8), (3, 4))

CODINGS = {
    "distances": BoxCoding(kind="distances", levels=tuple(BoxLevel(rows=r, columns=c) for r, c in GRIDS)),
    "deltas": BoxCoding(
        kind="deltas",
        levels=tuple(BoxLevel(rows=r, columns=c, anchors=((12.0, 16.0), (20.0, 9.0))) for r, c in GRIDS),
        variances=(0.1, 0.1, 0.2, 0.2),
    ),
    "grid": BoxCoding(kind="grid", levels=(BoxLevel(rows=6, columns=8),), boxes_per_cell=2),
    "proposals": BoxCoding(kind="deltas"),
}


def postproc(kind: str, activation: str = "sigmoid", **options: Any) -> DetectionPostproc:
    """A DetectionPostproc of one of CODINGS."""
    return DetectionPostproc.model_validate(
        {"activation": activation, "boxes": CODINGS[kind], "score_threshold": 0.4, "iou_threshold": 0.5} | options
    )


def make_detector(
    kind: str = "distances", *, activation: str = "sigmoid", objectness: bool = False, per_class: bool = False
) -> Any:
    """uint8 [B, 48, 64, 3] to the raw outputs that `postproc(kind, activation)` decodes; the same weights at each call.

    Args:
        objectness: with that output too.
        per_class: box_offsets [B, A, C, 4].
    """
    keras = pytest.importorskip("keras")
    layers, ops = keras.layers, keras.ops
    keras.utils.set_random_seed(5)
    images = keras.Input((*SIZE, 3), dtype="uint8", name="images")
    features = layers.Rescaling(1 / 127.5, offset=-1.0)(images)
    features = layers.Conv2D(12, 5, strides=4, padding="same", activation="relu")(features)
    grids = [layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(features)]
    if kind != "grid":
        grids.append(layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(grids[0]))
    classes = len(LABELS) + (activation == "softmax")
    each = 1 if kind in ("distances", "proposals") else 2
    boxes = 4 * (len(LABELS) if per_class else 1)

    def head(size: int, spread: float) -> Any:
        parts = []
        for grid in grids:
            values = layers.Conv2D(each * size, 1, kernel_initializer=keras.initializers.RandomNormal(0, spread))(grid)
            parts.append(layers.Reshape((-1, size))(values))
        return parts[0] if len(parts) == 1 else layers.Concatenate(axis=1)(parts)

    offsets = head(boxes, 1.0)
    if kind == "distances":
        offsets = ops.softplus(offsets) + 0.5
    elif kind == "grid":
        offsets = ops.sigmoid(offsets) * 0.6
    if per_class:
        offsets = ops.reshape(offsets, (-1, offsets.shape[1], len(LABELS), 4))
    outputs = {"box_offsets": offsets, "class_logits": head(classes, 4.0)}
    if objectness:
        outputs["objectness"] = ops.squeeze(head(1, 4.0), axis=-1)
    if kind == "proposals":
        corners = ops.sigmoid(head(4, 1.0)) * np.array([40, 30, 24, 18], np.float32)
        corners = ops.concatenate([corners[..., :2], corners[..., :2] + corners[..., 2:] + 4.0], axis=-1)
        # The last ones are padding.
        real = np.arange(offsets.shape[1])[None, :, None] < offsets.shape[1] - 3
        outputs["proposals"] = corners * real.astype(np.float32)
    return keras.Model(images, outputs, name=f"tiny_{kind}")


def make_images(count: int, seed: int = 0) -> np.ndarray:
    """uint8 [count, 48, 64, 3]: blocks of colour, no two alike."""
    blocks = np.random.default_rng(seed).integers(0, 256, (count, 6, 8, 3), np.uint8)
    return np.asarray(blocks.repeat(8, axis=1).repeat(8, axis=2))
