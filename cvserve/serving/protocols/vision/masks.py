"""Writes masks into the messages of cvserve.v1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cvserve.errors import InvalidInput


def add_polygons(mask: Any, outlines: Iterable[np.ndarray]) -> None:
    """Writes outlines, numbers [N, 2] each, into a cvserve.v1.Mask."""
    # Set even without an outline, so that the field shows the format.
    mask.polygons.SetInParent()
    for outline in outlines:
        mask.polygons.polygons.add(points=outline.reshape(-1).tolist())


def check_size(response: Any, mask_format: str, largest: int, other: str) -> None:
    """Checks that a response is not too large.

    Args:
        largest: the largest size of a message in bytes.
        other: the mask format that the error advises.

    Raises:
        InvalidInput: the response is larger.
    """
    size = response.ByteSize()
    # Leaves room for the rest of the message.
    if size > largest - 1024:
        raise InvalidInput(
            f"the masks as {mask_format} take {size} bytes, more than the {largest} that a message may have; ask for "
            f"another mask_format, such as {other}"
        )
