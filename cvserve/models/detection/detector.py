"""What every detection network comes with: how its outputs become boxes, and what it is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from cvserve.artifact import DetectionPostproc
from cvserve.errors import InvalidInput
from cvserve.models.registry import ModelEntry, find, register, sized

DetectionLoss = Callable[..., dict[str, tf.Tensor]]
"""Of (images, boxes, labels): the parts of the loss by name, scalars of float32, whose sum is minimised.

images: uint8 [B, H, W, 3]. boxes: float32 [B, M, 4] x1, y1, x2, y2 in pixels of the images. labels: int32 [B, M], -1
where an image has fewer than M objects. The loss runs the network with training=True.

A network with masks learns from two arrays more, (images, boxes, labels, frames, grids), see
`cvserve.data.augment.shapes`:
frames float32 [B, M, 4] and grids uint8 [B, M, R, R].
"""


@dataclass(frozen=True)
class Detector:
    """A detection network with its loss.

    network: uint8 images [B, H, W, 3] to a dict of raw outputs, float32: `box_offsets` [B, A, 4] (two-stage networks
    may have [B, A, C, 4], offsets for each class) and `class_logits` [B, A, C] (or C + 1 with background first), and
    where `postproc` says so `objectness` [B, A] or `proposals` [B, A, 4] (see `DetectionPostproc`). Networks
    with masks suppress their boxes themselves: `boxes` [B, N, 4], `scores` [B, N], `classes` int32 [B, N] and `masks`
    [B, N, R, R].
    """

    network: keras.Model
    postproc: DetectionPostproc
    loss: DetectionLoss


_builders: dict[str, Callable[..., Detector]] = {}
_with_masks: set[str] = set()


def register_detector(
    name: str, builder: Callable[..., Detector], image_size: int, summary: str, *, masks: bool = False
) -> None:
    """Adds a detection network.

    Args:
        builder: called with num_classes, image_size (height, width), weights and the network's own options.
        masks: whether its objects have masks, from which it learns.
    """
    _builders[name] = builder
    if masks:
        _with_masks.add(name)

    def network(**options: Any) -> keras.Model:
        return builder(**options).network

    register(ModelEntry("detection", name, network, image_size, summary))


def learns_masks(name: str) -> bool:
    """Whether a network's loss takes masks, too.

    Raises:
        InvalidInput: an unknown name.
    """
    return find("detection", name).name in _with_masks


def create_detector(
    name: str,
    *,
    num_classes: int,
    image_size: int | tuple[int, int] | None = None,
    weights: str | None = None,
    **options: Any,
) -> Detector:
    """Builds a detection network together with its loss.

    Args:
        num_classes: without background.
        image_size, weights, options: as of `create_model`.

    Raises:
        InvalidInput: an unknown name, option or size, or weights that do not fit.
    """
    entry = find("detection", name)
    if num_classes < 1:
        raise InvalidInput(f"a detection model needs at least one class, not {num_classes}")
    return sized(
        entry, _builders[name], num_classes=num_classes, image_size=image_size, weights=weights, options=options
    )
