"""Scores, per task, and the one function that scores a run directory or an artifact."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cvserve.evaluation.classification import ClassificationReport, ClassScores, classification_report

if TYPE_CHECKING:
    from cvserve.evaluation.detection import DetectionReport, detection_report
    from cvserve.evaluation.scoring import Evaluation, evaluate
    from cvserve.evaluation.segmentation import SegmentationReport, confusion_matrix, segmentation_report

__all__ = [
    "ClassScores",
    "ClassificationReport",
    "DetectionReport",
    "Evaluation",
    "SegmentationReport",
    "classification_report",
    "confusion_matrix",
    "detection_report",
    "evaluate",
    "segmentation_report",
]

_AT_FIRST_USE = {
    "DetectionReport": "cvserve.evaluation.detection",
    "detection_report": "cvserve.evaluation.detection",
    "Evaluation": "cvserve.evaluation.scoring",
    "evaluate": "cvserve.evaluation.scoring",
    "SegmentationReport": "cvserve.evaluation.segmentation",
    "confusion_matrix": "cvserve.evaluation.segmentation",
    "segmentation_report": "cvserve.evaluation.segmentation",
}


def __getattr__(name: str) -> Any:
    if name in _AT_FIRST_USE:
        return getattr(importlib.import_module(_AT_FIRST_USE[name]), name)
    raise AttributeError(f"module 'cvserve.evaluation' has no attribute {name!r}")
