"""Pictures of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

_LABELLED_CLASSES = 60


def draw_confusion(confusion: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draws a confusion matrix as a PNG: rows are true classes, colours the share of the row, numbers the pictures.

    Args:
        confusion: int [C, C]. With more than 60 classes labels and numbers are left out.
    """
    from matplotlib.figure import Figure

    count = len(names)
    labelled = count <= _LABELLED_CLASSES
    side = min(max(4.0, 0.45 * count + 2.0), 24.0) if labelled else 12.0
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="true")
    if labelled:
        axes.set_xticks(range(count), names, rotation=60 if count > 5 else 30, ha="right")
        axes.set_yticks(range(count), names)
        for row, column in zip(*np.nonzero(confusion), strict=True):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
