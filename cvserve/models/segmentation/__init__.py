"""Semantic segmentation networks. Importing this room registers them."""

from cvserve.models.segmentation.segmenter import Segmenter, create_segmenter, segmenter

__all__ = ["Segmenter", "create_segmenter", "segmenter"]
