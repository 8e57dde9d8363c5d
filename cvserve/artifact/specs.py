"""Describes the input and outputs of a graph, and the preprocessing: parts of the manifest of every task.

These are values: frozen, validated, serialisable. The code that acts on them lives in `preproc`, `postproc` and
`runtimes`, which all import this package.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cvserve.artifact.base import Spec


class PreprocSpec(Spec):
    """Describes the geometry between a decoded image and the graph's pixels: uint8 RGB [height, width, 3].

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
    """Describes a quantised tensor: real = (stored - zero_point) * scale."""

    scale: float = Field(gt=0)
    zero_point: int


class InputSpec(Spec):
    """Describes the graph's one input and how uint8 RGB pixels become it.

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
        """Returns whether the graph takes the uint8 RGB pixels [B, H, W, 3] as they are."""
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
    """Describes one output of the graph.

    name: the tensor's name in the graph. role: what it means to `postproc` ("probabilities", "logits",
    "box_offsets", ...). shape: without the batch dimension, None where it varies.
    """

    name: str
    role: str
    dtype: str = "float32"
    shape: tuple[int | None, ...] = ()
    quantization: Quantization | None = None
