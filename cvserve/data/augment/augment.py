"""Crops, flips and recolours uint8 pixels at random, before the network. NumPy and OpenCV only."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from pydantic import Field, field_validator

from cvserve.artifact.specs import PreprocSpec, Spec
from cvserve.preproc import resize, resize_to

# Rec. 601 luma, as in JPEG and in the YIQ space of the hue rotation.
_LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_RGB = np.linalg.inv(_YIQ)


class Augmentation(Spec):
    """Sets how training images vary. The default suits photos; `Augmentation.none()` shows them as they are served.

    flip: probability of mirroring left and right; true means 0.5.
    crop_scale: least and greatest fraction of the image's area that a crop keeps; None crops as serving does.
    crop_aspect: least and greatest width-to-height ratio of a crop, relative to an undistorted one.
    brightness, contrast, saturation: strength s; a factor from 1 - s to 1 + s is drawn. 0 is off.
    hue: strength in turns; an angle from -hue to +hue turns is drawn, 0.5 reaches every hue. 0 is off.

    The rest is for detection and segmentation only, which do not use the two crops:
    scale: least and greatest factor of an image's size, relative to serving. An image that is larger than the network's
    input is cut off at random sides, but never all objects (or labelled pixels); a smaller one is put anywhere in it.
    translate: the most that an image is moved in addition, as a fraction of the input's width and height.
    vertical_flip, half_turn, quarter_turn: probabilities; quarter turns go either way.
    mosaic: for detection, probability of four images on one canvas; there is none in the last `plain_share` of the
    epochs, which show images more as they will be served.
    least_visible: for detection, the fraction of a box's area that must stay visible, or the box is dropped.
    """

    flip: float = Field(default=0.5, ge=0, le=1)
    crop_scale: tuple[float, float] | None = (0.3, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = Field(default=0.2, ge=0, le=1)
    contrast: float = Field(default=0.2, ge=0, le=1)
    saturation: float = Field(default=0.2, ge=0, le=1)
    hue: float = Field(default=0.0, ge=0, le=0.5)
    scale: tuple[float, float] = (0.6, 1.4)
    translate: float = Field(default=0.1, ge=0, le=0.5)
    vertical_flip: float = Field(default=0.0, ge=0, le=1)
    half_turn: float = Field(default=0.0, ge=0, le=1)
    quarter_turn: float = Field(default=0.0, ge=0, le=1)
    mosaic: float = Field(default=0.5, ge=0, le=1)
    plain_share: float = Field(default=0.15, ge=0, le=1)
    least_visible: float = Field(default=0.25, ge=0, le=1)

    @field_validator("flip", "vertical_flip", "half_turn", "quarter_turn", "mosaic", mode="before")
    @classmethod
    def _flip_as_probability(cls, value: Any) -> Any:
        return 0.5 * value if isinstance(value, bool) else value

    @field_validator("brightness", "contrast", "saturation", "hue", mode="before")
    @classmethod
    def _null_is_off(cls, value: Any) -> Any:
        return 0.0 if value is None else value

    @field_validator("crop_scale")
    @classmethod
    def _crop_scale_is_a_range(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 < value[0] <= value[1] <= 1:
            raise ValueError(f"it must be two fractions of the area, 0 < least <= greatest <= 1, not {list(value)}")
        return value

    @field_validator("scale")
    @classmethod
    def _scale_is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.1 <= value[0] <= value[1] <= 10:
            raise ValueError(f"it must be two factors, 0.1 <= least <= greatest <= 10, not {list(value)}")
        return value

    @field_validator("crop_aspect")
    @classmethod
    def _crop_aspect_is_a_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.1 <= value[0] <= value[1] <= 10:
            raise ValueError(f"it must be two ratios, 0.1 <= least <= greatest <= 10, not {list(value)}")
        return value

    @classmethod
    def none(cls) -> Augmentation:
        """Returns the augmentation that leaves every pixel as `preproc.preprocess` gives it."""
        return cls(
            flip=0.0,
            crop_scale=None,
            brightness=0.0,
            contrast=0.0,
            saturation=0.0,
            hue=0.0,
            scale=(1.0, 1.0),
            translate=0.0,
            mosaic=0.0,
        )

    @property
    def moves(self) -> bool:
        """Returns whether images are ever moved, turned, scaled or put together in detection and segmentation."""
        chances = (self.flip, self.vertical_flip, self.half_turn, self.quarter_turn, self.translate, self.mosaic)
        return max(chances) > 0 or self.scale != (1.0, 1.0)

    @property
    def has_color(self) -> bool:
        """Returns whether colours vary."""
        return max(self.brightness, self.contrast, self.saturation, self.hue) > 0


def augment(image: np.ndarray, spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Turns a decoded image into training pixels: crop, resize, flip, colour.

    Args:
        image: uint8 RGB [h, w, 3], upright, of any size.
        rng: makes all random choices; the same state gives the same pixels.

    Returns:
        uint8 RGB [spec.height, spec.width, 3]; with `Augmentation.none()` exactly the pixels of `preproc.resize`.
    """
    return flip_and_color(crop_and_resize(image, spec, augmentation, rng), augmentation, rng)


def crop_and_resize(
    image: np.ndarray, spec: PreprocSpec, augmentation: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    """Crops and resizes: the first half of `augment`. Without crops it draws nothing from `rng`.

    A crop is brought to the graph's size by the resizing that serving uses, and distorted only as serving distorts:
    with "exact" as the whole image would be, with "letterbox" not at all, borders included.
    """
    if augmentation.crop_scale is None:
        return resize(image, spec)[0]
    height, width = image.shape[:2]
    undistorted = spec.width / spec.height if spec.resize == "short_side" else width / height
    left, top, right, bottom = crop_box(width, height, undistorted, augmentation, rng)
    crop = image[top:bottom, left:right]
    if spec.resize == "letterbox":
        return resize(crop, spec)[0]
    return resize_to(crop, spec.width, spec.height, spec.interpolation)


def crop_box(
    width: int, height: int, undistorted: float, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draws a random crop of an image of width x height pixels: left, top, right, bottom.

    Area and ratio are drawn as in Inception's "random resized crop" (Szegedy et al. 2014, arXiv 1409.4842, section 6):
    the area uniformly, the ratio uniformly in its logarithm, ten times until the box fits; after that the largest
    central box of an allowed ratio.

    Args:
        undistorted: width-to-height ratio of a crop that the resizing does not distort.
    """
    scale = augmentation.crop_scale or (1.0, 1.0)
    least, greatest = (math.log(undistorted * ratio) for ratio in augmentation.crop_aspect)
    for fraction, position, x, y in rng.random((10, 4)).tolist():
        area = width * height * (scale[0] + fraction * (scale[1] - scale[0]))
        ratio = math.exp(least + position * (greatest - least))
        crop_width, crop_height = max(1, round(math.sqrt(area * ratio))), max(1, round(math.sqrt(area / ratio)))
        if crop_width <= width and crop_height <= height:
            left, top = int(x * (width - crop_width + 1)), int(y * (height - crop_height + 1))
            return left, top, left + crop_width, top + crop_height
    ratio = min(max(width / height, math.exp(least)), math.exp(greatest))
    crop_width = min(width, max(1, round(height * ratio)))
    crop_height = min(height, max(1, round(width / ratio)))
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def flip_and_color(pixels: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Flips and recolours pixels of the graph's size: the second half of `augment`, uint8 RGB [H, W, 3] to the same."""
    if augmentation.flip > 0 and rng.random() < augmentation.flip:
        pixels = cv2.flip(pixels, 1)
    if augmentation.has_color:
        pixels = cv2.transform(pixels, color_matrix(augmentation, cv2.mean(pixels)[:3], rng))
    return pixels


def color_matrix(augmentation: Augmentation, mean: tuple[float, ...], rng: np.random.Generator) -> np.ndarray:
    """Draws all colour changes of one image as one matrix, so that pixels are rounded and clipped only once.

    In this order: brightness multiplies; contrast stretches about the image's mean luma; saturation stretches about
    each pixel's own luma; hue turns about the grey axis, in YIQ, so that luma stays.

    Args:
        mean: mean of the image's red, green and blue.

    Returns:
        float64 [3, 4]: new = matrix[:, :3] @ rgb + matrix[:, 3].
    """
    draws = rng.uniform(-1, 1, size=4)
    brightness, contrast, saturation = 1 + draws[:3] * (
        augmentation.brightness,
        augmentation.contrast,
        augmentation.saturation,
    )
    grey = brightness * float(_LUMA @ np.asarray(mean))
    linear = saturation * np.eye(3) + (1 - saturation) * _LUMA
    if augmentation.hue > 0:
        angle = 2 * math.pi * augmentation.hue * draws[3]
        cos, sin = math.cos(angle), math.sin(angle)
        linear = _RGB @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ @ linear
    # Rows of `linear` keep grey grey (each sums to 1), so the offset of contrast passes through unchanged.
    return np.hstack([brightness * contrast * linear, np.full((3, 1), (1 - contrast) * grey)])
