"""What a graph eats and answers, and what is done to an image before and after: the pieces of the manifest.

These are values: frozen, validated, serialisable. The code that acts on them lives in `preproc`, `postproc` and
`runtimes`, which all stand above this room.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, model_validator

from cvserve.artifact.base import Spec
from cvserve.artifact.decoding import Decoding
from cvserve.artifact.vocabulary import Vocabulary

Task = Literal["classification", "detection", "segmentation", "captioning"]
TASKS: tuple[Task, ...] = ("classification", "detection", "segmentation", "captioning")


class PreprocSpec(Spec):
    """The geometry between a decoded image and the graph's pixels: uint8 RGB [height, width, 3].

    resize:
        "exact"       the whole image is stretched to height x width.
        "short_side"  scaled, keeping its shape, until the short side is `short_side` pixels (or, if that is larger,
                      until height x width is covered), then the centre is cropped.
        "letterbox"   scaled, keeping its shape, until it fits into height x width, centred, the rest is `fill`.

    Shrinking always uses INTER_AREA (an antialiased mean); enlarging uses `interpolation`.
    """

    height: int = Field(gt=0, le=8192)
    width: int = Field(gt=0, le=8192)
    resize: Literal["exact", "short_side", "letterbox"] = "short_side"
    short_side: int | None = Field(default=None, gt=0, le=8192)
    interpolation: Literal["linear", "cubic", "nearest"] = "linear"
    fill: tuple[int, int, int] = (114, 114, 114)

    @model_validator(mode="after")
    def _check(self) -> PreprocSpec:
        if self.short_side is not None and self.resize != "short_side":
            raise ValueError(f"short_side is only used with resize 'short_side', not {self.resize!r}")
        if any(not 0 <= value <= 255 for value in self.fill):
            raise ValueError(f"fill must be three values from 0 to 255, not {self.fill}")
        return self


class Quantization(Spec):
    """real = (stored - zero_point) * scale, per tensor."""

    scale: float = Field(gt=0)
    zero_point: int


class InputSpec(Spec):
    """The graph's one input and how uint8 RGB pixels become it.

    value = (pixel * scale - mean) / std, per channel in `channels` order, then quantised if `quantization` is given,
    cast to `dtype`, and laid out as `layout`. The defaults are the contract of every model that cvserve exports:
    uint8 NHWC RGB, everything else inside the graph.
    """

    name: str = "images"
    dtype: Literal["uint8", "int8", "float32", "float16"] = "uint8"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    channels: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    quantization: Quantization | None = None

    @property
    def is_pixels(self) -> bool:
        """Whether the graph takes the uint8 RGB pixels [B, H, W, 3] as they are."""
        return (
            self.dtype == "uint8"
            and self.layout == "NHWC"
            and self.channels == "RGB"
            and self.quantization is None
            and self.scale == 1.0
            and not any(self.mean)
            and all(value == 1.0 for value in self.std)
        )


class OutputSpec(Spec):
    """One output of the graph.

    name: the tensor's name in the graph. role: what it means to `postproc` ("probabilities", "logits",
    "box_offsets", ...). shape: without the batch dimension, None where it varies.
    """

    name: str
    role: str
    dtype: str = "float32"
    shape: tuple[int | None, ...] = ()
    quantization: Quantization | None = None


class BoxLevel(Spec):
    """One grid of cells over the graph's input: rows x columns, row by row.

    anchors: (width, height) in pixels of the anchors centred on each cell, in the order of the graph's boxes; empty
    where boxes are told from the cell itself.
    """

    rows: int = Field(gt=0)
    columns: int = Field(gt=0)
    anchors: tuple[tuple[float, float], ...] = ()


class BoxCoding(Spec):
    """How the graph's `box_offsets` [B, A, 4] become boxes x1, y1, x2, y2 in pixels of its input.

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
            raise ValueError("boxes of kind 'boxes' are told from no levels")
        if self.kind == "deltas" and any(not level.anchors for level in self.levels):
            raise ValueError("boxes of kind 'deltas' need anchors on every level, or no levels at all")
        return self

    @property
    def boxes(self) -> int | None:
        """A, the number of boxes an image; None where the graph's proposals decide it."""
        if not self.levels:
            return None
        return sum(
            level.rows * level.columns * (len(level.anchors) if self.kind == "deltas" else self.boxes_per_cell)
            for level in self.levels
        )


class PostprocSpec(Spec):
    """Defaults of turning outputs into a result; a request may override them.

    activation: applied to the task's scores where the graph gives logits. Detection: "sigmoid" (a score for each
    class) or "softmax" (over background, which is first, and the classes); an output of role "objectness" [B, A] then
    multiplies them by its sigmoid.

    colours: of segmentation, the RGB in which each class is drawn, in label order; empty: the drawing chooses.

    vocabulary: of captioning, what the graph's token ids mean. decoding: how its sentences were searched; several of a
    image are put into the order that it says.

    boxes: of detection; an output of role "masks" [B, N, R, R] beside those of its kind "boxes" holds how likely each
    cell of each box, R x R of them, belongs to the object, 0 to 1. score_threshold: boxes with less are not given.
    iou_threshold: of two boxes of one class that overlap more, the better stays. max_candidates: boxes an image that
    take part in this. max_results: that are given.
    """

    top_k: int = Field(default=5, gt=0)
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    colors: tuple[tuple[int, int, int], ...] = Field(default=(), validation_alias=AliasChoices("colors", "colours"))
    vocabulary: Vocabulary | None = None
    decoding: Decoding | None = None
    boxes: BoxCoding | None = None
    score_threshold: float = Field(default=0.25, ge=0, le=1)
    iou_threshold: float = Field(default=0.6, gt=0, le=1)
    max_candidates: int = Field(default=1000, gt=0)
    max_results: int = Field(default=100, gt=0)
