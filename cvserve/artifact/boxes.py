"""Describes how a detection graph's outputs become boxes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cvserve.artifact.base import Spec


class BoxLevel(Spec):
    """Describes a grid of cells over the graph's input: rows x columns, row by row.

    anchors: (width, height) in pixels of the anchors centred on each cell, in the order of the graph's boxes; empty
    where boxes are relative to the cell itself.
    """

    rows: int = Field(gt=0)
    columns: int = Field(gt=0)
    anchors: tuple[tuple[float, float], ...] = ()


class BoxCoding(Spec):
    """Describes how the graph's `box_offsets` [B, A, 4] become boxes x1, y1, x2, y2 in pixels of its input.

    kind:
        "deltas"     (tx, ty, tw, th) to a reference box of centre (cx, cy) and size (w, h):
                     x = cx + tx * variances[0] * w, width = w * exp(tw * variances[2]), and so for y and the height
                     (Girshick et al. 2014, appendix C). The reference boxes are the anchors of `levels`, or the graph's
                     own output of role "proposals" [B, A, 4] where there are no levels.
        "distances"  (left, top, right, bottom) from the centre of the cell to the sides, in cells (FCOS, YOLOv8).
        "grid"       (tx, ty, tw, th): centre = corner of the cell + (tx, ty) cells, width = tw ** 2 * the input's
                     width, height = th ** 2 * the input's height (YOLOv1).
        "boxes"      the graph decodes and suppresses itself: its outputs are of roles boxes [B, N, 4] x1, y1, x2, y2 in
                     pixels of its input, scores [B, N], 0 to 1, best first, and classes [B, N]; a score of 0 is none.

    levels: the grids one after the other make up A. A cell of a level is input width / columns wide.
    boxes_per_cell: of "distances" and "grid"; the boxes of one cell follow each other.
    """

    kind: Literal["deltas", "distances", "grid", "boxes"]
    levels: tuple[BoxLevel, ...] = ()
    boxes_per_cell: int = Field(default=1, gt=0)
    variances: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _check(self) -> BoxCoding:
        if self.kind in ("distances", "grid") and not self.levels:
            raise ValueError(f"boxes of kind {self.kind!r} need levels")
        if self.kind == "boxes" and self.levels:
            raise ValueError("boxes of kind 'boxes' have no levels")
        if self.kind == "deltas" and any(not level.anchors for level in self.levels):
            raise ValueError("boxes of kind 'deltas' need anchors on every level, or no levels at all")
        return self

    @property
    def boxes(self) -> int | None:
        """Returns A, the number of boxes an image, or None where the graph's proposals decide it."""
        if not self.levels:
            return None
        return sum(
            level.rows * level.columns * (len(level.anchors) if self.kind == "deltas" else self.boxes_per_cell)
            for level in self.levels
        )
