"""mask_rcnn: faster_rcnn, and a mask for each of its objects (He et al. 2017, arXiv 1703.06870)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from cvserve.artifact import BoxCoding, DetectionPostproc
from cvserve.models.backbones import load_backbone_weights
from cvserve.models.detection.faster_rcnn import POSITIVE_SHARE, two_stages
from cvserve.models.detection.mask_head import MaskHead, mask_loss, mask_targets
from cvserve.models.detection.roi_head import detector_postproc
from cvserve.models.detection.sampling import Sample
from cvserve.models.detection.suppression import SuppressedBoxes
from cvserve.models.layers.roi_align import RoIAlign
from cvserve.models.options import check_whole, fills_whole_network
from cvserve.models.registry import Built, ModelEntry, Paper, register

CELLS = 14
"""Cells per side of a region that masks are computed from; masks have twice as many per side."""

CANDIDATES = 300
"""Number of pairs of a box and a class that take part in the suppression."""

LEAST_SCORE = 0.001
"""Least score of a box that the graph returns: curves of precision and recall need low scores too."""


def mask_rcnn(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    objects: int = 50,
    mask_channels: int = 128,
    mask_depth: int = 4,
    **options: Any,
) -> Built:
    """Builds the network and its loss.

    Boxes are decoded and suppressed inside the graph: as in the paper, masks are computed for the final boxes alone.

    Args:
        num_classes, image_size, weights, options: of `two_stages`.
        objects: N, the most that are found in an image; the mask branch looks at so many boxes of every image, and
            takes most of the time. 100 in the paper.
        mask_channels, mask_depth: of the mask branch's convolutions; 256 and 4 in the paper.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_whole("mask_rcnn", objects=(objects, 1), mask_channels=(mask_channels, 4), mask_depth=(mask_depth, 1))
    stages = two_stages("mask_rcnn", num_classes=num_classes, image_size=image_size, weights=weights, **options)
    inside = detector_postproc().model_copy(
        update={"score_threshold": LEAST_SCORE, "max_candidates": CANDIDATES, "max_results": objects}
    )
    boxes, scores, classes = SuppressedBoxes(inside, image_size, dtype="float32", name="suppressed")(
        stages.outputs["proposals"], stages.outputs["class_logits"], stages.outputs["box_offsets"]
    )
    pool = RoIAlign((CELLS, CELLS), image_size, name="mask_pooling")
    head = MaskHead(num_classes, mask_channels, mask_depth, name="mask_head")
    logits = head(pool(stages.maps, boxes), classes)
    outputs = {
        "boxes": layers.Identity(dtype="float32", name="boxes")(boxes),
        "scores": layers.Identity(dtype="float32", name="scores")(scores),
        "classes": layers.Identity(dtype="int32", name="classes")(classes),
        "masks": layers.Activation("sigmoid", dtype="float32", name="masks")(logits),
    }
    network = keras.Model(stages.images, outputs, name="mask_rcnn")
    if fills_whole_network(weights):
        load_backbone_weights(network, str(weights))

    def loss(
        images: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, frames: tf.Tensor, grids: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        learned = stages.learn(images, boxes, labels)
        sample = _objects_alone(learned.sample)
        answers = head(pool(learned.features, sample.proposals), tf.maximum(sample.labels, 0), training=True)
        targets = mask_targets(sample, frames, grids, 2 * CELLS)
        return {**learned.losses, "mask": mask_loss(answers, targets, sample.positive)}

    return Built(network, instance_postproc(objects), loss)


def instance_postproc(objects: int) -> DetectionPostproc:
    """Returns the postprocessing of the network's outputs."""
    spec = detector_postproc()
    update = {"activation": "none", "boxes": BoxCoding(kind="boxes"), "max_results": min(spec.max_results, objects)}
    return spec.model_copy(update=update)


def _objects_alone(sample: Sample) -> Sample:
    """Returns the regions that can be objects, which come first: masks of background are not learned."""
    most = max(1, round(sample.labels.shape[1] * POSITIVE_SHARE))
    parts = ("proposals", "labels", "boxes", "objects", "used")
    return replace(sample, **{name: getattr(sample, name)[:, :most] for name in parts})


register(
    ModelEntry(
        "detection",
        "mask_rcnn",
        mask_rcnn,
        320,
        "faster_rcnn with a mask for each object",
        Paper("Mask R-CNN", "He et al.", 2017, "1703.06870"),
        parameters=16_821_168,
        masks=True,
    )
)
