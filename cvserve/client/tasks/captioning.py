"""Reads the answers of Caption."""

from __future__ import annotations

from typing import Any

from cvserve.client.task_result import TaskResult
from cvserve.postproc.results import CaptionResult, ScoredCaption


def captioning(response: Any) -> CaptionResult:
    """Returns the typed result in a cvserve.v1.CaptionResponse."""
    return CaptionResult(tuple(ScoredCaption(item.text, item.log_probability) for item in response.captions))


RESULT = TaskResult("caption", captioning)
