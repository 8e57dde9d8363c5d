"""Reading JSON in pieces, against Python's own reader."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from cvserve.errors import InvalidInput
from cvserve.serving.protocols.tensorflow_serving.rest import documents
from cvserve.serving.protocols.tensorflow_serving.rest.documents import (
    excerpt,
    free,
    no_garbage_collection,
    read_document,
)

LEAVES = (
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False)
    | some.text(max_size=30)
    | some.sampled_from(["],", '",', "a, b]}", "\\", '\\"]', "[[", "x" * 80, [], {}])
)
VALUES = some.recursive(
    LEAVES,
    lambda inner: (
        some.lists(inner, max_size=20)
        | some.lists(some.lists(some.integers(0, 255), min_size=3, max_size=3), max_size=20)
        | some.dictionaries(some.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=60,
)
STYLES = some.sampled_from([{}, {"separators": (",", ":")}, {"indent": 1}, {"ensure_ascii": False}])


@pytest.fixture(scope="module", autouse=True)
def small_pieces() -> Iterator[None]:
    """Makes pieces small, so that small documents are read in several."""
    before, documents.PIECE = documents.PIECE, 48
    yield
    documents.PIECE = before


@settings(max_examples=120, deadline=None)
@given(some.dictionaries(some.text(max_size=5), VALUES, max_size=5), STYLES)
def test_it_reads_the_same_as_python(value: dict[str, Any], style: dict[str, Any]) -> None:
    text = json.dumps(value, **style)
    assert read_document(text.encode() + b" }trailing \xff") == json.loads(text)


@settings(max_examples=120, deadline=None)
@given(some.dictionaries(some.text(max_size=5), VALUES, min_size=1, max_size=5), STYLES, some.data())
def test_documents_that_python_refuses_are_refused(
    value: dict[str, Any], style: dict[str, Any], data: some.DataObject
) -> None:
    text = json.dumps(value, **style)
    at = data.draw(some.integers(0, len(text) - 1))
    broken = text[:at] + data.draw(some.sampled_from(["", ",", "]", "}", '"', "[", "{", "x", "\0"])) + text[at + 1 :]
    try:
        wanted, _ = json.JSONDecoder().raw_decode(broken.lstrip())
    except ValueError:
        wanted = None
    if isinstance(wanted, dict):
        assert read_document(broken.encode()) == wanted
    else:
        with pytest.raises(InvalidInput, match=r"^JSON (Parse error|Value): "):
            read_document(broken.encode())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b" \n", "JSON Parse error: The document is empty. at offset: 2"),
        (b"instances = [1]", "JSON Parse error: Invalid value. at offset: 0"),
        (b'{"a": nul}', "JSON Parse error: Invalid value. at offset: 6"),
        (b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
        (b'{"a": "b}', "JSON Parse error: Missing a closing quotation mark in string. at offset: 6"),
        (b'{"a": [1, 2', "JSON Parse error: Missing a comma or a closing bracket. at offset: 11"),
        (b'{"a": ' + b"[" * 100_000, "JSON Parse error: The document is nested too deeply."),
        (b'{"a":' * 100_000, "JSON Parse error: The document is nested too deeply."),
        (b'{"a": ' + b"9" * 100_000 + b"}", "JSON Parse error: Number too big to be stored in double."),
        (b"[1]", "JSON Value: [1] Is not object"),
        (b'"' + b"x" * 1000 + b'"', f'JSON Value: "{"x" * 255} Is not object'),
        (b"null", "JSON Value: null Is not object"),
    ],
)
def test_faults(body: bytes, text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read_document(body)
    assert str(error.value) == text


def test_numbers_outside_of_json_and_bytes_outside_of_utf8() -> None:
    assert str(read_document(b'{"a": [NaN, Infinity, -Infinity]}')["a"]) == "[nan, inf, -inf]"
    assert read_document(b'\xef\xbb\xbf{"a": "\xc3\xbc\xff"}') == {"a": "\u00fc\udcff"}


def test_the_excerpt_in_an_error_is_short_for_any_value() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert excerpt(deep) == "[" * documents.WALKED_LEVELS + "..." + "]" * documents.WALKED_LEVELS
    assert (
        excerpt([1, 2.5, None, True, "\u20ac", {"a": [float("nan")]}]) == '[1, 2.5, null, true, "\u20ac", {"a": [NaN]}]'
    )
    assert len(excerpt([{"b64": "x" * 10_000_000}] * 1000)) == 256
    assert excerpt("\udcff") == '"?"'


def test_free_empties_lists_of_lists() -> None:
    rows = [[[1, 2, 3]] * 100 for _ in range(200)]
    inner = rows[0]
    document = {"inputs": rows, "other": {"a": [1] * 10_000}}
    free(document)
    assert (document, rows, inner) == ({}, [], [])


def test_garbage_collection_is_off_meanwhile() -> None:
    with no_garbage_collection():
        with no_garbage_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_other_threads_run_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reader kept the interpreter's lock, this thread could not run while it reads."""
    monkeypatch.setattr(documents, "PIECE", 32 << 10)
    body = json.dumps({"inputs": [[0.25, 0.5, 0.75]] * 400_000}).encode()
    started = time.perf_counter()
    json.loads(body)
    alone = time.perf_counter() - started
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    reading = threading.Thread(target=read_document, args=(body,))
    try:
        with no_garbage_collection():
            reading.start()
            longest, last = 0.0, time.perf_counter()
            while reading.is_alive():
                time.sleep(0.0005)
                now = time.perf_counter()
                longest, last = max(longest, now - last), now
    finally:
        sys.setswitchinterval(before)
    assert longest < alone / 2, f"{longest:.3f} s in one piece, of {alone:.3f} s"
