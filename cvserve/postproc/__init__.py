"""Turns raw tensors into typed results, and draws results onto images. Without TensorFlow.

The client needs the results alone, so OpenCV is loaded at the first use of `draw`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvserve.postproc.contract import Contract, NetworkContract
from cvserve.postproc.decode import DECODERS, DEFAULT_OPTIONS, Options, decode_outputs
from cvserve.postproc.decoders.classification import class_scores, decode_classification
from cvserve.postproc.mask_formats import MASK_FORMATS
from cvserve.postproc.object_masks import ObjectMasks
from cvserve.postproc.results import (
    Attention,
    CaptionResult,
    ClassArea,
    ClassificationResult,
    ClassScore,
    Detection,
    DetectionResult,
    EncodedSegmentation,
    Result,
    ScoredCaption,
    SegmentationResult,
    encode_segmentation,
)

if TYPE_CHECKING:
    from cvserve.postproc.drawing import draw

__all__ = [
    "DECODERS",
    "DEFAULT_OPTIONS",
    "MASK_FORMATS",
    "Attention",
    "CaptionResult",
    "ClassArea",
    "ClassScore",
    "ClassificationResult",
    "Contract",
    "Detection",
    "DetectionResult",
    "EncodedSegmentation",
    "NetworkContract",
    "ObjectMasks",
    "Options",
    "Result",
    "ScoredCaption",
    "SegmentationResult",
    "class_scores",
    "decode_classification",
    "decode_outputs",
    "draw",
    "encode_segmentation",
]


def __getattr__(name: str) -> Any:
    if name == "draw":
        from cvserve.postproc.drawing import draw

        return draw
    raise AttributeError(f"module 'cvserve.postproc' has no attribute {name!r}")
