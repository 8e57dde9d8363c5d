"""Shows the progress of long work: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TextIO, TypeVar

from cvserve.console.bars import BARS
from cvserve.console.lines import is_terminal
from cvserve.console.tables import cell_text

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 5.0
"""The least time between two plain lines of one progress."""
SHARE_BETWEEN_LINES = 0.1
"""The fraction of a known total that must be done before the next plain line, unless SECONDS_OF_SILENCE have passed."""
SECONDS_OF_SILENCE = 60.0
"""After this time the next plain line is printed, however little was done."""


def progress(
    iterable: Iterable[Item], total: int | None = None, description: str = "", *, unit: str = ""
) -> Iterator[Item]:
    """Yields the items and shows the progress. total: their number, by default `len(iterable)` if it has one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(total, description, unit=unit) as bar:
        for item in iterable:
            yield item
            bar.advance()


class Progress:
    """Shows the progress of long work: a bar on a terminal, plain lines elsewhere. Thread-safe; bars may nest.

    Args:
        total: how many there are, None if that is not known.
        description: what is being done ("epoch 3/40").
        unit: what is counted ("images"), for the rate.
        stream: stderr by default.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        total: int | None = None,
        description: str = "",
        *,
        unit: str = "",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self.description = description
        self.unit = unit
        self.completed = 0
        self.fields: dict[str, Any] = {}
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._lock = threading.Lock()
        self._start = clock()
        self._base = 0
        self._line_at = self._start
        self._line_completed = 0
        self._task: Any = None

    def __enter__(self) -> Progress:
        self._start = self._line_at = self._clock()
        if is_terminal(self._stream):
            self._task = BARS.add(self._stream, self.description, self.total)
        elif self.total != 0:
            self._line()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._task is not None:
                BARS.update(self._task, completed=self.completed, total=self.total, detail=self.summary())
                BARS.remove(self._task)
                self._task = None
            elif self.total != 0:
                self._line(last=True)

    def skip(self, count: int = 1) -> None:
        """Counts `count` items that were done before; they do not count for the rate."""
        with self._lock:
            self._base += count
            self.completed += count

    def advance(self, count: int = 1, **fields: Any) -> None:
        """Counts `count` more items; `fields` (loss=0.31) are shown until they are given again."""
        self.update(None, advance=count, **fields)

    def update(
        self,
        completed: int | None = None,
        *,
        advance: int = 0,
        total: int | None = None,
        description: str | None = None,
        **fields: Any,
    ) -> None:
        """Sets the given values, and shows them when it is time for the next line."""
        with self._lock:
            self.completed = (self.completed if completed is None else completed) + advance
            self.total = self.total if total is None else total
            self.description = self.description if description is None else description
            self.fields.update(fields)
            if self._task is not None:
                BARS.update(
                    self._task,
                    completed=self.completed,
                    total=self.total,
                    description=self.description,
                    detail=self.summary(),
                )
            elif self._is_time():
                self._line()

    @property
    def rate(self) -> float | None:
        """Returns the items per second since the start, None while nothing is done."""
        seconds = self._clock() - self._start
        done = self.completed - self._base
        return done / seconds if seconds > 0 and done > 0 else None

    def summary(self) -> str:
        """Returns the rate and the fields as text."""
        parts = [f"{name.replace('_', ' ')} {cell_text(value)}" for name, value in self.fields.items()]
        if self.rate is not None and self.unit:
            parts.insert(0, f"{self.rate:.1f} {self.unit}/s")
        return ", ".join(parts)

    def _is_time(self) -> bool:
        waited = self._clock() - self._line_at
        if waited < SECONDS_BETWEEN_LINES:
            return False
        moved = self.completed - self._line_completed
        return not self.total or moved >= SHARE_BETWEEN_LINES * self.total or waited >= SECONDS_OF_SILENCE

    def _line(self, *, last: bool = False) -> None:
        self._line_at, self._line_completed = self._clock(), self.completed
        count = f"{self.completed}" if self.total is None else f"{self.completed}/{self.total}"
        parts = [f"{count} {self.unit}".rstrip()]
        if last:
            parts.append(f"{self._clock() - self._start:.1f} s")
        if summary := self.summary():
            parts.append(summary)
        text = ", ".join(parts)
        if self._stream is None:  # closed before Python started; print would take stdout instead
            return
        try:
            print(f"{self.description}: {text}" if self.description else text, file=self._stream, flush=True)
        except (OSError, ValueError):
            return  # stderr is closed, or nothing reads it any more: the work goes on
