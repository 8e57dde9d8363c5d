"""Keeps a value up to date that is made of files, which may be replaced while the server runs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from cvserve.errors import CvserveError

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

CHECK_SECONDS = 1.0
"""Seconds between two checks of the files."""


class Watched(Generic[T]):
    """Holds a value made of files, and makes it again when one of them has changed. Thread-safe.

    The files are checked only when the value is used, so an idle server does nothing. If they cannot be read the error
    is logged and the last good value stays, so that clients can still connect while a file is half written.
    """

    def __init__(
        self, paths: Sequence[Path], make: Callable[[], T], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Raises:
            CvserveError, OSError: what `make` raises the first time.
        """
        self._paths = tuple(paths)
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        # Taken before the files are read, so that a change in between is noticed the next time.
        self._seen = self._state()
        self._value = make()
        self._check_at = clock() + CHECK_SECONDS

    def get(self) -> T:
        """Returns the value, which is at most a second older than the files."""
        if self._clock() >= self._check_at:
            with self._lock:
                self._check()
        return self._value

    def _check(self) -> None:
        self._check_at = self._clock() + CHECK_SECONDS
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        names = ", ".join(str(path) for path in self._paths)
        try:
            self._value = self._make()
        except (CvserveError, OSError, ValueError) as error:
            _LOG.error("%s changed and cannot be used; the earlier content stays in use: %s", names, error)
        else:
            _LOG.info("%s changed and was read again", names)

    def _state(self) -> tuple[object, ...]:
        """Returns a value that changes with the files, also when a link (as Kubernetes mounts secrets) moves."""
        states: list[object] = []
        for path in self._paths:
            try:
                status = os.stat(path)
            except OSError:
                states.append(None)
            else:
                states.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(states)
