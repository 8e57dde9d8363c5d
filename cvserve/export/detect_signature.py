"""The signature `detect`: decoding and suppression inside the graph, for clients without cvserve.

It answers what `cvserve.postproc.detection` does with the manifest's own PostprocSpec, in pixels of the graph's input.
Without control flow (see `cvserve.models.layers.nms`), so that every format holds it. Two things differ: at most
`CANDIDATES` boxes a picture take part in the suppression, and of equal scores another one may come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cvserve.artifact import BoxCoding, Manifest, PostprocSpec
from cvserve.errors import ExportError
from cvserve.export.network import INPUT, Network
from cvserve.postproc.boxes import anchors, cells
from cvserve.postproc.boxes.coding import MOST_LOG_SCALE
from cvserve.runtimes.tensorflow import import_tensorflow

DETECT_SIGNATURE = "detect"

CANDIDATES = 300
"""The matrix of overlaps has the square of it; 300 is what COCO's 100 results are commonly chosen from."""


def detect_spec(spec: PostprocSpec) -> PostprocSpec:
    """What `cvserve.postproc` is to be told to answer as the signature does."""
    candidates = min(spec.max_candidates, CANDIDATES)
    return spec.model_copy(update={"max_candidates": candidates, "max_results": min(spec.max_results, candidates)})


def detect_function(network: Network, manifest: Manifest) -> Any:
    """The tf.function of the signature.

    From uint8 `images` [B, H, W, 3] to a dict: `boxes` float32 [B, N, 4] x1, y1, x2, y2 in pixels of the images,
    `scores` float32 [B, N] descending, `classes` int32 [B, N], `count` int32 [B]. Beyond a picture's count everything
    is 0. N is `max_results`, or all there can be.

    Raises:
        ExportError: the number of the network's boxes is not known beforehand.
    """
    tf = import_tensorflow()
    roles = {output.name: output.role for output in manifest.outputs}

    def detect(images: Any) -> dict[str, Any]:
        by_role = {roles[name]: value for name, value in network(images).items() if name in roles}
        return detections(by_role, manifest.postproc, *network.image_shape[:2])

    return tf.function(detect, [tf.TensorSpec((None, *network.image_shape), tf.uint8, name=INPUT)], autograph=False)


def detections(outputs: Mapping[str, Any], spec: PostprocSpec, height: int, width: int) -> dict[str, Any]:
    """Raw outputs, float32 tensors by role (see `PostprocSpec`), to the outputs of the signature.

    Args:
        height, width: of the graph's input.

    Raises:
        ExportError: see `detect_function`.
    """
    tf = import_tensorflow()
    from cvserve.models.layers.nms import top_k_nms

    coding = spec.boxes
    assert coding is not None, "manifests of detection models have one"
    spec = detect_spec(spec)
    scores, places, classes = _best(outputs, spec)
    offsets = outputs["box_offsets"]
    if len(offsets.shape) == 4:
        count, each = offsets.shape[1], offsets.shape[2]
        numbers = _take(tf.reshape(offsets, (-1, count * each, 4)), places * each + classes)
    else:
        numbers = _take(offsets, places)
    proposals = None if coding.levels else _take(outputs["proposals"], places)
    boxes = _decoded(numbers, coding, height, width, proposals, places)
    boxes = tf.minimum(tf.maximum(boxes, 0.0), np.array([width, height, width, height], np.float32))
    kept = tf.logical_and(
        top_k_nms(boxes, scores, spec.iou_threshold, classes), scores >= np.float32(spec.score_threshold)
    )
    # The kept ones first, in their order; a score is never negative.
    wanted, order = tf.math.top_k(tf.where(kept, scores, -1.0), min(spec.max_results, scores.shape[1]))
    real = tf.cast(wanted >= 0.0, tf.int32)
    share = tf.cast(real, tf.float32)
    return {
        "boxes": _take(boxes, order) * share[:, :, tf.newaxis],
        "scores": wanted * share,
        "classes": _take(classes, order) * real,
        "count": tf.reduce_sum(real, axis=1),
    }


def _best(outputs: Mapping[str, Any], spec: PostprocSpec) -> tuple[Any, Any, Any]:
    """The best pairs of a box and a class: scores float32 [B, K] descending, box numbers and classes int32 [B, K].

    The best K pairs belong to the K boxes whose best class is best: two small selections instead of one among A x C.
    """
    tf = import_tensorflow()
    logits = outputs["class_logits"]
    if logits.shape[1] is None or logits.shape[2] is None:
        raise ExportError(
            "the signature detect needs a fixed number of boxes and classes, but class_logits are "
            f"{[*logits.shape]}; export without it (detect_signature=False)"
        )
    values = tf.nn.softmax(logits, axis=-1)[:, :, 1:] if spec.activation == "softmax" else tf.sigmoid(logits)
    if "objectness" in outputs:
        values *= tf.sigmoid(tf.reshape(outputs["objectness"], (-1, logits.shape[1], 1)))
    boxes, each = values.shape[1], values.shape[2]
    few = min(spec.max_candidates, boxes)
    _, places = tf.math.top_k(tf.reduce_max(values, axis=-1), few)
    flat = tf.reshape(_take(values, places), (-1, few * each))
    scores, pairs = tf.math.top_k(flat, min(spec.max_candidates, few * each))
    rows = pairs // each
    return scores, _take(places, rows), pairs - rows * each


def _decoded(offsets: Any, coding: BoxCoding, height: int, width: int, proposals: Any | None, places: Any) -> Any:
    """`cvserve.postproc.boxes.decode_boxes` of the chosen boxes, in the graph: float32 [B, K, 4]."""
    tf = import_tensorflow()
    if coding.kind == "deltas":
        reference = proposals if proposals is not None else tf.gather(anchors(coding, height, width), places)
        size = reference[..., 2:] - reference[..., :2]
        scaled = offsets * np.array(coding.variances, np.float32)
        centres = reference[..., :2] + size * 0.5 + scaled[..., :2] * size
        half = size * tf.exp(tf.minimum(scaled[..., 2:], MOST_LOG_SCALE)) * 0.5
        return tf.concat([centres - half, centres + half], axis=-1)
    points, sizes = (tf.gather(part, places) for part in cells(coding, height, width))
    if coding.kind == "distances":
        return tf.concat([points - offsets[..., :2] * sizes, points + offsets[..., 2:] * sizes], axis=-1)
    centres = points + offsets[..., :2] * sizes
    half = tf.square(offsets[..., 2:]) * np.array([width / 2, height / 2], np.float32)
    return tf.concat([centres - half, centres + half], axis=-1)


def _take(values: Any, indices: Any) -> Any:
    """Rows [B, K, ...] of values [B, N, ...] by int32 indices [B, K]."""
    return import_tensorflow().gather(values, indices, batch_dims=1)
