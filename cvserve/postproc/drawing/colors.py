"""Chooses a colour for each class, the same on every image."""

from __future__ import annotations

import colorsys

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

# Sasha Trubetskoy's list of 20 simple, distinct colours (https://sashamaps.net/docs/resources/20-colors/), those left
# out that are too dark or too pale for a line on a photo; neighbours in the list differ most.
_FIRST: tuple[Color, ...] = (
    (230, 25, 75),
    (60, 180, 75),
    (255, 225, 25),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
    (210, 245, 60),
    (250, 190, 212),
    (0, 128, 128),
    (220, 190, 255),
    (170, 110, 40),
    (170, 255, 195),
    (128, 128, 0),
    (255, 215, 180),
)
_GOLDEN_TURN = 0.6180339887498949
_LIGHT = (0.95, 0.7)


def color_of(index: int) -> Color:
    """Returns the colour of class `index`: first from a list of distinct ones, then hues by the golden angle."""
    if index < len(_FIRST):
        return _FIRST[index]
    more = index - len(_FIRST)
    red, green, blue = colorsys.hsv_to_rgb(more * _GOLDEN_TURN % 1, 0.75, _LIGHT[more % len(_LIGHT)])
    return round(red * 255), round(green * 255), round(blue * 255)


def text_color_on(color: Color) -> Color:
    """Returns black or white, whichever is easier to read on the colour."""
    red, green, blue = color
    # Luma of ITU-R BT.601.
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
