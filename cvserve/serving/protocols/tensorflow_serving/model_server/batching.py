"""Converts TensorFlow Serving's BatchingParameters to settings of our batcher."""

from __future__ import annotations

import itertools
from typing import Any

from cvserve.errors import InvalidInput

FILE_NAME = "batching_params.pbtxt"
"""The file in a version's directory that --enable_per_model_batching_parameters reads."""

MAX_BATCH_SIZE = 1000
MAX_ENQUEUED_BATCHES = 10
"""TensorFlow Serving's defaults."""

ANY = 2**31 - 1
LONGEST_DELAY_MICROS = 60_000_000
MAX_INSTANCES = 256

UNBATCHED: dict[str, Any] = {"batching": False, "max_request_rows": ANY}
"""The settings without --enable_batching: every request runs alone, whatever its size."""


def batching_settings(parameters: Any) -> dict[str, Any]:
    """Returns the keys of `ModelSettings` that a `BatchingParameters` sets.

    In TensorFlow Serving a request may have max_batch_size rows. Our queue always splits a request that is larger than
    a batch, so enable_large_batch_splitting only decides whether a batch may be smaller than that. Where max_batch_size
    is not given, requests may have 1000 rows, as in TensorFlow Serving, but the size of batches is measured at the
    start.

    Raises:
        InvalidInput: a value is not valid; the text is TensorFlow Serving's.
    """
    given = {
        name: getattr(parameters, name).value
        for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
        if parameters.HasField(name)
    }
    _check_numbers(given)
    most_rows = given.get("max_batch_size", MAX_BATCH_SIZE)
    largest = given.get("max_batch_size")
    if parameters.enable_large_batch_splitting.value and parameters.HasField("max_execution_batch_size"):
        largest = _execution_size(parameters.max_execution_batch_size.value, most_rows)
    allowed = tuple(parameters.allowed_batch_sizes)
    if allowed:
        _check_allowed(allowed, most_rows, largest)
        # A batch of max_execution_batch_size rows is padded to the next size, and larger ones never run.
        largest = next(size for size in allowed if size >= (largest or allowed[-1]))
        allowed = tuple(size for size in allowed if size <= largest)
    settings: dict[str, Any] = {
        "batching": True,
        "max_batch_size": largest,
        "allowed_batch_sizes": allowed,
        "batch_delay_ms": given.get("batch_timeout_micros", 0) / 1000,
        "max_queue_requests": max(1, given.get("max_enqueued_batches", MAX_ENQUEUED_BATCHES) * most_rows),
        "max_request_rows": most_rows,
    }
    if "num_batch_threads" in given:
        settings["instances"] = min(given["num_batch_threads"], MAX_INSTANCES)
    return settings


def _check_numbers(given: dict[str, int]) -> None:
    for name in ("max_batch_size", "num_batch_threads"):
        if given.get(name, 1) < 1:
            raise InvalidInput(f"{name} must be positive; was {given[name]}")
    for name in ("batch_timeout_micros", "max_enqueued_batches"):
        if given.get(name, 0) < 0:
            raise InvalidInput(f"{name} must be non-negative; was {given[name]}")
    if given.get("batch_timeout_micros", 0) > LONGEST_DELAY_MICROS:
        raise InvalidInput(
            f"batch_timeout_micros can be at most {LONGEST_DELAY_MICROS}, a minute; was {given['batch_timeout_micros']}"
        )


def _execution_size(size: int, most_rows: int) -> int:
    if size < 1:
        raise InvalidInput(f"max_execution_batch_size must be positive; was {size}")
    if size > most_rows:
        raise InvalidInput(
            "When enable_large_batch_splitting is true, max_batch_size must be greater than or equal to "
            f"max_execution_batch_size; they were {most_rows} and {size}"
        )
    return size


def _check_allowed(allowed: tuple[int, ...], most_rows: int, largest: int | None) -> None:
    if allowed[0] < 1 or any(later <= earlier for earlier, later in itertools.pairwise(allowed)):
        raise InvalidInput("allowed_batch_sizes entries must be positive and monotonically increasing")
    if allowed[-1] not in (most_rows, largest):
        raise InvalidInput(
            "Last entry in allowed_batch_sizes must match max_batch_size; last "
            f"entry was {allowed[-1]}; expected {most_rows}"
        )
