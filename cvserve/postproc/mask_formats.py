"""Names the formats in which masks are written and sent."""

from __future__ import annotations

from cvserve.errors import InvalidInput

MASK_FORMATS = ("png", "rle", "polygons", "none")
"""A PNG; COCO's run lengths; polygons; no masks at all."""


def check_mask_format(mask_format: str) -> None:
    """Checks the name of a mask format.

    Raises:
        InvalidInput: it is none of MASK_FORMATS.
    """
    if mask_format not in MASK_FORMATS:
        raise InvalidInput(
            f"mask_format must be {', '.join(MASK_FORMATS[:-1])} or {MASK_FORMATS[-1]}, not {mask_format!r}"
        )
