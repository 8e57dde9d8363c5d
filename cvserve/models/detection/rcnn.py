"""rcnn: classifies each given region, cut out and warped to one size (Girshick et al. 2014, arXiv 1311.2524)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from cvserve.artifact import PreprocSpec
from cvserve.errors import InvalidInput
from cvserve.models.backbones import backbone_features, load_backbone_weights
from cvserve.models.detection.anchors import RATIOS
from cvserve.models.detection.given_regions import GRID, check_regions, region_detector, region_inputs
from cvserve.models.detection.roi_head import detector_outputs, roi_head
from cvserve.models.layers.roi_align import RoIAlign
from cvserve.models.options import check_whole, fills_whole_network
from cvserve.models.registry import Built, ModelEntry, Paper, register

FILL = float(PreprocSpec(height=1, width=1).fill[0])
"""Gray value around the image: the same that letterboxing fills in."""


def rcnn(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    crop: int = 64,
    context: float = 0.07,
    proposals: str = GRID,
    count: int = 100,
    scales: Sequence[float] = (0.25, 0.5, 1.0),
    ratios: Sequence[float] = RATIOS,
    units: int = 256,
    sampled: int = 32,
) -> Built:
    """Builds the network and its loss.

    The paper's parts that were trained one after the other (fine-tuned classifier, linear SVMs, box regression) are one
    softmax over background and classes and one regression, as in Fast R-CNN, trained together.

    Args:
        image_size: (height, width).
        weights: "imagenet" (backbones of keras.applications), a file (a classifier's run, for example), or None.
        backbone, backbone_options: of `backbone_features`; the mean of its last map describes a region.
        crop: side of the square that regions are warped to; 227 in the paper. A multiple of 32.
        context: fraction of the crop, on each side, that is what surrounds the region; 16 of 227 in the paper.
        proposals, count, scales, ratios: as of `fast_rcnn`; each region costs a run of the backbone.
        units: of the two fully connected layers; 4096 in the paper.
        sampled: regions of an image to learn from in a step.

    Raises:
        InvalidInput: a size or option that it cannot have. MissingExtra: OpenCV's contributed modules are not there.
    """
    check_whole("rcnn", crop=(crop, 32), units=(units, 1))
    if crop % 32:
        raise InvalidInput(f"rcnn needs a crop that is a multiple of 32 pixels, not {crop}")
    if not isinstance(context, int | float) or not 0 <= context < 0.5:
        raise InvalidInput(f"rcnn needs a context from 0 to below 0.5, not {context!r}")
    check_regions("rcnn", proposals, count, scales, ratios, sampled, image_size)

    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    inputs, regions = region_inputs(images, proposals, count, scales, ratios)
    # Pixels around the fill, since beyond the image there are zeros.
    pixels = layers.Rescaling(1.0, offset=-FILL, dtype="float32", name="pixels")(images)
    crops = RoIAlign((crop, crop), image_size, dtype="float32", name="crops")
    describe = _describe(crop, backbone, weights, dict(backbone_options or {}))
    features = describe.output_shape[-1]
    head = roi_head((features,), num_classes, units)

    def answers_for(source: Any, boxes: Any, training: bool | None) -> Any:
        cut = crops(source, with_context(boxes, context))
        known = describe(ops.reshape(cut, (-1, crop, crop, 3)), training=training)
        return head(ops.reshape(known, (-1, boxes.shape[1], features)), training=training)

    network = keras.Model(inputs, detector_outputs(answers_for(pixels, regions, None), regions), name="rcnn")
    if fills_whole_network(weights):
        load_backbone_weights(network, str(weights))

    def look(source: list[tf.Tensor], boxes: tf.Tensor) -> dict[str, tf.Tensor]:
        answers: dict[str, tf.Tensor] = answers_for(source[0], boxes, True)
        return answers

    return region_detector(network, keras.Model(inputs, [regions, pixels], name="rcnn_training"), head, look, sampled)


def with_context(boxes: Any, share: float) -> Any:
    """Enlarges boxes [B, P, 4] about their centres, so that `share` of the new side is context on each side."""
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]) / (2 - 4 * share)
    return ops.concatenate([middle - half, middle + half], axis=-1)


def _describe(crop: int, backbone: str, weights: str | None, options: dict[str, Any]) -> keras.Model:
    """Builds the network from crops [N, crop, crop, 3], pixels minus `FILL`, to features [N, F]."""
    crops = keras.Input((crop, crop, 3), dtype="float32", name="crop")
    images = layers.Rescaling(1.0, offset=FILL, dtype="float32", name="crop_pixels")(crops)
    maps = backbone_features(images, backbone, weights=weights, **options)
    coarsest = maps[max(maps)]
    return keras.Model(crops, layers.GlobalAveragePooling2D(name="crop_mean")(coarsest), name="crop_features")


register(
    ModelEntry(
        "detection",
        "rcnn",
        rcnn,
        256,
        "classifies each given region, cut out of the image",
        Paper(
            "Rich Feature Hierarchies for Accurate Object Detection and Semantic Segmentation",
            "Girshick et al.",
            2014,
            "1311.2524",
        ),
        parameters=11_476_689,
    )
)
