"""retinanet: anchors on a feature pyramid, and a focal loss (Lin et al. 2017, arXiv 1708.02002)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from cvserve.artifact import BoxCoding, DetectionPostproc
from cvserve.errors import InvalidInput
from cvserve.models.backbones import backbone_features, load_backbone_weights, pick_strides
from cvserve.models.detection.anchors import OCTAVES, RATIOS, levels_of, pyramid_anchors
from cvserve.models.detection.coding import decode_deltas, encode_deltas
from cvserve.models.detection.feature_pyramid import Norm, feature_pyramid
from cvserve.models.detection.heads import shared_output, shared_tower
from cvserve.models.detection.losses import mean_over, prior_bias, sigmoid_focal_loss, smooth_l1
from cvserve.models.detection.matching import IGNORED, match_anchors
from cvserve.models.detection.overlaps import complete_iou
from cvserve.models.options import (
    check_choice,
    check_positive,
    check_sides,
    check_whole,
    fills_whole_network,
)
from cvserve.models.registry import Built, ModelEntry, Paper, register
from cvserve.postproc.boxes import anchors as anchors_of

BoxLoss = Literal["smooth_l1", "ciou"]

# Section 4 and 5 of the paper: IoU of positives and of background, the first guess, beta of smooth L1 (Detectron's).
HIGH, LOW = 0.5, 0.4
PRIOR = 0.01
BETA = 1 / 9


def retinanet(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    channels: int = 256,
    depth: int = 4,
    levels: Sequence[int] = (3, 7),
    norm: Norm = "batch",
    anchor_scale: float = 4.0,
    anchor_ratios: Sequence[float] = RATIOS,
    box_loss: BoxLoss = "smooth_l1",
    force_best: bool = True,
) -> Built:
    """Builds the network and its loss.

    Args:
        image_size: (height, width), multiples of 32.
        weights: "imagenet" (backbones of keras.applications), a file, or None.
        backbone, backbone_options: of `backbone_features`.
        channels, depth: of the two towers of convolutions that all levels share; 256 and 4 in the paper.
        levels: finest and coarsest of the pyramid, as powers of two: (3, 7) has strides 8, 16, 32, 64, 128.
        norm: of pyramid and towers: "batch" (statistics of each level apart), "group", or "none" as in the paper, which
            begins with a trained backbone.
        anchor_scale: side of the smallest square anchor of a level, in strides. Objects whose sides are a level's
            strides times anchor_scale to 2 anchor_scale are learned there.
        anchor_ratios: height to width of the anchors, each in three sizes.
        box_loss: "smooth_l1" on the offsets, as in the paper, or "ciou" on the boxes.
        force_best: objects that no anchor overlaps by half are learned by their best one (the paper leaves them out).

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    _check(image_size, channels, depth, levels, norm, anchor_scale, anchor_ratios, box_loss)
    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    stages = backbone_features(images, backbone, weights=weights, **(backbone_options or {}))
    finest, coarsest = (2**level for level in levels)
    used = pick_strides(stages, [stride for stride in (4, 8, 16, 32) if finest <= stride <= coarsest], backbone)
    pyramid = feature_pyramid(used, channels=channels, coarsest=coarsest, norm=norm)

    a_cell = len(OCTAVES) * len(anchor_ratios)
    towers = {
        name: shared_tower(pyramid, channels=channels, depth=depth, norm=norm, name=name)
        for name in ("boxes", "classes")
    }
    outputs = {
        "box_offsets": shared_output(towers["boxes"], a_cell, 4, bias="zeros", name="box_offsets"),
        "class_logits": shared_output(
            towers["classes"], a_cell, num_classes, bias=prior_bias(PRIOR), name="class_logits"
        ),
    }
    network = keras.Model(images, outputs, name="retinanet")
    if fills_whole_network(weights):
        load_backbone_weights(network, str(weights))

    sizes = [pyramid_anchors(anchor_scale * stride, ratios=anchor_ratios) for stride in pyramid]
    coding = BoxCoding(kind="deltas", levels=levels_of(list(pyramid.values()), sizes))
    reference = anchors_of(coding, *image_size)

    def loss(batch: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = network(batch, training=True)
        return retinanet_loss(
            answers["class_logits"],
            answers["box_offsets"],
            tf.constant(reference),
            boxes,
            labels,
            box_loss=box_loss,
            force_best=force_best,
        )

    return Built(network, DetectionPostproc(activation="sigmoid", boxes=coding, iou_threshold=0.5), loss)


def _check(
    image_size: tuple[int, int],
    channels: int,
    depth: int,
    levels: Sequence[int],
    norm: str,
    anchor_scale: float,
    anchor_ratios: Sequence[float],
    box_loss: str,
) -> None:
    check_sides("retinanet", image_size, 32)
    check_whole("retinanet", channels=(channels, 4), depth=(depth, 0))
    check_choice("retinanet", norm=(norm, get_args(Norm)), box_loss=(box_loss, get_args(BoxLoss)))
    check_positive("retinanet", anchor_scale=anchor_scale, anchor_ratios=anchor_ratios)
    fits = isinstance(levels, Sequence) and len(levels) == 2 and all(isinstance(level, int) for level in levels)
    if not fits or not 2 <= levels[0] <= min(5, levels[1]) or levels[1] > 8:
        raise InvalidInput(
            f"retinanet needs levels as (finest, coarsest), finest from 2 to 5, coarsest up to 8, not {levels!r}"
        )


def retinanet_loss(
    class_logits: tf.Tensor,
    box_offsets: tf.Tensor,
    anchors: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    *,
    box_loss: BoxLoss = "smooth_l1",
    force_best: bool = True,
) -> dict[str, tf.Tensor]:
    """Returns the focal loss of all anchors that are not ignored, and the box loss of the positive ones.

    Both are divided by the positive anchors of the batch (of each image in the paper, which has one on a GPU or two).

    Args:
        class_logits: float32 [B, A, C]. box_offsets: float32 [B, A, 4]. anchors: float32 [A, 4], pixels.
        boxes: float32 [B, M, 4], pixels. labels: int32 [B, M], -1 for padding.

    Returns:
        {"box", "class"}.
    """
    matches = match_anchors(anchors, boxes, labels, high=HIGH, low=LOW, force_best=force_best)
    positive = matches.positive
    count = tf.reduce_sum(tf.cast(positive, tf.float32))
    wanted = tf.one_hot(matches.labels, tf.shape(class_logits)[-1])  # rows of zeros for background
    focal = tf.reduce_sum(sigmoid_focal_loss(class_logits, wanted), axis=-1)
    if box_loss == "ciou":
        box_losses = 1.0 - complete_iou(decode_deltas(box_offsets, anchors), matches.boxes)
    else:
        box_losses = tf.reduce_sum(smooth_l1(box_offsets, encode_deltas(matches.boxes, anchors), BETA), axis=-1)
    return {
        "box": mean_over(box_losses, positive, count),
        "class": mean_over(focal, tf.not_equal(matches.labels, IGNORED), count),
    }


register(
    ModelEntry(
        "detection",
        "retinanet",
        retinanet,
        320,
        "anchors on a feature pyramid, focal loss",
        Paper("Focal Loss for Dense Object Detection", "Lin et al.", 2017, "1708.02002"),
        parameters=21_430_580,
    )
)
