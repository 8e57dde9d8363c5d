"""Draws many small images on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from cvserve.preproc import decode, resize_to

_CELL, _GAP = 160, 8


def draw_overview(files: Sequence[Path], path: Path, columns: int = 6) -> None:
    """Writes a PNG with the images in rows, each fitted into a square of 160 pixels."""
    rows = max(math.ceil(len(files) / columns), 1)
    sheet = np.full((rows * (_CELL + _GAP) + _GAP, columns * (_CELL + _GAP) + _GAP, 3), 255, np.uint8)
    for index, file in enumerate(files):
        image = decode(file)
        scale = _CELL / max(image.shape[:2])
        size = [max(round(side * scale), 1) for side in image.shape[:2]]
        image = resize_to(image, size[1], size[0], "linear")
        row, column = divmod(index, columns)
        top = _GAP + row * (_CELL + _GAP) + (_CELL - size[0]) // 2
        left = _GAP + column * (_CELL + _GAP) + (_CELL - size[1]) // 2
        sheet[top : top + size[0], left : left + size[1]] = image
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
