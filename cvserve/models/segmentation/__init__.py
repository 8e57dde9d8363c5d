"""Semantic segmentation networks. Importing this room registers them."""

from cvserve.models.segmentation import (  # noqa: F401  (register themselves)
    deconvnet,
    deeplab,
    dilated,
    fcn,
    segnet,
    unet,
)
from cvserve.models.segmentation.context_module import context_module
from cvserve.models.segmentation.segmenter import Segmenter, create_segmenter, segmenter

__all__ = ["Segmenter", "context_module", "create_segmenter", "segmenter"]
