"""Scores models: one metric a task, and `evaluate`, which scores a run directory or an artifact."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cvserve.evaluation.classification import ClassificationReport, ClassScores, classification_report
    from cvserve.evaluation.detection import DetectionReport, detection_report
    from cvserve.evaluation.metrics import METRICS
    from cvserve.evaluation.scoring import Evaluation, evaluate
    from cvserve.evaluation.segmentation import SegmentationReport, confusion_matrix, segmentation_report
    from cvserve.evaluation.task_metric import Metric, Report, TaskMetric

__all__ = [
    "METRICS",
    "ClassScores",
    "ClassificationReport",
    "DetectionReport",
    "Evaluation",
    "Metric",
    "Report",
    "SegmentationReport",
    "TaskMetric",
    "classification_report",
    "confusion_matrix",
    "detection_report",
    "evaluate",
    "segmentation_report",
]

_MODULES = {
    "classification": ("ClassScores", "ClassificationReport", "classification_report"),
    "detection": ("DetectionReport", "detection_report"),
    "metrics": ("METRICS",),
    "scoring": ("Evaluation", "evaluate"),
    "segmentation": ("SegmentationReport", "confusion_matrix", "segmentation_report"),
    "task_metric": ("Metric", "Report", "TaskMetric"),
}
"""Each is imported when one of its names is first used."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"cvserve.evaluation.{module}"), name)
    raise AttributeError(f"module 'cvserve.evaluation' has no attribute {name!r}")
