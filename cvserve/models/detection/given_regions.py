"""Provides the regions of Fast R-CNN and R-CNN, which do not propose any themselves.

A served graph has one input, `images`, since users would easily send regions in the wrong pixels. By default the
regions are therefore made in the graph: a fixed grid of windows, which every format supports. The papers' methods need
Python: OpenCV finds the regions of "selective_search" and "edge_boxes" in the pixels, in training and evaluation; such
a network cannot be exported, and the export reports this. "given" makes a network of two inputs, [images, proposals],
for a user's own regions and training loop.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cvserve.artifact import DetectionPostproc
from cvserve.errors import InvalidInput
from cvserve.models.detection.roi_head import detector_postproc, roi_head_loss
from cvserve.models.detection.sampling import sample_proposals, seed_from
from cvserve.models.options import check_choice, check_positive, check_whole
from cvserve.models.registry import Built
from cvserve.preproc.regions import METHODS, find_regions

GRID, GIVEN = "grid", "given"
SOURCES = (GRID, *METHODS, GIVEN)
POSITIVE_SHARE = 0.25
"""Share of objects among the sampled regions (Fast R-CNN, section 2.3; R-CNN, section 2.3)."""
OVERLAP = 0.5
_REMEMBERED = 4096


def windows(image_size: Sequence[int], scales: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """Returns a grid of windows inside the image, each overlapping its neighbour by half.

    Args:
        image_size: (height, width), pixels.
        scales: sides of the square windows, as fractions of the image's shorter side, up to 1.
        ratios: height to width of the windows; the area stays, unless the image is too small.

    Returns:
        float32 [P, 4] x1, y1, x2, y2.
    """
    height, width = image_size
    found = []
    for scale in scales:
        for ratio in ratios:
            side = scale * min(height, width)
            high, wide = min(side * math.sqrt(ratio), height), min(side / math.sqrt(ratio), width)
            y, x = (
                np.linspace(0, extent - size, math.ceil((extent - size) / (OVERLAP * size)) + 1)
                for extent, size in ((height, high), (width, wide))
            )
            top, left = (grid.reshape(-1) for grid in np.meshgrid(y, x, indexing="ij"))
            found.append(np.stack([left, top, left + wide, top + high], axis=-1))
    # A ratio that the image cuts down to another one's windows adds none.
    boxes = np.concatenate(found).astype(np.float32)
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)]


@keras.saving.register_keras_serializable(package="cvserve")
class GridRegions(keras.layers.Layer):
    """Gives every image the same `windows`.

    Call arguments:
        images: [B, H, W, 3].

    Returns:
        float32 [B, P, 4].
    """

    def __init__(self, image_size: Sequence[int], scales: Sequence[float], ratios: Sequence[float], **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.image_size, self.scales, self.ratios = tuple(image_size), tuple(scales), tuple(ratios)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        boxes = windows(self.image_size, self.scales, self.ratios)
        return tf.tile(boxes[np.newaxis], tf.stack([tf.shape(images)[0], 1, 1]))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {
            **super().get_config(),
            "image_size": self.image_size,
            "scales": self.scales,
            "ratios": self.ratios,
        }


@keras.saving.register_keras_serializable(package="cvserve")
class FoundRegions(keras.layers.Layer):
    """Finds regions with OpenCV (see `cvserve.preproc.regions`), with a cache by the image's pixels.

    Args:
        method: of `find_regions`. count: P.

    Call arguments:
        images: uint8 [B, H, W, 3].

    Returns:
        float32 [B, P, 4], zeros where fewer were found.
    """

    def __init__(self, method: str, count: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.method, self.count = method, count
        # Read by the export: a graph holds no Python.
        self.not_exportable = (
            f"regions of {method} are found by OpenCV, which no exported graph holds; train with proposals: grid, or "
            "use faster_rcnn"
        )
        self._remembered: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Computes the outputs that the class describes."""
        regions = tf.numpy_function(self._find, [images], tf.float32, stateful=False)
        return tf.ensure_shape(regions, (None, self.count, 4))

    def compute_output_spec(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the shapes and dtypes of the outputs."""
        return keras.KerasTensor((images.shape[0], self.count, 4), "float32")

    def _find(self, images: np.ndarray) -> np.ndarray:
        answer = np.zeros((len(images), self.count, 4), np.float32)
        for index, pixels in enumerate(images):
            key = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
            regions = self._remembered.pop(key, None)
            if regions is None:
                regions = find_regions(pixels, self.method, self.count)
            self._remembered[key] = regions
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
            answer[index, : len(regions)] = regions
        return answer

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "method": self.method, "count": self.count}


def region_inputs(
    images: keras.KerasTensor, proposals: str, count: int, scales: Sequence[float], ratios: Sequence[float]
) -> tuple[Any, keras.KerasTensor]:
    """Returns the network's inputs, and its regions float32 [B, P, 4].

    Args:
        proposals: one of `SOURCES`. count: P, of all but the grid. scales, ratios: of the grid, see `windows`.
    """
    if proposals == GRID:
        size = images.shape[1:3]
        return images, GridRegions(size, scales, ratios, dtype="float32", name="regions")(images)
    if proposals == GIVEN:
        region_input = keras.Input((count, 4), dtype="float32", name="given_proposals")
        return [images, region_input], region_input
    return images, FoundRegions(proposals, count, dtype="float32", name="regions")(images)


def check_regions(
    model: str, proposals: Any, count: Any, scales: Any, ratios: Any, sampled: Any, image_size: Sequence[int]
) -> None:
    """Checks the options that both networks have; raises InvalidInput."""
    check_choice(model, proposals=(proposals, SOURCES))
    check_whole(model, count=(count, 1), sampled=(sampled, 4))
    check_positive(model, scales=scales, ratios=ratios)
    if max(scales) > 1:
        raise InvalidInput(f"{model} needs scales up to 1, the whole of the shorter side, not {max(scales)}")
    if proposals in METHODS:
        # Fails at once, and not in the first step of a training, if OpenCV lacks the method.
        find_regions(np.zeros((32, 32, 3), np.uint8), proposals, 1)
    there = len(windows(image_size, scales, ratios)) if proposals == GRID else count
    if sampled > there:
        raise InvalidInput(f"{model} cannot sample {sampled} of {there} regions; lower sampled, or have more regions")


def region_detector(
    network: keras.Model,
    inner: keras.Model,
    head: keras.Model,
    look: Callable[[list[tf.Tensor], tf.Tensor], dict[str, tf.Tensor]],
    sampled: int,
) -> Built:
    """Puts a loss beside the network: cross-entropy and boxes of sampled regions.

    Args:
        inner: the network's inputs to [regions, *what they are cut from].
        head: the `roi_head`; draws of regions change with its weights.
        look: of what regions are cut from, and boxes [B, S, 4], to the head's answers, in training.
        sampled: S.
    """

    def loss(images: Any, boxes: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Computes the parts. images: the network's inputs, [images, proposals] where proposals are given."""
        regions, *source = inner(images, training=True)
        # Each object has one region to learn from, however coarse the grid is.
        sample = sample_proposals(
            regions,
            boxes,
            labels,
            seed_from(head.trainable_variables[0]),
            count=sampled,
            positive_share=POSITIVE_SHARE,
            force_best=True,
        )
        answers = look(source, sample.proposals)
        return roi_head_loss(answers["class_logits"], answers["box_offsets"], sample)

    spec: DetectionPostproc = detector_postproc()
    return Built(network, spec, loss)
