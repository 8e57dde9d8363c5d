"""Computes how much a pixel of each class counts in a loss, from how frequent the classes are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cvserve.data.source import SegmentationSource
from cvserve.errors import ImageError, InvalidInput
from cvserve.training.segmentation_config import ClassWeights

_LOG_OFFSET = 1.02
"""The constant of ENet (section 5.2), with which weights are from 1 to 50."""


def class_weights(kind: ClassWeights, masks: Iterable[np.ndarray], classes: Sequence[str]) -> tuple[float, ...] | None:
    """Returns the weight of each class that the settings ask for.

    Args:
        kind: "none" returns None. "median_frequency": the median of all classes' frequencies divided by the class's
            own, where a class's frequency is its fraction of the labelled pixels of the images that contain it (Eigen &
            Fergus 2014, arXiv 1411.4734, section 6.2, and SegNet). "logarithm": 1 / log(1.02 + fraction), ENet's weaker
            weights (Paszke et al. 2016, arXiv 1606.02147), scaled to a mean of 1. Numbers are returned as they are.
        masks: uint8 [H, W] each, labels or `VOID`; they are read only where they are needed.
        classes: the names.

    Returns:
        A number for each class; 1 for a class that is in no mask.

    Raises:
        InvalidInput: a number of weights that is not the number of classes.

    Example:
        >>> masks = [np.array([[0, 0, 0, 1]], np.uint8)]
        >>> class_weights("median_frequency", masks, ("sky", "bird"))
        (0.6666666666666666, 2.0)
    """
    if kind == "none":
        return None
    if not isinstance(kind, str):
        if len(kind) != len(classes):
            raise InvalidInput(
                f"segmentation.class_weights has {len(kind)} numbers, but there are {len(classes)} classes"
            )
        return tuple(float(weight) for weight in kind)
    counts = np.array([np.bincount(mask.reshape(-1), minlength=256)[: len(classes)] for mask in masks], np.float64)
    counts = counts.reshape(-1, len(classes))
    occurs = counts.sum(axis=0) > 0
    weights = np.ones(len(classes))
    if not occurs.any():
        return tuple(weights.tolist())
    if kind == "logarithm":
        rare = 1 / np.log(_LOG_OFFSET + counts.sum(axis=0)[occurs] / counts.sum())
        weights[occurs] = rare / rare.mean()
    else:
        labelled = ((counts > 0) * counts.sum(axis=1, keepdims=True)).sum(axis=0)
        frequency = counts.sum(axis=0)[occurs] / labelled[occurs]
        weights[occurs] = np.median(frequency) / frequency
    return tuple(weights.tolist())


def masks_of(source: SegmentationSource) -> Iterator[np.ndarray]:
    """Yields the masks of a split that can be read; the pipeline reports the others."""
    for index in range(len(source)):
        try:
            yield source.mask(index)
        except ImageError:
            continue
