"""Runs work in threads, in order, a bounded number of items ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def ordered_map(
    function: Callable[[Item], Value], items: Iterable[Item], *, workers: int, ahead: int
) -> Generator[Value, None, None]:
    """Yields the results of `map(function, items)`, computed in threads, in order, at most `ahead` of them waiting.

    Neither items nor results pile up, so that memory stays constant over any number of items. An exception of
    `function` is raised at its place. Closing the generator drops what has not begun.
    """
    pending: deque[Future[Value]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ordered-map")
    try:
        pending.extend(pool.submit(function, item) for item in islice(source, max(ahead, workers)))
        while pending:
            value = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(source, 1))
            yield value
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
