"""Breaks text into lines."""

from __future__ import annotations

from cvserve.postproc.text import shortened, text_width


def wrapped(text: str, size: int, width: int, most: int) -> list[str]:
    """Returns drawable text in lines of at most `width` pixels, broken at spaces; "…" ends text that does not fit."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most - 1:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= width:
            count += 1
        if text_width(words[0], size) > width:
            break  # a script without spaces
        lines.append(" ".join(words[:count]))
        words = words[count:]
    return [*lines, shortened(" ".join(words), size, width)] if words else lines
