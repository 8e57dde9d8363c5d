"""Reads a JSON document in pieces.

Python's JSON reader keeps the interpreter's lock from the first byte to the last: a body of 64 MiB would stop the event
loop, and every worker, for seconds, on whatever thread it is read. Here the outer arrays and objects are walked in
Python, and the reader gets at most about PIECE characters at a time; between two pieces other threads have their turn.

What is accepted is what TensorFlow Serving accepts (json_tensor.cc): NaN and Infinity, anything after the document.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
import threading
from collections.abc import Callable, Iterator
from json.scanner import make_scanner
from typing import Any

from cvserve.errors import InvalidInput

PIECE = 32 << 10
"""Number of characters that are read in about a millisecond."""

WALKED_LEVELS = 32
"""Arrays and objects below this level are read in one piece, whatever their size: no tensor has so many dimensions."""

_COUNTING = threading.Lock()
_uncollected_blocks = 0
_collects = True

_DECODER = json.JSONDecoder()
_scan: Callable[[str, int], tuple[Any, int]] = make_scanner(_DECODER)  # type: ignore[arg-type]
_SPACE = re.compile(r"[ \t\n\r]*").match
_NOT_NUMBERS = re.compile(r'["\[\]{}]').search
_OPENINGS = re.compile(r"[\[{]+").match
_CLOSING = {"[": "]", "{": "}"}

_TEXTS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or a closing bracket.",
    "Invalid control character at": "Invalid encoding in string.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
"""Maps the error texts of Python to those of rapidjson, which clients of TensorFlow Serving know."""


class _Fault(Exception):
    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, at


def read_document(body: bytes) -> dict[str, Any]:
    """Returns the JSON object that a request's body begins with.

    Objects become dict, arrays list, numbers int or float (also NaN and the infinities; a number too large for a
    double becomes infinite), strings str, where bytes that are not UTF-8 are kept as lone surrogates.

    Raises:
        InvalidInput: it is not JSON, or not an object.
    """
    if not body:
        raise _error("The document is empty")
    text = body.decode("utf-8-sig", "surrogateescape")
    try:
        value, _ = _value(text, _space(text, 0), 0)
    except json.JSONDecodeError as error:
        fault = f"{_TEXTS.get(error.msg, error.msg)} at offset: {error.pos}"
    except _Fault as error:
        fault = f"{error.text} at offset: {error.at}"
    except RecursionError:
        fault = "The document is nested too deeply."
    except ValueError:
        # Python reads no integer of more than 4300 digits.
        fault = "Number too big to be stored in double."
    else:
        if not isinstance(value, dict):
            raise InvalidInput(f"JSON Value: {excerpt(value)} Is not object")
        return value
    # Raised outside of the except block, whose error would keep everything that was read in memory.
    raise _error(fault)


def free(value: Any, levels: int = 3) -> None:
    """Empties a value in small steps, since freeing a large one at once would keep the interpreter's lock too long."""
    if isinstance(value, dict) and levels:
        for member in value.values():
            free(member, levels - 1)
        value.clear()
    while isinstance(value, list) and value:
        last = value[-1]
        if not isinstance(last, list | dict):
            del last
            del value[-4096:]
            continue
        if levels and len(last) > 64:
            free(last, levels - 1)
        value.pop()


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Turns garbage collection off. Documents have no reference cycles, but going through their millions of lists would
    take a third of a second each time, with the interpreter's lock held."""
    global _uncollected_blocks, _collects
    with _COUNTING:
        if not _uncollected_blocks:
            _collects = gc.isenabled()
        _uncollected_blocks += 1
        gc.disable()
    try:
        yield
    finally:
        with _COUNTING:
            _uncollected_blocks -= 1
            if not _uncollected_blocks and _collects:
                gc.enable()


def excerpt(value: Any, most: int = 256) -> str:
    """Returns a value as JSON for an error's text, cut to `most` characters."""
    text = ""
    for piece in _pieces(value, most, WALKED_LEVELS):
        text += piece
        if len(text) >= most:
            break
    return text[:most]


def _pieces(value: Any, most: int, levels: int) -> Iterator[str]:
    """Yields the JSON of a value in pieces, so that a large value need not be written to its end."""
    if isinstance(value, str):
        yield json.dumps(value[:most], ensure_ascii=False).encode(errors="replace").decode()
    elif not isinstance(value, list | dict):
        yield json.dumps(value)
    elif not levels:
        yield "..."
    elif isinstance(value, list):
        yield "["
        for index, item in enumerate(value):
            yield ", " if index else ""
            yield from _pieces(item, most, levels - 1)
        yield "]"
    else:
        yield "{"
        for index, (name, item) in enumerate(value.items()):
            yield ", " if index else ""
            yield from _pieces(name, most, levels)
            yield ": "
            yield from _pieces(item, most, levels - 1)
        yield "}"


def _value(text: str, at: int, level: int) -> tuple[Any, int]:
    """Returns the value that begins at `at`, and where it ends."""
    if len(text) - at > PIECE and level < WALKED_LEVELS and text[at : at + 1] in _CLOSING:
        with contextlib.suppress(json.JSONDecodeError, StopIteration):
            value, length = _scan(text[at : at + PIECE], 0)
            return value, at + length
        # The value is longer than a piece, or wrong, which shows when its members are read.
        walk = _array if text[at] == "[" else _object
        return walk(text, at + 1, level + 1)
    try:
        return _scan(text, at)
    except StopIteration as stop:
        empty = level == 0 and stop.value >= len(text)
        raise _Fault("The document is empty." if empty else "Invalid value.", stop.value) from None


def _array(text: str, at: int, level: int) -> tuple[list[Any], int]:
    """Returns the rest of an array whose opening bracket is before `at`."""
    values: list[Any] = []
    try:
        return values, _fill(values, text, at, level)
    except BaseException:
        free(values)
        raise


def _fill(values: list[Any], text: str, at: int, level: int) -> int:
    """Appends the elements of an array from `at` on, and returns where it ends."""
    at = _space(text, at)
    if text[at : at + 1] == "]":
        return at + 1
    alone_until = 0
    while True:
        run = _run(text, at) if at >= alone_until else None
        if run is None and at >= alone_until:
            # If the guess was wrong here, it would be wrong for the next elements too.
            alone_until = at + PIECE
        if run is not None:
            values += run[0]
            at = run[1]
        else:
            value, at = _value(text, at, level)
            values.append(value)
        at = _space(text, at)
        ending = text[at : at + 1]
        if ending == "]":
            return at + 1
        if ending != ",":
            raise _Fault("Missing a comma or ] after an array element.", at)
        at = _space(text, at + 1)


def _run(text: str, at: int) -> tuple[list[Any], int] | None:
    """Returns several elements of an array from `at` on, as many as a piece holds, and where they end.

    Returns None where the next element has to be read alone.

    The end of the last element is guessed. After a wrong guess a bracket or a string stays open, or one bracket too
    many is closed, so the text is not a complete array and cannot be read. If it can be read, the guess was right.
    """
    opening = _OPENINGS(text, at, at + WALKED_LEVELS)
    if opening is not None:
        closing = "".join(_CLOSING[bracket] for bracket in reversed(opening.group()))
        end = text.rfind(closing + ",", at, at + PIECE) + len(closing)
    else:
        other = _NOT_NUMBERS(text, at, at + PIECE)
        end = other.start() if other and other.group() == "]" else text.rfind(",", at, at + PIECE)
    if end <= at + (len(opening.group()) if opening else 0):
        return None
    try:
        values, length = _scan(f"[{text[at:end]}]", 0)
    except (json.JSONDecodeError, StopIteration):
        return None
    return (values, end) if length == end - at + 2 else None


def _object(text: str, at: int, level: int) -> tuple[dict[str, Any], int]:
    """Returns the rest of an object whose opening brace is before `at`."""
    values: dict[str, Any] = {}
    at = _space(text, at)
    if text[at : at + 1] == "}":
        return values, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise _Fault("Missing a name for object member.", at)
        name, at = _scan(text, at)
        at = _space(text, at)
        if text[at : at + 1] != ":":
            raise _Fault("Missing a colon after a name of object member.", at)
        values[name], at = _value(text, _space(text, at + 1), level)
        at = _space(text, at)
        ending = text[at : at + 1]
        if ending == "}":
            return values, at + 1
        if ending != ",":
            raise _Fault("Missing a comma or } after an object member.", at)
        at = _space(text, at + 1)


def _space(text: str, at: int) -> int:
    match = _SPACE(text, at)
    assert match is not None, "the pattern matches an empty string too"
    return match.end()


def _error(text: str) -> InvalidInput:
    return InvalidInput(f"JSON Parse error: {text}")
