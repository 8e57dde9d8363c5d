"""Prints lines of text: results to stdout, remarks and errors to stderr."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from cvserve.console.bars import BARS


def is_terminal(stream: TextIO | None) -> bool:
    """Returns whether `stream` is a terminal that can redraw a line."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # the stream is closed
        return False


def say(text: str = "") -> None:
    """Prints a line of the result to stdout, above a running progress bar if there is one."""
    _print(text, sys.stdout)


def note(text: str) -> None:
    """Prints a remark or a warning to stderr. It is dropped where stderr is closed."""
    try:
        _print(text, sys.stderr)
    except (OSError, ValueError):
        return  # a remark that cannot be printed is no reason to stop


def error(text: str) -> None:
    """Prints `cvserve: error: text` to stderr."""
    note(f"cvserve: error: {text}")


def _print(text: str, stream: TextIO | None) -> None:
    if stream is None:
        return
    text = _printable(text, stream)
    if is_terminal(stream) and BARS.print_above(text):
        return
    print(text, file=stream, flush=True)


def _printable(text: str, stream: TextIO) -> str:
    """Returns the text with escapes for what the stream cannot encode, such as a file name that is not UTF-8."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding, getattr(stream, "errors", None) or "strict")
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text
