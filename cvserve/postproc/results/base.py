"""Defines the base of the results of all tasks."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol


class Result(Protocol):
    """Holds the result of any task for one image. task: the task's name."""

    task: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Returns the task's part of a row of `cvserve predict`, ready for JSON."""
