"""Scores, per task, and the one function that scores a run directory or an artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cvserve.evaluation.classification import ClassificationReport, ClassScores, classification_report

if TYPE_CHECKING:
    from cvserve.evaluation.scoring import Evaluation, evaluate

__all__ = ["ClassScores", "ClassificationReport", "Evaluation", "classification_report", "evaluate"]


def __getattr__(name: str) -> Any:
    if name in ("Evaluation", "evaluate"):
        from cvserve.evaluation import scoring

        return getattr(scoring, name)
    raise AttributeError(f"module 'cvserve.evaluation' has no attribute {name!r}")
