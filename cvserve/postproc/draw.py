"""Results drawn onto their pictures."""

from __future__ import annotations

import cv2
import numpy as np

from cvserve.postproc.results import Result


def draw(image: np.ndarray, result: Result) -> np.ndarray:
    """A copy of the picture with the result written on it (first version)."""
    image = np.ascontiguousarray(image).copy()
    for row, item in enumerate(result.to_dict().get("classes", [])):
        font = cv2.FontFace("sans")
        cv2.putText(image, f"{item['label']} {item['score']:.0%}", (4, 20 + 20 * row), (255, 255, 255), font, 16)
    return image
