"""Defines the result of classification: the classes of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class ClassScore:
    """Holds one class of an image. score: 0 to 1."""

    label: str
    index: int
    score: float


@dataclass(frozen=True)
class ClassificationResult:
    """Holds the best classes of an image, best first; equal scores in index order."""

    classes: tuple[ClassScore, ...]
    task: ClassVar[str] = "classification"

    @property
    def best(self) -> ClassScore:
        """Returns the best class."""
        return self.classes[0]

    def to_dict(self) -> dict[str, Any]:
        """Returns `{"classes": [{"label", "index", "score"}, ...]}`."""
        return {
            "classes": [
                {"label": item.label, "index": item.index, "score": round(item.score, 6)} for item in self.classes
            ]
        }
