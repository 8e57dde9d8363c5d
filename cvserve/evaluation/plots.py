"""Draws plots of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvserve.evaluation.matching import Curve

_LABELLED_CLASSES = 60
_NAMED_CURVES = 10


def draw_confusion(confusion: np.ndarray, names: Sequence[str], path: Path, *, percent: bool = False) -> None:
    """Draws a confusion matrix as a PNG: rows are true classes, colours fractions of the row, numbers images.

    Args:
        confusion: int [C, C]. With more than 60 classes labels and numbers are left out.
        percent: writes the fractions in percent in place of the numbers, for matrices of pixels; those that round to 0
            are left out.
    """
    from matplotlib.figure import Figure

    count = len(names)
    labelled = count <= _LABELLED_CLASSES
    side = min(max(4.0, 0.45 * count + 2.0), 24.0) if labelled else 12.0
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    unit = ", numbers in percent" if percent else ""
    figure.colorbar(image, label=f"share of the true class{unit}", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="true")
    if labelled:
        axes.set_xticks(range(count), names, rotation=60 if count > 5 else 30, ha="right")
        axes.set_yticks(range(count), names)
        for row, column in zip(*np.nonzero(confusion), strict=True):
            color = "white" if share[row, column] > 0.5 else "black"
            number = round(100 * share[row, column]) if percent else confusion[row, column]
            axes.text(column, row, str(number or ""), ha="center", va="center", color=color, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def draw_precision_recall(curves: Sequence[Curve], path: Path) -> None:
    """Draws precision over recall at IoU 0.5 as a PNG: one line for each class with its area, and their mean.

    The 10 classes with the most objects are named, the others are thin grey lines; classes without objects are left
    out.
    """
    from matplotlib.figure import Figure

    shown = sorted((curve for curve in curves if curve.objects), key=lambda curve: -curve.objects)
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    recalls = np.linspace(0, 1, 101)
    for index, curve in enumerate(shown):
        steps = _at_recalls(curve, recalls)
        if index < _NAMED_CURVES:
            axes.plot(recalls, steps, linewidth=1.5, label=f"{curve.label} {curve.average_precision:.3f}")
        else:
            axes.plot(recalls, steps, linewidth=0.6, color="0.75", zorder=1)
    if shown:
        mean = np.mean([_at_recalls(curve, recalls) for curve in shown], axis=0)
        area = np.mean([curve.average_precision for curve in shown])
        axes.plot(recalls, mean, linewidth=2.5, color="black", label=f"mean of {len(shown)} classes {area:.3f}")
        axes.legend(title="area under the curve", loc="lower left")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="IoU 0.5")
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _at_recalls(curve: Curve, recalls: np.ndarray) -> np.ndarray:
    """Returns the envelope at these recalls; 0 beyond the end of the curve."""
    envelope = np.append(curve.envelope, 0.0)
    return np.asarray(envelope[np.searchsorted(curve.recall, recalls)])
