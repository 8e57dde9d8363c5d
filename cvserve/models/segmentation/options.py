"""Questions that builders of segmenters ask of their options beside those of `detection.options`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cvserve.errors import InvalidInput


def check_share(model: str, **shares: Any) -> None:
    """Each option must be a number from 0 to below 1."""
    for option, value in shares.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
            raise InvalidInput(f"{model} needs a {option} from 0 to below 1, not {value!r}")


def check_whole_numbers(model: str, count: int | None = None, **lists: Any) -> None:
    """Each option must be one or more (`count`, if given) whole numbers above 0."""
    for option, values in lists.items():
        is_list = isinstance(values, Sequence) and not isinstance(values, str)
        fits = is_list and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
        if not fits or not values or len(values) != (count or len(values)):
            raise InvalidInput(f"{model} needs {option} as {count or 'some'} whole numbers above 0, not {values!r}")
