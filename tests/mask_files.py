"""Folders of images and masks for tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("sky", "road", "car")
COLORS = np.array([(60, 120, 240), (120, 120, 120), (220, 30, 30)], np.uint8)
VOID_COLOR = (0, 0, 0)


def random_labels(height: int, width: int, seed: int, *, void: bool = True) -> np.ndarray:
    """uint8 [height, width] of blobs of the CLASSES, and of 255."""
    cells = np.random.default_rng(seed).integers(0, 4 if void else 3, (4, 5), np.uint8)
    labels = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)
    labels[labels == 3] = 255
    return labels


def painted(labels: np.ndarray) -> np.ndarray:
    """uint8 RGB [H, W, 3] that shows the labels: the colour of each class, black for void."""
    palette = np.zeros((256, 3), np.uint8)
    palette[:3] = COLORS
    return palette[labels]


def write_pair(image: Path, mask: Path, labels: np.ndarray) -> None:
    """Writes a painted image and its mask, void as value 3 ("Unlabelled")."""
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), painted(labels)[..., ::-1])
    cv2.imwrite(str(mask), np.where(labels == 255, 3, labels).astype(np.uint8))


def write_camvid(root: Path, counts: dict[str, int], size: tuple[int, int] = (48, 64)) -> Path:
    """{side}/images/*.png with {side}/masks/*.png and classes.txt."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("sky\nroad\ncar\nUnlabelled\n")
    for side, count in counts.items():
        for number in range(count):
            labels = random_labels(*size, seed=1000 * len(side) + number)
            write_pair(root / side / "images" / f"{number}.png", root / side / "masks" / f"{number}.png", labels)
    return root
