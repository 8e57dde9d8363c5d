"""Reads the answers of Classify."""

from __future__ import annotations

from typing import Any

from cvserve.client.task_result import TaskResult
from cvserve.postproc.results import ClassificationResult, ClassScore


def classification(response: Any) -> ClassificationResult:
    """Returns the typed result in a cvserve.v1.ClassifyResponse."""
    return ClassificationResult(tuple(ClassScore(item.label, item.index, item.score) for item in response.classes))


RESULT = TaskResult("classification", classification)
