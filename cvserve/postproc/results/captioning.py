"""Sentences about an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np


@dataclass(frozen=True)
class ScoredCaption:
    """Holds a sentence about an image. log_probability: natural logarithm, 0 at most, of all its tokens together."""

    text: str
    log_probability: float


@dataclass(frozen=True, eq=False)
class Attention:
    """Holds where a network looked at each word of a sentence.

    words: N of them. maps: float32 [N, rows, columns], shares of the image that sum to 1 a word. box: x1, y1, x2, y2
    of what the maps cover, in pixels of the upright original; with padding it reaches beyond the image.
    """

    words: tuple[str, ...]
    maps: np.ndarray
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class CaptionResult:
    """Holds the sentences about an image, best first; at least one.

    attention: of the best sentence, from networks that have it; None in results from a server.
    """

    captions: tuple[ScoredCaption, ...]
    attention: Attention | None = field(default=None, compare=False, repr=False)
    task: ClassVar[str] = "captioning"

    @property
    def best(self) -> ScoredCaption:
        """Returns the best sentence."""
        return self.captions[0]

    def to_dict(self) -> dict[str, Any]:
        """Returns `{"captions": [{"text", "log_probability"}, ...]}`."""
        return {
            "captions": [
                {"text": item.text, "log_probability": round(item.log_probability, 6)} for item in self.captions
            ]
        }
