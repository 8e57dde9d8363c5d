"""What a pixel of each class counts in a loss, from how common the classes are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from cvserve.data.source import SegmentationSource
from cvserve.errors import ImageError, InvalidInput
from cvserve.training.config import ClassWeights

_LOG_OFFSET = 1.02
"""ENet's (section 5.2), which keeps weights from 1 to 50."""


def class_weights(kind: ClassWeights, masks: Iterable[np.ndarray], classes: Sequence[str]) -> tuple[float, ...] | None:
    """The weights that a configuration asks for.

    Args:
        kind: "none" for None; "median_frequency": the median of the classes' frequencies through the class's own, where
            a class's frequency is its share of the labelled pixels of the images that have it (Eigen & Fergus 2014,
            arXiv 1411.4734, section 6.2, and SegNet); "logarithm": 1 / log(1.02 + share), ENet's milder ones (Paszke et
            al. 2016, arXiv 1606.02147), so scaled that their mean is 1; or numbers, which are taken as they are.
        masks: uint8 [H, W] each, labels or `VOID`; looked at only where needed.
        classes: the names.

    Returns:
        A number for each class; 1 for one that is in no mask.

    Raises:
        InvalidInput: numbers that do not fit the classes.
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
    seen = counts.sum(axis=0) > 0
    weights = np.ones(len(classes))
    if not seen.any():
        return tuple(weights.tolist())
    if kind == "logarithm":
        found = 1 / np.log(_LOG_OFFSET + counts.sum(axis=0)[seen] / counts.sum())
        weights[seen] = found / found.mean()
    else:
        labelled = ((counts > 0) * counts.sum(axis=1, keepdims=True)).sum(axis=0)
        frequency = counts.sum(axis=0)[seen] / labelled[seen]
        weights[seen] = np.median(frequency) / frequency
    return tuple(weights.tolist())


def masks_of(source: SegmentationSource) -> Iterator[np.ndarray]:
    """All masks of a split that can be read; the pipeline says which cannot."""
    for index in range(len(source)):
        try:
            yield source.mask(index)
        except ImageError:
            continue
