"""Declares what a source of labelled images offers to the pipelines and metrics of each task.

Folders (`cvserve.data.readers`) and generated scenes (`cvserve.data.scenes`) are such sources; so is any object with
these methods.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from cvserve.data.objects import Objects
from cvserve.postproc.object_masks import ObjectMasks
from cvserve.preproc import ImageSource


class Source(Protocol):
    """Defines one split of images of any task. Indices run from 0 to len() - 1, always in the same order."""

    @property
    def split(self) -> str:
        """Returns the name of the split: "train", "val", "test" (or "all" of a folder without splits)."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Returns the names of the classes, in label order."""

    def __len__(self) -> int:
        """Returns the number of images."""

    def image(self, index: int) -> ImageSource:
        """Returns the image: a path, or uint8 RGB pixels [H, W, 3]."""

    def name(self, index: int) -> str:
        """Returns the name of the image in reports; unique in the split."""

    def describe(self) -> str:
        """Returns one line: where the split comes from, how many images, which classes."""


@runtime_checkable
class ChecksImages(Protocol):
    """Defines a source that can find an image that cannot be used before it is decoded."""

    def check(self, index: int) -> None:
        """Raises ImageError where the headers of the image's files show that it cannot be used."""


@runtime_checkable
class StatesSizes(Protocol):
    """Defines a source whose annotations state the sizes of the images."""

    def size(self, index: int) -> tuple[int, int] | None:
        """Returns (width, height) of the upright image in pixels, or None where the annotations do not state it."""


class Dataset(Source, Protocol):
    """Defines one split of a data set for classification."""

    def label(self, index: int) -> int:
        """Returns the image's class, an index into `classes`."""


class DetectionSource(Source, Protocol):
    """Defines one split of a data set for detection."""

    def objects(self, index: int) -> Objects:
        """Returns the objects in the image."""

    def image_id(self, index: int) -> int:
        """Returns the image's number in COCO files: the data set's own, or index + 1. Unique in the split."""

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Returns the number of each class in COCO files: the data set's own, or 1 to C."""


class InstanceSource(DetectionSource, Protocol):
    """Defines one split of a data set for instance segmentation: objects with masks."""

    def object_masks(self, index: int) -> ObjectMasks:
        """Returns the masks of `objects(index)`, in the same order, each of the image's size.

        Raises:
            ImageError: one of them cannot be used: the image is left out.
            InvalidInput: the data set has no masks.
        """


class SegmentationSource(Source, Protocol):
    """Defines one split of a data set for semantic segmentation."""

    def mask(self, index: int) -> np.ndarray:
        """Returns the label map, uint8 [H, W] of the upright original: indices into `classes`, or `VOID`.

        Raises:
            ImageError: it is missing, cannot be read, or is not of the image's size: the image is left out.
            InvalidInput: it has a label that is none of the classes.
        """

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """Returns the RGB of each class, in label order; empty where the data set has none."""


class CaptionSource(Source, Protocol):
    """Defines one split of a data set for captioning. Its `classes` are not used, and may be empty."""

    def captions(self, index: int) -> tuple[str, ...]:
        """Returns the reference captions of the image, at least one."""

    def image_id(self, index: int) -> int:
        """Returns the image's number in COCO files: the data set's own, or index + 1. Unique in the split."""
