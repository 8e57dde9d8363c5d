"""What a model says of a picture, as typed values in the coordinates of the original picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


class Result(Protocol):
    """Any task's result."""

    task: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The task's part of a row of `cvserve predict`, ready for JSON."""


@dataclass(frozen=True)
class ClassScore:
    """One class of a picture. score: 0 to 1."""

    label: str
    index: int
    score: float


@dataclass(frozen=True)
class ClassificationResult:
    """The best classes of a picture, best first; equal scores in index order."""

    classes: tuple[ClassScore, ...]
    task: ClassVar[str] = "classification"

    @property
    def best(self) -> ClassScore:
        return self.classes[0]

    def to_dict(self) -> dict[str, Any]:
        """`{"classes": [{"label", "index", "score"}, ...]}`"""
        return {
            "classes": [
                {"label": item.label, "index": item.index, "score": round(item.score, 6)} for item in self.classes
            ]
        }
