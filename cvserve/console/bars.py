"""Shows all progress bars of the process in one live display."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


class Bars:
    """Shows the one live display of all bars of the process: two would overwrite each other. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rich: RichProgress | None = None
        self._live: set[int] = set()

    def add(self, stream: TextIO, description: str, total: int | None) -> int:
        """Adds a bar, and starts the display with the first one; returns the bar's number."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        with self._lock:
            if self._rich is None:
                self._rich = RichProgress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=None),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                    TextColumn("{task.fields[detail]}", markup=False),
                    console=Console(file=stream, highlight=False),  # respects NO_COLOR itself
                    # rich would send prints of the program to stderr, and a pipe would lose them
                    redirect_stdout=False,
                    refresh_per_second=5,
                )
                self._rich.start()
            task = self._rich.add_task(description, total=total, detail="")
            self._live.add(task)
            return task

    def update(self, task: int, **values: Any) -> None:
        """Shows new values of a bar: completed, total, description, detail."""
        with self._lock:
            if self._rich is not None:
                self._rich.update(task, **values)  # type: ignore[arg-type]

    def remove(self, task: int) -> None:
        """Removes a bar, and ends the display with the last one."""
        with self._lock:
            self._live.discard(task)
            if self._rich is None:
                return
            if self._live:
                self._rich.remove_task(task)  # type: ignore[arg-type]
            else:
                self._rich.stop()
                self._rich = None

    def print_above(self, text: str) -> bool:
        """Prints above the bars; returns False if there are none."""
        with self._lock:
            if self._rich is None:
                return False
            self._rich.console.print(text, markup=False, highlight=False, soft_wrap=True)
            return True


BARS = Bars()
