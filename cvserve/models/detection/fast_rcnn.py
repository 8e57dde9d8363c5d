"""fast_rcnn: classifies given regions of one shared feature map (Girshick 2015, arXiv 1504.08083)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import keras
import tensorflow as tf

from cvserve.models.backbones import load_backbone_weights
from cvserve.models.detection.anchors import RATIOS
from cvserve.models.detection.faster_rcnn import CELLS, check_levels, region_maps
from cvserve.models.detection.feature_pyramid import Norm
from cvserve.models.detection.given_regions import GRID, check_regions, region_detector, region_inputs
from cvserve.models.detection.roi_head import Pooling, detector_outputs, pooling_layer, roi_head
from cvserve.models.options import check_choice, check_sides, check_whole, fills_whole_network
from cvserve.models.registry import Built, ModelEntry, Paper, register


def fast_rcnn(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    levels: Sequence[int] = (4, 4),
    channels: int = 128,
    norm: Norm = "batch",
    pooling: Pooling = "pool",
    proposals: str = GRID,
    count: int = 300,
    scales: Sequence[float] = (0.125, 0.25, 0.5, 1.0),
    ratios: Sequence[float] = RATIOS,
    units: int = 512,
    sampled: int = 64,
) -> Built:
    """Builds the network and its loss.

    Args:
        image_size: (height, width), multiples of 32.
        weights: "imagenet" (backbones of keras.applications), a file, or None.
        backbone, backbone_options: of `backbone_features`.
        levels: finest and coarsest map that regions are cut from, as powers of two: (4, 4) is the one map of the paper,
            (3, 5) a pyramid.
        channels, norm: of the pyramid, where there is one.
        pooling: "pool" (`RoIPool`, the paper's) or "align" (`RoIAlign`).
        proposals: where regions come from: "grid", "selective_search", "edge_boxes" or "given"; what each is for stands
            in `cvserve.models.detection.given_regions`. With "given" the network, and the images of the loss, are
            [images, proposals float32 [B, count, 4] x1, y1, x2, y2 in pixels of the images, zeros where there are
            fewer].
        count: regions of an image, of all but the grid; the paper has 2000.
        scales, ratios: of the windows of the grid.
        units: of the two fully connected layers; 4096 in the paper.
        sampled: regions of an image to learn from in a step; 64 in the paper.

    Raises:
        InvalidInput: a size or option that it cannot have. MissingExtra: OpenCV's contributed modules are not there.
    """
    check_sides("fast_rcnn", image_size, 32)
    check_whole("fast_rcnn", channels=(channels, 4), units=(units, 1))
    check_choice("fast_rcnn", norm=(norm, get_args(Norm)), pooling=(pooling, get_args(Pooling)))
    check_levels("fast_rcnn", levels, coarsest=5)
    check_regions("fast_rcnn", proposals, count, scales, ratios, sampled, image_size)

    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    inputs, regions = region_inputs(images, proposals, count, scales, ratios)
    maps = list(region_maps(images, backbone, backbone_options, weights, levels, channels, norm).values())
    pool = pooling_layer(pooling, CELLS, image_size, name="roi_pooling")
    cut = pool(maps, regions)
    head = roi_head(tuple(cut.shape[2:]), num_classes, units)
    network = keras.Model(inputs, detector_outputs(head(cut), regions), name="fast_rcnn")
    if fills_whole_network(weights):
        load_backbone_weights(network, str(weights))

    def look(features: list[tf.Tensor], boxes: tf.Tensor) -> dict[str, tf.Tensor]:
        answers: dict[str, tf.Tensor] = head(pool(features, boxes), training=True)
        return answers

    inner = keras.Model(inputs, [regions, *maps], name="fast_rcnn_training")
    return region_detector(network, inner, head, look, sampled)


register(
    ModelEntry(
        "detection",
        "fast_rcnn",
        fast_rcnn,
        320,
        "classifies given regions of one feature map",
        Paper("Fast R-CNN", "Girshick", 2015, "1504.08083"),
        parameters=9_674_193,
    )
)
