"""ssd: default boxes on maps that grow coarser, softmax, and the hardest negatives.

Liu et al. 2015, "SSD: Single Shot MultiBox Detector", arXiv 1512.02325.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from cvserve.artifact import BoxCoding, DetectionPostproc
from cvserve.errors import InvalidInput
from cvserve.models.backbones import backbone_features, load_backbone_weights, pick_strides
from cvserve.models.backbones.vgg import conv_maybe_norm_relu
from cvserve.models.detection.anchors import levels_of, ssd_anchors
from cvserve.models.detection.coding import Variances, encode_deltas
from cvserve.models.detection.heads import joined
from cvserve.models.detection.losses import hardest_negatives, mean_over, smooth_l1
from cvserve.models.detection.matching import match_anchors
from cvserve.models.options import check_positive, check_whole, fills_whole_network
from cvserve.models.registry import Built, ModelEntry, Paper, register
from cvserve.postproc.boxes import anchors as anchors_of

MAPS = 6
LEAST_SIDE = 64
# From the authors' code: how offsets are scaled, which IoU is a match, negatives for each positive, suppression.
VARIANCES: Variances = (0.1, 0.1, 0.2, 0.2)
MATCH = 0.5
NEGATIVES = 3.0
SUPPRESSION = 0.45
LEAST_NEGATIVES = 3
"""Negatives of an image without objects. The paper learns nothing from such images."""
L2_SCALE = 20.0
"""Initial L2 norm to which each pixel of conv4_3 is scaled (section 3.1)."""


def ssd(
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    backbone: str = "vgg16",
    backbone_options: Mapping[str, Any] | None = None,
    extra_channels: int | None = None,
    normalized: bool = True,
    smallest_scale: float = 0.1,
    scales: Sequence[float] = (0.2, 0.9),
) -> Built:
    """Builds the network and its loss.

    The boxes lie on maps of stride 8 and 16 (VGG16's conv4_3 and fc7) or, of other backbones, 8, 16 and 32, and on ever
    coarser ones, six in all, or fewer where a map has one pixel; at 300 x 300 they are 38, 19, 10, 5, 3 and 1 wide and
    have 8732 boxes.

    Args:
        image_size: (height, width), at least 64 each; 300 and 512 in the paper.
        weights: "imagenet" (vgg16 of width 64, and backbones of keras.applications), a file, or None.
        backbone, backbone_options: of `backbone_features`. A width of 16 makes vgg16 sixteen times lighter.
        extra_channels: of the maps behind the backbone's; None takes the paper's 512, narrower where vgg16 is.
        normalized: batch normalisation in vgg16 and in the layers behind the backbone, without which the network only
            trains from imagenet weights.
        smallest_scale, scales: of `ssd_anchors`, of the geometric mean of the image's sides.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    options = dict(backbone_options or {})
    if min(image_size) < LEAST_SIDE:
        raise InvalidInput(f"ssd takes images of at least {LEAST_SIDE} x {LEAST_SIDE} pixels, not {image_size}")
    check_positive("ssd", smallest_scale=smallest_scale, scales=scales)
    if not isinstance(scales, Sequence) or len(scales) != 2 or scales[0] >= scales[1]:
        raise InvalidInput(f"ssd needs scales as (least, greatest), not {scales!r}")
    if backbone == "vgg16":
        options.setdefault("normalized", normalized)

    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    stages = backbone_features(images, backbone, weights=weights, **options)
    if extra_channels is None:
        extra_channels = 8 * options.get("width", 64) if backbone == "vgg16" else 512
    check_whole("ssd", extra_channels=(extra_channels, 8))
    if backbone == "vgg16":
        conv4, conv5 = pick_strides(stages, (8, 16), backbone).values()
        maps = _vgg_maps(conv4, conv5, 2 * extra_channels, normalized)
    else:
        maps = list(pick_strides(stages, (8, 16, 32), backbone).values())
    maps = _with_coarser_maps(maps, extra_channels, normalized)

    side = float(image_size[0] * image_size[1]) ** 0.5
    sizes = ssd_anchors(side, len(maps), smallest_scale, (scales[0], scales[1]))
    outputs = {
        name: joined(
            [
                layers.Conv2D(
                    len(boxes) * numbers,
                    3,
                    padding="same",
                    kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                    name=f"{name}_{index}_conv",
                )(features)
                for index, (features, boxes) in enumerate(zip(maps, sizes, strict=True))
            ],
            numbers,
            name=name,
        )
        for name, numbers in (("box_offsets", 4), ("class_logits", num_classes + 1))
    }
    network = keras.Model(images, outputs, name="ssd")
    if fills_whole_network(weights):
        load_backbone_weights(network, str(weights))

    coding = BoxCoding(kind="deltas", levels=levels_of(maps, sizes), variances=VARIANCES)
    reference = anchors_of(coding, *image_size)

    def loss(batch: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        answers = network(batch, training=True)
        return ssd_loss(answers["class_logits"], answers["box_offsets"], tf.constant(reference), boxes, labels)

    spec = DetectionPostproc(activation="softmax", boxes=coding, iou_threshold=SUPPRESSION, max_results=200)
    return Built(network, spec, loss)


def _vgg_maps(
    conv4: keras.KerasTensor, conv5: keras.KerasTensor, filters: int, normalized: bool
) -> list[keras.KerasTensor]:
    """Returns conv4_3, normalised, and fc7: fc6 and fc7 are convolutions over conv5_3, the first dilated."""
    even = layers.UnitNormalization(axis=-1, name="conv4_3_unit")(conv4)
    # A factor for each channel, as a layer that every format knows.
    even = layers.DepthwiseConv2D(
        1, use_bias=False, depthwise_initializer=keras.initializers.Constant(L2_SCALE), name="conv4_3_scale"
    )(even)
    features = layers.MaxPooling2D(3, strides=1, padding="same", name="pool5")(conv5)
    features = conv_maybe_norm_relu(features, filters, 3, dilation=6, normalized=normalized, name="fc6")
    return [even, conv_maybe_norm_relu(features, filters, 1, normalized=normalized, name="fc7")]


def _with_coarser_maps(maps: list[keras.KerasTensor], channels: int, normalized: bool) -> list[keras.KerasTensor]:
    """Adds maps until there are six, or one of a single pixel: halved, and from 5 pixels on by a convolution without
    padding (5, 3, 1), as in the paper. The first has `channels`, the others half of them."""
    maps = list(maps)
    filters = channels
    while len(maps) < MAPS and maps[-1].shape[1] * maps[-1].shape[2] > 1:
        name = f"extra_{len(maps)}"
        halve = not 3 <= min(maps[-1].shape[1:3]) <= 5
        features = conv_maybe_norm_relu(maps[-1], filters // 2, 1, normalized=normalized, name=f"{name}_1")
        maps.append(
            conv_maybe_norm_relu(
                features,
                filters,
                3,
                stride=2 if halve else 1,
                padding="same" if halve else "valid",
                normalized=normalized,
                name=f"{name}_2",
            )
        )
        filters = max(channels // 2, 8)
    return maps


def ssd_loss(
    class_logits: tf.Tensor, box_offsets: tf.Tensor, anchors: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns cross-entropy of the matched boxes and the hardest others, smooth L1 of the matched (equation 1).

    Args:
        class_logits: float32 [B, A, C + 1], background first. box_offsets: float32 [B, A, 4].
        anchors: float32 [A, 4], pixels. boxes: float32 [B, M, 4], pixels. labels: int32 [B, M], -1 for padding.

    Returns:
        {"box", "class"}, both divided by the matched boxes of the batch.
    """
    matches = match_anchors(anchors, boxes, labels, high=MATCH, low=MATCH, force_best=True)
    positive, background = matches.positive, matches.background
    count = tf.reduce_sum(tf.cast(positive, tf.float32))
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(matches.labels + 1, 0), class_logits)
    hard = hardest_negatives(tf.stop_gradient(entropy), positive, background, ratio=NEGATIVES, least=LEAST_NEGATIVES)
    box_losses = tf.reduce_sum(smooth_l1(box_offsets, encode_deltas(matches.boxes, anchors, VARIANCES)), axis=-1)
    return {
        "box": mean_over(box_losses, positive, count),
        "class": mean_over(entropy, positive | hard, count),
    }


register(
    ModelEntry(
        "detection",
        "ssd",
        ssd,
        300,
        "default boxes on six maps, softmax, hard negative mining",
        Paper("SSD: Single Shot MultiBox Detector", "Liu et al.", 2015, "1512.02325"),
        parameters=34_321_590,
    )
)
