"""Numbers as the cells of the report show them."""

from __future__ import annotations


def fraction(value: float | None) -> str | None:
    """Returns a value from 0 to 1 with five digits: "0.99973"."""
    return None if value is None else f"{value:.5f}"


def small(value: float | None) -> str | None:
    """Returns a small difference by its order of magnitude: "3.1e-06"."""
    return None if value is None else f"{value:.1e}"
