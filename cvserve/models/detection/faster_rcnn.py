"""faster_rcnn: one network proposes regions, a second one classifies them (Ren et al. 2015, arXiv 1506.01497)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import keras
import tensorflow as tf

from cvserve.artifact import BoxCoding
from cvserve.errors import InvalidInput
from cvserve.models.backbones import Features, backbone_features, load_backbone_weights, pick_strides
from cvserve.models.detection.anchors import RATIOS, levels_of, pyramid_anchors
from cvserve.models.detection.feature_pyramid import Norm, feature_pyramid
from cvserve.models.detection.region_proposals import Proposals, proposal_head, proposal_loss
from cvserve.models.detection.roi_head import (
    Pooling,
    detector_outputs,
    detector_postproc,
    pooling_layer,
    roi_head,
    roi_head_loss,
)
from cvserve.models.detection.sampling import Sample, sample_proposals, seed_from
from cvserve.models.options import (
    check_choice,
    check_positive,
    check_sides,
    check_whole,
    fills_whole_network,
)
from cvserve.models.registry import Built, ModelEntry, Paper, register
from cvserve.postproc.boxes import anchors as anchors_of

POSITIVE_SHARE = 0.25
"""Share of objects among the sampled regions (Fast R-CNN, section 2.3)."""
CELLS = 7


@dataclass(frozen=True)
class Learned:
    """Holds the results of a training step.

    losses: by name. sample: the regions of this step. features: the maps that regions are cut from."""

    losses: dict[str, tf.Tensor]
    sample: Sample
    features: list[tf.Tensor]


@dataclass(frozen=True)
class TwoStages:
    """Holds both stages of `faster_rcnn`, which `mask_rcnn` extends.

    outputs: see `detector_outputs`. maps: that regions are cut from, finest first. learn: of (images, boxes, labels),
    see `DetectionLoss`; it runs everything with training=True.
    """

    images: keras.KerasTensor
    outputs: dict[str, keras.KerasTensor]
    maps: list[keras.KerasTensor]
    learn: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], Learned]


def faster_rcnn(*, weights: str | None = None, **options: Any) -> Built:
    """Builds the network and its loss.

    Args:
        weights, options: of `two_stages`.
    """
    stages = two_stages("faster_rcnn", weights=weights, **options)
    network = keras.Model(stages.images, stages.outputs, name="faster_rcnn")
    if fills_whole_network(weights):
        load_backbone_weights(network, str(weights))

    def loss(batch: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        return stages.learn(batch, boxes, labels).losses

    return Built(network, detector_postproc(), loss)


def two_stages(
    model: str,
    *,
    num_classes: int,
    image_size: tuple[int, int],
    weights: str | None = None,
    backbone: str = "resnet18",
    backbone_options: Mapping[str, Any] | None = None,
    levels: Sequence[int] = (3, 6),
    channels: int = 128,
    norm: Norm = "batch",
    pooling: Pooling = "align",
    anchor_scales: Sequence[float] | None = None,
    anchor_ratios: Sequence[float] = RATIOS,
    candidates: int = 500,
    proposals: int = 100,
    units: int = 512,
    sampled: int = 64,
) -> TwoStages:
    """Builds the stages.

    Args:
        model: what errors call the network.
        image_size: (height, width), multiples of 32.
        weights: "imagenet" (backbones of keras.applications), a file, or None.
        backbone, backbone_options: of `backbone_features`.
        levels: finest and coarsest, as powers of two: (3, 6) is a pyramid of strides 8, 16, 32 and 64, of which the
            last only proposes; (4, 4) is the one map of stride 16 of the paper, without a pyramid.
        channels: of the pyramid and of the proposal network; 256 in the papers.
        norm: of the pyramid: "batch", "group" or "none".
        pooling: "align" (`RoIAlign`) or "pool" (`RoIPool`, the paper's).
        anchor_scales: sides of the square anchors of a level, in strides; None takes 4 for a pyramid, and 2, 4, 8 and
            16 for a single map (the paper has 8, 16 and 32, for images of 600 pixels and more).
        anchor_ratios: height to width of the anchors.
        candidates: anchors that take part in suppression. proposals: P, what is left for the second stage.
        units: of its two fully connected layers.
        sampled: proposals of an image that it learns from in a step, a quarter of them objects.

    Raises:
        InvalidInput: a size or option that it cannot have.
    """
    check_sides(model, image_size, 32)
    check_whole(model, channels=(channels, 4), candidates=(candidates, 1), units=(units, 1))
    check_whole(model, proposals=(proposals, 1), sampled=(sampled, 4))
    check_choice(model, norm=(norm, get_args(Norm)), pooling=(pooling, get_args(Pooling)))
    check_levels(model, levels)
    scales = anchor_scales or ((4.0,) if levels[0] < levels[1] else (2.0, 4.0, 8.0, 16.0))
    check_positive(model, anchor_scales=scales, anchor_ratios=anchor_ratios)
    if sampled > proposals:
        raise InvalidInput(f"{model} cannot sample {sampled} of {proposals} proposals; raise proposals")

    images = keras.Input((*image_size, 3), dtype="uint8", name="images")
    maps = region_maps(images, backbone, backbone_options, weights, levels, channels, norm)
    sizes = [pyramid_anchors(stride, scales, anchor_ratios) for stride in maps]
    logits, offsets = proposal_head(maps, len(sizes[0]), channels)
    coding = BoxCoding(kind="deltas", levels=levels_of(list(maps.values()), sizes))
    regions = Proposals(coding.levels, image_size, candidates, proposals, dtype="float32", name="rpn_proposals")(
        logits, offsets
    )

    pooled_maps = [features for stride, features in maps.items() if stride <= 32]
    pool = pooling_layer(pooling, CELLS, image_size, name="roi_pooling")
    cut = pool(pooled_maps, regions)
    head = roi_head(tuple(cut.shape[2:]), num_classes, units)
    outputs = detector_outputs(head(cut), regions)

    inner = keras.Model(images, [logits, offsets, regions, *pooled_maps], name=f"{model}_training")
    anchors = anchors_of(coding, *image_size)

    def learn(batch: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor) -> Learned:
        rpn_logits, rpn_offsets, proposed, *features = inner(batch, training=True)
        seed = seed_from(rpn_logits)
        sample = sample_proposals(proposed, boxes, labels, seed, count=sampled, positive_share=POSITIVE_SHARE)
        answers = head(pool(features, sample.proposals), training=True)
        losses = {
            **proposal_loss(rpn_logits, rpn_offsets, tf.constant(anchors), boxes, labels, seed),
            **roi_head_loss(answers["class_logits"], answers["box_offsets"], sample),
        }
        return Learned(losses, sample, features)

    return TwoStages(images, outputs, pooled_maps, learn)


def region_maps(
    images: keras.KerasTensor,
    backbone: str,
    backbone_options: Mapping[str, Any] | None,
    weights: str | None,
    levels: Sequence[int],
    channels: int,
    norm: Norm,
) -> Features:
    """Builds the maps that regions are proposed on: a pyramid, or the backbone's map where one level is asked for.

    Returns:
        Stride to map, finest first.
    """
    stages = backbone_features(images, backbone, weights=weights, **(backbone_options or {}))
    finest, coarsest = (2**level for level in levels)
    used = pick_strides(stages, [stride for stride in (4, 8, 16, 32) if finest <= stride <= coarsest], backbone)
    if finest == coarsest:
        return used
    return feature_pyramid(used, channels=channels, coarsest=coarsest, norm=norm)


def check_levels(model: str, levels: Any, coarsest: int = 7) -> None:
    """Checks (finest, coarsest): the finest from 2 to 5, the coarsest not finer."""
    fits = isinstance(levels, Sequence) and len(levels) == 2 and all(isinstance(level, int) for level in levels)
    if not fits or not 2 <= levels[0] <= min(5, levels[1]) or levels[1] > coarsest:
        raise InvalidInput(
            f"{model} needs levels as (finest, coarsest), finest from 2 to 5, coarsest up to {coarsest}, not {levels!r}"
        )


register(
    ModelEntry(
        "detection",
        "faster_rcnn",
        faster_rcnn,
        320,
        "two stages: proposals, then a class and box of each",
        Paper(
            "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks",
            "Ren et al.",
            2015,
            "1506.01497",
        ),
        parameters=16_154_848,
    )
)
