"""The captions of an image, as data sets for captioning know them."""

from __future__ import annotations

from typing import Protocol

from cvserve.data.source import Source


class CaptionSource(Source, Protocol):
    """One split of a data set for captioning. `classes` say nothing of it, and may be empty."""

    def captions(self, index: int) -> tuple[str, ...]:
        """The true sentences about the image, as people wrote them; at least one."""

    def image_id(self, index: int) -> int:
        """The image's number in COCO files: the data set's own, or index + 1. Unique in the split."""
