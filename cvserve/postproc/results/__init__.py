"""Defines the typed results, in the coordinates of the original image. One module a task."""

from cvserve.postproc.results.base import Result
from cvserve.postproc.results.captioning import Attention, CaptionResult, ScoredCaption
from cvserve.postproc.results.classification import ClassificationResult, ClassScore
from cvserve.postproc.results.detection import Detection, DetectionResult
from cvserve.postproc.results.segmentation import (
    ClassArea,
    EncodedSegmentation,
    SegmentationResult,
    encode_segmentation,
)

__all__ = [
    "Attention",
    "CaptionResult",
    "ClassArea",
    "ClassScore",
    "ClassificationResult",
    "Detection",
    "DetectionResult",
    "EncodedSegmentation",
    "Result",
    "ScoredCaption",
    "SegmentationResult",
    "encode_segmentation",
]
