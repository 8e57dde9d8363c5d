"""Builds the second stage of Fast and Faster R-CNN: class and refined box of each region."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf
from keras import layers

from cvserve.artifact import BoxCoding, DetectionPostproc
from cvserve.models.detection.coding import Variances, encode_deltas
from cvserve.models.detection.losses import mean_over, smooth_l1
from cvserve.models.detection.sampling import Sample
from cvserve.models.layers.roi_align import RoIAlign
from cvserve.models.layers.roi_pool import RoIPool

Pooling = Literal["align", "pool"]

VARIANCES: Variances = (0.1, 0.1, 0.2, 0.2)
"""Scales of the offsets, which are small: the network learns ten and five times as much (Detectron: 10, 10, 5, 5)."""

# exp(-50) of a score is none; but not so low that half precision could not hold it.
_NEVER = -50.0


def pooling_layer(pooling: Pooling, cells: int, image_size: tuple[int, int], *, name: str) -> keras.layers.Layer:
    """Makes a `RoIAlign` or `RoIPool` layer to cells x cells."""
    if pooling == "align":
        return RoIAlign((cells, cells), image_size, name=name)
    return RoIPool((cells, cells), image_size, name=name)


def roi_head(region_shape: tuple[int, ...], num_classes: int, units: int, depth: int = 2) -> keras.Model:
    """Builds fully connected layers over each region, with two outputs.

    Args:
        region_shape: of one region, (rows, columns, channels) or (features,).
        units, depth: of the fully connected layers; 1024 and 2 in the FPN paper (4096 and 2 in Fast R-CNN).

    Returns:
        A model from [B, P, *region_shape], for any P, to {"class_logits": float32 [B, P, num_classes + 1], background
        first, "box_offsets": float32 [B, P, num_classes, 4]}.
    """
    regions = keras.Input((None, *region_shape), name="regions")
    features = regions
    if len(region_shape) > 1:
        size = 1
        for extent in region_shape:
            size *= extent
        features = layers.Reshape((-1, size), name="head_flat")(features)
    for index in range(depth):
        features = layers.Dense(units, kernel_initializer="he_normal", name=f"head_{index + 1}")(features)
        features = layers.ReLU(name=f"head_{index + 1}_relu")(features)
    # Standard deviations of Fast R-CNN, section 2.3.
    logits = layers.Dense(
        num_classes + 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), name="head_classes"
    )(features)
    offsets = layers.Dense(
        num_classes * 4, kernel_initializer=keras.initializers.RandomNormal(stddev=0.001), name="head_boxes"
    )(features)
    return keras.Model(
        regions,
        {
            "class_logits": layers.Activation("linear", dtype="float32", name="head_class_logits")(logits),
            "box_offsets": layers.Reshape((-1, num_classes, 4), dtype="float32", name="head_box_offsets")(offsets),
        },
        name="roi_head",
    )


@keras.saving.register_keras_serializable(package="cvserve")
class PaddingIsBackground(keras.layers.Layer):
    """Makes sure that proposals without area, which are padding, are never classified as an object.

    Call arguments:
        class_logits: float32 [B, P, C + 1], background first. proposals: float32 [B, P, 4].

    Returns:
        float32 [B, P, C + 1].
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)

    def call(self, class_logits: tf.Tensor, proposals: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        solid = tf.logical_and(proposals[..., 2] > proposals[..., 0], proposals[..., 3] > proposals[..., 1])
        is_padding = 1.0 - tf.cast(solid, tf.float32)[..., None]
        nothing = tf.concat([tf.zeros_like(class_logits[..., :1]), tf.zeros_like(class_logits[..., 1:]) + _NEVER], -1)
        return class_logits * (1.0 - is_padding) + nothing * is_padding


def detector_outputs(
    answers: dict[str, keras.KerasTensor], proposals: keras.KerasTensor
) -> dict[str, keras.KerasTensor]:
    """Names the outputs of a two-stage network as `postproc` expects: float32 `proposals` [B, P, 4],
    `class_logits` [B, P, C + 1], `box_offsets` [B, P, C, 4]."""
    return {
        "proposals": layers.Identity(dtype="float32", name="proposals")(proposals),
        "class_logits": PaddingIsBackground(dtype="float32", name="class_logits")(answers["class_logits"], proposals),
        "box_offsets": layers.Identity(dtype="float32", name="box_offsets")(answers["box_offsets"]),
    }


def detector_postproc() -> DetectionPostproc:
    """Returns the postprocessing of those outputs."""
    return DetectionPostproc(
        activation="softmax", boxes=BoxCoding(kind="deltas", variances=VARIANCES), iou_threshold=0.5
    )


def roi_head_loss(class_logits: tf.Tensor, box_offsets: tf.Tensor, sample: Sample) -> dict[str, tf.Tensor]:
    """Returns cross-entropy of all regions, smooth L1 of the object's class (Girshick 2015, equation 1).

    Args:
        class_logits: float32 [B, S, C + 1], background first. box_offsets: float32 [B, S, C, 4].
        sample: of S regions.

    Returns:
        {"head_class", "head_box"}: both divided by the regions of the batch, as in the paper.
    """
    count = tf.reduce_sum(tf.cast(sample.used, tf.float32))
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(sample.labels + 1, 0), class_logits)
    own = tf.gather(box_offsets, tf.maximum(sample.labels, 0), batch_dims=2)
    wanted = encode_deltas(sample.boxes, sample.proposals, VARIANCES)
    box_losses = tf.reduce_sum(smooth_l1(own, wanted), axis=-1)
    return {
        "head_class": mean_over(entropy, sample.used, count),
        "head_box": mean_over(box_losses, sample.positive, count),
    }
